#include "core/publish_step.hpp"

#include "core/assert.hpp"
#include "core/option_range.hpp"
#include "core/plant.hpp"
#include "core/schema_name.hpp"

#include <sagaz/error.hpp>

#include <algorithm>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kConfirmBytesMax = std::size_t{8} << 20;  ///< Of the rows of one question,
constexpr std::size_t kBytesMax = std::size_t{64} << 20;        ///< and of all that are in hand.
constexpr std::size_t kPublishMax = 500;                        ///< Envelopes of one publish.
constexpr std::size_t kSettleMax = 1'000;                       ///< Rows of one settlement.
constexpr std::size_t kSettleAt = 200;        ///< So many are settled although others wait,
constexpr Duration kSettlePatience = 3ms;     ///< and what has waited so long.
constexpr std::size_t kLeftMax = 20'000;      ///< Holds to be ended; those beyond run out.
constexpr Duration kGatePatience = 1ms;       ///< For the flush to pass by itself.
constexpr Duration kDownPause = 5ms;          ///< Between looks at a destination that is down.
constexpr Duration kReceiptPause = 100us;     ///< Between looks for a receipt that is due soon,
constexpr Duration kSoon = 20ms;              ///< which it is until then;
constexpr Duration kReceiptPauseLate = 1ms;   ///< after that.
constexpr Duration kServiceInterval = 100ms;  ///< A broker's client is served at least so often.
constexpr Milliseconds kAbandonTime = 100ms;  ///< A client needs to give up what it has.

bool counts_for_breaker(LeftReason reason) {
    return reason == LeftReason::timeout || reason == LeftReason::unavailable ||
           reason == LeftReason::in_doubt || reason == LeftReason::not_durable;
}

void check_range(bool in_range, const char* option, const char* range) {
    check_option(in_range, "optimistic", option, range);
}

}  // namespace

OptimisticOptions checked(OptimisticOptions options) {
    check_schema_name(options.schema);
    check_range(options.timeout >= 10ms && options.timeout <= 60s, "timeout",
                "between 10ms and 60s");
    check_range(options.grace > options.timeout && options.grace <= 600s, "grace",
                "above timeout, at most 600s");
    check_range(options.queue_max >= 1 && options.queue_max <= 1'000'000, "queue_max",
                "between 1 and 1000000");
    check_range(options.breaker_failures >= 1, "breaker_failures", "to 1 or more");
    check_range(options.breaker_initial >= 10ms && options.breaker_max >= options.breaker_initial &&
                    options.breaker_max <= 1h,
                "breaker_initial, breaker_max",
                "between 10ms and 1h, the second not below the first");
    return options;
}

PublishStep::PublishStep(const OptimisticOptions& options, std::uint64_t seed,
                         std::uint64_t first_token)
    : options_(checked(options)),
      breaker_(options.breaker_failures, options.breaker_initial, options.breaker_max, seed),
      store_backoff_(100ms, 5s, seed + 1),
      enabled_(options.enabled),
      first_token_(first_token) {}

// ---- what is next

PublishCommand PublishStep::next(Instant now) {
    now_ = now;
    expire();
    trim_ready();
    // Whether it is worth a try is seen without one: a caller would pay for it.
    const bool seems_up = attached_ && store_at_ <= now && down_.empty() && !broker_lost_;
    if (seems_up) breaker_.half_open(now);
    if (polls() && !polled_) {
        polled_ = true;
        return command::Poll{0ms};
    }
    polled_ = false;
    if (gives_up(now)) return command::Abandon{abandon_time(now)};
    if (stopping_) return finish(now);
    if (auto command = publish(now)) return *std::move(command);
    if (store_at_ <= now) {
        if (auto command = ask_store(now)) return *std::move(command);
    }
    return rest(now);
}

bool PublishStep::polls() const {
    if (broker_lost_) return false;
    return in_flight_ > 0 || (!down_.empty() && !ready_.empty());
}

std::optional<PublishCommand> PublishStep::ask_store(Instant now) {
    if (!attached_) {
        if (!enabled_ && unsettled() == 0) return std::nullopt;
        return command::Attach{};
    }
    if (auto command = settle(now, false)) return command;
    if (auto command = confirm(now)) return command;
    if (auto command = open_gate(now)) return command;
    return settle(now, true);
}

