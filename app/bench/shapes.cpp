// What the shape of a log does to its drain: payload size, number of keys, slots and relays.
#include "app/bench/bench.hpp"
#include "app/bench/kafka_feed.hpp"
#include "app/bench/runs.hpp"
#include "app/relay_process.hpp"
#include "app/table.hpp"

#include <algorithm>
#include <chrono>
#include <memory>

namespace sagaz::inline v0::app::bench {
namespace {

using std::chrono::milliseconds;

constexpr double kPatience = 6;  // seconds, until slots are shared

double rate(std::int64_t events, double seconds) { return static_cast<double>(events) / seconds; }

std::string size_text(std::int64_t bytes) {
    if (bytes < 1'024) return std::to_string(bytes) + " B";
    if (bytes < 1'024 * 1'024) return std::to_string(bytes / 1'024) + " KiB";
    return std::to_string(bytes / 1'024 / 1'024) + " MiB";
}

// The client's own limit on a message is a little below 1 MiB.
BrokerTarget with_large_messages(BrokerTarget target) {
    target.options.emplace("message.max.bytes", "2097152");
    return target;
}

}  // namespace

Report payload_sizes(const Stage& stage) {
    Report report{"payload", "drain by the size of payloads"};
    std::optional<KafkaTopic> topic;
    if (stage.kafka) topic.emplace(with_large_messages(*stage.kafka), "sagaz-bench");
    for (const std::int64_t bytes : {100LL, 1'024LL, 10'240LL, 102'400LL, 1'048'576LL}) {
        const auto events = std::min(stage.sizes.shape_events, stage.sizes.shape_bytes / bytes);
        stage.step("payload: filling " + size_text(bytes));
        stage.log.hold({.events = events, .payload_bytes = bytes});
        for (std::int64_t round = 1; round <= stage.rounds; ++round) {
            for (const bool to_kafka : {false, true}) {
                if (to_kafka && !stage.kafka) continue;
                stage.step("payload: " + size_text(bytes) + ", round " + std::to_string(round));
                stage.log.rewind();
                const auto cost = drain_here(
                    stage, to_kafka ? with_large_messages(*stage.kafka) : destination(stage, false),
                    events);
                const auto what = size_text(bytes) + (to_kafka ? " to Kafka" : " to null:");
                report.add(what, "events/s", rate(events, cost.seconds));
                report.add(what + ", bytes", "MB/s", rate(events * bytes, cost.seconds) / 1e6);
            }
        }
    }
    report.note("at most " + grouped(stage.sizes.shape_events) + " events or " +
                grouped(stage.sizes.shape_bytes) + " bytes a size, of random letters");
    return report;
}

Report key_counts(const Stage& stage) {
    Report report{"keys", "drain by the number of keys"};
    const auto events = stage.sizes.shape_events;
    for (const std::int64_t keys : {1LL, 1'000LL, 1'000'000LL}) {
        stage.step("keys: filling " + grouped(keys));
        stage.log.hold({.events = events, .keys = keys});
        for (std::int64_t round = 1; round <= stage.rounds; ++round) {
            stage.step("keys: " + grouped(keys) + ", round " + std::to_string(round));
            stage.log.rewind();
            report.add(grouped(keys) + (keys == 1 ? " key" : " keys"), "events/s",
                       rate(events, drain_here(stage, destination(stage, false), events).seconds));
        }
    }
    report.note(grouped(events) +
                " events to null:; a key has one slot, so one key has one of "
                "sixteen");
    return report;
}

Report slot_counts(const Stage& stage) {
    Report report{"slots", "drain by the number of slots"};
    const auto events = stage.sizes.shape_events;
    for (const int slots : {1, 16, 64}) {
        stage.step("slots: filling " + std::to_string(slots));
        stage.log.hold({.events = events}, slots);
        for (std::int64_t round = 1; round <= stage.rounds; ++round) {
            stage.step("slots: " + std::to_string(slots) + ", round " + std::to_string(round));
            stage.log.rewind();
            report.add(std::to_string(slots) + (slots == 1 ? " slot" : " slots"), "events/s",
                       rate(events, drain_here(stage, destination(stage, false), events).seconds));
        }
    }
    report.note(grouped(events) + " events to null:");
    return report;
}

// Relays that run already, as they do where events come; what is timed begins with the commit of
// all the events and ends when the stored cursors say that all are delivered.
Report relay_counts(const Stage& stage) {
    Report report{"relays", "drain by the number of relay processes"};
    const auto events = stage.sizes.shape_events;
    for (std::int64_t round = 1; round <= stage.rounds; ++round) {
        for (const int count : {1, 2, 4}) {
            stage.step("relays: " + std::to_string(count) + ", round " + std::to_string(round));
            stage.log.fresh();
            std::vector<std::unique_ptr<RelayProcess>> relays;
            for (int n = 0; n < count; ++n) {
                relays.push_back(
                    std::make_unique<RelayProcess>(RelayPlan{.store = stage.log.store(),
                                                             .broker = "null:",
                                                             .log = stage.folder + "/relay.log",
                                                             .lease = milliseconds{10'000}}));
            }
            wait_until(stage, "every slot has an owner", [&] {
                for (auto& relay : relays) relay->must_run();
                return stage.log.number("SELECT count(*) FROM @schema@.slot WHERE owner IS NULL") ==
                           0 &&
                       stage.log.number("SELECT count(*) FROM @schema@.relay") == count;
            });
            // They share the slots by and by; a relay that has none stands by.
            const double patient_until = seconds_now() + kPatience;
            wait_until(stage, "the slots are spread", [&] {
                return seconds_now() > patient_until ||
                       stage.log.number("SELECT count(DISTINCT owner) FROM @schema@.slot") == count;
            });
            report.add(std::to_string(count) + " relays, owners", "relays",
                       static_cast<double>(
                           stage.log.number("SELECT count(DISTINCT owner) FROM @schema@.slot")));
            // They look often while events come.
            const auto is_drained = [&] { return stage.log.pending() == 0; };
            stage.log.fill({.events = count});
            wait_until(stage, "the first is delivered", is_drained);
            stage.log.fill({.events = events});
            const double from = seconds_now();
            wait_until(stage, "everything is delivered", is_drained);
            report.add(std::to_string(count) + " relays", "events/s",
                       rate(events, seconds_now() - from));
            for (auto& relay : relays) relay->stop(milliseconds{25'000});
        }
    }
    report.compare("2 relays to 1", "2 relays", "1 relays");
    report.compare("4 relays to 1", "4 relays", "1 relays");
    report.note(grouped(events) +
                " events of one transaction to null:, from its commit until the "
                "stored cursors have passed all");
    return report;
}

}  // namespace sagaz::inline v0::app::bench
