#include "tests/support/error_code.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/adapters/pqxx.hpp>
#include <sagaz/error.hpp>
#include <sagaz/outbox.hpp>

#include <gtest/gtest.h>
#include <pqxx/pqxx>

#include <optional>
#include <string>
#include <vector>

namespace sagaz {
namespace {

using namespace std::string_literals;
using test::code_of;
using test::Schema;
using test::Sql;

class PqxxAdapter : public ::testing::Test {
protected:
    std::string value(const std::string& sql) { return sql_.value(schema_.sql(sql)); }

    Schema schema_;
    Sql sql_{schema_.connect()};
    pqxx::connection connection_{schema_.url()};
    Outbox outbox_{schema_.name()};
};

TEST_F(PqxxAdapter, F01_AnEventLivesAndDiesWithTheTransaction) {
    {
        pqxx::work tx{connection_};
        outbox_.append(tx, {.topic = "t", .key = "k", .event_type = "E", .payload = "gone"});
        tx.abort();
    }
    {
        pqxx::work tx{connection_};
        outbox_.append(tx, {.topic = "t", .key = "k", .event_type = "E", .payload = "dropped"});
    }
    pqxx::work tx{connection_};
    outbox_.append(tx, {.topic = "t", .key = "k", .event_type = "E", .payload = "kept"});
    tx.commit();
    EXPECT_EQ(value("SELECT string_agg(convert_from(payload, 'UTF8'), ',') FROM @s@.outbox"),
              "kept");
}

TEST_F(PqxxAdapter, WritesEveryFieldAsItIs) {
    const Event event{.topic = "orders",
                      .key = "",
                      .event_type = "Ordered",
                      .payload = "\0\\x00\xff'\0"s,
                      .content_type = "application/x",
                      .headers = {{"a", "'; DROP"}, {"traceparent", "00-1-2-01"}},
                      .id = Id::parse("0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa"),
                      .aggregate_type = "at",
                      .aggregate_id = "ai",
                      .saga_id = "si"};
    pqxx::work tx{connection_};
    const Ticket ticket = outbox_.append(tx, event);
    tx.commit();
    EXPECT_EQ(
        value("SELECT concat_ws('|', event_id, topic, key, event_type, encode(payload, 'hex'),"
              " content_type, headers, aggregate_type, aggregate_id, saga_id) "
              "FROM @s@.outbox"),
        "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa|orders||Ordered|005c783030ff2700|application/x|"
        "{\"a\": \"'; DROP\", \"traceparent\": \"00-1-2-01\"}|at|ai|si");
    ASSERT_EQ(ticket.ids().size(), 1U);
    EXPECT_EQ(ticket.ids()[0], event.id);
    EXPECT_EQ(std::to_string(ticket.entries()[0].position), value("SELECT id FROM @s@.outbox"));
}

TEST_F(PqxxAdapter, PassesNullsAndEmptyValuesApart) {
    pqxx::work tx{connection_};
    outbox_.append(tx, {.topic = "t", .event_type = "E", .payload = ""});
    tx.commit();
    EXPECT_EQ(value("SELECT concat_ws('|', key IS NULL, headers IS NULL, aggregate_id IS NULL, "
                    "length(payload)) FROM @s@.outbox"),
              "t|t|t|0");
}

TEST_F(PqxxAdapter, GivesBackNullAndText) {
    pqxx::work tx{connection_};
    postgres::PqxxTransaction transaction{tx};
    const std::string bytes = "\0\1"s;
    const Rows rows = transaction.execute(
        {.sql = "SELECT $1::text, $2::text, encode($3::bytea, 'hex') UNION ALL SELECT '', 'b', 'c'",
         .parameters = {{.bytes = "it's"}, {.null = true}, {.bytes = bytes, .binary = true}}});
    const Rows expected{{"it's", std::nullopt, "0001"}, {"", "b", "c"}};
    EXPECT_EQ(rows, expected);
}

TEST_F(PqxxAdapter, AppendsManyEventsInOneCallThroughAnyTransaction) {
    const std::vector<Event> events(
        500, {.topic = "t", .key = "k", .event_type = "E", .headers = {{"b", "1"}, {"b", "2"}}});
    {
        pqxx::transaction<pqxx::isolation_level::serializable> tx{connection_};
        pqxx::subtransaction sub{tx};
        EXPECT_EQ(outbox_.append(sub, events).ids().size(), events.size());
        sub.commit();
        tx.commit();
    }
    pqxx::work tx{connection_};
    pqxx::transaction_base& base = tx;
    outbox_.append(base, events);
    tx.commit();
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox"), "1000");
}

TEST_F(PqxxAdapter, LetsTheDriversExceptionsThrough) {
    pqxx::work tx{connection_};
    EXPECT_THROW((void)Outbox("not_there").append(tx, Event{.event_type = "E"}), pqxx::sql_error);
    tx.abort();
    pqxx::work lost{connection_};
    const auto pid = lost.exec("SELECT pg_backend_pid()")[0][0].as<int>();
    sql_.run("SELECT pg_terminate_backend(" + std::to_string(pid) + ", 10000)");
    EXPECT_THROW(outbox_.append(lost, Event{.event_type = "E"}), pqxx::broken_connection);
}

// libpqxx 6 ends the transaction when a statement fails, and sends the next one without any.
TEST_F(PqxxAdapter, F01_AppendsNothingToATransactionThatHasFailed) {
    {
        pqxx::work tx{connection_};
        EXPECT_THROW(tx.exec("SELECT 1 / 0"), pqxx::sql_error);
        EXPECT_ANY_THROW(outbox_.append(tx, {.topic = "t", .event_type = "E"}));
    }
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox"), "0");
}

TEST_F(PqxxAdapter, RefusesWhatIsNoTransaction) {
    pqxx::nontransaction tx{connection_};
    EXPECT_EQ(code_of([&] { outbox_.append(tx, {.event_type = "E"}); }), "no_transaction");
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox"), "0");
}

TEST_F(PqxxAdapter, LeavesNothingBehindInTheSession) {
    pqxx::work tx{connection_};
    outbox_.append(tx, {.event_type = "E"});
    EXPECT_EQ(tx.exec("SELECT count(*) FROM pg_prepared_statements")[0][0].as<int>(), 0);
    tx.commit();
}

TEST_F(PqxxAdapter, F02_TellsWhatBecameOfACommitWhoseAnswerWasLost) {
    sql_.run(schema_.sql("SELECT @s@.attach()"));
    Ticket committed;
    Ticket aborted;
    {
        pqxx::work tx{connection_};
        committed = outbox_.append(tx, {.event_type = "E"});
        tx.commit();
    }
    {
        pqxx::work tx{connection_};
        aborted = outbox_.append(tx, {.event_type = "E"});
    }
    pqxx::work tx{connection_};
    EXPECT_EQ(outbox_.resolve(tx, committed), CommitOutcome::committed);
    EXPECT_EQ(outbox_.resolve(tx, aborted), CommitOutcome::aborted);
}

}  // namespace
}  // namespace sagaz
