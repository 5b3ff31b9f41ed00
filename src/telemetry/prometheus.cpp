#include "telemetry/prometheus.hpp"

#include "core/assert.hpp"
#include "telemetry/log.hpp"
#include "telemetry/metric_table.hpp"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <set>

namespace sagaz::inline v0::telemetry {
namespace {

// The value of the metric's own label; empty when it has none. Callers may say `destination` too.
std::string_view own_label(const MetricInfo& info, std::span<const Field> labels) {
    std::string_view value;
    for (const auto& label : labels) {
        if (label.name == info.label) {
            value = label.value;
        } else {
            SAGAZ_ASSERT(label.name == "destination");
        }
    }
    return value;
}

const MetricInfo& info_of(std::string_view name, MetricType type) {
    const auto* const info = find_metric(name);
    SAGAZ_ASSERT(info != nullptr);
    SAGAZ_ASSERT(info->type == type);
    return *info;
}

}  // namespace

struct PrometheusTelemetry::State {
    prometheus::Registry registry;
    std::map<std::string_view, prometheus::Family<prometheus::Counter>*> counters;
    std::map<std::string_view, prometheus::Family<prometheus::Gauge>*> gauges;
    std::map<std::string_view, prometheus::Family<prometheus::Histogram>*> histograms;
    std::size_t values_max{};
    std::atomic<std::size_t> lost{};  // measurements, for a debugger
    std::mutex mutex;                 // of `values`
    std::map<std::string_view, std::set<std::string, std::less<>>> values;

    // The labels of one series. The first `values_max` values of a label get series of their own.
    prometheus::Labels labels(const MetricInfo& info, std::span<const Field> given) {
        const auto value = own_label(info, given);
        if (info.label.empty()) {
            return {};
        }
        const std::lock_guard lock{mutex};
        auto& known = values[info.name];
        bool shown = known.find(value) != known.end();
        if (!shown && known.size() < values_max) {
            known.emplace(value);
            shown = true;
        }
        return {{std::string{info.label}, shown ? std::string{value} : "other"}};
    }
};

PrometheusTelemetry::PrometheusTelemetry(const Options& options, LogWriter& log)
    : state_{std::make_unique<State>()}, log_{log} {
    state_->values_max = options.values_max;
    const prometheus::Labels constant{{"destination", options.destination}};
    const auto build = [&](auto builder, const MetricInfo& info) {
        return &builder.Name(std::string{info.name})
                    .Help(std::string{info.help})
                    .Labels(constant)
                    .Register(state_->registry);
    };
    // A counter that nothing has touched yet reads 0, so that the first increase is seen.
    for (const auto& info : metric_table()) {
        switch (info.type) {
            case MetricType::counter:
                state_->counters[info.name] = build(prometheus::BuildCounter(), info);
                if (info.label.empty()) {
                    state_->counters[info.name]->Add({});
                }
                break;
            case MetricType::gauge:
                state_->gauges[info.name] = build(prometheus::BuildGauge(), info);
                break;
            case MetricType::histogram:
                state_->histograms[info.name] = build(prometheus::BuildHistogram(), info);
                break;
        }
    }
    const Field version{"version", options.version};
    gauge("outbox_build_info", 1, {&version, 1});
}

PrometheusTelemetry::~PrometheusTelemetry() = default;

// Each of the three: only memory can run out here, and then a measurement is what we can spare.

void PrometheusTelemetry::count(std::string_view metric, double by,
                                std::span<const Field> labels) noexcept {
    const auto& info = info_of(metric, MetricType::counter);
    try {
        state_->counters.at(info.name)->Add(state_->labels(info, labels)).Increment(by);
    } catch (const std::exception&) {
        ++state_->lost;
    }
}

void PrometheusTelemetry::gauge(std::string_view metric, double value,
                                std::span<const Field> labels) noexcept {
    const auto& info = info_of(metric, MetricType::gauge);
    try {
        state_->gauges.at(info.name)->Add(state_->labels(info, labels)).Set(value);
    } catch (const std::exception&) {
        ++state_->lost;
    }
}

void PrometheusTelemetry::observe(std::string_view metric, double value,
                                  std::span<const Field> labels) noexcept {
    const auto& info = info_of(metric, MetricType::histogram);
    try {
        const prometheus::Histogram::BucketBoundaries buckets{info.buckets.begin(),
                                                              info.buckets.end()};
        state_->histograms.at(info.name)->Add(state_->labels(info, labels), buckets).Observe(value);
    } catch (const std::exception&) {
        ++state_->lost;
    }
}

void PrometheusTelemetry::log(LogLevel level, std::string_view event,
                              std::span<const Field> fields) noexcept {
    log_.write(level, event, fields);
}

std::string PrometheusTelemetry::page() const {
    return prometheus::TextSerializer{}.Serialize(state_->registry.Collect());
}

}  // namespace sagaz::inline v0::telemetry
