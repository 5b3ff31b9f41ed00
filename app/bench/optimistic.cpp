// How soon an event reaches Kafka when its producer sends it right after the commit, beside a relay
// alone, a relay that looks every 100 ms, and the least that librdkafka needs for a message. And
// what that costs: the transaction, and a call while Kafka is away.
#include "app/bench/bare.hpp"
#include "app/bench/bench.hpp"
#include "app/bench/kafka_feed.hpp"
#include "app/bench/open_loop.hpp"
#include "app/bench/runs.hpp"
#include "app/table.hpp"

#include <sagaz/kafka.hpp>
#include <sagaz/optimistic_publisher.hpp>
#include <sagaz/postgres.hpp>

#include <algorithm>

namespace sagaz::inline v0::app::bench {
namespace {

constexpr int kCalls = 2'000;

struct Way {
    const char* name;
    Path path;
};
constexpr Way kWays[] = {{"optimistic", Path::optimistic},
                         {"relay", Path::relay},
                         {"relay again", Path::relay},
                         {"poll of 100 ms", Path::poll}};

void measure(const Stage& stage, int rate, std::int64_t round, Report& report) {
    const auto at = ", " + grouped(rate) + "/s";
    const int clients = rate < 3'000 ? 8 : 16;
    const auto seconds = stage.sizes.latency_seconds;
    for (const auto& way : kWays) {
        const auto of = way.name + at;
        stage.step("optimistic: round " + std::to_string(round) + ", " + of);
        stage.log.fresh();
        const auto got =
            run_open_loop(stage, *stage.kafka,
                          {.path = way.path, .rate = rate, .seconds = seconds, .clients = clients});
        add_quantiles(report, of + ", commit to acknowledgement", got.after_commit);
        add_quantiles(report, of + ", due to acknowledgement", got.to_acknowledgement);
        report.add(of + ", transaction, p50", "ms", Latencies::quantile(got.transaction, 0.5));
        report.add(of + ", WAL", "bytes an event", got.wal_bytes);
        if (way.path != Path::optimistic) continue;
        report.add(of + ", sent by the producer", "%", 100 * got.optimistic_share);
    }
    const auto bare = [&] { return round_trips(*stage.kafka, "sagaz-bench", rate, seconds); };
    stage.step("optimistic: round " + std::to_string(round) + ", librdkafka" + at);
    add_quantiles(report, "librdkafka alone" + at + ", message to acknowledgement", bare());
    stage.log.fresh();
    add_quantiles(
        report, "librdkafka beside the transactions" + at + ", message to acknowledgement",
        beside_transactions(
            stage, {.path = Path::relay, .rate = rate, .seconds = seconds, .clients = clients},
            bare));
}

// Microseconds of a call, sorted, while nothing listens where Kafka should be.
std::vector<double> calls_without_a_broker(const Stage& stage) {
    const auto& store = stage.log.store();
    RunningRelay relay{stage, destination(stage, false)};  // Without one nothing may be sent.
    relay.wait_until_it_owns(16);
    OptimisticPublisher publisher{
        postgres::open_publisher(store.url, {.schema = store.schema}),
        kafka::open_for_publisher({.bootstrap_servers = "127.0.0.1:1"}),
        OptimisticOptions{.schema = store.schema, .timeout = Milliseconds{100}}};
    const Outbox outbox{publisher};
    BareConnection connection{store.url};
    auto* native = connection.native();
    const auto commit_one = [&](int number) {
        connection.run("BEGIN");
        auto ticket = outbox.append(native, {.topic = "sagaz-bench",
                                             .key = std::to_string(number),
                                             .event_type = "OrderPlaced",
                                             .payload = "{}"});
        connection.run("COMMIT");
        return ticket;
    };
    int number = 0;
    wait_until(stage, "the breaker is open", [&] {
        const auto published = publisher.publish_after_commit(commit_one(number++));
        return !published && published.reason == LeftReason::breaker_open;
    });
    std::vector<double> calls;
    for (int n = 0; n < kCalls; ++n) {
        auto ticket = commit_one(number++);
        const double from = seconds_now();
        const auto published = publisher.publish_after_commit(std::move(ticket));
        const double took = (seconds_now() - from) * 1e6;
        // Now and then one is let through, to look whether Kafka is back.
        if (published.reason == LeftReason::breaker_open) calls.push_back(took);
    }
    std::sort(calls.begin(), calls.end());
    return calls;
}

}  // namespace

Report optimistic(const Stage& stage) {
    Report report{"optimistic", "commit to Kafka's acknowledgement, sent by the producer itself"};
    const KafkaTopic topic{*stage.kafka, "sagaz-bench"};
    for (std::int64_t round = 1; round <= stage.rounds; ++round) {
        for (const int rate : {100, 1'000, 3'000}) measure(stage, rate, round, report);
        stage.step("optimistic: round " + std::to_string(round) + ", without a broker");
        stage.log.fresh();
        const auto calls = calls_without_a_broker(stage);
        report.add("a call while the breaker is open, p50", "us", Latencies::quantile(calls, 0.5));
        report.add("a call while the breaker is open, p99", "us", Latencies::quantile(calls, 0.99));
    }
    report.expect("optimistic, 1,000/s, commit to acknowledgement, p50", Target::at_most(1));
    report.expect("optimistic, 1,000/s, commit to acknowledgement, p99", Target::at_most(5));
    report.expect("a call while the breaker is open, p50", Target::at_most(50));
    for (const int rate : {100, 1'000, 3'000}) {
        const auto tail = ", " + grouped(rate) + "/s, transaction, p50";
        report.compare("transaction, relay again to relay, " + grouped(rate) + "/s",
                       "relay again" + tail, "relay" + tail);
        report.compare("transaction, optimistic to relay, " + grouped(rate) + "/s",
                       "optimistic" + tail, "relay" + tail);
    }
    report.note(
        "each event is a transaction of its own by sagaz::Outbox on one of 8 connections (16 at "
        "3,000/s); the publisher waits until the commit is on disk (durability gate), and a relay "
        "runs beside it; due: the moment of the event in an even stream, so that nobody is excused "
        "from what comes while it is late");
    report.note("producers, publisher, relay and servers share the machine's processors");
    report.note(
        "librdkafka beside the transactions: messages from memory at the rate, while the same "
        "transactions append their events and neither relay nor publisher runs; what it takes, no "
        "sender beside such a database can take less");
    return report;
}

}  // namespace sagaz::inline v0::app::bench
