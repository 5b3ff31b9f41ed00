#include "core/lease_step.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

namespace {

/// A little more than the half second between two polls of a relay at rest, so that each of its
/// looks at the slots is one of its polls.
constexpr Duration kCalmMax = 530ms;
constexpr Duration kMovingMax = 100ms;    ///< Between looks while a slot is to move.
constexpr Duration kPatienceMin = 200ms;  ///< For what is on its way to be answered.
constexpr Duration kSteadyMax = 1s;       ///< The relays are the same for so long before any moves.

}  // namespace

LeaseStep::LeaseStep(const Id& relay, Duration lease, Duration grace)
    : relay_(relay),
      lease_(lease),
      patience_(std::min(lease, std::max(grace, kPatienceMin))),
      relays_(relay, lease) {}

Duration LeaseStep::calm_interval() const noexcept {
    // Who has nothing to gain only keeps its own counter moving; others look more often, so that
    // they notice within lease + 2 s of an owner's death.
    if (owns_all() && relays_.living().size() == 1) return beat_interval(lease_);
    return std::clamp<Duration>(lease_ / 10, 20ms, kCalmMax);
}

Duration LeaseStep::interval() const noexcept {
    // A move that does not come about, as while the destination is down, is not waited for so.
    const bool hurries = is_moving() && settled_for_ < lease_;
    return hurries ? std::clamp<Duration>(lease_ / 100, 20ms, kMovingMax) : calm_interval();
}

std::vector<std::int16_t> LeaseStep::observed(const Observed& seen, Instant now) {
    const Duration since = has_seen_ ? now - seen_at_ : Duration{};
    const Duration counted = std::min(since, 2 * std::max(interval(), calm_interval()));
    seen_at_ = now;
    has_seen_ = true;
    slot_count_ = seen.slots.size();
    settled_for_ += counted;
    std::vector<std::int16_t> lost_slots;
    for (const SlotView& slot : seen.slots) {
        const auto mine = owned_.find(slot.slot);
        if (mine != owned_.end() && (slot.owner != relay_ || mine->second != slot.epoch)) {
            lost(slot.slot);
            lost_slots.push_back(slot.slot);
        }
        watch(slot, counted);
    }
    relays_.observed(seen.relays, counted);
    settled_for_ = std::min(settled_for_, relays_.unchanged_for());
    count_slots();
    choose_claims();
    choose_leaving(now);
    observe_at_ = now + interval();
    if (leaving_) observe_at_ = std::min(observe_at_, leaving_since_ + patience_);
    return lost_slots;
}

void LeaseStep::watch(const SlotView& slot, Duration counted) {
    Watch& watch = watches_[slot.slot];
    const bool moved = watch.seen.owner != slot.owner || watch.seen.epoch != slot.epoch;
    const bool changed = moved || watch.seen.owner_beat != slot.owner_beat;
    watch.silent = changed ? Duration{} : watch.silent + counted;
    watch.seen = slot;
    if (moved) settled_for_ = Duration{};
}

bool LeaseStep::is_expired(const Watch& watch) const noexcept {
    return watch.seen.owner && watch.silent >= lease_;
}

void LeaseStep::count_slots() {
    counts_.clear();
    free_count_ = 0;
    for (const auto& [slot, watch] : watches_) {
        if (watch.seen.owner) {
            ++counts_[*watch.seen.owner];
        } else {
            ++free_count_;
        }
    }
    share_ = relays_.share_of(relay_, slot_count_);
}

