#pragma once

#include "core/backoff.hpp"
#include "core/breaker.hpp"
#include "core/clock.hpp"
#include "core/envelope.hpp"
#include "core/relay_step.hpp"

#include <sagaz/optimistic_publisher.hpp>

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

/// The optimistic publisher as a step: `next` says the one thing to do now, the shell does it and
/// answers with an `on_...`. No thread, no wait, no clock, no I/O here.
///
/// Why a key stays in order. An event is handed to the broker's client only after `confirm` said
/// `ready`, which means: at that moment every earlier event of its key had been acknowledged, by a
/// relay (the stored cursor has passed it), by another publisher (it is removed), or by this one
/// (`acknowledged`). So the first copies of all that is before it have arrived when its own first
/// copy leaves, whoever sends it and whatever is sent again later. What waits here for an elder of
/// its own process is put in a chain by a hash of its key: that saves asking, and decides nothing.
///
/// Why nothing is lost. Only an acknowledged event is settled as accepted; the row of every other
/// one stays in the log, and its relay passes it by no stored cursor while it is held. A hold ends
/// by itself; ending it early (`left`) only makes the relay quicker. So all of this memory may go
/// at any point: a relay sends what was not settled, with the same id and bytes.
///
/// Why repeats are few. An event whose call ran out of time keeps its hold as long as the client
/// may still send it: its acknowledgement still counts when it comes, and shortly before the hold
/// is over the client is made to give up (`Broker::abandon`), so that relay and client do not both
/// send it. An event of which a receipt said `unknown` is not on its way any more (`Broker`: a
/// break settles everything), so it is released at once. Neither is sent from here again.
namespace sagaz::inline v0::core {

namespace command {
struct Confirm {
    std::vector<RowRef> asked{};
    std::vector<RowRef> acknowledged{};
    Milliseconds margin{};
};
struct Settle {
    std::vector<RowRef> accepted{};
    std::vector<RowRef> left{};
};
}  // namespace command

using PublishCommand =
    std::variant<command::Attach, command::Confirm, command::Flush, command::Publish, command::Poll,
                 command::Settle, command::Abandon, command::Wait, command::End>;

/// A ticket that was handed over.
struct HandedOver {
    struct Event {
        RowRef row{};
        std::uint64_t order{};  ///< The same for events of one key; zero: not known, or none.
        std::size_t bytes{};
    };
    std::uint64_t call{};  ///< Comes back in the answer; never zero, never twice.
    std::vector<Event> events{};
    Instant at{};         ///< When.
    Instant deadline{};   ///< It is answered by then.
    Instant hold_ends{};  ///< No hold is over before; zero: not known.
};

struct Answer {
    std::uint64_t call{};
    Published published{};
};

inline constexpr std::size_t kLeftReasons = 11;
/// True for what counts as no trouble: skipped, not failed.
constexpr bool is_skip(LeftReason reason) { return reason <= LeftReason::not_committed; }

/// What became of events since the last look, for the metrics.
struct PublishCounts {
    std::array<std::uint64_t, kLeftReasons> left{};
    std::vector<Duration> sent{};  ///< From hand-over to acknowledgement, of each that was sent.
};

/// Throws `invalid` (`option_range`, `schema_name`).
OptimisticOptions checked(OptimisticOptions options);

class PublishStep {
public:
    /// `seed` is for the jitter of backoffs; `first_token` above any that the broker was given.
    PublishStep(const OptimisticOptions& options, std::uint64_t seed,
                std::uint64_t first_token = 1);

    /// What to do now. Each command is answered before the next call, by the `on_` of its name or
    /// by `on_store_error`. Wait and End have no answer; a wait ends early when something is handed
    /// over.
    PublishCommand next(Instant now);

    void take(const HandedOver& handed);
    /// Rows that nobody will hand over.
    void give_back(std::span<const RowRef> rows);
    void enable(bool on);
    /// Sends nothing more; End by `deadline`.
    void stop(Instant now, Instant deadline);

    void on_attached(const Attached& attached, Instant now);
    void on_confirmed(Confirmation confirmation, Instant now);
    void on_flushed(std::uint64_t flushed, Instant now);
    void on_published(std::size_t count, Instant now);
    void on_receipts(std::span<const Receipt> receipts, Instant now);
    /// The client gave up, and its last receipts were taken.
    void on_abandoned(Instant now);
    void on_settled(Instant now);
    void on_store_error(const Error& error, Instant now);
    /// What Broker::down said after a publish or a poll.
    void on_destination(std::string down, Instant now);
    /// The broker object can never work again.
    void on_broker_lost(Instant now);

    std::vector<Answer> take_answers() { return std::exchange(answers_, {}); }
    PublishCounts take_counts() { return std::exchange(counts_, {}); }

