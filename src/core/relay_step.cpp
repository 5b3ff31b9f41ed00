#include "core/relay_step.hpp"

#include "core/assert.hpp"
#include "core/plant.hpp"
#include "core/relay_options.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <limits>
#include <utility>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kPublishMax = 1'000;  ///< Envelopes of one publish.
constexpr std::size_t kParkedMax = 1'000;   ///< Parked events of one slot in one store.
constexpr std::size_t kWaitingMax = 2'000;  ///< Held and deferred rows of a slot; then it pauses.
constexpr std::int64_t kStoredWithin = 1'000;  ///< Positions that a stored cursor lags at most.
constexpr Duration kIdleAfter = 5s;            ///< Of silence; then polls are rare.
constexpr Duration kGatePatience = 5ms;        ///< For the flush to pass by itself.
constexpr Duration kWindowPatience = 200ms;    ///< Of slots that wait while another one's is read.
constexpr Duration kTidyInterval = 10s;
constexpr Duration kMeasureInterval = 5s;
constexpr int kTurnRest = 9;                  ///< So much of a turn's time to the next one.
constexpr int kIdleRarer = 6;                 ///< Tidying and measuring in silence, by so much.
constexpr int kHeldRarer = 2;                 ///< Polls while publishers send everything.
constexpr Duration kServiceInterval = 100ms;  ///< A broker's client is served at least so often.

// Of the first read, and of one while the destination has not answered all by the time that the one
// before it is there: then the log is faster, and rows that wait in memory gain nothing.
std::size_t batch_under_pressure(const RelayOptions& options) {
    return std::max<std::size_t>(1, options.batch_max / 10);
}

}  // namespace

RelayStep::RelayStep(const Id& relay, const RelayOptions& options, std::uint64_t seed)
    : options_(checked(options)),
      lease_(relay, options.lease, options.grace),
      delivery_(options.grace),
      retry_(options_, delivery_, seed + 2),
      store_backoff_(options.retry_initial, options.retry_max, seed),
      send_backoff_(options.retry_initial, options.retry_max, seed + 1),
      reclaim_(seed + 3),
      keep_inbox_(options.inbox_retention),
      read_max_(batch_under_pressure(options)) {
    delivery_.limit_stopped(options.stopped_keys_max);
}

// ---- what is next

Command RelayStep::next(Instant now) {
    if (stopping_) return next_while_stopping(now);
    if (store_at_ <= now) {
        if (!attached_) return command::Attach{};
        if (reading_) {
            // The store is busy until its answer is taken; the broker is not.
            if (auto command = send(now)) return *std::move(command);
            return command::FinishRead{};
        }
        if (auto command = own_slots(now)) return *std::move(command);
        if (auto command = stream_in_turn(now)) return *std::move(command);
        auto command = settle(now);
        if (!command) command = open_gate(now);
        if (!command) command = load_others(now);
        if (!command) command = try_parked(now);
        owes_turn_ = command.has_value();
        if (!command) command = read(now);
        if (command) return *std::move(command);
    }
    if (attached_) {
        if (auto command = send(now)) return *std::move(command);
    }
    return rest(now);
}

// Whatever else the store is asked, the stream comes next: of a store that takes long to answer the
// rest would take all of the time, since something of it is due again with every answer.
std::optional<Command> RelayStep::stream_in_turn(Instant now) {
    if (!owes_turn_) return std::nullopt;
    const bool is_waited_for = delivery_.in_flight() > 0 && now - polled_at_ >= kServiceInterval;
    if (is_waited_for) return command::Poll{0ms};
    owes_turn_ = false;
    if (auto command = read(now)) return command;
    auto command = send(now);
    owes_turn_ = command.has_value();
    return command;
}

