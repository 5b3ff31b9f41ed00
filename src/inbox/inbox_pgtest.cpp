// The inbox against a real server: what is committed, by whom, how often.
#include "inbox/inbox_postgres_fixture.hpp"
#include "tests/support/error_code.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <thread>

namespace sagaz {
namespace {

using namespace std::string_literals;
using test::code_of;

// ------------------------------------------------------------------------------------ exactly once

TEST_F(InboxOnPostgres, F67_ARepeatAfterTheCommitIsADuplicate) {
    const auto outcome = process(sql_, message("e1"), [&](auto& c, const Message& m) {
        pay(c, m);
        return m.id.size();
    });
    EXPECT_EQ(outcome.settlement, processed);
    EXPECT_EQ(outcome.value, 2U);
    EXPECT_EQ(process(message("e1")), duplicate);
    EXPECT_EQ(effects(), 1);
    EXPECT_EQ(value("SELECT concat_ws('|', consumer_name, original_id, source_topic, event_type, "
                    "payload_hash = sha256('body'), payload IS NULL, processing_duration_ms IS "
                    "NULL) FROM @s@.consumer_inbox"),
              "billing|e1|payments|Paid|t|t|t");
}

TEST_F(InboxOnPostgres, F68_NothingIsSettledBeforeTheCommit) {
    Sql consumer = schema_.client();
    EXPECT_EQ(code_of([&] {
                  process(consumer, message("e1"), [&](auto& c, const Message& m) {
                      pay(c, m);
                      const std::string pid = *postgres::LibpqTransaction(c).execute(
                          {"SELECT pg_backend_pid()", {}})[0][0];
                      run("SELECT pg_terminate_backend(" + pid + ")");
                      test::wait_for("the backend to be gone", [&] {
                          return sql_.number("SELECT count(*) FROM pg_stat_activity WHERE pid = " +
                                             pid) == 0;
                      });
                  });
              }),
              "commit_in_doubt")
        << "COMMIT was sent, and nobody answered";
    EXPECT_EQ(effects(), 0);
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(effects(), 1);
    EXPECT_EQ(code_of([&] { process(consumer, message("e2"), [](auto&, const Message&) {}); }),
              "connection_lost");
}

TEST_F(InboxOnPostgres, F69_TheSecondOfTwoWaitsAndIsADuplicate) {
    Sql zombie = schema_.connect();
    zombie.run(
        schema_.sql("BEGIN; SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'body'); "
                    "INSERT INTO @s@.effect VALUES ('e1')"));
    Settlement second{};
    std::jthread member([&] { second = process(message("e1")); });
    wait_for_waiter();
    zombie.run("COMMIT");
    member.join();
    EXPECT_EQ(second, duplicate);
    EXPECT_EQ(effects(), 1);
}

TEST_F(InboxOnPostgres, F69_TheSecondGoesOnWhenTheFirstDies) {
    Sql zombie = schema_.connect();
    zombie.run(schema_.sql("BEGIN; SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'body')"));
    Settlement second{};
    std::jthread member([&] { second = process(message("e1")); });
    wait_for_waiter();
    zombie.run("ROLLBACK");
    member.join();
    EXPECT_EQ(second, processed);
    EXPECT_EQ(effects(), 1);
}

TEST_F(InboxOnPostgres, F69_PastTheLockTimeoutItIsInProgressAndTheHandlersPatienceIsItsOwn) {
    Sql zombie = schema_.connect();
    zombie.run(schema_.sql("BEGIN; SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'body')"));
    options_.lock_timeout = Milliseconds{50};
    const auto outcome = process(sql_, message("e1"), [](auto&, const Message&) {});
    EXPECT_EQ(outcome.settlement, in_progress);
    EXPECT_EQ(outcome.retry_in, options_.retry_initial);
    EXPECT_EQ(attempts(), "");
    const auto patience = process(sql_, message("e2"), [&](auto& c, const Message&) {
        return postgres::LibpqTransaction(c).execute({"SHOW lock_timeout", {}})[0][0];
    });
    EXPECT_EQ(patience.value, "0");
}

// A process that is frozen while it counts, or handles, holds the row of the message's attempts.
TEST_F(InboxOnPostgres, F69_WaitsForAHeldAttemptNoLongerThanTheLockTimeout) {
    EXPECT_EQ(process_and_fail(message("e1")), retry_later);
    options_.lock_timeout = Milliseconds{50};
    Sql zombie = schema_.connect();
    zombie.run("SET idle_in_transaction_session_timeout = '20s'");  // so that no wait is for ever
    zombie.run(schema_.sql("BEGIN; SELECT @s@.inbox_failed('billing', 'e1', 'cause')"));
    EXPECT_EQ(process(message("e1")), in_progress);
    EXPECT_EQ(process_and_fail(message("e1")), in_progress);
    zombie.run(
        schema_.sql("ROLLBACK; BEGIN; "
                    "SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'body')"));
    options_.count_attempts = CountAttempts::before_handler;
    EXPECT_EQ(process(message("e1")), in_progress);
    zombie.run("ROLLBACK");
    EXPECT_EQ(attempts(), "1 no stock");
}

TEST_F(InboxOnPostgres, F73_OnlyItsOwnFailuresParkAMessageThatIsCountedBefore) {
    options_.max_attempts = 2;
    options_.count_attempts = CountAttempts::before_handler;
    for (int n = 0; n < 4; ++n) {
        const auto outcome = process(sql_, message("e1"), [&](auto& c, const Message&) {
            in(c, "DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$");
        });
        EXPECT_EQ(outcome.settlement, retry_later);
    }
    EXPECT_EQ(process(message("e1")), processed);
}

TEST_F(InboxOnPostgres, F70_OfManyThreadsOneHandles) {
    constexpr int kThreads = 32;
    std::atomic<int> handled{};
    std::atomic<int> skipped{};
    std::barrier start(kThreads);
    {
        std::vector<std::jthread> threads;
        threads.reserve(kThreads);
        for (int n = 0; n < kThreads; ++n) {
            threads.emplace_back([&] {
                Sql mine = schema_.client();
                start.arrive_and_wait();
                const auto outcome =
                    process(mine, message("e1"), [&](auto& c, const Message& m) { pay(c, m); });
                if (outcome.settlement == processed) ++handled;
                if (outcome.settlement == duplicate) ++skipped;
            });
        }
    }
    EXPECT_EQ(handled, 1);
    EXPECT_EQ(skipped, kThreads - 1);
    EXPECT_EQ(effects(), 1);
}

TEST_F(InboxOnPostgres, F76_TheSameIdWithAnotherBodyIsParkedAndStopsNobody) {
    EXPECT_EQ(process(message("e1", "k", "one")), processed);
    const auto outcome =
        process(sql_, message("e1", "k", "two"), [](auto&, const Message&) { ADD_FAILURE(); });
    EXPECT_EQ(outcome.settlement, Settlement::parked);
    EXPECT_EQ(outcome.reason, "id_conflict");
    EXPECT_EQ(process(message("e1", "k", "two")), Settlement::parked) << "once more";
    EXPECT_EQ(parked(), "e1 id_conflict dead 0");
    EXPECT_EQ(value("SELECT convert_from(payload, 'UTF8') FROM @s@.parked"), "two");
    EXPECT_EQ(process(message("e1", "k", "one")), duplicate);
    EXPECT_EQ(process(message("e2", "k", "x")), processed) << "the key goes on";
}

TEST_F(InboxOnPostgres, ConsumersShareADatabaseAndNotTheirMarks) {
    EXPECT_EQ(process(message("e1")), processed);
    options_.consumer_name = "shipping";
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(effects(), 2);
}

TEST_F(InboxOnPostgres, ReadsAUuidInAnyCaseAsItself) {
    const std::string id = "0190A6F2-7C3B-7D11-8A51-3F1C9BE2D0AA";
    EXPECT_EQ(process(message(id)), processed);
    EXPECT_EQ(process(message("0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa")), duplicate);
    EXPECT_EQ(value("SELECT event_id FROM @s@.consumer_inbox"),
              "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa");
}

TEST_F(InboxOnPostgres, KeepsPayloadAndDurationOnlyWhenAsked) {
    options_.keep_payload = true;
    options_.keep_duration = true;
    EXPECT_EQ(process(message("e1", "", "\0\xff'"s)), processed);
    EXPECT_EQ(value("SELECT encode(payload, 'hex') || (processing_duration_ms >= 0) "
                    "FROM @s@.consumer_inbox"),
              "00ff27true");
}

// ---------------------------------------------------------------------------------------- failures

TEST_F(InboxOnPostgres, AThrowingHandlerLeavesNoEffectAndCountsAnAttempt) {
    EXPECT_EQ(process_and_fail(message("e1"), "no stock\npayload"), retry_later);
    EXPECT_EQ(process_and_fail(message("e1"), "still none"), retry_later);
    EXPECT_EQ(effects(), 0);
    EXPECT_EQ(value("SELECT count(*) FROM @s@.consumer_inbox"), "0");
    EXPECT_EQ(attempts(), "2 still none");
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(effects(), 1);
    EXPECT_EQ(attempts(), "") << "success forgets";
}

// What a handler does outside of the transaction happens at least once: the id is its key for that.
TEST_F(InboxOnPostgres, F72_EachRunOfAHandlerIsHandedTheSameId) {
    std::vector<std::string> called;
    const auto call_and = [&](auto end) {
        return process(sql_, message("e1"), [&](auto& c, const Message& m) {
            pay(c, m);
            called.push_back(m.id);
            end();
        });
    };
    EXPECT_EQ(call_and([] { throw std::runtime_error("after the call"); }).settlement, retry_later);
    EXPECT_EQ(call_and([] {}).settlement, processed);
    EXPECT_EQ(call_and([] {}).settlement, duplicate);
    EXPECT_EQ(called, (std::vector<std::string>{"e1", "e1"})) << "twice, by one id";
    EXPECT_EQ(effects(), 1);
}

TEST_F(InboxOnPostgres, F73_PoisonIsParkedAfterItsLastAttemptAndItsKeyBehindIt) {
    options_.max_attempts = 2;
    EXPECT_EQ(process_and_fail(message("e1", "k")), retry_later);
    EXPECT_EQ(process_and_fail(message("e1", "k")), Settlement::parked);
    EXPECT_EQ(process(message("e1", "k")), Settlement::parked) << "its acknowledgement was lost";
    EXPECT_EQ(process(message("e2", "k")), Settlement::parked);
    EXPECT_EQ(process(message("e2", "k")), Settlement::parked);
    EXPECT_EQ(process(message("e3", "other")), processed) << "the rest flows";
    EXPECT_EQ(process(message("e4")), processed);
    EXPECT_EQ(parked(), "e1 max_attempts dead 2, e2 key_parked waiting 0");
    EXPECT_EQ(effects(), 2);
    EXPECT_EQ(attempts(), "");
    EXPECT_EQ(value("SELECT concat_ws('|', direction, destination, consumer_name, topic, key, "
                    "event_type, detail, convert_from(payload, 'UTF8')) FROM @s@.parked "
                    "WHERE original_id = 'e1'"),
              "inbox|default|billing|payments|k|Paid|no stock|body");
}

TEST_F(InboxOnPostgres, F73_ParksOnlyTheEventWhenAsked) {
    options_.max_attempts = 1;
    options_.on_failure = OnFailure::park_event;
    EXPECT_EQ(process_and_fail(message("e1", "k")), Settlement::parked);
    EXPECT_EQ(process(message("e2", "k")), processed);
}

TEST_F(InboxOnPostgres, F73_AHandlerThatEndsItsProcessIsCountedWhenAsked) {
    options_.max_attempts = 2;
    options_.count_attempts = CountAttempts::before_handler;
    const auto crash = [&] {
        const pid_t child = fork();
        if (child == 0) {
            Sql mine = schema_.client();
            process(mine, message("e1"), [&](auto& c, const Message& m) {
                pay(c, m);
                _exit(7);
            });
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        return WEXITSTATUS(status);
    };
    EXPECT_EQ(crash(), 7);
    EXPECT_EQ(crash(), 7);
    EXPECT_EQ(process(message("e1")), Settlement::parked);
    EXPECT_EQ(effects(), 0);
    EXPECT_EQ(process(message("e2")), processed);
    EXPECT_EQ(attempts(), "");
}

TEST_F(InboxOnPostgres, ParksForTheSecondOfTwoWhatTheFirstJustParked) {
    options_.max_attempts = 1;
    Sql zombie = schema_.connect();
    zombie.run(schema_.sql("BEGIN; SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'body')"));
    Outcome<std::monostate> second;
    std::jthread member([&] {
        Sql mine = schema_.client();
        second = process(mine, message("e1"), [&](auto& c, const Message& m) { pay(c, m); });
    });
    wait_for_waiter();
    sql_.run(schema_.sql("SELECT @s@.inbox_failed('billing', 'e1', 'cause', 1)"));
    zombie.run("ROLLBACK");
    member.join();
    EXPECT_EQ(second.settlement, retry_later) << "a conflict: run the transaction again";
    EXPECT_EQ(process(message("e1")), Settlement::parked);
    EXPECT_EQ(effects(), 0);
}

TEST_F(InboxOnPostgres, IsNeverParkedByOneAndProcessedByAnother) {
    options_.max_attempts = 2;
    EXPECT_EQ(process_and_fail(message("e1")), retry_later);
    Sql parker = schema_.connect();
    parker.run(schema_.sql("BEGIN; SELECT @s@.inbox_failed('billing', 'e1', 'cause', 2)"));
    Outcome<std::monostate> second;
    std::jthread member([&] {
        Sql mine = schema_.client();
        second = process(mine, message("e1"), [&](auto& c, const Message& m) { pay(c, m); });
    });
    wait_for_waiter();
    parker.run("COMMIT");
    member.join();
    EXPECT_EQ(second.settlement, retry_later);
    EXPECT_EQ(effects(), 0);

    EXPECT_EQ(process_and_fail(message("e2")), retry_later);
    Sql handler = schema_.connect();
    handler.run(schema_.sql("BEGIN; SELECT @s@.inbox_mark('billing', 'e2', 't', 'E', 'body')"));
    parker.start(schema_.sql("SELECT @s@.inbox_failed('billing', 'e2', 'cause', 2)"));
    wait_for_waiter();
    handler.run("COMMIT");
    EXPECT_EQ(parker.finish().at(0).at(0), "duplicate");
    EXPECT_EQ(attempts(), "");
    EXPECT_EQ(parked(), "e1 max_attempts dead 2");
}

TEST_F(InboxOnPostgres, ParksOnceWhenTwoDoItTogether) {
    // Found by tests/chaos/inbox.sh: neither saw the other's row.
    EXPECT_EQ(process(message("e1", "", "one")), processed);
    Sql first = schema_.connect();
    Sql second = schema_.connect();
    const std::string mark =
        schema_.sql("SELECT @s@.inbox_mark('billing', 'e1', 'payments', 'Paid', 'two')");
    first.run("BEGIN; " + mark);
    second.start(mark);
    wait_for_waiter();
    first.run("COMMIT");
    EXPECT_EQ(second.finish().at(0).at(0), "parked");
    EXPECT_EQ(parked(), "e1 id_conflict dead 0");
}

TEST_F(InboxOnPostgres, ConflictsOfTheDatabaseCountNoAttempt) {
    for (const char* sqlstate : {"40001", "40P01"}) {
        const auto outcome = process(sql_, message("e1"), [&](auto& c, const Message& m) {
            pay(c, m);
            in(c, "DO $$ BEGIN RAISE SQLSTATE '"s + sqlstate + "'; END $$");
        });
        EXPECT_EQ(outcome.settlement, retry_later);
        EXPECT_EQ(outcome.retry_in, Milliseconds{0});
    }
    EXPECT_EQ(attempts(), "");
    EXPECT_EQ(effects(), 0);
}

TEST_F(InboxOnPostgres, AConstraintCheckedAtTheCommitIsTheMessagesFault) {
    run("CREATE TABLE @s@.once (id text UNIQUE DEFERRABLE INITIALLY DEFERRED); "
        "INSERT INTO @s@.once VALUES ('e1')");
    const auto outcome = process(sql_, message("e1"), [&](auto& c, const Message&) {
        in(c, "INSERT INTO @s@.once VALUES ('e1')");
    });
    EXPECT_EQ(outcome.settlement, retry_later);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT attempts FROM @s@.inbox_attempt")), 1);
}

TEST_F(InboxOnPostgres, AStatementThatFailedUnnoticedIsNotTakenForACommit) {
    const auto outcome = process(sql_, message("e1"), [&](auto& c, const Message& m) {
        pay(c, m);
        PQclear(PQexec(c, "SELECT 1 / 0"));
    });
    EXPECT_EQ(outcome.settlement, retry_later);
    EXPECT_EQ(effects(), 0);
    EXPECT_EQ(process(message("e1")), processed);
}

TEST_F(InboxOnPostgres, AHandlerThatEndsTheTransactionIsStopped) {
    EXPECT_EQ(code_of([&] {
                  process(sql_, message("e1"),
                          [](auto& c, const Message&) { PQclear(PQexec(c, "ROLLBACK")); });
              }),
              "transaction_ended");
}

// The mark is committed, and the effects after it never happen: a repeat must not be a duplicate.
TEST_F(InboxOnPostgres, AHandlerThatCommitsAndThenFailsIsStopped) {
    const auto handler = [&](auto& c, const Message&) {
        PQclear(PQexec(c, "COMMIT"));
        throw std::runtime_error("no stock");
    };
    EXPECT_EQ(code_of([&] { process(sql_, message("e1"), handler); }), "transaction_ended");
    PGconn* connection = sql_.raw();
    const std::vector<Message> both{message("e2"), message("e3")};
    EXPECT_EQ(code_of([&] { Inbox(options_).process_batch(connection, both, handler); }),
              "transaction_ended");
    EXPECT_EQ(process(message("e4")), processed);
}

TEST_F(InboxOnPostgres, InsideAnOpenTransactionProcessIsInvalidAndLeavesItAlone) {
    run("BEGIN; INSERT INTO @s@.effect VALUES ('mine')");
    EXPECT_EQ(code_of([&] { process(message("e1")); }), "transaction_open");
    EXPECT_EQ(code_of([&] { process(sql_, message("e1"), [&](auto&, const Message&) {}); }),
              "transaction_open");
    run("COMMIT");
    EXPECT_EQ(effects(), 1);
    const auto nested = process(sql_, message("e1"), [&](auto& c, const Message&) {
        Inbox(options_).process(c, message("e2"), [](auto&, const Message&) {});
    });
    EXPECT_EQ(nested.settlement, retry_later);
    EXPECT_NE(nested.reason.find("in a transaction already"), std::string::npos) << nested.reason;
}

// --------------------------------------------------------------------------- lost answers to
// COMMIT

class InboxLostAnswer : public InboxOnPostgres {
protected:
    InboxLostAnswer() : InboxOnPostgres(server()) {}
    static PostgresServer& server() {
        static PostgresServer own;
        return own;
    }
    void expect_it_happened_once() {
        Sql next = schema_.client();
        EXPECT_EQ(
            process(next, message("e1"), [&](auto& c, const Message& m) { pay(c, m); }).settlement,
            duplicate);
        EXPECT_EQ(effects(), 1);
    }
};

TEST_F(InboxLostAnswer, F67_OfACommitThatHappenedMeansADuplicateNextTime) {
    // The commit is on disk and waits for a standby that does not exist, and so never answers.
    server().let_commits_wait_for("nobody");
    Sql watcher = schema_.connect();
    watcher.run("SET synchronous_commit = local");
    std::string code;
    std::jthread consumer([&] {
        Sql mine = schema_.client();
        code = code_of(
            [&] { process(mine, message("e1"), [&](auto& c, const Message& m) { pay(c, m); }); });
    });
    const std::string waiting =
        "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT'";
    test::wait_for("the commit to wait",
                   [&] { return watcher.number("SELECT count(*) " + waiting) == 1; });
    watcher.run("SELECT pg_terminate_backend(pid) " + waiting);
    consumer.join();
    server().let_commits_wait_for("");
    EXPECT_EQ(code, "commit_in_doubt");
    expect_it_happened_once();
}

TEST_F(InboxLostAnswer, F04_ACommitWhoseWaitForAStandbyIsCancelledIsInDoubtAndSoIsItsRepeat) {
    expect_doubt_when_the_wait_is_cancelled(server(), [&] {
        Sql mine = schema_.client();
        process(mine, message("e1"), [&](auto& c, const Message& m) { pay(c, m); });
    });
    expect_it_happened_once();
}

TEST_F(InboxLostAnswer, F04_AConnectionsOwnNoticesStillArriveAfterACommit) {
    Sql mine = schema_.client();
    int notices = 0;
    const auto count = [](void* all, const char*) { ++*static_cast<int*>(all); };
    PQsetNoticeProcessor(mine.raw(), count, &notices);
    EXPECT_EQ(
        process(mine, message("e1"), [&](auto& c, const Message& m) { pay(c, m); }).settlement,
        processed);
    mine.run("DO $$ BEGIN RAISE WARNING 'heard'; END $$");
    EXPECT_EQ(notices, 1);
}

// With synchronous_commit off the server answers COMMIT before anything is on disk.
TEST_F(InboxLostAnswer, F68_WhatIsSettledIsOnDiskWhateverTheSessionSays) {
    server().configure("wal_writer_delay = 10s");
    server().restart(test::StopMode::fast);
    Sql mine{schema_.direct_url("what the consumer's session was set to is the question")};
    mine.run("SET synchronous_commit = off");
    options_.max_attempts = 1;
    EXPECT_EQ(
        process(mine, message("e1"), [&](auto& c, const Message& m) { pay(c, m); }).settlement,
        processed);
    EXPECT_EQ(process(mine, message("e2"), [](auto&, const Message&) { throw 42; }).settlement,
              Settlement::parked);
    EXPECT_EQ(mine.value("SHOW synchronous_commit"), "off") << "after it as before";
    server().kill9();
    server().configure("wal_writer_delay = 200ms");
    server().start();
    sql_ = schema_.client();
    EXPECT_EQ(effects(), 1);
    EXPECT_EQ(parked(), "e2 max_attempts dead 1");
}

TEST_F(InboxLostAnswer, OfACommitThatDidNotHappenMeansItIsProcessedNextTime) {
    run("CREATE FUNCTION @s@.die() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'; "
        "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON @s@.effect DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION @s@.die()");
    Sql consumer = schema_.client();
    EXPECT_EQ(code_of([&] {
                  process(consumer, message("e1"), [&](auto& c, const Message& m) { pay(c, m); });
              }),
              "commit_in_doubt");
    run("DROP TRIGGER die ON @s@.effect");
    EXPECT_EQ(effects(), 0);
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(effects(), 1);
}

// --------------------------------------------------------------------------------- other ways to
// it

TEST_F(InboxOnPostgres, MarkAndFailedServeAUnitOfWorkOfTheCallersOwn) {
    const Inbox inbox(options_);
    PGconn* connection = sql_.raw();
    sql_.run("BEGIN");
    EXPECT_EQ(inbox.mark(connection, message("e1")), processed);
    pay(connection, message("e1"));
    sql_.run("ROLLBACK; BEGIN");
    EXPECT_EQ(inbox.failed(connection, message("e1"), "why"), retry_later);
    sql_.run("COMMIT; BEGIN");
    EXPECT_EQ(attempts(), "1 why");
    EXPECT_EQ(inbox.mark(connection, message("e1")), processed);
    pay(connection, message("e1"));
    sql_.run("COMMIT; BEGIN");
    EXPECT_EQ(inbox.mark(connection, message("e1")), duplicate);
    EXPECT_EQ(inbox.failed(connection, message("e1"), "late"), duplicate);
    sql_.run("COMMIT");
    EXPECT_EQ(effects(), 1);
    EXPECT_EQ(attempts(), "");
    EXPECT_EQ(code_of([&] { inbox.mark(connection, message("e2")); }), "no_transaction");
}

}  // namespace
}  // namespace sagaz
