#include "telemetry/prometheus.hpp"

#include "core/assert.hpp"
#include "telemetry/log.hpp"

#include <sagaz/adapters/metric_table.hpp>
#include <sagaz/adapters/prometheus.hpp>

#include <prometheus/metric_family.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <vector>

namespace sagaz::inline v0::telemetry {
namespace {

// The adapter leaves out what it does not know; here that is our own mistake.
void check(std::string_view name, MetricType type, std::span<const Field> labels) {
    const auto* const info = find_metric(name);
    SAGAZ_ASSERT(info != nullptr);
    SAGAZ_ASSERT(info->type == type);
    for (const auto& label : labels) {
        SAGAZ_ASSERT(label.name == info->label || label.name == "destination");
    }
}

}  // namespace

struct PrometheusTelemetry::State {
    explicit State(const Options& options)
        : metrics{registry,
                  {.destination = options.destination,
                   .version = options.version,
                   .values_max = options.values_max}} {}

    ::prometheus::Registry registry;
    prometheus::Telemetry metrics;
};

PrometheusTelemetry::PrometheusTelemetry(const Options& options, LogWriter& log)
    : state_{std::make_unique<State>(options)}, log_{log} {}

PrometheusTelemetry::~PrometheusTelemetry() = default;

void PrometheusTelemetry::count(std::string_view metric, double by,
                                std::span<const Field> labels) noexcept {
    check(metric, MetricType::counter, labels);
    state_->metrics.count(metric, by, labels);
}

void PrometheusTelemetry::gauge(std::string_view metric, double value,
                                std::span<const Field> labels) noexcept {
    check(metric, MetricType::gauge, labels);
    state_->metrics.gauge(metric, value, labels);
}

void PrometheusTelemetry::observe(std::string_view metric, double value,
                                  std::span<const Field> labels) noexcept {
    check(metric, MetricType::histogram, labels);
    state_->metrics.observe(metric, value, labels);
}

void PrometheusTelemetry::log(LogLevel level, std::string_view event,
                              std::span<const Field> fields) noexcept {
    log_.write(level, event, fields);
}

std::string PrometheusTelemetry::page(std::span<const std::string_view> without) const {
    auto families = state_->registry.Collect();
    std::erase_if(families, [&](const ::prometheus::MetricFamily& family) {
        return std::ranges::find(without, family.name) != without.end();
    });
    return ::prometheus::TextSerializer{}.Serialize(families);
}

}  // namespace sagaz::inline v0::telemetry
