#include "core/reclaim_step.hpp"

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

namespace {

constexpr Duration kMoreInterval = 20ms;  ///< While there is more; others have their turns between.
constexpr Duration kBusyInterval = 1s;    ///< While events are delivered.
constexpr Duration kIdleInterval = 60s;
constexpr Duration kBlockedFirst = 500ms;
constexpr Duration kBlockedMax = 15s;

}  // namespace

ReclaimStep::ReclaimStep(std::uint64_t seed) : backoff_(kBlockedFirst, kBlockedMax, seed) {}

bool ReclaimStep::is_due(std::optional<std::int16_t> lowest, std::uint64_t delivered, Instant now) {
    if (lowest != 0) {
        on_duty_ = false;
        blocked_since_.reset();
        return false;
    }
    if (!on_duty_) {
        // What the last one left undone waits a moment: a new owner has more urgent things to do.
        on_duty_ = true;
        looked_at_ = now;
        wait_ = kBusyInterval;
    }
    const Duration calm = delivered == delivered_ ? kIdleInterval : kBusyInterval;
    return now - looked_at_ >= wait_.value_or(calm);
}

void ReclaimStep::reclaimed(const Reclaimed& reclaimed, std::uint64_t delivered, Instant now) {
    looked_at_ = now;
    delivered_ = delivered;
    wait_.reset();
    if (!reclaimed.blocked) {
        backoff_.reset();
        blocked_since_.reset();
    } else if (!blocked_since_) {
        blocked_since_ = now;
    }
    if (reclaimed.has_more) {
        wait_ = kMoreInterval;
    } else if (reclaimed.blocked) {
        wait_ = backoff_.next();
    }
}

Duration ReclaimStep::blocked_for(Instant now) const {
    return blocked_since_ ? now - *blocked_since_ : Duration{};
}

}  // namespace sagaz::inline v0::core
