// The inbox on a connection of libpqxx. What differs between libpqxx 6 and 7 is said at the test.
#include "tests/support/error_code.hpp"
#include "tests/support/inbox_fixture.hpp"
#include "tests/support/inbox_message.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/adapters/pqxx.hpp>
#include <sagaz/error.hpp>
#include <sagaz/inbox.hpp>

#include <gtest/gtest.h>
#include <pqxx/pqxx>

#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace sagaz {
namespace {

using namespace std::string_literals;
using enum Settlement;
using test::code_of;
using test::message;
using test::Sql;

// libpqxx 7 tells the SQLSTATE of a rollback, 6 does not.
template <class Thrown>
Thrown made() {
    if constexpr (std::is_constructible_v<Thrown, std::string, std::string, const char*>) {
        return Thrown{"x", "", "40000"};
    } else {
        return Thrown{"x"};
    }
}

class PqxxInbox : public test::InboxInASchema {
protected:
    using InboxInASchema::InboxInASchema;

    std::string effects() {
        return value("SELECT coalesce(string_agg(id, ',' ORDER BY id), '') FROM @s@.effect");
    }
    std::string attempts() {
        return value("SELECT coalesce(string_agg(attempts::text, ','), '') FROM @s@.inbox_attempt");
    }
    void pay(pqxx::work& tx, const Message& m) {
        tx.exec(schema_.sql("INSERT INTO @s@.effect VALUES ('" + m.id + "')"));
    }
    template <class Handler>
    auto process(const std::string& id, Handler handler) {
        return Inbox(options_).process(connection_, message(id), handler);
    }
    Settlement process(const std::string& id) {
        return process(id, [&](pqxx::work& tx, const Message& m) { pay(tx, m); }).settlement;
    }
    void end_backend(pqxx::work& tx) {
        const auto pid = tx.exec("SELECT pg_backend_pid()")[0][0].as<int>();
        sql_.run("SELECT pg_terminate_backend(" + std::to_string(pid) + ", 10000)");
    }

