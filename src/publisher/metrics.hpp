#pragma once

#include "core/publish_step.hpp"

#include <sagaz/telemetry.hpp>

#include <cstddef>

/// What the publisher reports through the Telemetry port of the user's process, per event: attempts
/// are successes and failures; what was skipped is no attempt.
namespace sagaz::inline v0::publisher {

class Reporter {
public:
    /// `telemetry` may be null.
    explicit Reporter(Telemetry* telemetry) : telemetry_(telemetry) {}

    /// Every counter at zero, so that the first increase is seen.
    void begin() const noexcept;
    void left(LeftReason reason, std::size_t events) const noexcept;
    void report(const core::PublishCounts& counts) const noexcept;
    void log(LogLevel level, std::string_view event, std::span<const Field> fields) const noexcept;

private:
    void count(std::string_view metric, std::size_t by) const noexcept;
    void count(std::string_view metric, LeftReason reason, std::size_t by) const noexcept;

    Telemetry* telemetry_;
};

}  // namespace sagaz::inline v0::publisher
