#include "core/lease_step.hpp"

#include <algorithm>
#include <chrono>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

Duration LeaseStep::interval() const noexcept {
    // Who has nothing to gain only keeps its own counter moving; a challenger looks more often, so
    // that it notices within lease + 2 s of the owner's death.
    if (owns_all()) return std::clamp<Duration>(lease_ / 4, 20ms, 2s);
    return std::clamp<Duration>(lease_ / 10, 20ms, 500ms);
}

std::vector<std::int16_t> LeaseStep::observed(std::span<const SlotView> slots, Instant now) {
    const Duration since = has_seen_ ? now - seen_at_ : Duration{};
    const Duration counted = std::min(since, 2 * interval());
    seen_at_ = now;
    has_seen_ = true;
    slot_count_ = slots.size();
    std::vector<std::int16_t> lost;
    claims_.clear();
    for (const SlotView& slot : slots) {
        const auto mine = owned_.find(slot.slot);
        const bool is_mine = slot.owner == relay_;
        if (mine != owned_.end() && (!is_mine || mine->second != slot.epoch)) {
            owned_.erase(mine);
            lost.push_back(slot.slot);
        }
        Watch& watch = watches_[slot.slot];
        const bool changed = watch.seen.owner != slot.owner || watch.seen.epoch != slot.epoch ||
                             watch.seen.owner_beat != slot.owner_beat;
        watch.silent = changed ? Duration{} : watch.silent + counted;
        watch.seen = slot;
        if (!claiming_ || owned_.contains(slot.slot)) continue;
        if (!slot.owner || is_mine || watch.silent >= lease_) claims_.push_back(slot);
    }
    observe_at_ = now + interval();
    return lost;
}

void LeaseStep::acquired(std::span<const OwnedSlot> slots) {
    for (const OwnedSlot& slot : slots) owned_[slot.slot] = slot.epoch;
    claims_.clear();
}

void LeaseStep::lost(std::int16_t slot) { owned_.erase(slot); }

void LeaseStep::forget() {
    owned_.clear();
    watches_.clear();
    claims_.clear();
    has_seen_ = false;
    observe_at_ = Instant{};
}

void LeaseStep::stop_claiming() noexcept {
    claiming_ = false;
    claims_.clear();
}

std::vector<OwnedSlot> LeaseStep::owned() const {
    std::vector<OwnedSlot> slots;
    slots.reserve(owned_.size());
    for (const auto& [slot, epoch] : owned_) slots.push_back({slot, epoch});
    return slots;
}

}  // namespace sagaz::inline v0::core
