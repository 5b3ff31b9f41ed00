// What became of a COMMIT whose answer was lost: never a guess.
#include "stores/postgres/migration.hpp"
#include "tests/support/postgres_server.hpp"
#include "tests/support/tcp_gate.hpp"

#include <sagaz/outbox.hpp>
#include <sagaz/postgres.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

namespace sagaz {
namespace {

using test::PostgresServer;
using test::Schema;
using test::Sql;
using test::TcpGate;

Event event() { return {.topic = "t", .key = "k", .event_type = "E", .payload = "p"}; }

Ticket append(Sql& sql, const Schema& schema) {
    PGconn* connection = sql.raw();
    return Outbox(schema.name()).append(connection, event());
}

CommitOutcome resolve(const std::string& url, const Schema& schema, const Ticket& ticket) {
    Sql sql(url);
    sql.run("BEGIN");
    PGconn* connection = sql.raw();
    return Outbox(schema.name()).resolve(connection, ticket);
}

class Resolve : public ::testing::Test {
protected:
    Resolve() { sql_.run(schema_.sql("SELECT @s@.attach()")); }

    CommitOutcome resolve(const Ticket& ticket) {
        return sagaz::resolve(schema_.url(), schema_, ticket);
    }
    Ticket committed() {
        sql_.run("BEGIN");
        Ticket ticket = append(sql_, schema_);
        sql_.run("COMMIT");
        return ticket;
    }
    Ticket rolled_back() {
        sql_.run("BEGIN");
        Ticket ticket = append(sql_, schema_);
        sql_.run("ROLLBACK");
        return ticket;
    }
    void run(const std::string& sql) { sql_.run(schema_.sql(sql)); }

