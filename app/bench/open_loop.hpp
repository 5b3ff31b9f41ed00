#pragma once

#include "app/bench/bench.hpp"

#include <cstdint>
#include <functional>
#include <vector>

/// Events that come at a rate, whatever becomes of those before them.
namespace sagaz::inline v0::app::bench {

/// Who appends an event, and who sends it.
enum class Path {
    sql,         ///< append(), and a relay.
    relay,       ///< sagaz::Outbox, and a relay.
    poll,        ///< The same with a relay that looks every 100 ms.
    optimistic,  ///< sagaz::Outbox and its publisher, and a relay for what that leaves.
};

struct OpenLoop {
    Path path{Path::sql};
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
    std::vector<double> transaction{};         ///< From its BEGIN to the answer to its COMMIT.
    std::vector<double>
        after_commit{};         ///< From there to the destination's word, if that is later.
    double wal_bytes{};         ///< An event, of all that was written meanwhile.
    double optimistic_share{};  ///< Of the events, that their publisher says it sent.

    static double quantile(const std::vector<double>& sorted, double part);
};

/// Appends at that rate to an otherwise idle log, with a relay in this process.
Latencies run_open_loop(const Stage& stage, const BrokerTarget& broker, const OpenLoop& plan);

/// What `measure` returns, while events are appended at that rate and nobody sends them.
std::vector<double> beside_transactions(const Stage& stage, const OpenLoop& plan,
                                        const std::function<std::vector<double>()>& measure);

/// Adds p50, p95, p99 and max.
void add_quantiles(Report& report, const std::string& what, const std::vector<double>& sorted);

}  // namespace sagaz::inline v0::app::bench
