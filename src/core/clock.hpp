#pragma once

#include <sagaz/event.hpp>

#include <chrono>

namespace sagaz::inline v0::core {

/// A moment of this process's monotonic clock. Nothing here reads a wall clock.
using Instant = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

/// What is left until `then`, rounded up; zero when it has passed.
inline Milliseconds milliseconds_until(Instant now, Instant then) {
    if (then <= now) return Milliseconds{0};
    return std::chrono::ceil<Milliseconds>(then - now);
}

/// How far another clock that showed `theirs` is ahead of the one that showed `before` and `after`
/// around it; negative: behind. Zero when it may be right, however long the answer took.
inline std::chrono::duration<double> skew_of(Time theirs, Time before, Time after) {
    if (theirs > after) return theirs - after;
    if (theirs < before) return theirs - before;
    return {};
}

/// Where the shells get the time from; the simulator has its own.
class Clock {
public:
    Clock() = default;
    virtual ~Clock() = default;
    Clock(const Clock&) = delete;
    Clock& operator=(const Clock&) = delete;
    virtual Instant now() const = 0;
};

}  // namespace sagaz::inline v0::core