std::optional<PublishCommand> PublishStep::confirm(Instant now) {
    SAGAZ_ASSERT(asked_.empty());
    if (now < confirm_at_) return std::nullopt;
    command::Confirm confirm;
    std::size_t bytes = 0;
    Duration margin{};
    while (!to_ask_.empty() && to_ask_.begin()->first <= now && asked_.size() < kConfirmMax) {
        const ItemId id = to_ask_.begin()->second;
        Item& item = items_.at(id);
        if (!is_front(id, item)) {
            unschedule(id, item);
            continue;
        }
        const bool fits =
            bytes + item.bytes <= kConfirmBytesMax && bytes_ + bytes + item.bytes <= kBytesMax;
        if (!fits && (bytes > 0 || bytes_ > 0)) break;
        unschedule(id, item);
        item.stage = Item::Stage::asked;
        bytes += item.bytes;
        asked_.push_back(id);
        confirm.asked.push_back(item.row);
        // What is left of the call: after it the client is made to give up before the hold ends.
        margin = std::max(margin, calls_.at(item.call).deadline - now);
    }
    if (asked_.empty()) return std::nullopt;
    asked_at_ = now;
    confirm.acknowledged = acknowledged_;
    confirm.margin = std::chrono::ceil<Milliseconds>(margin);
    return confirm;
}

std::optional<PublishCommand> PublishStep::open_gate(Instant now) {
    const bool is_shut = !ready_.empty() && items_.at(ready_.front()).gate > flushed_;
    if (!is_shut) {
        gate_since_ = {};
        return std::nullopt;
    }
    if (gate_since_ == Instant{}) gate_since_ = now;
    return command::Flush{now - gate_since_ >= kGatePatience};
}

bool PublishStep::has_ready() const {
    return !ready_.empty() &&
           (kPlant == Plant::no_gate || items_.at(ready_.front()).gate <= flushed_);
}

std::optional<PublishCommand> PublishStep::publish(Instant now) {
    if (!has_ready() || !down_.empty() || broker_lost_ || send_at_ > now) return std::nullopt;
    encoder_->clear();
    envelopes_.clear();
    prepared_.clear();
    while (has_ready() && prepared_.size() < kPublishMax) {
        const ItemId id = ready_.front();
        envelopes_.push_back(
            encoder_->encode(*items_.at(id).source, next_token() + prepared_.size()));
        prepared_.push_back(id);
        ready_.pop_front();
        trim_ready();
    }
    return command::Publish{envelopes_};
}

std::optional<PublishCommand> PublishStep::settle(Instant now, bool at_rest) {
    if (unsettled() == 0) return std::nullopt;
    const bool is_due = unsettled() >= kSettleAt || now - unsettled_since_ >= kSettlePatience ||
                        (at_rest && in_flight_ == expired_ && ready_.empty());
    if (!is_due) return std::nullopt;
    settling_accepted_ = std::min(acknowledged_.size(), kSettleMax);
    settling_left_ = std::min(left_.size(), kSettleMax);
    const auto first = [](const std::vector<RowRef>& rows, std::size_t count) {
        return std::vector<RowRef>(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(count));
    };
    return command::Settle{first(acknowledged_, settling_accepted_), first(left_, settling_left_)};
}

bool PublishStep::gives_up(Instant now) const {
    if (in_flight_ == 0) return false;
    if (stopping_ && now + kAbandonTime >= stop_by_) return true;
    if (expired_ == 0) return false;
    return std::ranges::any_of(flights_, [&](const Flight& flight) {
        if (flight.answered) return false;
        const Item& item = items_.at(flight.item);
        return item.expired && give_up_at(item) <= now;
    });
}

Milliseconds PublishStep::abandon_time(Instant now) const {
    return stopping_ ? std::min(kAbandonTime, milliseconds_until(now, stop_by_)) : kAbandonTime;
}

Instant PublishStep::give_up_at(const Item& item) const {
    const Call& call = calls_.at(item.call);
    return std::max(call.deadline, call.hold_ends - kAbandonTime);
}

PublishCommand PublishStep::finish(Instant now) {
    if (in_flight_ > 0) return command::Wait{std::min(now + kReceiptPause, stop_by_)};
    if (unsettled() == 0 || now >= stop_by_) return command::End{};
    if (store_at_ > now) {
        // Holds end by themselves; only what was accepted is worth another try.
        if (acknowledged_.empty()) return command::End{};
        return command::Wait{std::min(store_at_, stop_by_)};
    }
    if (!attached_) return command::Attach{};
    if (auto command = settle(now, true)) return *std::move(command);
    return command::End{};
}

PublishCommand PublishStep::rest(Instant now) {
    if (!broker_lost_ && now - polled_at_ >= kServiceInterval) {
        polled_ = true;
        return command::Poll{0ms};
    }
    return command::Wait{std::max(wake_at(now), now + kReceiptPause)};
}