    /// Whether a ticket of now would be sent: not while switched off, stopped, or (but for one at a
    /// time) failing.
    Breaker::State breaker() const noexcept { return breaker_.state(); }
    bool is_on() const noexcept { return enabled_ && !stopping_; }
    std::size_t events() const noexcept { return items_.size(); }
    std::uint64_t next_token() const noexcept { return first_token_ + flights_.size(); }
    const std::string& destination_down() const noexcept { return down_; }
    std::uint64_t headers_dropped() const noexcept {
        return encoder_ ? encoder_->headers_dropped() : 0;
    }

private:
    using ItemId = std::uint64_t;
    struct Item {
        enum class Stage { waiting, asked, confirmed, sent } stage{Stage::waiting};
        RowRef row{};
        std::uint64_t order{};
        std::size_t bytes{};
        std::uint64_t call{};
        Instant ask_at{};  ///< Where it stands in `to_ask_`; zero: it does not.
        int asked_times{};
        bool expired{};                        ///< Counted and answered; its receipt still matters.
        std::shared_ptr<const Batch> batch{};  ///< Of a confirmed one.
        const Row* source{};
        std::uint64_t gate{};
        Instant confirmed_at{};
    };
    struct Call {
        ItemId first{};
        std::size_t count{};
        std::size_t open{};
        Instant at{};
        Instant deadline{};
        Instant hold_ends{};
        bool answered{};
    };
    struct Flight {
        ItemId item{};
        Instant sent_at{};
        bool answered{};
    };

    static constexpr std::size_t kConfirmMax = 500;  ///< Events of one question.

    std::optional<PublishCommand> ask_store(Instant now);
    std::optional<PublishCommand> confirm(Instant now);
    void rest_from_asking(Instant now);
    std::optional<PublishCommand> open_gate(Instant now);
    std::optional<PublishCommand> publish(Instant now);
    std::optional<PublishCommand> settle(Instant now, bool at_rest);
    PublishCommand finish(Instant now);
    PublishCommand rest(Instant now);
    Instant wake_at(Instant now) const;
    bool polls() const;
    bool gives_up(Instant now) const;
    Milliseconds abandon_time(Instant now) const;
    Instant give_up_at(const Item& item) const;

    std::optional<LeftReason> why_not(const HandedOver& handed) const;
    void expire();
    LeftReason reason_of_expiry(const Item& item) const;
    bool had_time(const Item& item) const;
    void schedule(ItemId id, Item& item, Instant at);
    void unschedule(ItemId id, Item& item);
    void schedule_front(std::uint64_t order);
    bool is_front(ItemId id, const Item& item) const;
    void confirmed(ItemId id, const std::shared_ptr<const Batch>& batch, std::size_t row,
                   std::uint64_t gate);
    void ask_again(ItemId id);
    void accept(ItemId id);
    void leave(ItemId id, LeftReason reason);
    bool leave_unsent(LeftReason reason);
    void count(const Item& item, LeftReason reason);
    void release(const RowRef& row);
    void answer(std::uint64_t id, Published published);
    void finish_item(ItemId id);
    void trim_ready();
    void land(Flight& flight);
    void end_flights(bool was_refused);
    void fail();
    std::size_t unsettled() const { return acknowledged_.size() + left_.size(); }
    bool has_ready() const;

    OptimisticOptions options_;
    Breaker breaker_;
    Backoff store_backoff_;
    TryLimit store_tries_;
    bool enabled_;
    bool stopping_{};
    Instant stop_by_{};
    Instant now_{};  ///< Of the last call that told it.

    bool attached_{};
    Instant store_at_{};  ///< The store is left alone until then, after an error; zero: it is up.
    std::optional<EnvelopeEncoder> encoder_;
    std::string down_;
    bool broker_lost_{};

    ItemId next_item_{1};
    std::unordered_map<ItemId, Item> items_;
    std::unordered_map<std::uint64_t, Call> calls_;
    std::set<std::pair<Instant, std::uint64_t>> deadlines_;
    std::set<std::pair<Instant, ItemId>> to_ask_;
    /// By the hash of a key: what is not done of it, by position.
    std::unordered_map<std::uint64_t, std::set<std::pair<std::int64_t, ItemId>>> chains_;
    std::vector<ItemId> asked_;
    std::deque<ItemId> ready_;  ///< Confirmed, in the order in which they were.
    std::size_t bytes_{};       ///< Of what is confirmed and not done.
    std::uint64_t trial_{};     ///< The call that is tried while the breaker is half open.
    std::uint64_t flushed_{};
    Instant gate_since_{};  ///< When the first was found behind the gate; zero: none is.
    Instant asked_at_{};    ///< The last question,
    Instant confirm_at_{};  ///< and the soonest moment of the next.

    std::vector<ItemId> prepared_;
    std::vector<Envelope> envelopes_;
    std::deque<Flight> flights_;
    std::uint64_t first_token_;  ///< Of the front of flights_.
    std::size_t in_flight_{};
    std::size_t expired_{};  ///< Of those in flight.
    Instant send_at_{};      ///< Not before, after the client took nothing.
    bool polled_{};          ///< Since the last command that took time.
    Instant polled_at_{};

    std::vector<RowRef> acknowledged_;  ///< Accepted and not yet settled.
    std::vector<RowRef> left_;
    Instant unsettled_since_{};
    std::size_t settling_accepted_{};
    std::size_t settling_left_{};

    std::vector<Answer> answers_;
    PublishCounts counts_;
};

}  // namespace sagaz::inline v0::core
