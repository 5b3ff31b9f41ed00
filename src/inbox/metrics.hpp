#pragma once

#include <sagaz/inbox.hpp>

#include <string_view>

/// What the inbox reports through the Telemetry port of the user's process. The labels of each are
/// `consumer_name` and `event_type`, which comes from outside: a sink has to cap it.
namespace sagaz::inline v0::inbox {

struct MetricInfo {
    std::string_view name{};
};

inline constexpr MetricInfo kProcessed{"consumer_inbox_processed_total"};
inline constexpr MetricInfo kDuplicates{"consumer_inbox_duplicates_total"};
inline constexpr MetricInfo kDuration{"consumer_inbox_processing_duration_seconds"};
inline constexpr MetricInfo kFailures{"consumer_inbox_failures_total"};
inline constexpr MetricInfo kParked{"consumer_inbox_parked_total"};

/// Reports for one consumer; does nothing without a Telemetry.
class Reporter {
public:
    Reporter(Telemetry* telemetry, std::string_view consumer_name)
        : telemetry_(telemetry), consumer_name_(consumer_name) {}

    /// A message of `event_type` that was settled; `seconds` is its handler's time.
    void settled(Settlement settlement, std::string_view event_type, std::string_view reason,
                 double seconds) const noexcept;
    /// A counted attempt that failed.
    void failed(std::string_view event_type) const noexcept;

private:
    void count(const MetricInfo& metric, std::string_view event_type) const noexcept;

    Telemetry* telemetry_;
    std::string_view consumer_name_;
};

}  // namespace sagaz::inline v0::inbox
