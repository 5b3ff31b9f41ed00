#include "core/keep_inbox_step.hpp"

#include <algorithm>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

namespace {

constexpr Duration kFirst = 5min;
constexpr Duration kInterval = 1h;
constexpr Duration kPieceInterval = 100ms;
constexpr Duration kTrouble = 1min;  ///< After an error, or when somebody was in the way.
constexpr Milliseconds kPatienceMin = 50ms;
constexpr Milliseconds kPatienceMax = 800ms;  ///< Below the server's own wait for a deadlock.

}  // namespace

std::optional<InboxLimits> KeepInboxStep::next(std::optional<std::int16_t> lowest, Instant now) {
    if (limits_.retention == 0ms || lowest != 0) {
        on_duty_ = false;
        return std::nullopt;
    }
    if (!on_duty_) {
        on_duty_ = true;
        due_ = now + kFirst;
        limits_.place.clear();
        limits_.patience = kPatienceMin;
    }
    if (now < due_) return std::nullopt;
    due_ = now + kTrouble;
    return limits_;
}

void KeepInboxStep::kept(const InboxKept& kept, Instant now) {
    limits_.place = kept.place;
    if (kept.blocked) {
        limits_.patience = std::min(2 * limits_.patience, kPatienceMax);
        limits_.place.clear();
        due_ = now + kTrouble;
        return;
    }
    limits_.patience = kPatienceMin;
    const bool has_more = !kept.made.empty() || !kept.dropped.empty() || !kept.place.empty();
    due_ = now + (has_more ? kPieceInterval : kInterval);
}

}  // namespace sagaz::inline v0::core
