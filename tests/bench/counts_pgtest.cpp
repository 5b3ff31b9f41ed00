// What a relay costs that no machine changes: statements (each is a round trip), allocations and
// pages. The bounds are a little above what was seen; who crosses one has made events dearer, and
// says why or finds the cause.
//
// Prints each count as `./do bench` wants it, a line "counts: {...}".
#include "tests/bench/allocations.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/brokers.hpp>
#include <sagaz/relay.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <thread>

namespace sagaz {
namespace {

using test::PostgresServer;
using test::Schema;
using test::Sql;

constexpr int kEvents = 50'000;

PostgresServer& counting_server() {
    static PostgresServer server(
        {.config = {"shared_preload_libraries = 'pg_stat_statements'",
                    "pg_stat_statements.track = top", "synchronous_commit = off"},
         .bin = ""});
    return server;
}

struct Count {
    std::string what;
    std::string unit;
    double seen{};
    double bound{};
};

void print(const std::string& about, const std::vector<Count>& counts) {
    std::string figures;
    for (const auto& each : counts) {
        figures +=
            fmt::format(R"({}{{"what": "{}", "unit": "{}", "median": {}, "min": {}, "max": {}, )"
                        R"("rounds": [{}], "target": "<= {}", "target_met": {}}})",
                        figures.empty() ? "" : ", ", each.what, each.unit, each.seen, each.seen,
                        each.seen, each.seen, each.bound, each.seen <= each.bound);
    }
    fmt::print(R"(counts: {{"schema": 1, "benchmark": "counts: {}", "about": "what a relay )"
               R"(costs that no machine changes, held by a test", "figures": [{}], )"
               R"("ratios": [], "notes": []}})"
               "\n",
               about, figures);
}

void hold(const std::string& about, const std::vector<Count>& counts) {
    print(about, counts);
    for (const auto& each : counts) EXPECT_LE(each.seen, each.bound) << each.what;
}

class RelayCounts : public ::testing::Test {
protected:
    RelayCounts() : schema_(counting_server()), sql_(schema_.connect()) {
        sql_.run("CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
    }

    void insert(int rows) {
        sql_.run(schema_.sql(fmt::format(
            "INSERT INTO @s@.outbox (topic, key, event_type, payload, headers) SELECT 'orders', "
            "(n % 5000)::text, 'OrderPlaced', convert_to(repeat('ab', 100), 'UTF8'), "
            "CASE WHEN n % 4 = 0 THEN '{{\"tenant\": \"blue\"}}'::jsonb END "
            "FROM generate_series(1, {}) n",
            rows)));
    }

    void reset() { sql_.run("SELECT pg_stat_statements_reset()"); }

    // Of the relay's statements with `part` in them; each carries the incarnation.
    double sum(const std::string& column, const std::string& part = "incarnation") {
        return static_cast<double>(sql_.number(
            fmt::format("SELECT coalesce(sum({}), 0)::bigint FROM pg_stat_statements "
                        "WHERE strpos(query, '{}.incarnation') > 0 AND strpos(query, '{}') > 0",
                        column, schema_.name(), part)));
    }

    Schema schema_;
    Sql sql_;
};

constexpr const char* kOpen = "pg_current_snapshot() AS target";
constexpr const char* kPages = "shared_blks_hit + shared_blks_read";

TEST_F(RelayCounts, DrainsABacklogForAFewStatementsAndAllocations) {
    insert(kEvents);
    Relay relay(test::open_store(schema_), null::open());
    reset();
    const auto from = test::allocations();
    ASSERT_TRUE(relay.drain(std::chrono::seconds{60}));
    const auto taken = static_cast<double>(test::allocations() - from);
    ASSERT_EQ(relay.status().published, kEvents);
    constexpr double kThousands = kEvents / 1'000.0;
    // A cursor store and an empty window more for each 100 ms that a busy machine takes longer.
    hold("draining 50,000 events",
         {{"statements, each a round trip", "per 1,000 events", sum("calls") / kThousands, 1},
          {"pages touched", "per 1,000 events", sum(kPages) / kThousands, 750},
          {"allocations", "per event", taken / kEvents, 4.6},
          {"WAL of the relay's statements", "bytes per event", sum("wal_bytes") / kEvents, 2}});
}

TEST_F(RelayCounts, OpensAWindowForFewStatementsWhileEventsCome) {
    constexpr int kComing = 200;
    Relay relay(test::open_store(schema_), null::open());
    std::jthread thread([&](const std::stop_token& stop) { relay.run(stop); });
    test::wait_for("the relay owns its slots", [&] { return relay.status().slots_owned == 16; });
    reset();
    for (int n = 1; n <= kComing; ++n) {
        insert(1);
        test::wait_for("it is published",
                       [&] { return relay.status().published == static_cast<std::uint64_t>(n); });
    }
    const double windows = sum("calls", kOpen);
    hold("an event at a time",
         {{"statements, each a round trip", "per window", sum("calls") / windows, 4.8},
          {"pages touched", "per window", sum(kPages) / windows, 50}});
}

}  // namespace
}  // namespace sagaz
