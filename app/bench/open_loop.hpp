#pragma once

#include "app/bench/bench.hpp"

#include <cstdint>
#include <vector>

/// Events that come at a rate, whatever becomes of those before them.
namespace sagaz::inline v0::app::bench {

struct OpenLoop {
    int rate{1'000};  ///< Events a second, each a transaction of its own.
    double seconds{1};
    double warm_up{0.5};  ///< Not counted.
    int clients{8};
};

/// In milliseconds, sorted. From the moment an event was due, so a producer or a relay that falls
/// behind is not excused from what came meanwhile (no coordinated omission).
struct Latencies {
    std::vector<double> to_commit{};           ///< To the answer to its COMMIT.
    std::vector<double> to_acknowledgement{};  ///< To the destination's word.

    static double quantile(const std::vector<double>& sorted, double part);
};

/// Appends by append() at that rate to an otherwise idle log, with a relay in this process.
Latencies run_open_loop(const Stage& stage, const BrokerTarget& broker, const OpenLoop& plan);

/// Adds p50, p95, p99 and max.
void add_quantiles(Report& report, const std::string& what, const std::vector<double>& sorted);

}  // namespace sagaz::inline v0::app::bench