    pqxx::connection connection_{schema_.url()};
};

TEST_F(PqxxInbox, F67_ARepeatAfterTheCommitIsADuplicate) {
    const auto outcome = process("e1", [&](pqxx::work& tx, const Message& m) {
        pay(tx, m);
        return m.event.payload;
    });
    EXPECT_EQ(outcome.settlement, processed);
    EXPECT_EQ(outcome.value, "body");
    EXPECT_EQ(process("e1"), duplicate);
    EXPECT_EQ(effects(), "e1");
    ConsumerInbox inbox{connection_, options_};
    EXPECT_EQ(inbox.process_idempotent("e2", "t", "E", "", [](const std::string&) {}).settlement,
              processed);
}

TEST_F(PqxxInbox, AThrowingHandlerLeavesNoEffectAndCountsAnAttempt) {
    const auto own = process("e1", [&](pqxx::work& tx, const Message& m) {
        pay(tx, m);
        throw std::runtime_error("no stock");
    });
    EXPECT_EQ(own.settlement, retry_later);
    EXPECT_EQ(own.reason, "no stock");
    const auto drivers = process("e1", [&](pqxx::work& tx, const Message& m) {
        pay(tx, m);
        tx.exec("SELECT 1 / 0");
    });
    EXPECT_NE(drivers.reason.find("division by zero (22012)"), std::string::npos) << drivers.reason;
    EXPECT_EQ(attempts(), "2");
    EXPECT_EQ(effects(), "");
    EXPECT_EQ(process("e1"), processed);
}

TEST_F(PqxxInbox, ConflictsOfTheDatabaseCountNoAttempt) {
    for (const char* sqlstate : {"40001", "40P01"}) {
        const auto outcome = process("e1", [&](pqxx::work& tx, const Message& m) {
            pay(tx, m);
            tx.exec("DO $$ BEGIN RAISE SQLSTATE '"s + sqlstate + "'; END $$");
        });
        EXPECT_EQ(outcome.settlement, retry_later);
        EXPECT_EQ(outcome.retry_in, Milliseconds{0});
    }
    EXPECT_EQ(attempts(), "");
    EXPECT_EQ(effects(), "");
}

TEST_F(PqxxInbox, SaysWhatTheDriversExceptionsMean) {
    const postgres::PqxxUnitOfWork unit{connection_};
    const auto meaning = [&](const std::exception& thrown) {
        const auto error = unit.error_of(thrown);
        if (!error) return "none"s;
        return std::string{to_string(error->kind())} + " " + std::string{error->code()};
    };
    EXPECT_EQ(meaning(pqxx::in_doubt_error("x")), "in_doubt commit_in_doubt");
    EXPECT_EQ(meaning(made<pqxx::statement_completion_unknown>()), "in_doubt commit_in_doubt");
    EXPECT_EQ(meaning(pqxx::broken_connection("x")), "unavailable connection_lost");
    EXPECT_EQ(meaning(made<pqxx::serialization_failure>()), "conflict serialization_failure");
    EXPECT_EQ(meaning(made<pqxx::deadlock_detected>()), "conflict deadlock");
    EXPECT_EQ(meaning(made<pqxx::transaction_rollback>()), "conflict transaction_rolled_back");
    EXPECT_EQ(meaning(pqxx::sql_error("x", "", "55P03")), "unavailable lock_not_available");
    EXPECT_EQ(meaning(pqxx::unique_violation("x", "", "23505")), "invalid duplicate");
    EXPECT_EQ(meaning(pqxx::sql_error("x")), "unavailable connection_lost");
    EXPECT_EQ(meaning(Error{ErrorKind::fatal, "broken", "x", ""}), "fatal broken");
    EXPECT_EQ(meaning(pqxx::usage_error("x")), "none");
    EXPECT_EQ(meaning(std::runtime_error("x")), "none");
}

TEST_F(PqxxInbox, AHandlerThatCommitsAndThenFailsIsStopped) {
    EXPECT_EQ(code_of([&] {
                  process("e1", [](pqxx::work& tx, const Message&) {
                      tx.exec("COMMIT");
                      throw std::runtime_error("no stock");
                  });
              }),
              "transaction_ended");
    EXPECT_EQ(code_of([&] {
                  process("e2", [](pqxx::work& tx, const Message&) {
                      tx.commit();
                      throw std::runtime_error("no stock");
                  });
              }),
              "transaction_ended");
    EXPECT_EQ(process("e3"), processed);
}

TEST_F(PqxxInbox, AStatementThatFailedUnnoticedStopsOnlyItsMessageOfABatch) {
    const std::vector<Message> both{message("a"), message("b")};
    const auto outcomes =
        Inbox(options_).process_batch(connection_, both, [&](pqxx::work& tx, const Message& m) {
            if (m.id == "b") return pay(tx, m);
            try {
                tx.exec("SELECT 1 / 0");
            } catch (const pqxx::sql_error&) {  // NOLINT(bugprone-empty-catch): unnoticed
            }
        });
    EXPECT_EQ(outcomes.at(0).settlement, retry_later);
    EXPECT_EQ(outcomes.at(1).settlement, processed);
    EXPECT_EQ(effects(), "b");
}

TEST_F(PqxxInbox, ALostConnectionIsToldAndNotCounted) {
    EXPECT_EQ(code_of([&] {
                  process("e1", [&](pqxx::work& tx, const Message& m) {
                      pay(tx, m);
                      end_backend(tx);
                      pay(tx, m);
                  });
              }),
              "connection_lost");
    EXPECT_EQ(attempts(), "");
    EXPECT_EQ(effects(), "");
    pqxx::connection again{schema_.url()};
    EXPECT_EQ(
        Inbox(options_)
            .process(again, message("e1"), [&](pqxx::work& tx, const Message& m) { pay(tx, m); })
            .settlement,
        processed);
    EXPECT_EQ(effects(), "e1");
}

// libpqxx 6 makes a lost connection anew by itself; nothing may then run outside a transaction.
TEST_F(PqxxInbox, AHandlerThatHidesALostConnectionHasNoEffect) {
    const auto hide = [&](pqxx::work& tx, const Message& m) {
        end_backend(tx);
        for (int n = 0; n < 2; ++n) {
            try {
                postgres::PqxxTransaction{tx}.execute(
                    {.sql = schema_.sql("INSERT INTO @s@.effect VALUES ($1)"),
                     .parameters = {{.bytes = m.id}}});
            } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): hidden
            }
        }
    };
    Settlement said = retry_later;
    try {
        said = process("e1", hide).settlement;
    } catch (const Error&) {  // NOLINT(bugprone-empty-catch): as good as retry_later
    }
    EXPECT_EQ(said, retry_later);
    EXPECT_EQ(effects(), "");
    EXPECT_EQ(value("SELECT count(*) FROM @s@.consumer_inbox"), "0");
}

TEST_F(PqxxInbox, F68_AnAnswerToTheCommitThatIsLostIsInDoubt) {
    run("CREATE FUNCTION @s@.die() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$; "
        "CREATE CONSTRAINT TRIGGER die AFTER INSERT ON @s@.effect DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION @s@.die()");
    EXPECT_EQ(code_of([&] { process("e1"); }), "commit_in_doubt");
    EXPECT_EQ(effects(), "");
    EXPECT_EQ(attempts(), "");
}

class PqxxInboxAlone : public PqxxInbox {
protected:
    PqxxInboxAlone() : PqxxInbox(server()) {}
    static test::PostgresServer& server() {
        static test::PostgresServer own;
        return own;
    }
};