std::optional<Command> RelayStep::own_slots(Instant now) {
    // A look at the slots opens a window too. In silence one that falls due before the next poll
    // takes the place of this one, so that all in all a relay makes no more than its polls.
    const bool is_poll = is_idle(now) && opened_at_ != Instant{} && now >= open_at(now);
    const Instant soon = is_poll ? now + (open_at(now) - opened_at_) : now;
    if (soon >= lease_.observe_at()) return observe_command(now);
    if (!lease_.claims().empty()) return command::Acquire{lease_.claims()};
    if (!fresh_.empty()) return command::Load{fresh_.ask()};
    return hand_over(now);
}

command::Observe RelayStep::observe_command(Instant now) const {
    const auto down = std::chrono::duration_cast<Milliseconds>(down_for(now));
    return {{counters().accepted, down_, down.count()}};
}

// Gives a slot to another relay once nothing of it was sent that its stored cursor does not pass.
std::optional<Command> RelayStep::hand_over(Instant now) {
    for (const auto& log : delivery_.logs()) {
        if (!is_leaving(*log)) continue;
        if (kPlant == Plant::release_early) return command::Release{{log->slot}};
        if (!log->ledger.is_clean() || retry_.holds(log->slot.slot, now)) return std::nullopt;
        if (log->ledger.is_behind() || log->ledger.has_parking_in_front()) return store_command();
        return command::Release{{log->slot}};
    }
    return std::nullopt;
}

// It may take long, and nothing hangs on when: one slot at a time, between other things, and only
// for a small part of the time. Why not while there is an attempt: see StoppedIndex.
std::optional<Command> RelayStep::load_others(Instant now) {
    if (now < turn_at_ || retry_.is_trying() || lease_.is_stale(now)) return std::nullopt;
    turn_ = delivery_.take_turn(now);
    if (!turn_) return std::nullopt;
    turn_began_ = now;
    return command::Load{{*turn_}};
}

void RelayStep::end_turn(Instant now) {
    turn_.reset();
    turn_at_ = now + kTurnRest * (now - turn_began_);
}

std::optional<Command> RelayStep::try_parked(Instant now) {
    if (lease_.is_stale(now)) return std::nullopt;
    auto command = retry_.next(now, flushed_);
    if (retry_.needs_flush(flushed_)) return command::Flush{forcing_ = true};
    if (!command) return std::nullopt;
    return std::visit([](auto& one) { return Command{std::move(one)}; }, *command);
}

// Where publishers send all, no event moves a cursor; and what they ask about reaches from the
// stored one to the end of the log.
bool RelayStep::has_to_store() const {
    const bool is_far = seen_position_ - stored_position_ >= kStoredWithin;
    return std::any_of(delivery_.logs().begin(), delivery_.logs().end(), [&](const auto& log) {
        return log->ledger.has_moved() || log->ledger.has_parking_in_front() ||
               (is_far && log->ledger.is_behind());
    });
}

bool RelayStep::store_is_due(Instant now) const {
    if (now - stored_at_ >= options_.store_interval) return has_to_store();
    // Events to be parked leave only by a store; when they fill the memory, nothing goes on before.
    return !has_room() && has_parking_in_front();
}

bool RelayStep::has_parking_in_front() const {
    return std::any_of(delivery_.logs().begin(), delivery_.logs().end(),
                       [](const auto& log) { return log->ledger.has_parking_in_front(); });
}

std::optional<Command> RelayStep::settle(Instant now) {
    if (store_is_due(now)) return store_command();
    const int rarer = is_idle(now) ? kIdleRarer : 1;
    if (now - tidied_at_ >= rarer * kTidyInterval) return command::Tidy{lease_.owned()};
    if (now - measured_at_ >= rarer * kMeasureInterval) return command::Measure{};
    if (auto command = reclaim(now)) return command;
    if (auto limits = keep_inbox_.next(lowest_slot(), now)) return command::KeepInbox{*limits};
    if (auto command = look_at_held(now)) return command;
    return mark_delivered(now);
}

std::optional<std::int16_t> RelayStep::lowest_slot() const {
    const auto& logs = delivery_.logs();
    return logs.empty() ? std::nullopt : std::optional{logs.front()->slot.slot};
}