    Schema schema_;
    Sql sql_{schema_.connect()};
};

TEST_F(Resolve, F02_SaysCommittedOrAborted) {
    EXPECT_EQ(resolve(committed()), CommitOutcome::committed);
    EXPECT_EQ(resolve(rolled_back()), CommitOutcome::aborted);
    EXPECT_EQ(resolve(Ticket{}), CommitOutcome::unknown);
}

// It appeared after a look-up that found nothing: see design 4.5.
TEST_F(Resolve, F02_WaitsForACommitThatIsOnItsWay) {
    Sql slow = schema_.connect();
    slow.run("BEGIN");
    const Ticket ticket = append(slow, schema_);
    EXPECT_EQ(resolve(ticket), CommitOutcome::wait);
    slow.run("COMMIT");
    EXPECT_EQ(resolve(ticket), CommitOutcome::committed);
}

TEST_F(Resolve, F13_WaitsForAPreparedTransaction) {
    sql_.run("BEGIN");
    const Ticket ticket = append(sql_, schema_);
    sql_.run("PREPARE TRANSACTION 'of " + schema_.name() + "'");
    EXPECT_EQ(resolve(ticket), CommitOutcome::wait);
    sql_.run("ROLLBACK PREPARED 'of " + schema_.name() + "'");
    EXPECT_EQ(resolve(ticket), CommitOutcome::aborted);
}

TEST_F(Resolve, WaitsWhenItIsAskedInTheVeryTransaction) {
    sql_.run("BEGIN");
    const Ticket ticket = append(sql_, schema_);
    PGconn* connection = sql_.raw();
    EXPECT_EQ(Outbox(schema_.name()).resolve(connection, ticket), CommitOutcome::wait);
    sql_.run("ROLLBACK");
}

TEST_F(Resolve, WaitsInASnapshotFromBeforeTheEnd) {
    Sql slow = schema_.connect();
    slow.run("BEGIN");
    const Ticket ticket = append(slow, schema_);
    Sql old = schema_.connect();
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    slow.run("COMMIT");
    PGconn* connection = old.raw();
    EXPECT_EQ(Outbox(schema_.name()).resolve(connection, ticket), CommitOutcome::wait);
}

// The connection is cut after each byte of COMMIT on its way there, and of the answer on its way
// back. Whatever is then said must be true, and stay true.
TEST_F(Resolve, F02_TellsTheTruthWhereverTheConnectionIsCut) {
    TcpGate gate(schema_.server().port());
    const std::string url =
        "postgresql://postgres@127.0.0.1:" + std::to_string(gate.port()) + "/postgres";
    std::map<CommitOutcome, int> outcomes;
    const auto cut = [&](TcpGate::Direction direction, std::int64_t bytes) {
        Sql cut_off(url);
        const int backend = cut_off.backend_pid();
        cut_off.run("BEGIN");
        const Ticket ticket = append(cut_off, schema_);
        gate.cut_after(direction, bytes);
        const bool was_answered = cut_off.failure("COMMIT").empty();
        CommitOutcome outcome{};
        test::wait_for("an outcome", [&] {
            outcome = resolve(ticket);
            return outcome != CommitOutcome::wait;
        });
        test::wait_for("the backend to end", [&] {
            return was_answered || sql_.value("SELECT count(*) FROM pg_stat_activity WHERE pid = " +
                                              std::to_string(backend)) == "0";
        });
        const bool is_there = sql_.value(schema_.sql("SELECT count(*) FROM @s@.outbox WHERE "
                                                     "event_id = '" +
                                                     ticket.ids()[0].text() + "'")) == "1";
        EXPECT_EQ(outcome, is_there ? CommitOutcome::committed : CommitOutcome::aborted)
            << static_cast<int>(direction) << " after " << bytes;
        EXPECT_TRUE(is_there || !was_answered);
        ++outcomes[outcome];
    };
    constexpr std::int64_t kCommit = 12;  // 'Q', four bytes of length, "COMMIT" and a zero
    constexpr std::int64_t kAnswer = 18;  // CommandComplete and ReadyForQuery
    for (std::int64_t n = 0; n <= kCommit; ++n) cut(TcpGate::Direction::to_server, n);
    for (std::int64_t n = 0; n <= kAnswer; ++n) cut(TcpGate::Direction::to_client, n);
    EXPECT_EQ(outcomes[CommitOutcome::aborted], kCommit);
    EXPECT_EQ(outcomes[CommitOutcome::committed], kAnswer + 2);
}

TEST_F(Resolve, FindsAnEventThatIsParkedAndGoneFromTheLog) {
    const Ticket ticket = committed();
    run("INSERT INTO @s@.parked (direction, destination, position, event_id, slot, reason, "
        "event_type, content_type) SELECT 'outbox', 'default', id, event_id, slot, 'no', "
        "event_type, content_type FROM @s@.outbox; DELETE FROM @s@.outbox");
    EXPECT_EQ(resolve(ticket), CommitOutcome::committed);
}

TEST_F(Resolve, F61_DoesNotKnowWhereTheLogWasEmptied) {
    const Ticket ticket = committed();
    run("DELETE FROM @s@.outbox; UPDATE @s@.segment SET removed_upto = " +
        std::to_string(ticket.entries()[0].position) + " WHERE segment = 0");
    EXPECT_EQ(resolve(ticket), CommitOutcome::unknown);
    EXPECT_EQ(resolve(rolled_back()), CommitOutcome::aborted) << "above what was removed";
}

// A truncation is seen by snapshots from before it: they find the segment empty and the mark of
// what left it old. Such a look-up waits for the lock that the truncation holds.
TEST_F(Resolve, F61_DoesNotSayAbortedOfWhatIsTruncatedWhileItLooks) {
    const Ticket ticket = committed();
    const auto& entry = ticket.entries()[0];
    const std::string question = schema_.sql(
        fmt::format("SELECT @s@.resolve('{}', ARRAY['{}']::uuid[], ARRAY[{}]::bigint[], "
                    "ARRAY['{}']::xid8[], ARRAY[{}]::smallint[])",
                    entry.incarnation.text(), entry.event_id.text(), entry.position,
                    entry.transaction, entry.slot));
    for (const std::string isolation : {"READ COMMITTED", "REPEATABLE READ"}) {
        Sql reclaims = schema_.connect();
        reclaims.run(schema_.sql("BEGIN; LOCK TABLE @s@.outbox_00 IN ACCESS EXCLUSIVE MODE"));
        Sql asks = schema_.connect();
        asks.run("BEGIN ISOLATION LEVEL " + isolation);
        asks.start(question);
        test::wait_for("the look-up to wait for the segment", [&] {
            return sql_.value(fmt::format("SELECT count(*) FROM pg_locks WHERE NOT granted AND "
                                          "pid = {}",
                                          asks.backend_pid())) == "1";
        });
        reclaims.run(schema_.sql(
            fmt::format("TRUNCATE ONLY @s@.outbox_00; UPDATE @s@.segment SET removed_upto = {} "
                        "WHERE segment = 0; COMMIT",
                        entry.position)));
        EXPECT_EQ(asks.finish(), (std::vector<Sql::Row>{{"unknown"}})) << isolation;
        run("UPDATE @s@.segment SET removed_upto = 0");
    }
}

TEST_F(Resolve, FindsWhatARebaseHasMoved) {
    const Ticket ticket = committed();
    const Ticket gone = rolled_back();
    run("SELECT @s@.rebase(true)");
    EXPECT_EQ(resolve(ticket), CommitOutcome::committed);
    EXPECT_EQ(resolve(gone), CommitOutcome::lost);
}

TEST_F(Resolve, KnowsItsMemoryThroughAChangeOfSettings) {
    const Ticket ticket = rolled_back();
    run("DELETE FROM @s@.outbox");
    postgres::set_setting(schema_.url(), schema_.name(), "on_refused", "park_event");
    postgres::set_setting(schema_.url(), schema_.name(), "on_refused", "park_key");
    EXPECT_EQ(resolve(ticket), CommitOutcome::aborted);
    run("DELETE FROM @s@.incarnation; SELECT @s@.attach()");
    EXPECT_EQ(resolve(ticket), CommitOutcome::lost);
}

TEST_F(Resolve, ForgivesNoAppendBeforeTheFirstRelay) {
    run("DELETE FROM @s@.incarnation");
    const Ticket there = committed();
    const Ticket not_there = rolled_back();
    EXPECT_TRUE(there.entries()[0].incarnation.is_zero());
    EXPECT_EQ(resolve(there), CommitOutcome::committed);
    EXPECT_EQ(resolve(not_there), CommitOutcome::lost) << "a crash in between would leave no trace";
}

TEST_F(Resolve, IsTheProducersRightAndNobodyElses) {
    postgres::migrate(schema_.url(), schema_.name(), true);
    const Ticket ticket = committed();
    run("SET ROLE @s@_producer; BEGIN");
    PGconn* connection = sql_.raw();
    EXPECT_EQ(Outbox(schema_.name()).resolve(connection, ticket), CommitOutcome::committed);
    run("ROLLBACK; SET ROLE @s@_reader");
    EXPECT_EQ(sql_.failure(schema_.sql("SELECT @s@.resolve(null, '{}', '{}', '{}', '{}')")),
              "42501");
    EXPECT_EQ(sql_.failure(schema_.sql("SELECT @s@.rebase(true)")), "42501");
}

// The new primary gives the lost transaction's id and place in the log to others.
TEST(ResolveAfterAFailover, F03_F08_FindsByTheEventsIdAlone) {
    PostgresServer old_primary;
    const Schema schema(old_primary);
    Sql(schema.url()).run(schema.sql("SELECT @s@.attach()"));
    const auto standby = old_primary.standby();
    Sql old_sql(schema.url());
    old_sql.run("BEGIN");
    const Ticket lost = append(old_sql, schema);
    old_sql.run("COMMIT");
    old_primary.stop();
    Sql sql(standby->url());
    sql.run("SELECT pg_promote()");
    std::uint64_t transaction = 0;
    std::int64_t position = 0;
    while (transaction < lost.entries()[0].transaction || position < lost.entries()[0].position) {
        sql.run("BEGIN");
        const Ticket other = append(sql, schema);
        sql.run("COMMIT");
        transaction = other.entries()[0].transaction;
        position = other.entries()[0].position;
    }
    EXPECT_EQ(
        sql.value("SELECT pg_xact_status('" + std::to_string(lost.entries()[0].transaction) + "')"),
        "committed")
        << "of another transaction";
    EXPECT_EQ(resolve(standby->url(), schema, lost), CommitOutcome::lost);
    sql.run(schema.sql("SELECT @s@.attach()"));
    EXPECT_EQ(resolve(standby->url(), schema, lost), CommitOutcome::lost);
}

TEST(ResolveAfterACrash, F02_SaysCommittedOfWhatSurvivedAndLostOfWhatDidNot) {
    PostgresServer server;
    const Schema schema(server);
    Sql(schema.url()).run(schema.sql("SELECT @s@.attach()"));
    Sql survivor(schema.url());
    survivor.run("BEGIN");
    const Ticket survived = append(survivor, schema);
    survivor.run("COMMIT");
    Sql victim(schema.url());
    victim.run("BEGIN");
    const Ticket open = append(victim, schema);
    server.kill9();
    server.start();
    EXPECT_EQ(resolve(schema.url(), schema, survived), CommitOutcome::committed);
    EXPECT_EQ(resolve(schema.url(), schema, open), CommitOutcome::lost);
}

}  // namespace
}  // namespace sagaz
