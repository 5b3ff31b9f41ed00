#pragma once

#include "core/assert.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sagaz::inline v0::kafka {

/// The envelopes that the client has and whose receipt is still to come: a ring, allocated once.
/// Each gets a sequence number that travels through the client as the message's opaque pointer.
class Window {
public:
    using Clock = std::chrono::steady_clock;

    Window(std::size_t count_max, std::size_t bytes_max)
        : slots_(count_max), bytes_max_(bytes_max) {}

    /// A single envelope above the byte limit fits when nothing else is there.
    bool has_room_for(std::size_t bytes) const {
        return next_ - first_ < slots_.size() && (bytes_ == 0 || bytes_ + bytes <= bytes_max_);
    }

    std::uint64_t next() const { return next_; }

    void add(std::uint64_t token, std::size_t bytes, Clock::time_point now) {
        slot(next_) = {token, bytes, now, true};
        ++next_;
        ++outstanding_;
        bytes_ += bytes;
    }

    /// The token of `sequence`, which is no longer outstanding. A second receipt for one envelope
    /// would break the first promise to the relay.
    std::uint64_t settle(std::uint64_t sequence) {
        SAGAZ_ASSERT(sequence >= first_ && sequence < next_ && slot(sequence).outstanding);
        Slot& settled = slot(sequence);
        settled.outstanding = false;
        bytes_ -= settled.bytes;
        --outstanding_;
        const std::uint64_t token = settled.token;
        while (first_ < next_ && !slot(first_).outstanding) ++first_;
        return token;
    }

    std::size_t outstanding() const { return outstanding_; }
    bool empty() const { return outstanding_ == 0; }

    /// The sequence of the oldest that is outstanding; only when not empty.
    std::uint64_t oldest() const { return first_; }
    Clock::time_point oldest_since() const { return slots_[first_ % slots_.size()].since; }

private:
    struct Slot {
        std::uint64_t token{};
        std::size_t bytes{};
        Clock::time_point since{};
        bool outstanding{};
    };

    Slot& slot(std::uint64_t sequence) { return slots_[sequence % slots_.size()]; }

    std::vector<Slot> slots_;
    std::size_t bytes_max_;
    std::uint64_t first_{};
    std::uint64_t next_{};
    std::size_t outstanding_{};
    std::size_t bytes_{};
};

}  // namespace sagaz::inline v0::kafka