void LeaseStep::choose_claims() {
    claims_.clear();
    if (!claiming_) return;
    std::vector<SlotView> open;
    for (const auto& [slot, watch] : watches_) {
        if (owned_.contains(slot)) continue;
        const bool is_open = !watch.seen.owner || is_expired(watch);
        const Duration open_for = watch.silent - (watch.seen.owner ? lease_ : Duration{});
        const bool is_left = is_open && open_for >= relays_.proof();  // By those whose share it is.
        if (watch.seen.owner == relay_ || is_left) {
            claims_.push_back(watch.seen);
        } else if (is_open) {
            open.push_back(watch.seen);
        }
    }
    const std::size_t has = owned_.size() + claims_.size();
    const std::size_t room = std::min(open.size(), share_ > has ? share_ - has : 0);
    // Each begins somewhere else, so that those who look at once do not all want the same.
    const std::size_t first = relays_.rank_of(relay_) * open.size() / relays_.living().size();
    for (std::size_t n = 0; n < room; ++n) claims_.push_back(open[(first + n) % open.size()]);
}

bool LeaseStep::is_below_its_share(const Id& relay) const {
    const auto count = counts_.find(relay);
    const std::size_t has = count == counts_.end() ? 0 : count->second;
    return has < relays_.share_of(relay, slot_count_);
}

bool LeaseStep::has_taker() const {
    return std::ranges::any_of(relays_.living(), [&](const Id& relay) {
        return relay != relay_ && relays_.is_awake(relay) && is_below_its_share(relay);
    });
}

bool LeaseStep::is_moving() const {
    if (!claiming_ || owned_.size() == share_) return false;
    if (owned_.size() > share_) return has_taker();
    return free_count_ > 0 || std::ranges::any_of(relays_.living(), [&](const Id& relay) {
               const auto count = counts_.find(relay);
               return count != counts_.end() &&
                      count->second > relays_.share_of(relay, slot_count_);
           });
}

void LeaseStep::choose_leaving(Instant now) {
    const bool gives = claiming_ && owned_.size() > share_ && has_taker();
    if (leaving_ && gives) {
        if (now - leaving_since_ < patience_) return;
        give_at_ = now + lease_;  // What it has in hand is not settled: leave it be for a while.
        stuck_ = leaving_;
    }
    leaving_.reset();
    const bool steady = relays_.unchanged_for() >= std::min<Duration>(lease_ / 4, kSteadyMax);
    if (!gives || !steady || free_count_ > 0 || now < give_at_) return;
    // The highest; but below the one that could not be settled, which may be so for long.
    auto next = stuck_ ? owned_.lower_bound(*stuck_) : owned_.end();
    if (next == owned_.begin()) next = owned_.end();
    leaving_ = std::prev(next)->first;
    leaving_since_ = now;
}

void LeaseStep::acquired(std::span<const OwnedSlot> slots) {
    for (const OwnedSlot& slot : slots) owned_[slot.slot] = slot.epoch;
    claims_.clear();
    if (!slots.empty() && owned_.size() > share_) give_at_ = seen_at_ + lease_;
    observe_at_ = seen_at_ + interval();  // It may have what it was in a hurry for.
}

void LeaseStep::lost(std::int16_t slot) {
    owned_.erase(slot);
    if (leaving_ == slot) leaving_.reset();
}

void LeaseStep::forget() {
    owned_.clear();
    watches_.clear();
    relays_.forget();
    claims_.clear();
    leaving_.reset();
    has_seen_ = false;
    observe_at_ = Instant{};
}

void LeaseStep::stop_claiming() noexcept {
    claiming_ = false;
    claims_.clear();
    leaving_.reset();
}

std::size_t LeaseStep::without_owner() const {
    const auto count = std::ranges::count_if(watches_, [&](const auto& entry) {
        const auto& [slot, watch] = entry;
        return !owned_.contains(slot) && (!watch.seen.owner || is_expired(watch));
    });
    return static_cast<std::size_t>(count);
}

std::vector<OwnedSlot> LeaseStep::owned() const {
    std::vector<OwnedSlot> slots;
    slots.reserve(owned_.size());
    for (const auto& [slot, epoch] : owned_) slots.push_back({slot, epoch});
    return slots;
}

}  // namespace sagaz::inline v0::core