std::optional<Command> RelayStep::reclaim(Instant now) {
    if (!reclaim_.is_due(lowest_slot(), counters().accepted, now)) return std::nullopt;
    return command::Reclaim{{.retention = options_.retention}};
}

command::StoreCursors RelayStep::store_command() {
    command::StoreCursors store;
    storing_.clear();
    for (const auto& log : delivery_.logs()) {
        if (!log->ledger.is_behind() && !log->ledger.has_parking_in_front()) continue;
        auto settling = log->ledger.settling(kParkedMax);
        store.moves.push_back({log->slot.slot, log->slot.epoch, settling.cursor});
        store.parked.insert(store.parked.end(), settling.parked.begin(), settling.parked.end());
        storing_.emplace_back(log->slot.slot, std::move(settling));
    }
    return store;
}

// Rows on their way are few while the destination is slow: a broker's client takes several times
// their bytes. What is settled behind a held or parked row takes hardly any memory: were it counted
// among those, each such row would stop all the others until the next store.
bool RelayStep::has_room() const {
    return delivery_.bytes() < 2 * options_.batch_max_bytes &&
           delivery_.flowing() < 4 * std::min(options_.batch_max, read_max_) &&
           delivery_.unsettled() < 4 * options_.batch_max;
}

std::optional<Command> RelayStep::read(Instant now) {
    if (lease_.is_stale(now)) return std::nullopt;
    if (auto command = late_command()) return command;
    if (!has_room()) return std::nullopt;
    const bool is_late = now >= std::max(open_at(now), opened_at_ + kWindowPatience);
    if (is_late && has_closed_window()) return command::OpenWindow{};
    if (auto command = read_command()) return command;
    if (!big_window_ && now < open_at(now)) return std::nullopt;
    if (has_closed_window()) return command::OpenWindow{};
    return std::nullopt;
}

bool RelayStep::has_closed_window() const {
    return std::any_of(delivery_.logs().begin(), delivery_.logs().end(), [&](const auto& log) {
        return !is_leaving(*log) && (log->window.is_closed() || log->window.needs_end());
    });
}

bool RelayStep::is_idle(Instant now) const { return now - active_at_ >= kIdleAfter; }

Instant RelayStep::open_at(Instant now) const {
    // A sixteenth more than asked for makes room for tidying and measuring among the polls.
    if (is_idle(now)) {
        return opened_at_ + options_.idle_poll_interval + options_.idle_poll_interval / 16;
    }
    // What is held is not waited for, and mostly gone before it would be looked at.
    const int rarer = all_held_ ? kHeldRarer : 1;
    return opened_at_ + std::min(rarer * options_.poll_interval, options_.idle_poll_interval);
}

std::optional<Command> RelayStep::late_command() {
    command::FindLate find;
    late_asked_.clear();
    for (const auto& log : delivery_.logs()) {
        if (!log->window.needs_late_query()) continue;
        find.queries.push_back(log->window.late_query());
        late_asked_.push_back(log->slot.slot);
    }
    if (find.queries.empty()) return std::nullopt;
    return find;
}

std::optional<Command> RelayStep::read_command() {
    command::StartRead start;
    reading_slots_.clear();
    for (const auto& log : delivery_.logs()) {
        const bool pauses = is_leaving(*log) || log->waiting >= kWaitingMax;
        if (!log->window.wants_rows() || pauses) continue;
        start.request.ranges.push_back(log->window.range());
        reading_slots_.push_back(log->slot.slot);
    }
    if (reading_slots_.empty()) return std::nullopt;
    start.request.rows_max = std::min(options_.batch_max, read_max_);
    start.request.bytes_max = options_.batch_max_bytes;
    reading_ = true;
    return start;
}

bool RelayStep::can_send(Instant now) {
    if (send_at_ > now || !delivery_.has_ready() || lease_.is_stale(now)) return false;
    return kPlant == Plant::no_gate || delivery_.first_gate() <= flushed_;
}

