#pragma once

#include "core/backoff.hpp"
#include "core/clock.hpp"

#include <cstdint>

namespace sagaz::inline v0::core {

/// A circuit breaker (M. Nygard, "Release It!", 2007): after so many failures in a row nothing is
/// tried for a while; then one try at a time, until one succeeds.
class Breaker {
public:
    enum class State { closed, open, half_open };

    Breaker(int failures, Duration initial, Duration max, std::uint64_t seed)
        : failures_max_(failures), wait_(initial, max, seed) {}

    State state() const noexcept { return state_; }
    /// When it is open: not before.
    Instant try_at() const noexcept { return try_at_; }

    /// True when this opened it.
    bool failed(Instant now) {
        if (state_ == State::open) return false;
        if (state_ == State::closed && ++failures_ < failures_max_) return false;
        state_ = State::open;
        try_at_ = now + wait_.next();
        return true;
    }

    /// What was sent before it opened says nothing new.
    void succeeded() noexcept {
        if (state_ == State::open) return;
        state_ = State::closed;
        failures_ = 0;
        wait_.reset();
    }

    void half_open(Instant now) noexcept {
        if (state_ == State::open && now >= try_at_) state_ = State::half_open;
    }

private:
    int failures_max_;
    Backoff wait_;
    State state_{State::closed};
    int failures_{};
    Instant try_at_{};
};

}  // namespace sagaz::inline v0::core
