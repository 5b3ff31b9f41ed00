// How many pages the store's own statements touch, as the server counts them. What matters is the
// shape: a window on a full ring, a large backlog or a long late transaction costs what it
// delivers, whatever the planner knows about the tables.
#include "testing/store_reader.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/postgres.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace sagaz {
namespace {

using test::PostgresServer;
using test::Schema;
using test::Sql;
using testing::StoreReader;

constexpr int kRowsALeaf = 2'000;
constexpr int kLeaves = 16;

PostgresServer& counting_server() {
    static PostgresServer server({.config = {"shared_preload_libraries = 'pg_stat_statements'",
                                             "pg_stat_statements.track = top",
                                             "synchronous_commit = off", "max_wal_size = 4GB"},
                                  .bin = ""});
    return server;
}

struct Cost {
    std::int64_t calls{};
    std::int64_t pages{};
};

class Plans : public ::testing::TestWithParam<bool> {
protected:
    Plans() : schema_(counting_server()), sql_(schema_.connect()) {
        sql_.run("CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
    }

    // Some rows in every leaf of the ring, the newest last, all delivered.
    void fill_ring() {
        for (int leaf = 0; leaf < kLeaves; ++leaf) {
            sql_.run(schema_.sql(
                fmt::format("SELECT setval('@s@.outbox_id', {})", (leaf << 18) + 1'000)));
            insert(kRowsALeaf);
        }
    }

    void insert(int rows) {
        sql_.run(schema_.sql(
            fmt::format("INSERT INTO @s@.outbox (topic, key, event_type, payload) "
                        "SELECT 't', (n % 5000)::text, 'E', convert_to(repeat('ab', 100), 'UTF8') "
                        "FROM generate_series(1, {}) n",
                        rows)));
    }

    // With the parameter true the planner has statistics, which it never has in operation.
    void maybe_analyze() {
        if (!GetParam()) return;
        for (int leaf = 0; leaf < kLeaves; ++leaf) {
            sql_.run(schema_.sql(fmt::format("VACUUM ANALYZE @s@.outbox_{:02}", leaf)));
        }
        sql_.run(schema_.sql("ANALYZE @s@.outbox"));
    }

    void reset() { sql_.run("SELECT pg_stat_statements_reset()"); }

    // Of the statements of this schema whose text has `part`.
    Cost cost(const std::string& part) {
        const auto row =
            sql_.rows(fmt::format(
                          "SELECT coalesce(sum(calls), 0)::bigint, "
                          "coalesce(sum(shared_blks_hit + shared_blks_read), 0)::bigint "
                          "FROM pg_stat_statements WHERE strpos(query, 'WITH ') = 1 "
                          "AND strpos(query, '{}.incarnation') > 0 AND strpos(query, '{}') > 0",
                          schema_.name(), part))
                .at(0);
        return {std::stoll(row[0]), std::stoll(row[1])};
    }

    Schema schema_;
    Sql sql_;
};

constexpr const char* kFindLate = "RECURSIVE";
constexpr const char* kRead = "UNION ALL\nSELECT f.*";
constexpr const char* kLook = "is_held";
constexpr const char* kMark = "SET held_until";
constexpr const char* kMeasure = "pending_events";
constexpr const char* kLoad = "cursor_doubt";
constexpr const char* kReclaim = "reclaim";
constexpr const char* kOpen = ") SELECT pg_catalog.pg_current_snapshot()";

TEST_P(Plans, DeliversABacklogForWhatItIs) {
    constexpr std::size_t kBacklog = 150'000;
    fill_ring();
    insert(kBacklog);
    maybe_analyze();
    const auto store = test::open_store(schema_);
    StoreReader reader(*store, {5'000, std::size_t{8} << 20});
    reset();
    const auto rows = reader.read_window();
    EXPECT_EQ(rows.size(), kBacklog + std::size_t{kRowsALeaf * kLeaves});
    const Cost read = cost(kRead);
    EXPECT_LT(read.pages, static_cast<std::int64_t>(rows.size())) << read.calls;
    EXPECT_EQ(cost(kFindLate).calls, 0) << "nothing can be late in the first window";
}

TEST_P(Plans, LooksForLateRowsOnAFullRingWithoutReadingIt) {
    fill_ring();
    maybe_analyze();
    const auto store = test::open_store(schema_);
    StoreReader reader(*store, {5'000, std::size_t{8} << 20});
    (void)reader.read_window();
    // Twenty transactions run while the window is taken; half of them have rows.
    std::vector<std::unique_ptr<test::PostgresWriter>> writers;
    for (int n = 0; n < 20; ++n) {
        writers.push_back(std::make_unique<test::PostgresWriter>(schema_));
        writers.back()->sql().run("SELECT pg_current_xact_id()");
        if (n % 2 == 0) writers.back()->append("late" + std::to_string(n), std::to_string(n));
    }
    insert(1'000);
    EXPECT_EQ(reader.read_window().size(), 1'000U);
    for (auto& writer : writers) writer->commit();
    insert(10'000);
    reset();
    const auto rows = reader.read_window();
    EXPECT_EQ(rows.size(), 10'010U);
    const Cost late = cost(kFindLate);
    EXPECT_EQ(late.calls, 1);
    EXPECT_LT(late.pages, 2'000);
    EXPECT_LT(cost(kRead).pages, 10'010) << cost(kRead).calls;
}

TEST_P(Plans, ReadsALongLateTransactionOnce) {
    fill_ring();
    const auto store = test::open_store(schema_);
    StoreReader reader(*store, {5'000, std::size_t{8} << 20});
    test::PostgresWriter writer(schema_);
    writer.sql().run(
        schema_.sql("INSERT INTO @s@.outbox (topic, key, event_type, payload) "
                    "SELECT 't', (n % 5000)::text, 'E', convert_to(repeat('ab', 100), 'UTF8') "
                    "FROM generate_series(1, 60000) n"));
    insert(1'000);
    maybe_analyze();
    (void)reader.read_window();
    writer.commit();
    reset();
    EXPECT_EQ(reader.read_window().size(), 60'000U);
    const Cost late = cost(kFindLate);
    const Cost read = cost(kRead);
    EXPECT_LT(late.pages, 2'000);
    EXPECT_LT(read.pages, 60'000) << read.calls;
}

TEST_P(Plans, MeasuresABacklogWithoutReadingIt) {
    constexpr std::size_t kBacklog = 100'000;
    fill_ring();
    insert(kBacklog);
    maybe_analyze();
    const auto store = test::open_store(schema_);
    StoreReader reader(*store, {5'000, std::size_t{8} << 20});
    reset();
    EXPECT_GT(store->measure().pending, 90'000);
    EXPECT_LT(cost(kMeasure).pages, 15'000) << "nothing delivered";
    (void)reader.read_window();
    // Half of a window: the rest of it, and of all that is ahead, is pending.
    auto moves = reader.moves();
    for (auto& move : moves) {
        move.cursor.done = Snapshot{};
        move.cursor.done_ceiling = 0;
        move.cursor.last = 0;
        move.cursor.position -= static_cast<std::int64_t>(kBacklog / 2);
    }
    ASSERT_EQ(store->store(moves, {}).size(), 16U);
    reset();
    const auto pending = store->measure().pending;
    EXPECT_GT(pending, 40'000);
    EXPECT_LT(pending, 60'000);
    EXPECT_LT(cost(kMeasure).pages, 15'000) << "half delivered";
}

TEST_P(Plans, OpensAWindowForAFewPages) {
    fill_ring();
    maybe_analyze();
    const auto store = test::open_store(schema_);
    StoreReader reader(*store);
    reset();
    (void)store->open_window();
    EXPECT_EQ(cost(kOpen).calls, 1);
    EXPECT_LT(cost(kOpen).pages, 10);
}

// What was deleted under a snapshot that somebody holds stays in the index.
TEST_P(Plans, TidiesWhatIsNewThoughASnapshotKeepsEverythingThatWasTidied) {
    Sql holder = schema_.connect();
    holder.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    const auto store = test::open_store(schema_);
    StoreReader reader(*store);
    auto moves = reader.moves();
    const auto store_and_tidy = [&](Store& in, const StoreReader& of) {
        for (int n = 0; n < 50; ++n) {
            for (auto& move : moves) ++move.cursor.n;
            ASSERT_EQ(in.store(moves, {}).size(), moves.size());
        }
        in.tidy(of.owned());
    };
    store_and_tidy(*store, reader);
    if (GetParam()) sql_.run(schema_.sql("ANALYZE @s@.cursor"));
    reset();
    store_and_tidy(*store, reader);
    const auto first = cost("old_cursors").pages;
    for (int n = 0; n < 20; ++n) store_and_tidy(*store, reader);
    // Statistics that tell of three rows a slot make a sort of all of them look cheap.
    if (GetParam()) sql_.run(schema_.sql("ANALYZE @s@.cursor"));
    reset();
    store_and_tidy(*store, reader);
    EXPECT_EQ(cost("old_cursors").calls, 1);
    EXPECT_LE(cost("old_cursors").pages, first * 3 / 2);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(*) FROM @s@.cursor")), 16 * 3);
    // Nor does the next owner walk over all of it.
    const auto other = test::open_store(schema_);
    store->leave();
    StoreReader next(*other);
    moves = next.moves();
    reset();
    store_and_tidy(*other, next);
    EXPECT_LE(cost("old_cursors").pages, first * 3);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(*) FROM @s@.cursor")), 16 * 3);
}

// 200 ms at each measurement, with 40,000 cursors stored under the snapshot.
TEST_P(Plans, FindsTheNewestCursorThoughASnapshotKeepsEveryOneThatWasDeleted) {
    Sql holder = schema_.connect();
    holder.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    fill_ring();
    const auto store = test::open_store(schema_);
    (void)StoreReader(*store).read_window();
    const auto costs = [&] {
        reset();
        (void)store->measure();
        store->leave();
        (void)StoreReader(*store);
        (void)store->reclaim({.retention = std::chrono::hours{1}});
        std::vector<std::int64_t> pages;
        for (const auto* const part : {kMeasure, kLoad, kReclaim}) {
            EXPECT_GE(cost(part).calls, 1) << part;
            pages.push_back(cost(part).pages / std::max<std::int64_t>(1, cost(part).calls));
        }
        return pages;
    };
    const auto before = costs();
    sql_.run(schema_.sql(
        "INSERT INTO @s@.cursor (destination, slot, n, epoch, done, target, position, last_id, "
        "system_identifier) SELECT c.destination, c.slot, c.n + g, c.epoch, c.done, c.target, "
        "c.position, c.last_id, c.system_identifier "
        "FROM @s@.cursor c CROSS JOIN generate_series(1, 2000) g ORDER BY g, c.slot"));
    sql_.run(
        schema_.sql("DELETE FROM @s@.cursor c USING (SELECT slot, max(n) AS n "
                    "FROM @s@.cursor GROUP BY slot) m WHERE c.slot = m.slot AND c.n < m.n"));
    if (GetParam()) sql_.run(schema_.sql("ANALYZE @s@.cursor"));
    const auto after = costs();
    for (std::size_t n = 0; n < before.size(); ++n) {
        EXPECT_LE(after[n], before[n] * 3 / 2) << n;
    }
    EXPECT_GE(sql_.number(schema_.sql("SELECT count(*) FROM @s@.cursor")), 16);
}

TEST_P(Plans, LooksAtHeldRowsAndMarksThemByTheIndex) {
    constexpr std::size_t kHeld = 200;
    fill_ring();
    insert(60'000);
    sql_.run(
        schema_.sql("UPDATE @s@.outbox SET held_until = now() + interval '1 hour' "
                    "WHERE id > (SELECT max(id) - 60000 FROM @s@.outbox) AND id % 300 = 0"));
    maybe_analyze();
    const auto store = test::open_store(schema_);
    StoreReader reader(*store, {5'000, std::size_t{8} << 20});
    std::vector<RowRef> held;
    for (const auto& row : reader.read_window()) {
        if (row.held) held.push_back({row.slot, row.position, row.event_id});
    }
    ASSERT_EQ(held.size(), kHeld);
    reset();
    EXPECT_EQ(store->look_at(held), std::vector(kHeld, HoldState::held));
    EXPECT_EQ(cost(kLook).calls, 1);
    EXPECT_LT(cost(kLook).pages, 10 * static_cast<std::int64_t>(kHeld));
    store->mark_delivered(held);
    EXPECT_EQ(cost(kMark).calls, 1);
    EXPECT_LT(cost(kMark).pages, 20 * static_cast<std::int64_t>(kHeld));
    EXPECT_EQ(store->look_at(held), std::vector(kHeld, HoldState::gone));
}

// A caller's transaction that has locked a row of the log would stop the relay for as long.
TEST_P(Plans, MarksWithoutWaitingForWhoeverHasLockedARow) {
    insert(2);
    sql_.run(schema_.sql("UPDATE @s@.outbox SET held_until = now() + interval '1 hour'"));
    const auto store = test::open_store(schema_);
    StoreReader reader(*store);
    std::vector<RowRef> held;
    for (const auto& row : reader.read_window()) {
        held.push_back({row.slot, row.position, row.event_id});
    }
    ASSERT_EQ(held.size(), 2U);
    Sql other(schema_.connect());
    other.run(schema_.sql(
        fmt::format("BEGIN; SELECT FROM @s@.outbox WHERE id = {} FOR UPDATE", held[0].position)));
    store->mark_delivered(held);
    EXPECT_EQ(store->look_at(held), (std::vector{HoldState::held, HoldState::gone}));
    other.run("ROLLBACK");
    store->mark_delivered(held);
    EXPECT_EQ(store->look_at(held), (std::vector{HoldState::gone, HoldState::gone}));
}

TEST_P(Plans, ConfirmsAndSettlesForAFewPagesWhateverThereIs) {
    fill_ring();
    maybe_analyze();
    const auto store = test::open_store(schema_);
    StoreReader reader(*store, {5'000, std::size_t{8} << 20});
    (void)reader.read_window();
    ASSERT_EQ(store->store(reader.moves(), {}).size(), 16U);
    const auto publisher = postgres::open_publisher(schema_.direct_url("its plans are a session's"),
                                                    {.schema = schema_.name()});
    (void)publisher->attach();
    const auto pages_of_asking_and_settling = [&] {
        const auto row = sql_.rows(
            schema_.sql("INSERT INTO @s@.outbox (topic, key, event_type, payload, held_until) "
                        "VALUES ('t', 'mine', 'E', '', clock_timestamp() + interval '1 minute') "
                        "RETURNING slot, id, event_id"));
        const std::vector<RowRef> asked{{static_cast<std::int16_t>(std::stoi(row.at(0)[0])),
                                         std::stoll(row.at(0)[1]), Id::parse(row.at(0)[2])}};
        reset();
        (void)publisher->confirm(asked, {}, Milliseconds{1'000});
        publisher->settle(asked, {});
        return sql_.number(
            fmt::format("SELECT sum(shared_blks_hit + shared_blks_read)::bigint "
                        "FROM pg_stat_statements WHERE query ~ '^SELECT .*{}.(confirm|settle)_'",
                        schema_.name()));
    };
    (void)pages_of_asking_and_settling();  // The session learns its plans.
    EXPECT_LT(pages_of_asking_and_settling(), 60) << "all is delivered";
    insert(900);
    EXPECT_LT(pages_of_asking_and_settling(), 200) << "some is on its way";
    insert(200'000);
    EXPECT_LT(pages_of_asking_and_settling(), 2'500) << "a backlog";
}

INSTANTIATE_TEST_SUITE_P(Statistics, Plans, ::testing::Bool(),
                         [](const auto& each) { return each.param ? "Known" : "Unknown"; });

}  // namespace
}  // namespace sagaz