Instant PublishStep::wake_at(Instant now) const {
    Instant wake = broker_lost_ ? now + kServiceInterval : polled_at_ + kServiceInterval;
    const auto not_after = [&](Instant at) { wake = std::min(wake, at); };
    if (!deadlines_.empty()) not_after(deadlines_.begin()->first);
    if (breaker_.state() == Breaker::State::open && breaker_.try_at() > now) {
        not_after(breaker_.try_at());
    }
    if (store_at_ > now) {
        not_after(store_at_);
    } else if (attached_) {
        if (!to_ask_.empty()) {
            const Instant ask_at = std::max(to_ask_.begin()->first, confirm_at_);
            if (ask_at > now) not_after(ask_at);
        }
        if (unsettled() > 0) not_after(unsettled_since_ + kSettlePatience);
    }
    if (!ready_.empty() && !broker_lost_) not_after(down_.empty() ? send_at_ : now + kDownPause);
    if (in_flight_ > 0) {
        const bool is_soon = now - flights_.back().sent_at < kSoon;
        not_after(now + (is_soon ? kReceiptPause : kReceiptPauseLate));
    }
    return wake;
}

// ---- what is handed over

void PublishStep::take(const HandedOver& handed) {
    now_ = std::max(now_, handed.at);
    if (handed.events.empty()) {
        answers_.push_back({handed.call, {true, {}}});
        return;
    }
    if (const auto reason = why_not(handed)) {
        counts_.left[static_cast<std::size_t>(*reason)] += handed.events.size();
        for (const auto& event : handed.events) release(event.row);
        answers_.push_back({handed.call, {false, *reason}});
        if (counts_for_breaker(*reason)) fail();
        return;
    }
    if (breaker_.state() == Breaker::State::half_open) trial_ = handed.call;
    Call& call = calls_[handed.call];
    call = {.first = next_item_,
            .count = handed.events.size(),
            .open = handed.events.size(),
            .at = handed.at,
            .deadline = handed.deadline,
            .hold_ends = handed.hold_ends};
    deadlines_.emplace(handed.deadline, handed.call);
    for (const auto& event : handed.events) {
        const ItemId id = next_item_++;
        Item& item = items_[id];
        item.row = event.row;
        item.order = event.order;
        item.bytes = event.bytes;
        item.call = handed.call;
        if (item.order != 0) chains_[item.order].emplace(item.row.position, id);
        schedule(id, item, now_);
    }
}

std::optional<LeftReason> PublishStep::why_not(const HandedOver& handed) const {
    if (!is_on()) return LeftReason::disabled;
    const auto state = breaker_.state();
    const bool is_tried = state == Breaker::State::half_open && trial_ == 0;
    if (state != Breaker::State::closed && !is_tried) return LeftReason::breaker_open;
    if (broker_lost_ || store_at_ > handed.at) return LeftReason::unavailable;
    if (items_.size() + handed.events.size() > options_.queue_max) return LeftReason::queue_full;
    return std::nullopt;
}

void PublishStep::give_back(std::span<const RowRef> rows) {
    for (const RowRef& row : rows) release(row);
}

void PublishStep::enable(bool on) {
    enabled_ = on;
    if (!on) leave_unsent(LeftReason::disabled);
}

void PublishStep::stop(Instant now, Instant deadline) {
    if (stopping_) return;
    now_ = now;
    expire();
    stopping_ = true;
    stop_by_ = deadline;
    leave_unsent(LeftReason::disabled);
}

bool PublishStep::is_front(ItemId id, const Item& item) const {
    return item.order == 0 || chains_.at(item.order).begin()->second == id;
}

void PublishStep::schedule(ItemId id, Item& item, Instant at) {
    unschedule(id, item);
    item.ask_at = at;
    to_ask_.emplace(at, id);
}

void PublishStep::unschedule(ItemId id, Item& item) {
    if (item.ask_at == Instant{}) return;
    to_ask_.erase({item.ask_at, id});
    item.ask_at = {};
}

void PublishStep::schedule_front(std::uint64_t order) {
    const auto chain = chains_.find(order);
    if (chain == chains_.end()) return;
    const ItemId id = chain->second.begin()->second;
    Item& item = items_.at(id);
    if (item.stage != Item::Stage::waiting) return;
    schedule(id, item, now_);
    confirm_at_ = {};
}

// ---- what becomes of it