TEST_F(PqxxInboxAlone, F04_ACommitWhoseWaitForAStandbyIsCancelledIsInDoubtAndSoIsItsRepeat) {
    expect_doubt_when_the_wait_is_cancelled(server(), [&] { process("e1"); });
    EXPECT_EQ(process("e1"), duplicate);
    EXPECT_EQ(effects(), "e1");
}

TEST_F(PqxxInbox, F04_ANoticeAtTheCommitIsNoWarningAndReachesItsOwner) {
    struct Count final : pqxx::errorhandler {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        explicit Count(pqxx::connection& connection) : errorhandler{connection} {}
#pragma GCC diagnostic pop
        bool operator()(const char*) noexcept override {
            ++count;
            return true;
        }
        int count{};
    } heard{connection_};
    run("CREATE FUNCTION @s@.say() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE NOTICE 'said'; RETURN NULL; END $$; "
        "CREATE CONSTRAINT TRIGGER say AFTER INSERT ON @s@.effect DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION @s@.say()");
    EXPECT_EQ(process("e1"), processed);
    EXPECT_EQ(heard.count, 1);
}

TEST_F(PqxxInbox, AConstraintCheckedAtTheCommitIsTheMessagesFault) {
    run("ALTER TABLE @s@.effect ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED; "
        "INSERT INTO @s@.effect VALUES ('e1')");
    EXPECT_EQ(process("e1"), retry_later);
    EXPECT_EQ(attempts(), "1");
}

TEST_F(PqxxInbox, AStatementThatFailedUnnoticedIsNotTakenForACommit) {
    const auto outcome = process("e1", [&](pqxx::work& tx, const Message& m) {
        pay(tx, m);
        try {
            tx.exec("SELECT 1 / 0");
        } catch (const pqxx::sql_error&) {  // NOLINT(bugprone-empty-catch): unnoticed
        }
    });
    EXPECT_EQ(outcome.settlement, retry_later);
    EXPECT_EQ(attempts(), "1");
    EXPECT_EQ(effects(), "");
    EXPECT_EQ(process("e1"), processed);
}

TEST_F(PqxxInbox, AHandlerThatEndsTheTransactionIsStopped) {
    EXPECT_EQ(code_of([&] { process("e1", [](pqxx::work& tx, const Message&) { tx.commit(); }); }),
              "transaction_ended");
    EXPECT_EQ(
        code_of([&] { process("e2", [](pqxx::work& tx, const Message&) { tx.exec("COMMIT"); }); }),
        "transaction_ended");
    EXPECT_EQ(process("e3", [](pqxx::work& tx, const Message&) { tx.abort(); }).settlement,
              retry_later)
        << "nothing happened, which counts as a failed attempt";
    EXPECT_EQ(attempts(), "1");
}

TEST_F(PqxxInbox, InsideAnOpenTransactionProcessIsInvalidAndLeavesItAlone) {
    pqxx::work mine{connection_};
    pay(mine, message("mine"));
    EXPECT_EQ(code_of([&] { process("e1"); }), "transaction_open");
    mine.commit();
    EXPECT_EQ(effects(), "mine");
}

TEST_F(PqxxInbox, F69_PastTheLockTimeoutItIsInProgress) {
    Sql zombie = schema_.connect();
    zombie.run(schema_.sql("BEGIN; SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'body')"));
    options_.lock_timeout = Milliseconds{50};
    EXPECT_EQ(process("e1"), in_progress);
    zombie.run("ROLLBACK");
    EXPECT_EQ(process("e1"), processed);
}

// With libpqxx 6 the last two run in transactions of their own, since it knows no savepoint here.
TEST_F(PqxxInbox, ABatchLeavesOutOnlyTheMessageWhoseStatementFails) {
    const std::vector<Message> messages{message("a"), message("bad"), message("c")};
    const auto outcomes = Inbox(options_).process_batch(
        connection_, std::span<const Message>{messages}, [&](pqxx::work& tx, const Message& m) {
            pay(tx, m);
            if (m.id == "bad") tx.exec("SELECT 1 / 0");
        });
    ASSERT_EQ(outcomes.size(), 3U);
    EXPECT_EQ(outcomes[0].settlement, processed);
    EXPECT_EQ(outcomes[1].settlement, retry_later);
    EXPECT_EQ(outcomes[2].settlement, processed);
    EXPECT_EQ(effects(), "a,c");
    EXPECT_EQ(attempts(), "1");
}

TEST_F(PqxxInbox, MarkAndFailedServeATransactionOfTheCallersOwn) {
    const Inbox inbox{options_};
    {
        pqxx::work tx{connection_};
        EXPECT_EQ(inbox.failed(tx, message("e1"), "why"), retry_later);
        tx.commit();
    }
    pqxx::work tx{connection_};
    EXPECT_EQ(inbox.mark(tx, message("e1")), processed);
    EXPECT_EQ(inbox.mark(tx, message("e1")), duplicate);
    tx.commit();
}

}  // namespace
}  // namespace sagaz
