// What an event costs beside time: statements, WAL, pages, processor. Counts do not depend on the
// machine; tests hold them (tests/bench).
#include "app/bench/bench.hpp"
#include "app/bench/open_loop.hpp"
#include "app/bench/runs.hpp"
#include "app/table.hpp"

namespace sagaz::inline v0::app::bench {
namespace {

struct Counts {
    double transactions{};
    double pages{};
    double wal_bytes{};
};

// The server publishes what a session did when it ends, and it ends a moment after its client.
void wait_until_alone(const Stage& stage) {
    wait_until(stage, "the relay's session has ended", [&] {
        return stage.log.number(
                   "SELECT count(*) FROM pg_stat_activity WHERE datname = "
                   "current_database() AND backend_type = 'client backend'") == 1;
    });
}

Counts counts_now(const Stage& stage) {
    const auto pages = [&] {
        return stage.log.number(
            "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = "
            "current_database()");
    };
    const auto transactions = [&] {
        return stage.log.number(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()");
    };
    wait_until_alone(stage);
    return {static_cast<double>(transactions()), static_cast<double>(pages()),
            static_cast<double>(
                stage.log.number("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"))};
}

}  // namespace

Report per_event(const Stage& stage) {
    Report report{"per_event", "what the relay costs an event, draining to null:"};
    const auto events = stage.sizes.drain_events;
    stage.step("per_event: filling");
    stage.log.hold({.events = events});
    for (std::int64_t round = 1; round <= stage.rounds; ++round) {
        stage.step("per_event: round " + std::to_string(round));
        stage.log.rewind();
        const auto before = counts_now(stage);
        const auto cost = drain_here(stage, destination(stage, false), events);
        const auto after = counts_now(stage);
        const auto thousand = static_cast<double>(events) / 1'000;
        report.add("statements, each a round trip", "per 1,000 events",
                   (after.transactions - before.transactions) / thousand);
        report.add("pages touched", "per 1,000 events", (after.pages - before.pages) / thousand);
        report.add("WAL", "bytes per 1,000 events",
                   (after.wal_bytes - before.wal_bytes) / thousand);
        report.add("relay CPU", "s per million events",
                   cost.cpu_seconds * 1e6 / static_cast<double>(events));
    }
    report.note(
        "statements and pages by pg_stat_database, so what else runs on that database "
        "counts too; memory: see memory");
    return report;
}

}  // namespace sagaz::inline v0::app::bench