bool RelayStep::is_gate_shut(Instant now) {
    if (kPlant == Plant::no_gate || send_at_ > now || lease_.is_stale(now)) return false;
    return delivery_.has_ready() && delivery_.first_gate() > flushed_;
}

// Reads bring news of the disk, so while there is something to read it may catch up by itself; but
// only for so long, however much there is to read.
std::optional<Command> RelayStep::open_gate(Instant now) {
    if (!is_gate_shut(now)) {
        gate_since_ = Instant{};
        return std::nullopt;
    }
    if (gate_since_ == Instant{}) {
        gate_since_ = now;
        gate_asked_ = false;
    }
    if (now - gate_since_ >= kGatePatience) return command::Flush{forcing_ = true};
    return std::nullopt;
}

std::optional<Command> RelayStep::send(Instant now) {
    if (poll_due_) return command::Poll{0ms};
    if (can_send(now)) {
        constexpr auto kAll = std::numeric_limits<std::uint64_t>::max();
        return command::Publish{
            delivery_.prepare(kPublishMax, kPlant == Plant::no_gate ? kAll : flushed_)};
    }
    return std::nullopt;
}

Command RelayStep::rest(Instant now) {
    Instant wake = now + kServiceInterval;
    if (!attached_ || store_at_ > now) wake = std::min(wake, std::max(store_at_, now));
    if (attached_ && store_at_ <= now) {
        if (gate_since_ != Instant{}) {
            // Nothing is read that would tell of the disk: ask once, then force it.
            if (!gate_asked_) return command::Flush{forcing_ = false};
            wake = std::min(wake, gate_since_ + kGatePatience);
        }
        wake = std::min(wake, lease_.observe_at());
        if (!lease_.is_stale(now)) wake = std::min(wake, retry_.wake_at());
        // A relay without slots, or without room, has no window to open and so none to wake for.
        const bool opens = !stopping_ && has_closed_window() && has_room() && !lease_.is_stale(now);
        if (opens) wake = std::min(wake, open_at(now));
        // Not is_behind: empty windows alone are no reason to store, nor to wake.
        if (has_to_store()) wake = std::min(wake, stored_at_ + options_.store_interval);
        wake = std::min(wake, wake_for_held());
    }
    if (delivery_.has_ready() && send_at_ > now) wake = std::min(wake, send_at_);
    wake = std::max(wake, now + 1ms);
    if (delivery_.in_flight() > 0) return command::Poll{milliseconds_until(now, wake)};
    if (now - polled_at_ >= kServiceInterval) return command::Poll{0ms};
    return command::Wait{wake};
}

bool RelayStep::is_drained(Instant since) const {
    if (!attached_ || !lease_.owns_all() || !fresh_.empty() || !retry_.is_settled()) return false;
    return std::all_of(delivery_.logs().begin(), delivery_.logs().end(), [&](const auto& log) {
        return log->window.is_closed() && log->opened_at >= since && log->ledger.empty();
    });
}

// ---- answers

void RelayStep::on_attached(const Attached& attached) {
    attached_ = has_attached_ = true;
    store_at_ = Instant{};
    delivery_.configure(attached.settings);
    retry_.configure(attached.settings);
}

void RelayStep::on_observed(const Observed& seen, Instant now) {
    store_backoff_.reset();
    store_at_ = Instant{};
    heard_ = true;
    for (const std::int16_t slot : lease_.observed(seen, now)) {
        delivery_.remove(slot);
        fresh_.remove(slot);
    }
    if (!stopping_) on_opened(seen.opening, now);
}

void RelayStep::on_acquired(std::span<const OwnedSlot> slots) {
    lease_.acquired(slots);
    for (const OwnedSlot& slot : slots) {
        // Ours again after a lost answer: what was read under the older epoch is read anew.
        delivery_.remove(slot.slot);
        fresh_.add(slot);
    }
}

