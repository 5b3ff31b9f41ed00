#pragma once

#include <sagaz/export.hpp>

#include <span>
#include <string_view>

namespace sagaz::inline v0 {

enum class LogLevel { debug, info, warning, error };

struct Field {
    std::string_view name{};
    std::string_view value{};
};

/// Where the library reports what it does. One small port; implementations are thread-safe and
/// must not throw or wait. Metric names and labels are those of docs/reference; a label never
/// carries a key, an id, a payload or a secret.
class SAGAZ_EXPORT Telemetry {
public:
    Telemetry() = default;
    virtual ~Telemetry();
    Telemetry(const Telemetry&) = delete;
    Telemetry& operator=(const Telemetry&) = delete;

    /// Adds to a counter.
    virtual void count(std::string_view metric, double by,
                       std::span<const Field> labels) noexcept = 0;
    /// Sets a gauge.
    virtual void gauge(std::string_view metric, double value,
                       std::span<const Field> labels) noexcept = 0;
    /// Adds one observation to a histogram, in the metric's own unit (seconds for durations).
    virtual void observe(std::string_view metric, double value,
                         std::span<const Field> labels) noexcept = 0;
    /// A log line: `event` is a constant name ("relay_started"), the rest are fields.
    virtual void log(LogLevel level, std::string_view event,
                     std::span<const Field> fields) noexcept = 0;
};

}  // namespace sagaz::inline v0
