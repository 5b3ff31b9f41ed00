// The inbox from plain SQL, with the rights of sagaz_consumer and no search_path.
#include "tests/support/postgres_server.hpp"

#include <gtest/gtest.h>

#include <optional>

namespace sagaz {
namespace {

using test::PostgresServer;
using test::Schema;
using test::Sql;

class InboxSql : public ::testing::Test {
protected:
    InboxSql() {
        const std::string role = schema_.name() + "_billing";
        Sql admin = schema_.connect();
        admin.run(schema_.sql("CREATE ROLE " + role + " LOGIN; GRANT @s@_consumer TO " + role +
                              "; ALTER ROLE " + role + " SET search_path = ''"));
        sql_.emplace(schema_.server().url("postgres", role));
    }

    void run(const std::string& sql) { sql_->run(schema_.sql(sql)); }
    std::string value(const std::string& sql) { return sql_->value(schema_.sql(sql)); }
    std::string failure(const std::string& sql) { return sql_->failure(schema_.sql(sql)); }
    std::string parked(const std::string& expression) {  // A consumer may not look.
        return schema_.connect().value(schema_.sql("SELECT string_agg(" + expression +
                                                   ", ', ' ORDER BY position) FROM @s@.parked"));
    }
    std::string mark(const std::string& id, const std::string& rest = "") {
        return value("SELECT @s@.inbox_mark('billing', '" + id +
                     "', 'orders', 'OrderPlaced', 'body'" + rest + ")");
    }