void RelayStep::on_loaded(const Loaded& loaded, Instant now) {
    if (turn_) {
        delivery_.stop_keys(turn_->slot, loaded.stopped, now);
        return end_turn(now);
    }
    const std::vector<OwnedSlot> asked = fresh_.loaded();
    for (const auto& [slot, cursor] : loaded.cursors) {
        const auto fresh = std::find_if(asked.begin(), asked.end(),
                                        [&](const OwnedSlot& owned) { return owned.slot == slot; });
        if (fresh == asked.end()) continue;
        delivery_.add(*fresh, cursor, loaded.gate);
        delivery_.stop_keys(slot, loaded.stopped, now);
    }
    fresh_.weigh(loaded.stopped.size());
    opened_at_ = Instant{};
}

void RelayStep::on_opened(const Opening& opening, Instant now) {
    flushed_ = std::max(flushed_, opening.flushed);
    opened_at_ = now;
    if (seen_position_ < 0) stored_position_ = opening.last_position;
    // Events come, if only to others' slots: the next one may come to ours.
    if (seen_position_ >= 0 && opening.last_position > seen_position_) active_at_ = now;
    seen_position_ = opening.last_position;
    big_window_ = false;
    const auto target = std::make_shared<const Snapshot>(opening.target);
    for (const auto& log : delivery_.logs()) {
        if (is_leaving(*log)) continue;
        const bool inherited = log->window.needs_end();
        if (!inherited && !log->window.is_closed()) continue;
        log->window.open(opening, target);
        if (!inherited) log->opened_at = now;
        if (!inherited) log->ledger.begin_window(target, opening.ceiling);
        if (log->window.is_closed()) log->ledger.end_window(log->window.last());
    }
}

void RelayStep::on_late(std::span<const LateTransaction> late) {
    for (const std::int16_t slot : late_asked_) {
        OwnedLog& log = *delivery_.find(slot);
        std::vector<std::uint64_t> transactions;
        for (const LateTransaction& found : late) {
            if (found.slot == slot) transactions.push_back(found.transaction);
        }
        log.window.found_late(std::move(transactions));
        if (log.window.is_closed()) log.ledger.end_window(log.window.last());
    }
}

void RelayStep::on_read(ReadResult result, Instant now) {
    reading_ = false;
    read_max_ = delivery_.in_flight() == 0 ? std::min(options_.batch_max, 2 * read_max_)
                                           : std::min(read_max_, batch_under_pressure(options_));
    flushed_ = std::max(flushed_, result.flushed);
    if (stopping_) return;
    last_read_rows_ = result.batch ? result.batch->rows.size() : 0;
    if (last_read_rows_ > 0) {
        active_at_ = now;
        all_held_ = std::ranges::all_of(result.batch->rows, &Row::held);
    }
    if (last_read_rows_ > options_.batch_max / 2) big_window_ = true;
    std::vector<std::int64_t> highest(result.progress.size());
    if (result.batch) {
        std::size_t n = 0;
        for (const Row& row : result.batch->rows) {
            while (n < result.progress.size() && result.progress[n].slot != row.slot) ++n;
            SAGAZ_ASSERT(n < result.progress.size());  // Both come by slot.
            highest[n] = std::max(highest[n], row.position);
        }
        delivery_.take(std::move(result.batch), now);
    }
    for (std::size_t n = 0; n < result.progress.size(); ++n) {
        const auto& [slot, read_to] = result.progress[n];
        OwnedLog& log = *delivery_.find(slot);
        log.window.advance(read_to, highest[n]);
        if (log.window.is_closed()) log.ledger.end_window(log.window.last());
    }
}

void RelayStep::on_flushed(std::uint64_t flushed, Instant now) {
    flushed_ = std::max(flushed_, flushed);
    gate_asked_ = true;
    if (forcing_) gate_since_ = now;  // Still shut, it was not the disk's fault: no hot loop.
}

void RelayStep::on_published(std::size_t count, Instant now) {
    delivery_.published(count);
    gate_since_ = Instant{};
    poll_due_ = true;
    if (count > 0) return;
    // Back-pressure, or the destination is down: either way not at once again.
    send_at_ = down_.empty() ? now + 1ms : now + send_backoff_.next();
}

