#pragma once

#include <sagaz/adapters/metric_table.hpp>
#include <sagaz/telemetry.hpp>

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace sagaz::inline v0::prometheus {

struct Options {
    std::string destination{"default"};  ///< Value of the label that a relay's series carry.
    /// What `outbox_build_info` says runs here; empty: no such series.
    std::string version{};
    std::size_t values_max{200};  ///< Distinct values of a label; the rest count as "other".
    /// Where log lines go; empty: nowhere. Called from any thread of the library, and must not
    /// wait; what it throws is dropped.
    std::function<void(LogLevel, std::string_view event, std::span<const Field>)> log{};
};

/// Keeps the library's metrics (docs/reference/metrics.md), a relay's, an inbox's and an optimistic
/// publisher's, in a prometheus-cpp registry of the user's own. Several may share one registry,
/// each for its own destination. Thread-safe; waits only for other short calls. A metric that this
/// header does not know is left out.
class Telemetry final : public sagaz::Telemetry {
public:
    /// Registers every family. `registry` is borrowed and must outlive this object. Throws what
    /// prometheus-cpp does when a name is taken by a family of another kind.
    explicit Telemetry(::prometheus::Registry& registry, Options options = {})
        : options_{std::move(options)} {
        for (const auto& info : telemetry::metric_table()) {
            switch (info.type) {
                case telemetry::MetricType::counter:
                    add(counters_, ::prometheus::BuildCounter(), info, registry);
                    // What nothing has touched yet reads 0, so that the first increase is seen. (A
                    // publisher does it itself: a relay's page is not to show its metrics.)
                    if (info.label.empty() && !info.bearer.empty()) {
                        counters_[info.name]->Add(labels_of(info, {}).value());
                    }
                    break;
                case telemetry::MetricType::gauge:
                    add(gauges_, ::prometheus::BuildGauge(), info, registry);
                    break;
                case telemetry::MetricType::histogram:
                    add(histograms_, ::prometheus::BuildHistogram(), info, registry);
                    break;
            }
        }
        if (!options_.version.empty()) {
            const Field version{"version", options_.version};
            gauge("outbox_build_info", 1, {&version, 1});
        }
    }

    void count(std::string_view metric, double by,
               std::span<const Field> labels) noexcept override {
        measure(counters_, metric, labels, [&](auto& family, const auto& info, const auto& series) {
            if (info.bearer == telemetry::table::kConsumer && !family.Has(series)) {
                begin_with(info, series);
            }
            family.Add(series).Increment(by);
        });
    }

    void gauge(std::string_view metric, double value,
               std::span<const Field> labels) noexcept override {
        measure(gauges_, metric, labels, [&](auto& family, const auto&, const auto& series) {
            family.Add(series).Set(value);
        });
    }

    void observe(std::string_view metric, double value,
                 std::span<const Field> labels) noexcept override {
        measure(histograms_, metric, labels,
                [&](auto& family, const auto& info, const auto& series) {
                    const ::prometheus::Histogram::BucketBoundaries buckets{info.buckets.begin(),
                                                                            info.buckets.end()};
                    family.Add(series, buckets).Observe(value);
                });
    }

    void log(LogLevel level, std::string_view event,
             std::span<const Field> fields) noexcept override {
        if (!options_.log) return;
        try {
            options_.log(level, event, fields);
        } catch (...) {
            ++lost_;  // the relay goes on without this line
        }
    }

private:
    template <class Kind>
    using Families = std::map<std::string_view, ::prometheus::Family<Kind>*>;

    // The destination is a label of each series, not a constant one of the family: the registry
    // refuses a second family of one name.
    template <class Kind, class Builder>
    static void add(Families<Kind>& families, Builder builder, const telemetry::MetricInfo& info,
                    ::prometheus::Registry& registry) {
        families[info.name] =
            &builder.Name(std::string{info.name}).Help(std::string{info.help}).Register(registry);
    }

    // Only memory can run out here, and then a measurement is what we can spare.
    template <class Kind, class Apply>
    void measure(const Families<Kind>& families, std::string_view metric,
                 std::span<const Field> labels, Apply apply) noexcept {
        try {
            const auto* const info = telemetry::find_metric(metric);
            const auto family = families.find(metric);
            if (info == nullptr || family == families.end()) return;
            if (const auto series = labels_of(*info, labels)) {
                apply(*family->second, *info, *series);
            }
        } catch (const std::exception&) {
            ++lost_;
        }
    }

    // All that a consumer counts of an event type begins at 0 with the first of it. A series that
    // appears with its first failure has no increase by it, and no alert would see that one.
    void begin_with(const telemetry::MetricInfo& first, const ::prometheus::Labels& series) {
        for (const auto& [name, family] : counters_) {
            const auto* const info = telemetry::find_metric(name);
            if (info->bearer == first.bearer && info->label == first.label) family->Add(series);
        }
    }

    // The labels of one series; none when a label is given that the metric does not have. Callers
    // may say `destination` too: ours counts.
    std::optional<::prometheus::Labels> labels_of(const telemetry::MetricInfo& info,
                                                  std::span<const Field> given) {
        std::string_view own;
        std::string_view bearer;
        for (const auto& label : given) {
            if (label.name.empty()) return std::nullopt;
            if (label.name == info.label) {
                own = label.value;
            } else if (label.name == info.bearer) {
                bearer = label.value;
            } else {
                return std::nullopt;
            }
        }
        if (info.bearer == "destination") bearer = options_.destination;
        ::prometheus::Labels labels;
        if (!info.bearer.empty()) labels.emplace(info.bearer, bearer);
        if (!info.label.empty()) {
            labels.emplace(info.label, is_shown(info, own) ? std::string{own} : "other");
        }
        return labels;
    }

    // The first `values_max` values of a label get series of their own.
    bool is_shown(const telemetry::MetricInfo& info, std::string_view value) {
        const std::lock_guard lock{mutex_};
        auto& known = values_[info.name];
        if (known.find(value) != known.end()) return true;
        if (known.size() >= options_.values_max) return false;
        known.emplace(value);
        return true;
    }

    const Options options_;
    Families<::prometheus::Counter> counters_;
    Families<::prometheus::Gauge> gauges_;
    Families<::prometheus::Histogram> histograms_;
    std::atomic<std::size_t> lost_{};  // measurements and lines, for a debugger
    std::mutex mutex_;                 // of `values_`
    std::map<std::string_view, std::set<std::string, std::less<>>> values_;
};

}  // namespace sagaz::inline v0::prometheus
