#pragma once

#include "core/clock.hpp"

#include <sagaz/store.hpp>

#include <cstdint>
#include <map>
#include <span>
#include <vector>

/// Which slots this relay owns, and when it may take another's.
///
/// Why no clock can steal or freeze a slot. An owner proves that it lives by a counter. A
/// challenger takes a slot when (owner, epoch, counter) has not changed for `lease` on its own
/// monotonic clock, counting only time between two reads that both succeeded and were about as far
/// apart as planned: after an outage of the database every counter looks old, and a process that
/// was frozen itself has seen nothing in between. A wrong guess costs repeats, not order: the
/// take-over raises the epoch, and every store of the old owner is refused by it.
namespace sagaz::inline v0::core {

class LeaseStep {
public:
    LeaseStep(const Id& relay, Duration lease) : relay_(relay), lease_(lease) {}

    /// When the store must be asked next.
    Instant observe_at() const noexcept { return observe_at_; }
    /// True when this relay could not beat for a whole lease: others may own its slots by now.
    bool is_stale(Instant now) const noexcept {
        return !owned_.empty() && now - seen_at_ >= lease_;
    }

    /// Takes what `observe` returned. Returns the slots that were lost to others.
    std::vector<std::int16_t> observed(std::span<const SlotView> slots, Instant now);
    /// An `observe` failed: ask again then.
    void failed(Instant retry_at) noexcept { observe_at_ = retry_at; }

    /// Slots to acquire now: free, expired, or ours by a take-over whose answer was lost.
    const std::vector<SlotView>& claims() const noexcept { return claims_; }
    void acquired(std::span<const OwnedSlot> slots);

    void lost(std::int16_t slot);
    /// Forgets everything: the database lost its memory.
    void forget();
    /// No more claims: this relay is stopping.
    void stop_claiming() noexcept;

    std::vector<OwnedSlot> owned() const;
    std::size_t owned_count() const noexcept { return owned_.size(); }
    bool owns_all() const noexcept { return slot_count_ > 0 && owned_.size() == slot_count_; }

private:
    struct Watch {
        SlotView seen{};
        Duration silent{};
    };

    Duration interval() const noexcept;

    Id relay_;
    Duration lease_;
    Instant observe_at_{};
    Instant seen_at_{};
    bool has_seen_{};
    bool claiming_{true};
    std::size_t slot_count_{};
    std::map<std::int16_t, Watch> watches_;
    std::map<std::int16_t, std::int64_t> owned_;
    std::vector<SlotView> claims_;
};

}  // namespace sagaz::inline v0::core
