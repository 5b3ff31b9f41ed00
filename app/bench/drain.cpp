// How fast committed events leave the log, beside what could be done at best and what others do.
// Every round runs each way once, in the same order.
#include "app/bench/bare.hpp"
#include "app/bench/bench.hpp"
#include "app/bench/kafka_feed.hpp"
#include "app/bench/runs.hpp"
#include "app/table.hpp"

namespace sagaz::inline v0::app::bench {
namespace {

constexpr const char* kRate = "events/s";
constexpr const char* kCpu = "CPU s per million events";

double per_second(std::int64_t events, const Cost& cost) {
    return static_cast<double>(events) / cost.seconds;
}

double cpu_per_million(std::int64_t events, const Cost& cost) {
    return cost.cpu_seconds * 1e6 / static_cast<double>(events);
}

Cost bare_read(const Stage& stage, std::int64_t events) {
    BareConnection connection{stage.log.store().url};
    const Stopwatch stopwatch;
    read_bare(connection, stage.log.store().schema, 16, events);
    return stopwatch.cost();
}

double peer_rate(const Stage& stage, Peer peer, std::int64_t rows) {
    BareConnection connection{stage.log.store().url};
    fill_classic(connection, stage.log.store().schema, rows);
    const Stopwatch stopwatch;
    const auto taken = drain_classic(connection, stage.log.store().schema, peer);
    return per_second(taken, stopwatch.cost());
}

void add(Report& report, const std::string& what, std::int64_t events, const Cost& cost) {
    report.add(what, kRate, per_second(events, cost));
    report.add(what + ", CPU", kCpu, cpu_per_million(events, cost));
}

}  // namespace

Report drain(const Stage& stage) {
    const auto& sizes = stage.sizes;
    Report report{"drain", "committed events to null:, beside a bare read and other outboxes"};
    stage.step("drain: filling the log");
    stage.log.hold({.events = sizes.drain_events});
    bare_read(stage, sizes.drain_events);  // both warm the server's memory
    drain_here(stage, destination(stage, false), sizes.drain_events);
    for (std::int64_t round = 1; round <= stage.rounds; ++round) {
        stage.step("drain: round " + std::to_string(round));
        stage.log.rewind();
        add(report, "(a) bare libpq read", sizes.drain_events,
            bare_read(stage, sizes.drain_events));
        add(report, "sagaz relay", sizes.drain_events,
            drain_here(stage, destination(stage, false), sizes.drain_events));
        add(report, "(a) again", sizes.drain_events, bare_read(stage, sizes.drain_events));
        report.add("(b) claim and mark, row by row", kRate,
                   peer_rate(stage, Peer::row_by_row, sizes.row_by_row));
        report.add("(c) claim and mark, 5,000 rows", kRate,
                   peer_rate(stage, Peer::bulk_update, sizes.in_bulk));
        report.add("(d) DELETE ... RETURNING, 5,000 rows", kRate,
                   peer_rate(stage, Peer::delete_returning, sizes.in_bulk));
    }
    report.compare("A/A: (a) to (a) again", "(a) bare libpq read", "(a) again");
    report.compare("relay to (a)", "sagaz relay", "(a) bare libpq read", Target::at_least(0.5));
    report.compare("relay to (b)", "sagaz relay", "(b) claim and mark, row by row",
                   Target::at_least(10));
    report.compare("relay to (c)", "sagaz relay", "(c) claim and mark, 5,000 rows",
                   Target::at_least(3));
    report.compare("relay to (d)", "sagaz relay", "(d) DELETE ... RETURNING, 5,000 rows");
    report.note("relay and (a): " + grouped(sizes.drain_events) + " events of 200 bytes; (b): " +
                grouped(sizes.row_by_row) + "; (c), (d): " + grouped(sizes.in_bulk) +
                " rows of a classic outbox table with the same events");
    report.note("the relay's start, its hand-over of slots and its end are part of its time");
    return report;
}

Report drain_to_kafka(const Stage& stage) {
    const auto events = stage.sizes.kafka_events;
    Report report{"drain_kafka", "committed events to Kafka, beside librdkafka from memory"};
    stage.step("drain_kafka: filling the log");
    stage.log.hold({.events = events});
    const KafkaTopic topic{*stage.kafka, "sagaz-bench"};
    KafkaFeed feed;
    drain_here(stage, *stage.kafka, events,
               {.on_taken = [&](auto envelopes) { feed.keep(envelopes); }});
    feed.produce(*stage.kafka, events);
    for (std::int64_t round = 1; round <= stage.rounds; ++round) {
        stage.step("drain_kafka: round " + std::to_string(round));
        stage.log.rewind();
        add(report, "(a) bare libpq read", events, bare_read(stage, events));
        add(report, "(e) librdkafka from memory", events, feed.produce(*stage.kafka, events));
        const auto relay = drain_here(stage, *stage.kafka, events);
        add(report, "sagaz relay", events, relay);
        add(report, "(e) again", events, feed.produce(*stage.kafka, events));
    }
    report.compare("A/A: (e) to (e) again", "(e) librdkafka from memory", "(e) again");
    report.compare("relay to (e)", "sagaz relay", "(e) librdkafka from memory",
                   Target::at_least(0.4));
    report.add_sum("(a) and (e), CPU", "(a) bare libpq read, CPU",
                   "(e) librdkafka from memory, CPU");
    report.compare("CPU of the relay to that of (a) and (e)", "sagaz relay, CPU",
                   "(a) and (e), CPU", Target::at_most(1.5));
    report.note(grouped(events) +
                " events of 200 bytes, one topic of four partitions; (e) sends "
                "copies of the relay's own messages, headers included: idempotent, acks=all, "
                "linger and batch as librdkafka has them");
    return report;
}

}  // namespace sagaz::inline v0::app::bench
