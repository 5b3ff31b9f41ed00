// The model against the real server: the same script on both, compared in what a log can see.
#include "database.hpp"
#include "tests/support/postgres_server.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace sagaz::simulation {
namespace {

using test::PostgresServer;
using test::Sql;
using test::StopMode;

/// A snapshot's text with its transaction ids counted from `base`.
std::string relative(const Snapshot& snapshot, std::uint64_t base) {
    std::string text = fmt::format("{}:{}:", static_cast<std::int64_t>(snapshot.xmin - base),
                                   static_cast<std::int64_t>(snapshot.xmax - base));
    for (const std::uint64_t xid : snapshot.running) text += fmt::format("{},", xid - base);
    return text;
}

std::string snapshot_of(Sql& sql, std::uint64_t base) {
    return relative(Snapshot::parse(sql.value("SELECT pg_current_snapshot()")), base);
}

constexpr const char* kInsert = "INSERT INTO log DEFAULT VALUES RETURNING xid";

class Model : public testing::Test {
protected:
    Model()
        : server_({.config = {"autovacuum = off", "wal_writer_delay = 10s",
                              "synchronous_commit = off"}}) {
        Sql sql(server_.url());
        sql.run("CREATE SEQUENCE log_id CACHE 1");
        sql.run(
            "CREATE TABLE log (xid xid8 DEFAULT pg_current_xact_id(), "
            "id bigint DEFAULT nextval('log_id'))");
        sql.run("CHECKPOINT");
    }

    EventIndex append(SimDatabase::Tx tx) {
        database_.take_xid(tx);
        return database_.insert(tx, {.topic = "t", .key = "k", .payload = "p"},
                                database_.next_position());
    }
    void commit(SimDatabase::Tx tx, bool sync) {
        const Lsn lsn = database_.write_commit(tx);
        if (sync) database_.flush(lsn);
        database_.become_visible(tx);
        database_.release_locks(tx);
    }

    PostgresServer server_;
    Scheduler scheduler_{1};
    SimDatabase database_{scheduler_, 2, Settings{.slot_count = 1}};
};

}  // namespace

TEST_F(Model, TakesTheSnapshotsThatPostgresTakes) {
    Sql first(server_.url());
    Sql second(server_.url());
    Sql third(server_.url());
    Sql reader(server_.url());
    const auto a = database_.begin();
    const auto b = database_.begin();
    const auto c = database_.begin();
    first.run("BEGIN");
    const auto real = static_cast<std::uint64_t>(first.number("SELECT pg_current_xact_id()::text"));
    const std::uint64_t model = database_.take_xid(a);
    const auto expect_same = [&](const char* when) {
        EXPECT_EQ(relative(database_.snapshot(), model), snapshot_of(reader, real)) << when;
    };
    expect_same("one runs");
    second.run("BEGIN");
    second.run(kInsert);
    append(b);
    third.run("BEGIN");
    third.run(kInsert);
    append(c);
    expect_same("three run, none has finished since");
    second.run("COMMIT");
    commit(b, false);
    expect_same("the middle one has finished: the third is at xmax, and not listed");
    third.run("SAVEPOINT s");
    third.run(kInsert);
    third.run("ROLLBACK TO SAVEPOINT s");
    database_.savepoint(c);
    append(c);
    database_.rollback_to_savepoint(c);
    expect_same("a subtransaction was rolled back");
    first.run("ROLLBACK");
    database_.abort(a);
    expect_same("the first was rolled back");
    third.run("COMMIT");
    commit(c, false);
    expect_same("all have finished");
}

TEST_F(Model, F06_F08_ForgetsInACrashWhatPostgresForgets) {
    std::uint64_t real_kept = 0;
    std::uint64_t real_lost = 0;
    {
        Sql sql(server_.url());
        sql.run("SET synchronous_commit = on");
        real_kept = static_cast<std::uint64_t>(sql.number(std::string(kInsert) + "::text"));
        sql.run("SET synchronous_commit = off");
        for (int n = 0; n < 5; ++n) {
            real_lost = static_cast<std::uint64_t>(sql.number(std::string(kInsert) + "::text"));
        }
        EXPECT_EQ(sql.number("SELECT count(*) FROM log"), 6) << "visible before they are on disk";
    }
    const auto kept = database_.begin();
    append(kept);
    commit(kept, true);
    for (int n = 0; n < 5; ++n) {
        const auto lost = database_.begin();
        append(lost);
        commit(lost, false);
    }
    EXPECT_EQ(database_.live(0).size(), 6U);

    server_.kill9();
    server_.start();
    database_.crash(database_.flushed_lsn());
    database_.start();

    Sql sql(server_.url());
    EXPECT_EQ(static_cast<std::int64_t>(database_.live(0).size()),
              sql.number("SELECT count(*) FROM log"));
    const auto model_kept = database_.row(0).xid;
    sql.run("BEGIN");
    const auto real_next = static_cast<std::uint64_t>(sql.number(std::string(kInsert) + "::text"));
    const auto next = database_.begin();
    const EventIndex event = append(next);
    EXPECT_LE(real_next, real_lost)
        << "the id of a transaction that was seen to commit comes again";
    EXPECT_EQ(database_.row(event).xid - model_kept, real_next - real_kept);
    EXPECT_EQ(database_.row(event).position, sql.number("SELECT max(id) FROM log"))
        << "32 positions are skipped, since the sequence's record ran ahead";
}

}  // namespace sagaz::simulation