    Schema schema_{PostgresServer::shared(), true};
    std::optional<Sql> sql_;
};

TEST_F(InboxSql, MarksOnceAndSaysDuplicateAfterTheCommit) {
    run("BEGIN");
    EXPECT_EQ(mark("e1"), "processed");
    run("ROLLBACK; BEGIN");
    EXPECT_EQ(mark("e1"), "processed");
    EXPECT_EQ(mark("e1"), "duplicate") << "in the same transaction";
    run("COMMIT");
    EXPECT_EQ(mark("e1"), "duplicate");
    EXPECT_EQ(value("SELECT @s@.inbox_mark('shipping', 'e1', 'orders', 'OrderPlaced', 'body')"),
              "processed");
}

TEST_F(InboxSql, MarksAheadOfTheirHandlersAreNotCommittedBeforeAllAreHandled) {
    const std::string all =
        "SELECT string_agg(m, ',') FROM @s@.inbox_mark_all('billing', '{e1,e2,e1}', "
        "'{orders,orders,orders}', '{E,E,E}', '{body,body,body}', '{k,NULL,k}', "
        "'{\"{}\",NULL,NULL}', '{c,c,c}') m";
    run("BEGIN");
    EXPECT_EQ(value(all), "processed,processed,duplicate");
    EXPECT_EQ(failure("COMMIT"), "2D000");
    EXPECT_EQ(value("SELECT count(*) FROM @s@.consumer_inbox"), "0");
    run("BEGIN");
    EXPECT_EQ(value(all), "processed,processed,duplicate");
    EXPECT_EQ(value(all), "duplicate,duplicate,duplicate") << "as often as it takes";
    run("CLOSE sagaz_batch; COMMIT");
    EXPECT_EQ(value("SELECT count(*) FROM @s@.consumer_inbox"), "2");
}

TEST_F(InboxSql, TakesTextAndBytesAsTheSameBody) {
    EXPECT_EQ(value("SELECT @s@.inbox_mark('c', 'e1', 't', 'E', '{\"a\": \"\\\\x00\"}')"),
              "processed");
    EXPECT_EQ(value("SELECT @s@.inbox_mark('c', 'e1', 't', 'E', "
                    "convert_to('{\"a\": \"\\\\x00\"}', 'UTF8'))"),
              "duplicate");
}

TEST_F(InboxSql, F73_CountsAttemptsAndParksAtTheLast) {
    for (int n = 1; n < 10; ++n) {
        EXPECT_EQ(value("SELECT @s@.inbox_failed('billing', 'e1', 'cause')"), "retry_later");
    }
    EXPECT_EQ(value("SELECT attempts || last_cause FROM @s@.inbox_attempt"), "9cause");
    EXPECT_EQ(value("SELECT @s@.inbox_failed('billing', 'e1', 'cause', source_topic => 'orders', "
                    "event_type => 'OrderPlaced', payload => 'body', key => '42')"),
              "parked");
    EXPECT_EQ(value("SELECT @s@.inbox_failed('billing', 'e1', 'cause')"), "parked");
    EXPECT_EQ(mark("e1"), "parked");
    EXPECT_EQ(mark("e2", ", '42'"), "parked");
    EXPECT_EQ(mark("e3", ", '42', on_failure => 'park_event'"), "processed");
    EXPECT_EQ(mark("e4", ", '43'"), "processed");
    EXPECT_EQ(parked("original_id || ' ' || reason || ' ' || state"),
              "e1 max_attempts dead, e2 key_parked waiting");
    EXPECT_EQ(value("SELECT count(*) FROM @s@.inbox_attempt"), "0");
}

TEST_F(InboxSql, F76_ParksTheSameIdWithAnotherBodyOnce) {
    EXPECT_EQ(mark("e1"), "processed");
    for (int n = 0; n < 2; ++n) {
        EXPECT_EQ(value("SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'other')"), "parked");
    }
    EXPECT_EQ(parked("reason"), "id_conflict");
    EXPECT_EQ(mark("e1"), "duplicate");
    EXPECT_EQ(value("SELECT @s@.inbox_failed('billing', 'e1', 'cause')"), "duplicate");
}

TEST_F(InboxSql, F69_FailsWithLockNotAvailablePastTheTimeOutThatWasGiven) {
    Sql other = schema_.connect();
    other.run(schema_.sql("BEGIN; SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'body')"));
    EXPECT_EQ(failure("SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'body', "
                      "lock_timeout => '20ms')"),
              "55P03");
    run("BEGIN; SET LOCAL lock_timeout = '7s'");
    mark("e2", ", lock_timeout => '20ms'");
    EXPECT_EQ(value("SHOW lock_timeout"), "7s") << "the caller's patience is given back";
    run("ROLLBACK");
}

TEST_F(InboxSql, HandlesAParkedMessageAgainInTheCallersTransaction) {
    EXPECT_EQ(value("SELECT @s@.inbox_failed('billing', 'e1', 'no stock', 1, 'orders', "
                    "'OrderPlaced', 'body'::bytea, 'k')"),
              "parked");
    const auto replay = [&] {
        return value(
            "SELECT concat_ws('|', outcome, event_id, source_topic, event_type, "
            "convert_from(payload, 'UTF8'), key) FROM @s@.inbox_replay('billing')");
    };
    EXPECT_EQ(replay(), "") << "it is dead";
    schema_.connect().run(
        schema_.sql("UPDATE @s@.parked SET state = 'waiting', attempts = 0, "
                    "next_attempt_at = now()"));
    run("BEGIN");
    EXPECT_EQ(replay(), "processed|e1|orders|OrderPlaced|body|k");
    run("ROLLBACK");
    EXPECT_EQ(value("SELECT outcome FROM @s@.inbox_replay_failed('billing', 'e1', 'still none', 2, "
                    "interval '0')"),
              "retry_later");
    EXPECT_EQ(value("SELECT outcome FROM @s@.inbox_replay('shipping')"), "<null>");
    run("BEGIN");
    EXPECT_EQ(replay(), "processed|e1|orders|OrderPlaced|body|k");
    run("COMMIT");
    EXPECT_EQ(mark("e1"), "duplicate");
    EXPECT_EQ(value("SELECT outcome FROM @s@.inbox_replay_failed('billing', 'e1', 'late')"),
              "duplicate");
}

TEST_F(InboxSql, TurnsAnyTextIntoTheSameIdForEver) {
    // Golden: rows already written have these ids. UUIDs are themselves, the rest is version 8.
    EXPECT_EQ(value("SELECT @s@.inbox_event_id('order-42')"),
              "3bf8b157-c423-8eef-a5ae-4a66eca81c6b");
    EXPECT_EQ(value("SELECT @s@.inbox_event_id('0190A6F2-7C3B-7D11-8A51-3F1C9BE2D0AA')"),
              "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa");
    EXPECT_EQ(value("SELECT count(DISTINCT @s@.inbox_event_id(t)) FROM unnest(ARRAY['a', 'A', "
                    "' a', '{0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa}', "
                    "'0190a6f27c3b7d118a513f1c9be2d0aa']) t"),
              "5");
}

TEST_F(InboxSql, RefusesWhatCannotBeRight) {
    EXPECT_EQ(failure("SELECT @s@.inbox_mark('', 'e1', 't', 'E', 'body')"), "22023");
    EXPECT_EQ(failure("SELECT @s@.inbox_mark('c', '', 't', 'E', 'body')"), "22023");
    EXPECT_EQ(failure("SELECT @s@.inbox_mark('c', NULL, 't', 'E', 'body')"), "22023");
    EXPECT_EQ(failure("SELECT @s@.inbox_mark('c', 'e', 't', 'E', 'b', on_failure => 'drop')"),
              "22023");
    EXPECT_EQ(failure("SELECT @s@.inbox_mark('c', 'e', 't', 'E', 'b', on_failure => NULL)"),
              "22023");
    EXPECT_EQ(failure("SELECT @s@.inbox_failed('c', '', 'cause')"), "22023") << "of which message?";
    EXPECT_EQ(failure("SELECT @s@.inbox_failed('c', NULL, 'cause')"), "22023");
    EXPECT_EQ(failure("SELECT @s@.inbox_failed('c', 'e', 'cause', NULL)"), "22023");
    EXPECT_EQ(failure("SELECT @s@.inbox_failed('c', 'e', 'cause', 0)"), "22023");
}

TEST_F(InboxSql, StopsAReadOfAnOldSnapshotInsteadOfHandlingTwice) {
    Sql other = schema_.connect();
    run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    other.run(schema_.sql("SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'body')"));
    EXPECT_EQ(failure("SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'body')"), "40001");
    run("ROLLBACK");
}

}  // namespace
}  // namespace sagaz
