// Many messages in one transaction, against a real server.
#include "inbox/inbox_postgres_fixture.hpp"
#include "tests/support/error_code.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace sagaz {
namespace {

using test::code_of;

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

TEST_F(InboxBatchOnPostgres, SettlesEachAsItWouldAlone) {
    options_.keep_payload = true;
    EXPECT_EQ(process(message("old")), processed);
    options_.max_attempts = 1;
    EXPECT_EQ(process_and_fail(message("bad", "k")), Settlement::parked);
    auto forged = message("old");
    forged.event.payload = "another";
    auto bytes = message("bytes", "\"\\,{}");
    bytes.event.payload = std::string("\0\xff\"\\{}", 6);
    bytes.event.headers = {{"ce_x", "\"\\\n"}};
    const auto settlements =
        batch({bytes, message("behind", "k"), message("old"), forged, message("a"), message("a"),
               message("", "l"), message("after", "l"), message("b")},
              [&](auto& c, const Message& m) { pay(c, m); });
    EXPECT_EQ(settlements,
              (std::vector{processed, Settlement::parked, duplicate, Settlement::parked, processed,
                           duplicate, Settlement::parked, Settlement::parked, processed}));
    EXPECT_EQ(value("SELECT string_agg(id, ',' ORDER BY id) FROM @s@.effect"), "a,b,bytes,old");
    EXPECT_EQ(value("SELECT payload || payload_hash = '\\x00ff225c7b7d'::bytea || "
                    "sha256('\\x00ff225c7b7d') FROM @s@.consumer_inbox "
                    "WHERE original_id = 'bytes'"),
              "t");
    EXPECT_EQ(parked(),
              "bad max_attempts dead 1, behind key_parked waiting 0, old id_conflict dead 0, "
              "payments/-1/-1 id_missing dead 0, after key_parked waiting 0");
}

// Marks that are ahead of their handlers must not be committed: their messages would be lost.
TEST_F(InboxBatchOnPostgres, AHandlersCommitCommitsNoMarkOfAnotherMessage) {
    const std::vector<Message> both{message("a"), message("b")};
    for (const char* commit : {"COMMIT", "COMMIT AND CHAIN", "ROLLBACK"}) {
        EXPECT_EQ(code_of([&] {
                      batch(both, [&](auto& c, const Message& m) {
                          pay(c, m);
                          if (m.id == "a") PQclear(PQexec(c, commit));
                      });
                  }),
                  "transaction_ended");
        EXPECT_EQ(value("SELECT count(*) FROM @s@.consumer_inbox"), "0") << commit;
        EXPECT_EQ(effects(), 0) << commit;
    }
    EXPECT_EQ(batch(both, [&](auto& c, const Message& m) { pay(c, m); }),
              (std::vector{processed, processed}));
}

// The first messages of a batch that is marked in two parts were processed without their marks, and
// that of the handler was lost.
TEST_F(InboxBatchOnPostgres, AHandlerThatOpensAnotherTransactionLosesNoMarkOfItsBatch) {
    std::vector<Message> many;
    for (int n = 0; n < 250; ++n) many.push_back(message("m" + std::to_string(n)));
    const auto settlements = batch(many, [&](auto& c, const Message& m) {
        pay(c, m);
        if (m.id != "m0") return;
        PQclear(PQexec(c, "COMMIT"));
        PQclear(PQexec(c, "BEGIN"));
    });
    EXPECT_EQ(settlements, std::vector(250, processed));
    EXPECT_EQ(value("SELECT count(*) FROM @s@.consumer_inbox"), "250");
    EXPECT_EQ(effects(), 250);
}

TEST_F(InboxBatchOnPostgres, GoesOnBehindAMessageInProgressWithoutItsKey) {
    // The moment at which a mark is cleaned up, which cannot be met on purpose.
    run("CREATE OR REPLACE FUNCTION @s@.inbox_mark(consumer_name text, event_id text, "
        "source_topic text, event_type text, payload bytea, key text DEFAULT NULL, "
        "headers jsonb DEFAULT NULL, content_type text DEFAULT NULL, "
        "on_failure text DEFAULT 'park_key', keep_payload boolean DEFAULT false, "
        "lock_timeout text DEFAULT NULL) RETURNS text LANGUAGE sql "
        "RETURN CASE WHEN $2 = 'b' THEN 'in_progress' ELSE 'processed' END");
    EXPECT_EQ(batch({message("a", "k"), message("b", "l"), message("c", "l"), message("d", "m")},
                    [&](auto& c, const Message& m) { pay(c, m); }),
              (std::vector{processed, in_progress, retry_later, processed}));
    EXPECT_EQ(value("SELECT string_agg(id, ',' ORDER BY id) FROM @s@.effect"), "a,d");
}

}  // namespace
}  // namespace sagaz