void RelayStep::on_receipts(std::span<const Receipt> receipts, Instant now) {
    poll_due_ = false;
    polled_at_ = now;
    // A refusal is an answer as good as an acceptance: were it waited for, events that will never
    // be accepted would hold up all the others, longer each time.
    const auto answers = [&] { return counters().accepted + counters().refused; };
    const std::uint64_t accepted = counters().accepted;
    const std::uint64_t answered = answers();
    delivery_.receive(receipts);
    if (counters().accepted > accepted) active_at_ = now;
    const bool broke = delivery_.take_broke();
    if (answers() > answered) {
        send_backoff_.reset();
        send_at_ = Instant{};
    } else if (broke) {
        send_at_ = now + send_backoff_.next();
    }
}

void RelayStep::on_stored(std::span<const std::int16_t> slots, Instant now) {
    stored_at_ = now;
    stored_position_ = seen_position_;
    for (const auto& [slot, settling] : storing_) {
        if (std::find(slots.begin(), slots.end(), slot) == slots.end()) {
            lease_.lost(slot);
            delivery_.remove(slot);
            continue;
        }
        delivery_.count_parked(settling.parked);
        OwnedLog& log = *delivery_.find(slot);
        log.ledger.stored(settling, delivery_.pool());
        delivery_.forget_names(log);
    }
    storing_.clear();
}

void RelayStep::on_released(std::span<const OwnedSlot> slots) {
    for (const OwnedSlot& slot : slots) {
        lease_.lost(slot.slot);
        delivery_.remove(slot.slot);
    }
}

void RelayStep::on_left() {
    left_ = true;
    retry_.forget();
    delivery_.clear();
    lease_.forget();
}

void RelayStep::on_tidied(Instant now) { tidied_at_ = now; }

void RelayStep::on_measured(const Backlog& backlog, Instant now) {
    measured_at_ = now;
    retry_.on_measured(backlog.parked_waiting, now);
}

void RelayStep::on_looked_at_parked(const ParkedLook& look, Instant now) {
    flushed_ = std::max(flushed_, look.flushed);
    retry_.on_looked(look, now);
}

void RelayStep::on_settled_parked(bool is_owned, Instant now) {
    const auto lost = retry_.on_settled(is_owned, now);
    if (!lost) return;
    lease_.lost(*lost);
    delivery_.remove(*lost);
}

void RelayStep::on_reclaimed(const Reclaimed& reclaimed, Instant now) {
    reclaim_.reclaimed(reclaimed, counters().accepted, now);
}

void RelayStep::on_store_error(const Error& error, Instant now) {
    const Instant allowed = store_tries_.next(now);
    // What did not come in time will not come in time again: less of it may.
    const bool came_too_late = error.code() == "deadline_passed";
    if (turn_) {
        end_turn(now);
    } else {
        fresh_.failed(came_too_late);
    }
    if (std::exchange(reading_, false) && came_too_late) {
        read_max_ = std::max<std::size_t>(1, std::min(read_max_, options_.batch_max) / 2);
    }
    if (error.code() == "incarnation_changed") {
        forget();
        // The database answered, so attach at once; but once only until an `observe` succeeds.
        store_at_ = std::exchange(heard_, false) ? now : now + store_backoff_.next();
    } else {
        store_at_ = now + store_backoff_.next();
    }
    store_at_ = std::max(store_at_, allowed);
    lease_.failed(store_at_);
    retry_.on_store_error();
}

void RelayStep::forget() {
    attached_ = false;
    seen_position_ = -1;
    flushed_ = 0;
    gate_since_ = Instant{};
    fresh_.clear();
    storing_.clear();
    delivery_.clear();
    retry_.forget();
    lease_.forget();
}

void RelayStep::on_destination(std::string down, Instant now) {
    if (down_.empty() && !down.empty()) down_since_ = now;
    down_ = std::move(down);
}

}  // namespace sagaz::inline v0::core
