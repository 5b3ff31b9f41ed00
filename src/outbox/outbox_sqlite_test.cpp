#include "outbox/append.hpp"
#include "tests/support/error_code.hpp"
#include "tests/support/sqlite_file.hpp"

#include <sagaz/error.hpp>
#include <sagaz/outbox.hpp>
#include <sagaz/sqlite.hpp>

#include <gtest/gtest.h>

namespace sagaz {
namespace {

using namespace std::string_literals;
using test::code_of;
using test::SqliteConnection;

Event good() { return {.topic = "t", .key = "k", .event_type = "E", .payload = "p"}; }

class OutboxOnSqlite : public ::testing::Test {
protected:
    Ticket append(const Event& event) {
        sqlite3* raw = sql_.raw();
        return Outbox().append(raw, event);
    }
    std::string count() { return sql_.value("SELECT count(*) FROM sagaz_outbox"); }

    test::SqliteFile file_;
    SqliteConnection sql_{file_.path()};
};

TEST_F(OutboxOnSqlite, F01_AnEventLivesAndDiesWithTheTransaction) {
    sql_.run("BEGIN IMMEDIATE");
    append(good());
    sql_.run("ROLLBACK; BEGIN IMMEDIATE");
    Event kept = good();
    kept.payload = "kept";
    append(kept);
    sql_.run("COMMIT");
    EXPECT_EQ(sql_.run("SELECT payload FROM sagaz_outbox"), std::vector<std::string>{"kept"});
}

TEST_F(OutboxOnSqlite, WritesEveryFieldAsItIs) {
    Event event{.topic = "orders",
                .key = "",
                .event_type = "Ordered",
                .payload = "\0\\x00\xff'"s,
                .content_type = "application/x",
                .headers = {{"a", "'; DROP"}, {"traceparent", "00-1-2-01"}},
                .id = Id::parse("0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa"),
                .aggregate_type = "at",
                .aggregate_id = "ai",
                .saga_id = "si"};
    sql_.run("BEGIN IMMEDIATE");
    const Ticket ticket = append(event);
    sql_.run("COMMIT");
    EXPECT_EQ(sql_.value("SELECT event_id || '|' || topic || '|' || key || '|' || event_type || "
                         "'|' || hex(payload) || '|' || content_type || '|' || headers || '|' || "
                         "aggregate_type || '|' || aggregate_id || '|' || saga_id "
                         "FROM sagaz_outbox"),
              "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa|orders||Ordered|005C783030FF27|application/x|"
              "{\"a\":\"'; DROP\",\"traceparent\":\"00-1-2-01\"}|at|ai|si");
    ASSERT_EQ(ticket.entries().size(), 1U);
    const auto& entry = ticket.entries()[0];
    EXPECT_EQ(entry.event_id, event.id);
    EXPECT_EQ(entry.position, 1);
    EXPECT_EQ(entry.transaction, 1U);
    EXPECT_EQ(entry.slot, 0);
    EXPECT_EQ(entry.incarnation.text(), sql_.value("SELECT token FROM sagaz_incarnation"));
}

TEST_F(OutboxOnSqlite, HoldsAnEventForSoLongInTheFormOfTheLogsTimes) {
    const Event event = good();
    for (const auto& [hold, seconds] :
         {std::pair{1'500, "1.5"}, {60'007, "60.007"}, {50, "0.05"}}) {
        sql_.run("BEGIN IMMEDIATE");
        sqlite3* raw = sql_.raw();
        sqlite::SqliteTransaction transaction{raw};
        const Milliseconds time{hold};
        transaction.execute(outbox::append_statement(Dialect::sqlite, "sagaz", {&event, 1}, time));
        EXPECT_EQ(sql_.value("SELECT round((julianday(held_until) - julianday(created_at)) * "
                             "86400.0, 3) || '|' || (length(held_until) = length(created_at)) "
                             "FROM sagaz_outbox"),
                  std::string(seconds) + "|1");
        sql_.run("ROLLBACK");
    }
}

TEST_F(OutboxOnSqlite, LeavesOutWhatIsNotThere) {
    sql_.run("BEGIN IMMEDIATE");
    const Ticket ticket = append({.event_type = "E", .payload = ""});
    sql_.run("COMMIT");
    EXPECT_EQ(sql_.value("SELECT topic IS NULL AND key IS NULL AND headers IS NULL AND "
                         "aggregate_id IS NULL AND typeof(payload) = 'blob' FROM sagaz_outbox"),
              "1");
    EXPECT_EQ(sql_.value("SELECT event_id FROM sagaz_outbox"), ticket.ids().at(0).text());
}

TEST_F(OutboxOnSqlite, AppendsManyEventsInTheirOrderWithIdsOfTheirOwn) {
    std::vector<Event> events;
    for (std::size_t n = 0; n < Outbox::kEventsMax; ++n) {
        events.push_back(good());
        events.back().payload = std::to_string(n);
        if (n % 2 == 0) events.back().id = Id::generate();
    }
    sql_.run("BEGIN IMMEDIATE");
    sqlite3* raw = sql_.raw();
    const Ticket ticket = Outbox().append(raw, events);
    sql_.run("COMMIT");
    EXPECT_EQ(sql_.value("SELECT count(DISTINCT event_id) FROM sagaz_outbox"), "1000");
    const auto payloads = sql_.run("SELECT payload FROM sagaz_outbox ORDER BY id");
    const auto ids = sql_.run("SELECT event_id FROM sagaz_outbox ORDER BY id");
    for (std::size_t n = 0; n < events.size(); ++n) {
        ASSERT_EQ(payloads[n], events[n].payload);
        ASSERT_EQ(ids[n], ticket.ids()[n].text());
        ASSERT_TRUE(n % 2 == 1 || ticket.ids()[n] == events[n].id);
    }
}

TEST_F(OutboxOnSqlite, FitsTheLargestAppendInWhatSqliteTakes) {
    Event event = good();
    for (std::size_t n = 0; n < kHeadersMax; ++n) event.headers.push_back({std::to_string(n), "v"});
    sql_.run("BEGIN IMMEDIATE");
    sqlite3* raw = sql_.raw();
    (void)Outbox().append(raw, std::vector<Event>(Outbox::kEventsMax, event));
    sql_.run("COMMIT");
    EXPECT_EQ(sql_.value("SELECT sum(json_array_length(headers)) FROM sagaz_outbox"), "64000");
}

TEST_F(OutboxOnSqlite, KeepsAHeaderThatComesTwice) {
    Event event = good();
    event.headers = {{"a", "1"}, {"a", "2"}};
    sql_.run("BEGIN IMMEDIATE");
    append(event);
    EXPECT_EQ(sql_.value("SELECT headers FROM sagaz_outbox"), R"([["a","1"],["a","2"]])");
    sql_.run("ROLLBACK");
}

TEST_F(OutboxOnSqlite, RefusesToAppendOutsideOfATransaction) {
    EXPECT_EQ(code_of([&] { append(good()); }), "no_transaction");
    EXPECT_EQ(count(), "0");
}

TEST_F(OutboxOnSqlite, F87_RefusesAConnectionBelowSynchronousFull) {
    sql_.run("PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE");
    EXPECT_EQ(code_of([&] { append(good()); }), "synchronous_normal");
    sqlite::SqliteTransaction accepted(sql_.raw(), sqlite::Synchronous::normal);
    EXPECT_EQ(Outbox().append(accepted, good()).ids().size(), 1U);
    sql_.run("ROLLBACK; PRAGMA synchronous = OFF; BEGIN IMMEDIATE");
    EXPECT_EQ(code_of([&] { append(good()); }), "synchronous_off");
    EXPECT_EQ(code_of([&] { Outbox().append(accepted, good()); }), "synchronous_off");
    sql_.run("ROLLBACK; PRAGMA synchronous = EXTRA; BEGIN IMMEDIATE");
    EXPECT_EQ(code_of([&] { append(good()); }), "");
    sql_.run("ROLLBACK");
}

TEST_F(OutboxOnSqlite, F89_SaysBusyAndSnapshotApart) {
    SqliteConnection other(file_.path(), 0);
    sql_.run("BEGIN IMMEDIATE");
    append(good());
    other.run("BEGIN; SELECT count(*) FROM sagaz_outbox");
    sqlite3* raw = other.raw();
    EXPECT_EQ(code_of([&] { (void)Outbox().append(raw, good()); }), "busy");
    sql_.run("COMMIT");
    try {
        (void)Outbox().append(raw, good());
        FAIL() << "it read before the commit";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::conflict);
        EXPECT_EQ(error.code(), "busy_snapshot");
    }
    other.run("ROLLBACK; BEGIN IMMEDIATE");
    EXPECT_EQ(Outbox().append(raw, good()).ids().size(), 1U);
    other.run("COMMIT");
    EXPECT_EQ(count(), "2");
}

TEST_F(OutboxOnSqlite, SaysWhenTheTablesAreNotThere) {
    sql_.run("BEGIN IMMEDIATE");
    sqlite3* raw = sql_.raw();
    EXPECT_EQ(code_of([&] { (void)Outbox("other").append(raw, good()); }), "schema_missing");
    sql_.run("ROLLBACK");
}

TEST_F(OutboxOnSqlite, HandsOutTheStatementForWhoRunsItHimself) {
    const Event event = good();
    const Statement statement = Outbox().append_statement(event, Dialect::sqlite);
    EXPECT_EQ(statement.sql.find("::"), std::string::npos);
    sql_.run("BEGIN IMMEDIATE");
    sqlite::SqliteTransaction transaction(sql_.raw());
    EXPECT_EQ(transaction.execute(statement).size(), 1U);
    sql_.run("COMMIT");
    EXPECT_EQ(count(), "1");
}

class ResolveOnSqlite : public OutboxOnSqlite {
protected:
    Ticket end(const char* how) {
        sql_.run("BEGIN IMMEDIATE");
        Ticket ticket = append(good());
        sql_.run(how);
        return ticket;
    }
    CommitOutcome resolve(const Ticket& ticket) {
        SqliteConnection other(file_.path());
        other.run("BEGIN IMMEDIATE");
        sqlite3* raw = other.raw();
        return Outbox().resolve(raw, ticket);
    }
};

TEST_F(ResolveOnSqlite, F02_SaysCommittedOrAborted) {
    EXPECT_EQ(resolve(end("COMMIT")), CommitOutcome::committed);
    const Ticket aborted = end("ROLLBACK");
    EXPECT_EQ(resolve(aborted), CommitOutcome::aborted);
    EXPECT_EQ(resolve(end("COMMIT")), CommitOutcome::committed);
    EXPECT_EQ(resolve(aborted), CommitOutcome::aborted) << "another event has its id";
    EXPECT_EQ(resolve(Ticket{}), CommitOutcome::unknown);
}

TEST_F(ResolveOnSqlite, SaysNothingWhileAWriterIsAtWork) {
    sql_.run("BEGIN IMMEDIATE");
    const Ticket ticket = append(good());
    SqliteConnection other(file_.path());
    other.run("PRAGMA busy_timeout = 0; BEGIN");
    sqlite3* raw = other.raw();
    EXPECT_EQ(code_of([&] { (void)Outbox().resolve(raw, ticket); }), "busy");
    sql_.run("COMMIT");
    EXPECT_EQ(resolve(ticket), CommitOutcome::committed);
}

TEST_F(ResolveOnSqlite, DoesNotKnowWhatTheCursorHasPassedAndLosesWhatAnotherFileKnew) {
    const Ticket ticket = end("COMMIT");
    sql_.run("DELETE FROM sagaz_outbox; UPDATE sagaz_cursor SET position = 1");
    EXPECT_EQ(resolve(ticket), CommitOutcome::unknown);
    sql_.run("UPDATE sagaz_incarnation SET token = '0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa'");
    EXPECT_EQ(resolve(ticket), CommitOutcome::lost);
}

}  // namespace
}  // namespace sagaz
