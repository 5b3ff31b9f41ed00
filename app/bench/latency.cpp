// How soon an event reaches its destination, with default settings. An event is due at its place in
// an even stream, whether or not those before it are through; its latency counts from then.
#include "app/bench/bench.hpp"
#include "app/bench/kafka_feed.hpp"
#include "app/bench/open_loop.hpp"
#include "app/bench/runs.hpp"
#include "app/table.hpp"

namespace sagaz::inline v0::app::bench {

Report latency(const Stage& stage) {
    Report report{"latency",
                  "append to acknowledgement at a steady rate, coordinated-omission-free"};
    std::optional<KafkaTopic> topic;
    if (stage.kafka) topic.emplace(*stage.kafka, "sagaz-bench");
    for (std::int64_t round = 1; round <= stage.rounds; ++round) {
        for (const int rate : {100, 1'000, 5'000}) {
            for (const bool to_kafka : {false, true}) {
                if (to_kafka && !stage.kafka) continue;
                const auto of = grouped(rate) + "/s to " + (to_kafka ? "Kafka" : "null:");
                stage.step("latency: round " + std::to_string(round) + ", " + of);
                stage.log.fresh();
                const auto got = run_open_loop(stage, destination(stage, to_kafka),
                                               {.rate = rate,
                                                .seconds = stage.sizes.latency_seconds,
                                                .clients = rate < 5'000 ? 8 : 16});
                add_quantiles(report, of + ", to COMMIT's answer", got.to_commit);
                add_quantiles(report, of + ", to acknowledgement", got.to_acknowledgement);
            }
        }
    }
    report.note(
        "each event is a transaction of its own by append(), on one of 8 connections (16 at "
        "5,000/s); a rate that the server cannot commit shows in the time to COMMIT's "
        "answer, which is part of the time to acknowledgement");
    report.note("producers, relay and servers share the machine's processors");
    return report;
}

}  // namespace sagaz::inline v0::app::bench
