#pragma once

#include <sagaz/telemetry.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sagaz::inline v0::telemetry {

class LogWriter;

/// Keeps the metrics of `metric_table()` and passes log lines on. Thread-safe; never throws and
/// waits only for other short calls. A metric or label that the table does not know is a broken
/// promise of the caller and stops the process.
class PrometheusTelemetry final : public Telemetry {
public:
    struct Options {
        std::string destination{"default"};
        std::string version{};
        std::size_t values_max{200};  ///< Distinct values of a label; the rest count as "other".
    };
    /// `log` is borrowed.
    PrometheusTelemetry(const Options& options, LogWriter& log);
    ~PrometheusTelemetry() override;

    void count(std::string_view metric, double by, std::span<const Field> labels) noexcept override;
    void gauge(std::string_view metric, double value,
               std::span<const Field> labels) noexcept override;
    void observe(std::string_view metric, double value,
                 std::span<const Field> labels) noexcept override;
    void log(LogLevel level, std::string_view event,
             std::span<const Field> fields) noexcept override;

    /// The page of /metrics, in Prometheus' text format, but for those families.
    std::string page(std::span<const std::string_view> without = {}) const;

private:
    struct State;
    std::unique_ptr<State> state_;
    LogWriter& log_;
};

}  // namespace sagaz::inline v0::telemetry
