#pragma once

#include "core/backoff.hpp"
#include "core/clock.hpp"
#include "core/delivery.hpp"
#include "core/fresh_slots.hpp"
#include "core/keep_inbox_step.hpp"
#include "core/lease_step.hpp"
#include "core/reclaim_step.hpp"
#include "core/retry_step.hpp"

#include <sagaz/error.hpp>
#include <sagaz/relay.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

/// The relay as a step: `next` says the one thing to do now, the shell does it and answers with an
/// `on_...`. No thread, no wait, no clock, no I/O here, so the simulator drives the same code.
///
/// Why it may be killed anywhere. All that it remembers is a copy of what the database holds, plus
/// what is on its way; the cursor in the database never passes an event that was not accepted or
/// parked (SlotLedger). Why the database may be killed anywhere: every command carries the
/// incarnation of the last attach, and when that is gone everything here is forgotten and read
/// anew. Why a second owner cannot reorder: see LeaseStep and Delivery.
namespace sagaz::inline v0::core {

namespace command {
struct Attach {};
struct Observe {
    Report report{};
};
struct Acquire {
    std::vector<SlotView> slots{};
};
struct Load {
    std::vector<OwnedSlot> slots{};
};
struct OpenWindow {};
struct FindLate {
    std::vector<LateQuery> queries{};
};
struct StartRead {
    ReadRequest request{};
};
struct FinishRead {};
struct Flush {
    bool force{};
};
struct Publish {
    std::span<const Envelope> envelopes{};
};
struct Poll {
    Milliseconds deadline{};
};
struct StoreCursors {
    std::vector<CursorMove> moves{};
    std::vector<Parking> parked{};
};
struct LookAt {
    std::vector<RowRef> rows{};
};
struct MarkDelivered {
    std::vector<RowRef> rows{};
};
struct Release {
    std::vector<OwnedSlot> slots{};
};
struct Leave {};  ///< Gives every slot back, for good.
struct Tidy {
    std::vector<OwnedSlot> slots{};
};
struct Measure {};
struct Reclaim {
    ReclaimLimits limits{};
};
struct KeepInbox {
    InboxLimits limits{};
};
struct Abandon {
    Milliseconds deadline{};
};  ///< Then poll once without waiting.
struct Wait {
    Instant until{};
};  ///< Nothing to do before; a stop may end it early.
struct End {};  ///< Stopped: nothing is left to do.
}  // namespace command

using Command = std::variant<
    command::Attach, command::Observe, command::Acquire, command::Load, command::OpenWindow,
    command::FindLate, command::StartRead, command::FinishRead, command::Flush, command::Publish,
    command::Poll, command::StoreCursors, command::LookAt, command::MarkDelivered, command::Release,
    command::Leave, command::Tidy, command::Measure, command::Reclaim, command::KeepInbox,
    command::LookAtParked, command::ReadParked, command::Retry, command::PollRetry,
    command::AbandonRetry, command::SettleParked, command::Abandon, command::Wait, command::End>;

class RelayStep {
public:
    /// `seed` is for the jitter of backoffs. Throws `invalid` (`option_range`).
    RelayStep(const Id& relay, const RelayOptions& options, std::uint64_t seed);

    /// What to do now. Each command is answered before the next call, by the `on_` of its name or
    /// by `on_store_error`. Wait, End and MarkDelivered have no answer.
    Command next(Instant now);

    void on_attached(const Attached& attached);
    void on_observed(const Observed& seen, Instant now);
    void on_acquired(std::span<const OwnedSlot> slots);
    void on_loaded(const Loaded& loaded, Instant now);
    void on_opened(const Opening& opening, Instant now);
    void on_late(std::span<const LateTransaction> late);
    void on_read(ReadResult result, Instant now);
    void on_flushed(std::uint64_t flushed, Instant now);
    void on_published(std::size_t count, Instant now);
    void on_receipts(std::span<const Receipt> receipts, Instant now);
    void on_stored(std::span<const std::int16_t> slots, Instant now);
    void on_looked_at(std::span<const HoldState> states, Instant now);
    void on_released(std::span<const OwnedSlot> slots);
    void on_left();
    void on_tidied(Instant now);
    void on_measured(const Backlog& backlog, Instant now);
    void on_reclaimed(const Reclaimed& reclaimed, Instant now);
    void on_kept_inbox(const InboxKept& kept, Instant now) { keep_inbox_.kept(kept, now); }
    /// Answer what `retry` asked for, by its `on_` functions; but these two:
    void on_looked_at_parked(const ParkedLook& look, Instant now);
    void on_settled_parked(bool is_owned, Instant now);
    /// A store command failed with an error that time can heal.
    void on_store_error(const Error& error, Instant now);
    /// What Broker::down said after a publish or a poll.
    void on_destination(std::string down, Instant now);

    /// Stop reading, settle what was sent and what stands before it, store, release; End by
    /// `deadline`.
    void stop(Instant now, Instant deadline);