void PublishStep::expire() {
    bool has_failed = false;
    while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
        const std::uint64_t id = deadlines_.begin()->second;
        deadlines_.erase(deadlines_.begin());
        const Call call = calls_.at(id);
        for (ItemId n = call.first; n < call.first + call.count; ++n) {
            const auto found = items_.find(n);
            if (found == items_.end()) continue;
            const LeftReason reason = reason_of_expiry(found->second);
            const bool is_failure = counts_for_breaker(reason) && had_time(found->second);
            has_failed = has_failed || is_failure;
            if (found->second.stage == Item::Stage::sent) {
                count(found->second, reason);
                found->second.expired = true;
                ++expired_;
            } else {
                leave(n, reason);
            }
        }
    }
    if (has_failed) fail();
}

LeftReason PublishStep::reason_of_expiry(const Item& item) const {
    switch (item.stage) {
        case Item::Stage::sent: return LeftReason::timeout;
        case Item::Stage::confirmed:
            if (!had_time(item)) return LeftReason::behind;
            return item.gate > flushed_ ? LeftReason::not_durable : LeftReason::unavailable;
        case Item::Stage::asked:
        case Item::Stage::waiting: break;
    }
    // Asked about, or waiting for one of this process that is on its way: that is no trouble.
    const bool waited = item.asked_times > 0 || item.ask_at == Instant{} || !had_time(item);
    if (waited) return LeftReason::behind;
    return attached_ ? LeftReason::timeout : LeftReason::unavailable;
}

// Where an event's time went to waiting for an elder, nothing is to be learned of disk or
// destination from its end: a key with more events than can be sent one after the other would open
// the breaker for all.
bool PublishStep::had_time(const Item& item) const {
    const bool is_confirmed =
        item.stage == Item::Stage::confirmed || item.stage == Item::Stage::sent;
    return now_ - (is_confirmed ? item.confirmed_at : item.ask_at) >= options_.timeout / 2;
}

// One failure a moment, however many events it takes along.
void PublishStep::fail() {
    if (breaker_.failed(now_)) leave_unsent(LeftReason::breaker_open);
}

// True when there was something.
bool PublishStep::leave_unsent(LeftReason reason) {
    std::vector<ItemId> unsent;
    for (const auto& [id, item] : items_) {
        if (item.stage != Item::Stage::sent) unsent.push_back(id);
    }
    std::ranges::sort(unsent);  // The first of a ticket is what it is answered for.
    for (const ItemId id : unsent) leave(id, reason);
    ready_.clear();
    asked_.clear();
    prepared_.clear();
    gate_since_ = {};
    return !unsent.empty();
}

void PublishStep::accept(ItemId id) {
    const Item& item = items_.at(id);
    if (unsettled() == 0) unsettled_since_ = now_;
    acknowledged_.push_back(item.row);
    if (!item.expired) {
        counts_.sent.push_back(now_ - calls_.at(item.call).at);
        breaker_.succeeded();
    }
    finish_item(id);
}

void PublishStep::leave(ItemId id, LeftReason reason) {
    const Item& item = items_.at(id);
    if (!item.expired) count(item, reason);
    if (reason != LeftReason::not_committed) release(item.row);
    finish_item(id);
}

void PublishStep::count(const Item& item, LeftReason reason) {
    ++counts_.left[static_cast<std::size_t>(reason)];
    answer(item.call, {false, reason});
}

void PublishStep::release(const RowRef& row) {
    if (left_.size() >= kLeftMax) return;
    if (unsettled() == 0) unsettled_since_ = now_;
    left_.push_back(row);
}

void PublishStep::answer(std::uint64_t id, Published published) {
    Call& call = calls_.at(id);
    if (call.answered) return;
    call.answered = true;
    answers_.push_back({id, published});
    if (id == trial_) trial_ = 0;
}

// Its place in `ready_` is left to `trim_ready`: ids are not used twice.
void PublishStep::finish_item(ItemId id) {
    Item& item = items_.at(id);
    unschedule(id, item);
    if (item.batch) bytes_ -= item.bytes;
    const std::uint64_t call_id = item.call;
    const std::uint64_t order = item.order;
    if (order != 0) {
        auto& chain = chains_.at(order);
        chain.erase({item.row.position, id});
        if (chain.empty()) chains_.erase(order);
    }
    items_.erase(id);
    if (order != 0) schedule_front(order);
    Call& call = calls_.at(call_id);
    if (--call.open > 0) return;
    answer(call_id, {true, {}});
    deadlines_.erase({call.deadline, call_id});
    calls_.erase(call_id);
}

void PublishStep::trim_ready() {
    while (!ready_.empty() && !items_.contains(ready_.front())) ready_.pop_front();
}

}  // namespace sagaz::inline v0::core
