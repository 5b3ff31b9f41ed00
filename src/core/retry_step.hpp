#pragma once

#include "core/backoff.hpp"
#include "core/clock.hpp"
#include "core/delivery.hpp"
#include "core/envelope.hpp"

#include <sagaz/relay.hpp>
#include <sagaz/store.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

/// Tries parked events again, one attempt at a time, through a broker client of its own, so that a
/// refusal breaks nothing but that attempt. An attempt is the first event of one key; once one of a
/// key was accepted, a run of those behind it. Like the rest of the core: no thread, no I/O.
///
/// Why no later event of a key can be sent before its parked ones were accepted or discarded. Such
/// an event is in one of four places. In the table behind them: only what is first by position is
/// tried, and the first of a key is asked for anew after every attempt, since operators replay and
/// discard meanwhile. In memory marked `parking`: it leaves only by the statement that puts it into
/// the table. In memory waiting (`deferring`): it goes on only by `resume_stopped`. Not yet read:
/// when it is, the key is stopped, or deferring, or resumed. And a key is resumed only when one
/// look shows none of it in the table while none of it is marked `parking` in memory. Nothing can
/// be put into the table between that look and the resume, nor after it from before: only the owner
/// parks, in this thread; a store that was given up and comes late parks nothing once a newer one
/// was done, which bars it (stores/postgres), and as long as its outcome is unknown its entries are
/// still marked. (`deferring` is there for keys that never fall silent: were they parked on and on
/// while the table is emptied, the two would never be empty at once.)
///
/// Across a take-over. A new owner loads cursor and stopped keys in one moment of the new epoch, in
/// which the old one changes nothing more. If the old one, not knowing, still sees the table empty
/// and resumes a key, then all before its place in the log was accepted or discarded, whoever did
/// it, but for what is marked in its memory, which keeps the key stopped. From there it sends in
/// order, as the new owner does from the stored cursor: two streams, each in order and each from
/// what was not accepted, so the slower one only repeats. The same holds for what an attempt of the
/// old one has on its way. So a crash or a lost answer anywhere here repeats an attempt, and never
/// reorders: the row goes after the acceptance, by a statement that may be done twice.
///
/// With `park_event` nothing is stopped: an event comes when it is accepted, behind later ones of
/// its key. Only those that were never refused are in order. Events without a key are alone too.
///
/// An outage is no attempt: what was not taken, or came back `unknown`, is tried again later and
/// counts nothing. An attempt that takes long while its key is deferring has the key parked again,
/// so that the slot's cursor goes on. One that is not answered at all (a partition without a
/// leader, whose messages never expire in the client) would stop every other key, since there is
/// one at a time: after `attempt_timeout` it is asked for once more, then its client is given up
/// and its topic left alone for a while. What of it still arrives is a repeat: its events stay in
/// the table, and their key stopped.
namespace sagaz::inline v0::core {

namespace command {
struct LookAtParked {
    ParkedQuery query{};
};
struct ReadParked {
    std::vector<RowRef> rows{};
};
struct Retry {
    std::span<const Envelope> envelopes{};
};
struct PollRetry {
    Milliseconds deadline{};
};
struct AbandonRetry {};  ///< Has the client give up what is on its way.
struct SettleParked {
    OwnedSlot slot{};
    std::vector<ParkedOutcome> outcomes{};
};
}  // namespace command

using RetryCommand = std::variant<command::LookAtParked, command::ReadParked, command::Retry,
                                  command::PollRetry, command::AbandonRetry, command::SettleParked>;

class RetryStep {
public:
    RetryStep(const RelayOptions& options, Delivery& delivery, std::uint64_t seed);

    /// There is a client to try with. Without one keys still go on when their parked events are
    /// gone, and parked events stay.
    void enable() noexcept { enabled_ = true; }
    void configure(const Settings& settings);

    /// What to do now with the store or the client, if anything. `flushed`: the log is on disk up
    /// to there. A `Retry` behind the gate waits for `needs_flush`.
    std::optional<RetryCommand> next(Instant now, std::uint64_t flushed);
    bool needs_flush(std::uint64_t flushed) const;
    /// Nothing to do before; Instant::max(): nothing at all.
    Instant wake_at() const;

