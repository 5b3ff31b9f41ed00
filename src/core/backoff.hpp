#pragma once

#include "core/clock.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <random>

namespace sagaz::inline v0::core {

/// Doubling waits with full jitter ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015),
/// but never below a quarter of the step, so that a failing server is not hammered by chance.
class Backoff {
public:
    Backoff(Duration initial, Duration max, std::uint64_t seed)
        : initial_(initial), max_(max), random_(seed) {}

    /// The wait before the next try.
    Duration next() {
        const auto times = std::int64_t{1} << std::min(failures_, 20);
        const Duration step = initial_ > max_ / times ? max_ : initial_ * times;
        ++failures_;
        std::uniform_int_distribution<Duration::rep> wait(step.count() / 4, step.count());
        return Duration{wait(random_)};
    }

    /// The wait after so many failures, of something that counts its own.
    Duration after(int failures) {
        failures_ = std::max(0, failures - 1);
        return next();
    }

    void reset() noexcept { failures_ = 0; }
    int failures() const noexcept { return failures_; }

private:
    Duration initial_;
    Duration max_;
    int failures_{};
    std::mt19937_64 random_;
};

/// At most five failures a second, however often a success between them resets the backoff.
class TryLimit {
public:
    /// Takes a failure and returns when the next try may be made.
    Instant next(Instant now) noexcept {
        failed_[next_] = now;
        next_ = (next_ + 1) % failed_.size();
        const Instant oldest = failed_[next_];
        return oldest == Instant{} ? now : std::max(now, oldest + std::chrono::seconds{1});
    }

private:
    std::array<Instant, 5> failed_{};
    std::size_t next_{};
};

}  // namespace sagaz::inline v0::core
