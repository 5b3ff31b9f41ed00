#pragma once

#include <span>
#include <string_view>

/// The metrics that others hold on to, one row each. Every one also carries `destination`.
namespace sagaz::inline v0::telemetry {

enum class MetricType { counter, gauge, histogram };

struct MetricInfo {
    std::string_view name{};
    MetricType type{MetricType::counter};
    std::string_view label{};  ///< The one label beside `destination`; empty: none.
    std::string_view help{};
    std::span<const double> buckets{};  ///< Upper bounds, for histograms.
};

std::span<const MetricInfo> metric_table();

/// Null when there is no such metric.
const MetricInfo* find_metric(std::string_view name) noexcept;

}  // namespace sagaz::inline v0::telemetry
