// Many messages in one transaction, against a real server.
#include "inbox/inbox_postgres_fixture.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sagaz {
namespace {

class InboxBatchOnPostgres : public InboxOnPostgres {
protected:
    template <class Handler>
    std::vector<Settlement> batch(const std::vector<Message>& messages, Handler handler) {
        PGconn* connection = sql_.raw();
        std::vector<Settlement> settlements;
        for (const auto& outcome : Inbox(options_).process_batch(connection, messages, handler)) {
            settlements.push_back(outcome.settlement);
        }
        return settlements;
    }
};

TEST_F(InboxBatchOnPostgres, CommitsManyMessagesInOneTransaction) {
    const auto settlements = batch({message("a"), message("b"), message("a")},
                                   [&](auto& c, const Message& m) { pay(c, m); });
    EXPECT_EQ(settlements, (std::vector{processed, processed, duplicate}));
    EXPECT_EQ(value("SELECT count(DISTINCT xmin::text) || '|' || count(*) FROM @s@.effect"), "1|2");
}

TEST_F(InboxBatchOnPostgres, LeavesOutOnlyTheMessageWhoseHandlerThrows) {
    options_.max_attempts = 2;
    const std::vector<Message> messages{message("a", "k"), message("bad", "l"), message("c", "l"),
                                        message("d", "m")};
    const auto handler = [&](auto& c, const Message& m) {
        pay(c, m);
        if (m.id == "bad") throw std::runtime_error("no stock");
    };
    EXPECT_EQ(batch(messages, handler),
              (std::vector{processed, retry_later, retry_later, processed}));
    EXPECT_EQ(value("SELECT string_agg(id, ',' ORDER BY id) FROM @s@.effect"), "a,d");
    EXPECT_EQ(attempts(), "1 no stock");
    EXPECT_EQ(batch(messages, handler),
              (std::vector{duplicate, Settlement::parked, retry_later, duplicate}));
    EXPECT_EQ(batch(messages, handler),
              (std::vector{duplicate, Settlement::parked, Settlement::parked, duplicate}));
    EXPECT_EQ(effects(), 2);
}

TEST_F(InboxBatchOnPostgres, SurvivesAStatementThatFailsInsideASavepoint) {
    const auto settlements = batch({message("a"), message("b")}, [&](auto& c, const Message& m) {
        in(c, m.id == "a" ? "SELECT 1 / 0" : "INSERT INTO @s@.effect VALUES ('b')");
    });
    EXPECT_EQ(settlements, (std::vector{retry_later, processed}));
    EXPECT_EQ(effects(), 1);
}

TEST_F(InboxBatchOnPostgres, AStatementThatFailedUnnoticedStopsOnlyItsMessage) {
    const auto settlements = batch({message("a"), message("b")}, [&](auto& c, const Message& m) {
        if (m.id == "b") return pay(c, m);
        PQclear(PQexec(c, "SELECT 1 / 0"));
    });
    EXPECT_EQ(settlements, (std::vector{retry_later, processed}));
    EXPECT_EQ(value("SELECT string_agg(id, ',') FROM @s@.effect"), "b");
}

TEST_F(InboxBatchOnPostgres, RunsOneByOneAfterADeadlockWithoutCounting) {
    int calls = 0;
    const auto settlements = batch({message("a"), message("b")}, [&](auto& c, const Message& m) {
        pay(c, m);
        if (++calls == 2) in(c, "DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$");
    });
    EXPECT_EQ(settlements, (std::vector{processed, processed}));
    EXPECT_EQ(value("SELECT count(DISTINCT xmin::text) FROM @s@.effect"), "2");
    EXPECT_EQ(attempts(), "");
}

TEST_F(InboxBatchOnPostgres, WaitsForNobodyLongerThanForOneMessage) {
    Sql zombie = schema_.connect();
    zombie.run(schema_.sql("BEGIN; SELECT @s@.inbox_mark('billing', 'b', 't', 'E', 'body')"));
    options_.lock_timeout = Milliseconds{50};
    const auto settlements =
        batch({message("a"), message("b", "k"), message("c", "k"), message("d")},
              [&](auto& c, const Message& m) { pay(c, m); });
    EXPECT_EQ(settlements, (std::vector{processed, in_progress, retry_later, processed}));
}

}  // namespace
}  // namespace sagaz
