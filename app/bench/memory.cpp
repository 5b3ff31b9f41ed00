// The most memory that a relay process has while it delivers what is pending.
#include "app/bench/bench.hpp"
#include "app/bench/kafka_feed.hpp"
#include "app/bench/runs.hpp"
#include "app/table.hpp"

#include <algorithm>

namespace sagaz::inline v0::app::bench {

Report memory(const Stage& stage) {
    Report report{"memory", "peak resident memory of a relay process with much pending"};
    std::optional<KafkaTopic> topic;
    if (stage.kafka) topic.emplace(*stage.kafka, "sagaz-bench");
    // Kafka takes messages of up to 1,048,588 bytes, headers included, where nobody says otherwise.
    for (const std::int64_t bytes : {200, 1'000'000}) {
        const auto events =
            std::min(stage.sizes.memory_events, bytes == 200 ? stage.sizes.memory_events
                                                             : 3 * stage.sizes.shape_bytes / bytes);
        stage.step("memory: filling");
        stage.log.hold({.events = events, .payload_bytes = bytes});
        for (std::int64_t round = 1; round <= stage.rounds; ++round) {
            for (const bool to_kafka : {false, true}) {
                if (to_kafka && !stage.kafka) continue;
                const auto what = grouped(events) + " of " + grouped(bytes) + " bytes to " +
                                  (to_kafka ? "Kafka" : "null:");
                stage.step("memory: " + what + ", round " + std::to_string(round));
                stage.log.rewind();
                report.add(what, "MiB",
                           memory_of_relay(stage, destination(stage, to_kafka)) / (1 << 20));
                report.expect(what, Target::at_most(bytes == 200 ? 23.8 : 80));  // 25 MB in MiB
            }
        }
    }
    report.note(
        "VmHWM of the executable; at large payloads the limits are batch_max_bytes (8 MiB, "
        "about three times that in the relay) and the client's queue (16 MiB)");
    return report;
}

}  // namespace sagaz::inline v0::app::bench
