// What a backlog costs: how fast it drains, and how soon the first event of a window goes out. The
// large backlog is filled once; the small one is its newest part, with everything before delivered.
#include "app/bench/bare.hpp"
#include "app/bench/bench.hpp"
#include "app/bench/runs.hpp"
#include "app/table.hpp"

#include <algorithm>
#include <atomic>

namespace sagaz::inline v0::app::bench {
namespace {

constexpr std::int64_t kChunk = 500'000;

/// Somebody who appends, an event a transaction.
class Producer {
public:
    explicit Producer(const Stage& stage) : connection_{stage.log.store().url} {
        connection_.prepare("append", stage.log.named("SELECT @schema@.append('sagaz-bench', $1, "
                                                      "'OrderPlaced', 'payload'::text)"));
    }
    void append(int events) {
        for (int n = 0; n < events; ++n) connection_.execute("append", {{std::to_string(n)}});
    }

private:
    BareConnection connection_;
};

struct Start {
    double first_event_ms{};
    double rate{};
};

// Starts a relay and lets it deliver `events` of what is pending. The first event is timed from the
// moment that the relay looks at the log, the rate from the first event on.
Start deliver(const Stage& stage, std::int64_t events) {
    std::atomic<double> first{};
    const double from = seconds_now();
    RunningRelay relay{stage, destination(stage, false), {.on_taken = [&](auto envelopes) {
                           if (!envelopes.empty() && first == 0) first = seconds_now();
                       }}};
    relay.wait_until_it_published(events);
    const double took = seconds_now() - first;
    return {(first - from) * 1e3, static_cast<double>(relay.published()) / took};
}

void add(Report& report, const std::string& what, const Start& got) {
    report.add(what + ", drain", "events/s", got.rate);
    report.add(what + ", first event", "ms", got.first_event_ms);
}

// A million rows of one transaction that commits after the window they would have been in.
Start deliver_late(const Stage& stage) {
    std::atomic<double> first{};
    std::atomic<bool> committed{};
    RunningRelay relay{stage, destination(stage, false), {.on_taken = [&](auto envelopes) {
                           if (committed && !envelopes.empty() && first == 0) {
                               first = seconds_now();
                           }
                       }}};
    relay.wait_until_it_owns(16);
    stage.log.run("BEGIN");
    stage.log.fill({.events = stage.sizes.late_rows});
    {
        // Others go on meanwhile, so that the window of the long transaction is over.
        Producer{stage}.append(100);
    }
    relay.wait_until_it_published(100);
    committed = true;
    const double from = seconds_now();
    stage.log.run("COMMIT");
    const auto all = stage.sizes.late_rows + 100;
    relay.wait_until_it_published(all);
    const double took = seconds_now() - first;
    return {(first - from) * 1e3, static_cast<double>(stage.sizes.late_rows) / took};
}

// An event that comes while nothing is pending, to its being taken by the destination.
double lone_event_ms(const Stage& stage) {
    std::atomic<double> taken{};
    RunningRelay relay{stage, destination(stage, false), {.on_taken = [&](auto envelopes) {
                           if (!envelopes.empty()) taken = seconds_now();
                       }}};
    relay.wait_until_it_owns(16);
    Producer writer{stage};
    double total = 0;
    constexpr int kEvents = 20;
    for (int n = 0; n < kEvents; ++n) {
        taken = 0;
        const double from = seconds_now();
        writer.append(1);
        wait_until(stage, "the event is taken", [&] { return taken != 0; });
        total += taken - from;
    }
    return total * 1e3 / kEvents;
}

}  // namespace

Report backlog(const Stage& stage) {
    const auto small = stage.sizes.backlog_small;
    const auto large = stage.sizes.backlog_large;
    const auto small_name = grouped(small) + " pending";
    const auto large_name = grouped(large) + " pending";
    Report report{"backlog", "drain rate and first event with nothing, much and very much pending"};
    stage.step("backlog: filling " + grouped(large) + " events");
    stage.log.fresh();
    const auto chunk = std::min(kChunk, small);
    stage.log.fill({.events = large - small, .in_transaction = chunk});
    const auto boundary = stage.log.number("SELECT pg_current_xact_id()::text::bigint");
    stage.log.fill({.events = small, .in_transaction = chunk});
    stage.log.settle();
    for (std::int64_t round = 1; round <= stage.rounds; ++round) {
        stage.step("backlog: round " + std::to_string(round));
        stage.log.wind_to(boundary);
        add(report, small_name, deliver(stage, small));
        stage.log.rewind();
        add(report, large_name, deliver(stage, small));
        stage.log.wind_to(boundary);
        add(report, small_name + ", again", deliver(stage, small));
    }
    for (std::int64_t round = 1; round <= stage.rounds; ++round) {
        stage.step("backlog: nothing pending, round " + std::to_string(round));
        stage.log.fresh();
        report.add("nothing pending, an event", "ms", lone_event_ms(stage));
        stage.step("backlog: a late transaction, round " + std::to_string(round));
        add(report, "a late transaction of " + grouped(stage.sizes.late_rows), deliver_late(stage));
    }
    report.compare("A/A: small again to small", small_name + ", again, drain",
                   small_name + ", drain");
    report.compare(large_name + " to " + small_name + ", drain", large_name + ", drain",
                   small_name + ", drain", Target::at_least(0.8));
    report.compare("late transaction to " + small_name + ", drain",
                   "a late transaction of " + grouped(stage.sizes.late_rows) + ", drain",
                   small_name + ", drain");
    report.expect(large_name + ", first event", Target::at_most(1'000));
    report.expect("a late transaction of " + grouped(stage.sizes.late_rows) + ", first event",
                  Target::at_most(1'000));
    report.note("of either backlog the first " + grouped(small) +
                " events are timed; a first event counts from the relay's start, connecting and "
                "taking its slots included, or from the late COMMIT; an event with nothing pending "
                "from its append, the mean of 20");
    return report;
}

}  // namespace sagaz::inline v0::app::bench