    /// True when everything that was committed at `since` is settled: every slot is owned, was
    /// looked at after that, and has nothing in hand.
    bool is_drained(Instant since) const;

    const Counters& counters() const noexcept { return delivery_.counters(); }
    const Delivery& delivery() const noexcept { return delivery_; }
    RetryStep& retry() noexcept { return retry_; }
    const RetryStep& retry() const noexcept { return retry_; }
    Delivery::TopicCounts take_published() { return delivery_.take_published(); }
    std::size_t slots_owned() const noexcept { return lease_.owned_count(); }
    std::size_t slots_without_owner() const { return lease_.without_owner(); }
    bool store_is_up() const noexcept { return attached_ && store_at_ == Instant{}; }
    const std::string& destination_down() const noexcept { return down_; }
    Duration down_for(Instant now) const { return down_.empty() ? Duration{} : now - down_since_; }
    const ReclaimStep& reclaiming() const noexcept { return reclaim_; }
    std::size_t last_read_rows() const noexcept { return last_read_rows_; }

private:
    command::Observe observe_command(Instant now) const;
    std::optional<Command> own_slots(Instant now);
    std::optional<Command> hand_over(Instant now);
    std::optional<Command> stream_in_turn(Instant now);
    std::optional<Command> settle(Instant now);
    std::optional<Command> load_others(Instant now);
    std::optional<Command> try_parked(Instant now);
    std::optional<Command> finish_retry(Instant now);
    std::optional<Command> read(Instant now);
    std::optional<Command> send(Instant now);
    Command rest(Instant now);
    std::optional<Command> reclaim(Instant now);
    std::optional<std::int16_t> lowest_slot() const;
    std::optional<Command> look_at_held(Instant now);
    std::optional<Command> mark_delivered(Instant now);
    Instant wake_for_held() const;
    std::optional<Command> settle_before_the_end(Instant now);
    Command next_while_stopping(Instant now);
    command::StoreCursors store_command();
    std::optional<Command> late_command();
    std::optional<Command> read_command();
    bool can_send(Instant now);
    bool is_gate_shut(Instant now);
    std::optional<Command> open_gate(Instant now);
    bool has_room() const;
    bool is_idle(Instant now) const;
    bool is_leaving(const OwnedLog& log) const { return lease_.leaving() == log.slot.slot; }
    bool has_closed_window() const;
    Instant open_at(Instant now) const;
    bool has_to_store() const;
    bool has_parking_in_front() const;
    bool store_is_due(Instant now) const;
    void end_turn(Instant now);
    void forget();

    RelayOptions options_;
    LeaseStep lease_;
    Delivery delivery_;
    RetryStep retry_;
    Backoff store_backoff_;
    TryLimit store_tries_;
    Backoff send_backoff_;
    ReclaimStep reclaim_;
    KeepInboxStep keep_inbox_;

    bool attached_{};
    bool has_attached_{};  ///< Once at least, so it may own slots.
    Instant store_at_{};   ///< The store is left alone until then, after an error; zero: it is up.
    bool heard_{};         ///< An `observe` succeeded since the database last lost its memory.
    FreshSlots fresh_;     ///< Acquired, not yet loaded.
    std::optional<OwnedSlot> turn_;  ///< Being loaded again, for stopped keys known by a hash.
    Instant turn_began_{};
    Instant turn_at_{};                     ///< No slot is loaded again before.
    std::vector<std::int16_t> late_asked_;  ///< Slots whose late query is on its way.
    std::vector<std::int16_t> reading_slots_;
    bool reading_{};
    std::size_t read_max_;  ///< Rows of a read: fewer while the destination is slower than the log,
                            ///< and after a read that came too late.
    std::vector<std::pair<std::int16_t, SlotLedger::Settling>> storing_;
    Instant stored_at_{};
    Instant tidied_at_{};
    Instant measured_at_{};
    Instant looked_at_{};
    Instant marked_at_{};
    Instant opened_at_{};
    Instant active_at_{};             ///< When rows last came, to whomever.
    std::int64_t seen_position_{-1};  ///< Where the log ended at the last opening; -1: not known.
    std::int64_t stored_position_{};  ///< The same, when cursors were last stored.
    bool owes_turn_{};                ///< The store was asked something else than the stream needs.
    bool big_window_{};               ///< The window read a full batch: open the next at once.
    bool all_held_{};                 ///< Of the rows read last: publishers send them.
    std::size_t last_read_rows_{};
    std::uint64_t flushed_{};
    Instant gate_since_{};  ///< When the first row was found behind the gate; zero: none is.
    bool gate_asked_{};
    bool forcing_{};
    Instant send_at_{};  ///< Not before, after the destination took nothing.
    bool poll_due_{};
    Instant polled_at_{};
    std::string down_;
    Instant down_since_{};
    Instant stop_by_{};
    Instant give_up_at_{};
    bool stopping_{};
    bool abandoned_{};
    bool left_{};
};

}  // namespace sagaz::inline v0::core
