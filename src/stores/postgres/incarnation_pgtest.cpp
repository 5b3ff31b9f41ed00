// The database's memory and its loss: crash, pooler, copy, standby.
#include "testing/store_reader.hpp"
#include "tests/support/pgbouncer_server.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>

#include <functional>

namespace sagaz {
namespace {

using test::commit_event;
using test::open_store;
using test::PgbouncerServer;
using test::PostgresServer;
using test::PostgresWriter;
using test::Schema;
using test::StopMode;
using testing::payloads_of;
using testing::StoreReader;
using Words = std::vector<std::string>;

std::string code_of(const std::function<void()>& call) {
    try {
        call();
        return "";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::unavailable) << error.what();
        return std::string(error.code());
    }
}

// Calls until the server answers again, and returns what it then says.
std::string code_after_outage(const std::function<void()>& call) {
    std::string code;
    test::wait_for("the database to answer", [&] {
        code = code_of(call);
        return code.empty() || code == "incarnation_changed" || code == "in_recovery";
    });
    return code;
}

// Commits that never reach the disk are gone after the crash, and their transaction ids are given
// out again: a snapshot from before counts the new rows as delivered.
PostgresServer& forgetful_server() {
    static PostgresServer server({.config = {"wal_writer_delay = 10s", "synchronous_commit = off",
                                             "autovacuum = off", "bgwriter_lru_maxpages = 0"},
                                  .bin = ""});
    return server;
}

constexpr int kAppended = 8;
// Attaching anew takes two transaction ids before the new event does, and the first that was lost
// may have left a record that keeps its id taken; so many must be free again.
constexpr std::int64_t kTakenFirst = 4;

// Reads a few rows that are not on disk, crashes the server, and expects that what survived is
// read again, and a new row with it. Returns how many survived: the server may have written them
// out by itself meanwhile.

std::int64_t survive_a_crash(const Schema& schema, Store& store) {
    StoreReader reader(store);
    (void)store.flushed(true);
    for (int n = 0; n < kAppended; ++n) commit_event(schema, std::to_string(n));
    EXPECT_EQ(reader.read_window().size(), std::size_t{kAppended});
    const Snapshot remembered = reader.opening().target;
    schema.server().kill9();
    schema.server().start();
    const auto survived = schema.connect().number(schema.sql("SELECT count(*) FROM @s@.outbox"));
    // Somebody else finds out first, so there is a token again, but another one.
    const auto other = open_store(schema);
    (void)other->attach(Id::generate());
    commit_event(schema, "new");
    EXPECT_EQ(code_after_outage([&] { (void)store.store(reader.moves(), {}); }),
              "incarnation_changed");
    StoreReader again(store);
    const auto rows = again.read_window();
    Words expected;
    for (std::int64_t n = 0; n < survived; ++n) expected.push_back(std::to_string(n));
    expected.emplace_back("new");
    EXPECT_EQ(payloads_of(rows), expected);
    if (survived <= kAppended - kTakenFirst && !rows.empty()) {
        EXPECT_TRUE(remembered.sees(rows.back().transaction))
            << "its id was given out before: the remembered snapshot would have passed it over";
    }
    return survived;
}

// Until the crash has taken something back, which it nearly always does at once.
void lose_commits(const std::function<std::unique_ptr<Store>(const Schema&)>& open) {
    for (int attempt = 0; attempt < 10; ++attempt) {
        const Schema schema(forgetful_server());
        const auto store = open(schema);
        if (survive_a_crash(schema, *store) <= kAppended - kTakenFirst) return;
    }
    FAIL() << "no crash took a commit back";
}

TEST(Incarnation, F60_ForgetsSnapshotsOfCommitsThatACrashTookBack) {
    lose_commits([](const Schema& schema) { return open_store(schema); });
}

// The client's connection to the pooler lives on, so nothing but the token tells.
TEST(Incarnation, F60_NoticesACrashBehindAPooler) {
    const PgbouncerServer pooler(forgetful_server());
    lose_commits([&](const Schema& schema) {
        return postgres::open(pooler.url(), {.schema = schema.name()});
    });
}

TEST(Incarnation, KeepsWhatItKnowsThroughACleanRestart) {
    PostgresServer server;
    const Schema schema(server);
    const auto store = open_store(schema);
    StoreReader reader(*store);
    server.restart(StopMode::fast);
    EXPECT_EQ(code_after_outage([&] { (void)store->open_window(); }), "");
}

TEST(Incarnation, TrustsACursorThatSurvivedACrash) {
    const Schema schema(forgetful_server());
    const auto store = open_store(schema);
    PostgresWriter late(schema);
    {
        StoreReader reader(*store);
        late.append("uncommitted");
        commit_event(schema, "delivered");
        EXPECT_EQ(reader.read_window().size(), 1U);
        EXPECT_EQ(store->store(reader.moves(), {}).size(), 16U);
        EXPECT_GE(store->flushed(true), reader.opening().gate);
    }
    forgetful_server().kill9();
    forgetful_server().start();
    commit_event(schema, "new");
    EXPECT_EQ(code_after_outage([&] { (void)store->observe({}); }), "incarnation_changed");
    StoreReader again(*store);
    EXPECT_EQ(payloads_of(again.read_window()), Words{"new"});
}

TEST(Incarnation, TellsACopyByTheClustersIdentifier) {
    const Schema schema;
    const auto store = open_store(schema);
    StoreReader reader(*store);
    auto sql = schema.connect();
    const auto token = sql.value(schema.sql("SELECT token FROM @s@.incarnation"));
    // What a dump carries into another cluster: the token, with an identifier that is not its own.
    sql.run(schema.sql("UPDATE @s@.incarnation SET system_identifier = system_identifier + 1"));
    EXPECT_EQ(code_of([&] { (void)store->open_window(); }), "incarnation_changed");
    EXPECT_NE(store->attach(Id::generate()).incarnation.text(), token);
    EXPECT_EQ(code_of([&] { (void)store->open_window(); }), "");
}

TEST(Incarnation, F18_RefusesAStandby) {
    PostgresServer server;
    const Schema schema(server);
    const auto primary = open_store(schema);
    primary->attach(Id::generate());
    const auto standby = server.standby();
    const auto store = postgres::open(standby->url(), {.schema = schema.name()});
    EXPECT_EQ(code_of([&] { store->attach(Id::generate()); }), "in_recovery");
    EXPECT_EQ(code_of([&] { (void)store->open_window(); }), "in_recovery")
        << "nor does a statement run there that was meant for the primary";
}

TEST(Incarnation, F18_FindsAnotherMemoryOnAPromotedStandby) {
    PostgresServer server;
    const Schema schema(server);
    const auto primary = open_store(schema);
    const Id before = primary->attach(Id::generate()).incarnation;
    const auto standby = server.standby();
    test::Sql(standby->url()).run("SELECT pg_promote()");
    const auto store = postgres::open(standby->url(), {.schema = schema.name()});
    EXPECT_NE(store->attach(Id::generate()).incarnation, before);
}

TEST(Incarnation, F26_WorksThroughAPoolerThatMixesConnections) {
    const Schema schema;
    const PgbouncerServer pooler(schema.server(), 3);
    const auto store = postgres::open(pooler.url(), {.schema = schema.name()});
    StoreReader reader(*store, {3, 1'000'000});
    auto moves = reader.moves();
    for (std::int64_t round = 1; round <= 10; ++round) {
        // A transaction of another client holds the server connection that the store used last.
        PostgresWriter writer(pooler.url(), schema.name());
        for (int n = 0; n < 5; ++n) writer.append("x", std::to_string(n));
        EXPECT_TRUE(reader.read_window().empty());
        writer.commit();
        EXPECT_EQ(reader.read_window().size(), 5U);
        moves = reader.moves();
        for (auto& move : moves) move.cursor.n = round;
        EXPECT_EQ(store->store(moves, {}).size(), 16U);
        EXPECT_GE(store->flushed(true), reader.opening().gate);
        EXPECT_EQ(store->observe({}).slots.size(), 16U);
    }
}

}  // namespace
}  // namespace sagaz
