#include "outbox/append.hpp"
#include "tests/support/error_code.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/error.hpp>
#include <sagaz/outbox.hpp>
#include <sagaz/postgres.hpp>

#include <gtest/gtest.h>

namespace sagaz {
namespace {

using namespace std::string_literals;
using test::code_of;
using test::Schema;
using test::Sql;

class OutboxOnPostgres : public ::testing::Test {
protected:
    Ticket append(const Event& event) {
        PGconn* connection = sql_.raw();
        return outbox_.append(connection, event);
    }
    std::string value(const std::string& sql) { return sql_.value(schema_.sql(sql)); }

    Schema schema_;
    Sql sql_{schema_.client()};
    Outbox outbox_{schema_.name()};
};

TEST_F(OutboxOnPostgres, F01_AnEventLivesAndDiesWithTheTransaction) {
    sql_.run("BEGIN");
    append({.topic = "t", .key = "k", .event_type = "E", .payload = "rolled back"});
    sql_.run("ROLLBACK; BEGIN");
    append({.topic = "t", .key = "k", .event_type = "E", .payload = "kept"});
    sql_.run("COMMIT");
    EXPECT_EQ(value("SELECT convert_from(payload, 'UTF8') FROM @s@.outbox"), "kept");
}

TEST_F(OutboxOnPostgres, WritesEveryFieldAsItIs) {
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
    sql_.run("BEGIN");
    const Ticket ticket = append(event);
    sql_.run("COMMIT");
    EXPECT_EQ(
        value("SELECT concat_ws('|', event_id, topic, key, event_type, encode(payload, 'hex'),"
              " content_type, headers, aggregate_type, aggregate_id, saga_id) "
              "FROM @s@.outbox"),
        "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa|orders||Ordered|005c783030ff27|application/x|"
        "{\"a\": \"'; DROP\", \"traceparent\": \"00-1-2-01\"}|at|ai|si");
    ASSERT_EQ(ticket.ids().size(), 1U);
    EXPECT_EQ(ticket.ids()[0], event.id);
}

TEST_F(OutboxOnPostgres, HoldsAnEventForSoLongFromTheAppend) {
    const std::vector<Event> events{{.event_type = "E"}, {.key = "k", .event_type = "E"}};
    sql_.run("BEGIN; SELECT pg_sleep(0.2)");
    postgres::LibpqTransaction transaction(sql_.raw());
    for (const auto part : {std::span{events}, std::span{events}.first(1)}) {
        transaction.execute(
            outbox::append_statement(Dialect::postgres, schema_.name(), part, Milliseconds{1'500}));
    }
    sql_.run("COMMIT");
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox WHERE abs(extract(epoch FROM "
                    "held_until - created_at) - 1.5) < 0.1"),
              "3");
}

TEST_F(OutboxOnPostgres, TellsWhatTheDatabaseChose) {
    const Id token = Id::parse(value("SELECT @s@.attach()"));
    sql_.run("BEGIN");
    const Ticket ticket = append({.event_type = "E"});
    const auto transaction = sql_.value("SELECT pg_current_xact_id()");
    sql_.run("COMMIT");
    ASSERT_EQ(ticket.entries().size(), 1U);
    const auto& entry = ticket.entries()[0];
    EXPECT_EQ(entry.incarnation, token);
    EXPECT_EQ(std::to_string(entry.transaction), transaction);
    EXPECT_EQ(value("SELECT concat_ws('|', event_id, id, slot, topic IS NULL, key IS NULL, "
                    "headers IS NULL) FROM @s@.outbox"),
              entry.event_id.text() + "|" + std::to_string(entry.position) + "|" +
                  std::to_string(entry.slot) + "|t|t|t");
}

TEST_F(OutboxOnPostgres, KeepsRepeatedHeadersAsPairs) {
    sql_.run("BEGIN");
    append({.event_type = "E", .headers = {{"b", "1"}, {"a", ""}, {"b", "2"}}});
    append({.event_type = "E", .headers = std::vector<Header>(kHeadersMax, {"same", "v"})});
    std::vector<Header> distinct;
    for (std::size_t n = 0; n < kHeadersMax; ++n) distinct.push_back({std::to_string(n), "v"});
    append({.event_type = "E", .headers = distinct});
    sql_.run("COMMIT");
    EXPECT_EQ(value("SELECT headers FROM @s@.outbox ORDER BY id LIMIT 1"),
              R"([["b", "1"], ["a", ""], ["b", "2"]])");
    EXPECT_EQ(value("SELECT string_agg(jsonb_typeof(headers), ',' ORDER BY id) FROM @s@.outbox"),
              "array,array,object");
}

TEST_F(OutboxOnPostgres, AppendsAThousandEventsInOrderInOneTransaction) {
    std::vector<Event> events;
    for (std::size_t n = 0; n < Outbox::kEventsMax; ++n) {
        events.push_back(
            {.topic = "t", .key = "k", .event_type = "E", .payload = std::to_string(n)});
    }
    sql_.run("BEGIN");
    PGconn* connection = sql_.raw();
    const Ticket ticket = outbox_.append(connection, events);
    sql_.run("COMMIT");
    EXPECT_EQ(value("SELECT count(*) FROM (SELECT convert_from(payload, 'UTF8')::int AS n, "
                    "row_number() OVER (ORDER BY id) - 1 AS place FROM @s@.outbox) x "
                    "WHERE n <> place"),
              "0");
    EXPECT_EQ(ticket.ids().size(), events.size());
    EXPECT_EQ(value("SELECT convert_from(payload, 'UTF8') FROM @s@.outbox WHERE event_id = '" +
                    ticket.ids()[700].text() + "'"),
              "700");
}

TEST_F(OutboxOnPostgres, NeverBeginsOrCommits) {
    EXPECT_EQ(code_of([&] { append({.event_type = "E"}); }), "no_transaction");
    sql_.run("BEGIN");
    EXPECT_NE(sql_.failure("SELECT 1/0"), "");
    EXPECT_EQ(code_of([&] { append({.event_type = "E"}); }), "transaction_failed");
    sql_.run("ROLLBACK; BEGIN");
    append({.event_type = "E"});
    EXPECT_EQ(PQtransactionStatus(sql_.raw()), PQTRANS_INTRANS);
    sql_.run("ROLLBACK");
    EXPECT_EQ(PQenterPipelineMode(sql_.raw()), 1);
    EXPECT_EQ(code_of([&] { append({.event_type = "E"}); }), "pipeline_mode");
    PQexitPipelineMode(sql_.raw());
}

TEST_F(OutboxOnPostgres, SaysWhatIsMissingOrForbidden) {
    sql_.run("BEGIN");
    PGconn* connection = sql_.raw();
    EXPECT_EQ(
        code_of([&] { (void)Outbox("not_there").append(connection, Event{.event_type = "E"}); }),
        "schema_missing");
    sql_.run("ROLLBACK");
}

TEST_F(OutboxOnPostgres, LeavesNothingBehindInTheSession) {
    sql_.run("BEGIN");
    append({.event_type = "E"});
    sql_.run("COMMIT");
    EXPECT_EQ(sql_.value("SELECT count(*) FROM pg_prepared_statements"), "0");
    EXPECT_EQ(sql_.value("SELECT count(*) FROM pg_listening_channels()"), "0");
}

}  // namespace
}  // namespace sagaz
