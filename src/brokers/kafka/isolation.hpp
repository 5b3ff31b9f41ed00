#pragma once

#include "brokers/kafka/kafka_options.hpp"

#include <algorithm>
#include <cstddef>

namespace sagaz::inline v0::kafka {

/// Finds out whose fault it was that the server refused a whole batch.
///
/// The server answers for a batch, not for a message: one message above the topic's limit, or one
/// that a topic's rules forbid, takes its innocent neighbours along. Parking those would be wrong.
/// So nobody is refused then; everything outstanding is unknown, comes again, and is sent one
/// message a request until all of it has an answer of its own. When nobody turned out to be guilty
/// the batch as such was too large for the topic, and batches stay half as large from then on.
class Isolation {
public:
    static constexpr std::size_t kBatchBytes = 1'000'000;  ///< The client's default.
    static constexpr std::size_t kBatchBytesMin = 16'384;

    /// A batch was refused; `count` envelopes will come again.
    void begin(std::size_t count) {
        if (left_ == 0) guilty_ = false;
        left_ = std::max(left_, count);
        active_ = true;
    }

    /// One envelope got its own answer.
    void answered(bool refused) {
        guilty_ = guilty_ || refused;
        if (left_ > 0) --left_;
    }

    bool active() const { return active_; }

    /// All suspects have their answer: as soon as nothing is outstanding, `end` it.
    bool done() const { return active_ && left_ == 0; }

    void end() {
        active_ = false;
        if (!guilty_) {
            const std::size_t now = bytes_max_ == 0 ? kBatchBytes : bytes_max_;
            bytes_max_ = std::max(now / 2, kBatchBytesMin);
        }
    }

    Batching batching() const { return {active_, bytes_max_}; }

private:
    std::size_t left_{};
    std::size_t bytes_max_{};
    bool active_{};
    bool guilty_{};
};

}  // namespace sagaz::inline v0::kafka