    void on_looked(const ParkedLook& look, Instant now);
    void on_read(std::unique_ptr<Batch> batch, Instant now);
    void on_taken(std::size_t count, Instant now);
    void on_receipts(std::span<const Receipt> receipts, Instant now);
    /// Answers AbandonRetry, with the last receipts that came.
    void on_abandoned(std::span<const Receipt> receipts, Instant now);
    /// Answers SettleParked. Returns the slot when it was lost to another relay.
    std::optional<std::int16_t> on_settled(bool is_owned, Instant now);
    /// A measurement saw so many waiting ones, perhaps of other relays' slots.
    void on_measured(std::int64_t waiting, Instant now);
    /// The store failed: what was asked is asked again.
    void on_store_error();

    /// No new attempts; what is on its way may still be settled.
    void stop() noexcept { stopping_ = true; }
    /// True while an attempt is on its way or not yet settled.
    bool is_busy() const { return attempt_.has_value(); }
    /// True while there is, or an attempt is about to begin.
    bool is_trying() const { return attempt_.has_value() || !candidates_.empty(); }
    /// True while one of `slot` is, and may be waited for before the slot is given away: one that
    /// the client does not answer in time would keep the slot, and all that comes of it, for ever.
    bool holds(std::int16_t slot, Instant now) const;
    /// True when nothing is due and all that is parked was looked at since it was learned of.
    bool is_settled() const;
    void forget();

    /// Parked events that became dead since the last call, by reason.
    using DeadCounts = std::map<std::string, std::uint64_t, std::less<>>;
    DeadCounts take_dead() { return std::exchange(dead_, {}); }

private:
    using KeyName = std::pair<std::int16_t, std::string>;
    struct Candidate {
        std::optional<KeyName> key{};  ///< None: alone.
        OwnedSlot slot{};
        std::vector<ParkedEvent> events{};
    };
    struct Attempt {
        enum class Stage { read, send, fly, settle, settling } stage{Stage::read};
        Candidate what{};
        std::uint64_t generation{};
        Instant sent_at{};
        bool was_late{};  ///< It took too long when its receipts were last asked for.
        std::unique_ptr<Batch> batch{};
        std::vector<Envelope> envelopes{};
        std::uint64_t first_token{};
        std::size_t taken{};
        std::vector<std::optional<Receipt>> receipts{};
    };

    void take_refused(Instant now);
    Instant first_due() const;
    std::vector<KeyName> due_keys(Instant now) const;
    OwnedLog* log_of(const KeyName& name);
    void schedule(const KeyName& name, Instant due);
    void defer(OwnedLog& log, const KeyName& name, Instant now);
    void end_long_deferrals(Instant now);
    std::optional<RetryCommand> look(Instant now);
    std::size_t ask_for_keys(Instant now, ParkedQuery& query);
    std::optional<RetryCommand> try_next(Instant now);
    std::optional<RetryCommand> carry_on(Instant now, std::uint64_t flushed);
    void judge(const KeyName& name, std::vector<ParkedEvent> events, Instant now);
    void judge_alone(const ParkedLook& look, Instant now);
    bool waits(const ParkedEvent& event) const;
    bool is_current(const Attempt& attempt);
    void come_back(Instant now);
    void take_receipts(std::span<const Receipt> receipts);
    void leave_topic_alone(Instant now);
    bool is_left_alone(Instant now);
    void begin_settling(Instant now);
    void refuse(std::size_t n, const Receipt& receipt);
    void after_settling(Instant now);
    Duration recheck() const;

    RelayOptions options_;
    Delivery& delivery_;
    Backoff send_backoff_;
    Backoff event_backoff_;
    std::optional<EnvelopeEncoder> encoder_;
    bool enabled_{};
    bool stopping_{};

    std::vector<std::pair<KeyName, Instant>> deferring_;  ///< And since when.
    std::vector<KeyName> asked_;                          ///< Of the look under way.
    std::vector<std::size_t> word_of_;  ///< For each key of its query: the place in asked_.
    std::size_t asked_max_{};
    bool asked_alone_{};
    Instant alone_at_{Instant::max()};
    Instant look_at_{};  ///< Not before.
    Instant now_{};
    bool measured_{};
    std::uint64_t gate_{};

    std::deque<Candidate> candidates_;
    std::optional<Attempt> attempt_;
    std::vector<ParkedOutcome> settling_;
    Instant try_at_{};  ///< Not before: the stream shares this thread.
    bool came_back_{};  ///< The last attempt did, and its key was not looked at since.
    Instant poll_at_{};
    std::map<std::string, Instant, std::less<>> silent_;  ///< Topics left alone, until when.
    bool opened_{};  ///< The client was used, so it wants to be served now and then.
    std::uint64_t next_token_{1};
    DeadCounts dead_;
};

}  // namespace sagaz::inline v0::core
