// The inbox on a file of the SQLite store.
#include "stores/sqlite/database.hpp"
#include "tests/support/error_code.hpp"
#include "tests/support/inbox_message.hpp"
#include "tests/support/sqlite_file.hpp"

#include <sagaz/error.hpp>
#include <sagaz/inbox.hpp>
#include <sagaz/sqlite.hpp>

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace sagaz {
namespace {

using enum Settlement;
using test::message;

class InboxInSqlite : public ::testing::Test {
protected:
    InboxInSqlite() {
        sqlite::migrate(path_, "sagaz");
        connection_.run("CREATE TABLE effect (id TEXT) STRICT");
        options_.consumer_name = "billing";
    }

    std::string value(const std::string& sql) { return connection_.run(sql).at(0); }
    // The handler of an id that holds "bad" throws after its effect.
    std::vector<Settlement> batch(const std::vector<Message>& messages) {
        sqlite::SqliteUnitOfWork unit(connection_.raw());
        std::vector<Settlement> settlements;
        for (const auto& outcome :
             Inbox(options_).process_batch(unit, messages, [&](sqlite3*, const Message& m) {
                 unit.execute({"INSERT INTO effect VALUES (?1)", {{m.id, false, false}}});
                 if (m.id.find("bad") != std::string::npos) throw std::runtime_error("no stock");
             })) {
            settlements.push_back(outcome.settlement);
        }
        return settlements;
    }
    Settlement process(const Message& m) { return batch({m}).at(0); }
    std::string parked() {
        return value(
            "SELECT coalesce(group_concat(coalesce(original_id, event_id) || ' ' || "
            "reason || ' ' || state || ' ' || attempts, ', '), '') FROM sagaz_parked");
    }

    static constexpr auto parked_ = Settlement::parked;

    test::TemporaryFolder folder_;
    std::string path_{folder_.path() / "shop.db"};
    test::SqliteConnection connection_{path_};
    InboxOptions options_;
};

TEST_F(InboxInSqlite, F67_ARepeatAfterTheCommitIsADuplicate) {
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(process(message("e1")), duplicate);
    EXPECT_EQ(value("SELECT count(*) FROM effect"), "1");
    EXPECT_EQ(value("SELECT original_id || '|' || source_topic || '|' || event_type || '|' || "
                    "length(payload_hash) || '|' || coalesce(payload, 'none') "
                    "FROM sagaz_consumer_inbox"),
              "e1|payments|Paid|32|none");
}

TEST_F(InboxInSqlite, HandlesParkedMessagesAgainInTheOrderOfTheirKey) {
    options_.max_attempts = 1;
    EXPECT_EQ(batch({message("bad1", "k"), message("e2", "k", std::string("a\0\xff", 3))}),
              (std::vector{parked_, retry_later}));
    EXPECT_EQ(process(message("e2", "k", std::string("a\0\xff", 3))), parked_);
    EXPECT_EQ(process(message("e3", "k")), parked_);
    const auto replay = [&](bool fails) {
        sqlite3* connection = connection_.raw();
        std::string seen = "nothing";
        const auto outcome = Inbox(options_).replay(connection, [&](sqlite3*, const Message& m) {
            seen = m.id + "/" + *m.event.key + "/" + std::to_string(m.event.payload.size());
            if (fails) throw std::runtime_error("still no stock");
        });
        return std::pair{outcome ? std::optional{outcome->settlement} : std::nullopt, seen};
    };
    const auto set_free = [&] {
        connection_.run(
            "UPDATE sagaz_parked SET state = 'waiting', attempts = 0, next_attempt_at "
            "= '2020-01-01T00:00:00.000Z' WHERE state = 'dead'");
    };
    EXPECT_EQ(replay(false).second, "nothing") << "dead until somebody says so";
    set_free();
    EXPECT_EQ(replay(true), std::pair(std::optional{parked_}, std::string{"bad1/k/4"}));
    connection_.run(
        "UPDATE sagaz_parked SET next_attempt_at = '2020-01-01T00:00:00.000Z' WHERE state = "
        "'waiting'");
    EXPECT_EQ(replay(false).second, "nothing") << "what stands behind a dead one waits";
    set_free();
    EXPECT_EQ(replay(false), std::pair(std::optional{processed}, std::string{"bad1/k/4"}));
    EXPECT_EQ(replay(false), std::pair(std::optional{processed}, std::string{"e2/k/3"}));
    options_.max_attempts = 2;
    EXPECT_EQ(replay(true), std::pair(std::optional{retry_later}, std::string{"e3/k/4"}));
    EXPECT_EQ(replay(false).second, "nothing") << "not before its time";
    connection_.run("UPDATE sagaz_parked SET next_attempt_at = '2020-01-01T00:00:00.000Z'");
    EXPECT_EQ(replay(false), std::pair(std::optional{processed}, std::string{"e3/k/4"}));
    EXPECT_EQ(parked(), "");
    EXPECT_EQ(process(message("e2", "k", std::string("a\0\xff", 3))), duplicate);
}

TEST_F(InboxInSqlite, ProcessBeginsAndCommitsOnTheCallersConnection) {
    sqlite3* connection = connection_.raw();
    const Inbox inbox(options_);
    const auto handler = [](sqlite3*, const Message& m) { return m.event.payload.size(); };
    const auto outcome = inbox.process(connection, message("e1"), handler);
    EXPECT_EQ(outcome.settlement, processed);
    EXPECT_EQ(outcome.value, 4U);
    EXPECT_FALSE(inbox.process(connection, message("e1"), handler).value);
    connection_.run("BEGIN");
    EXPECT_EQ(test::code_of([&] { inbox.process(connection, message("e2"), handler); }),
              "transaction_open");
    connection_.run("ROLLBACK; PRAGMA synchronous = NORMAL");
    EXPECT_EQ(test::code_of([&] { inbox.process(connection, message("e2"), handler); }),
              "synchronous_normal");
}

TEST_F(InboxInSqlite, AHandlerThatEndsTheTransactionIsToldSo) {
    sqlite3* connection = connection_.raw();
    const auto handler = [&](sqlite3*, const Message&) { connection_.run("ROLLBACK"); };
    EXPECT_EQ(test::code_of([&] { Inbox(options_).process(connection, message("e1"), handler); }),
              "transaction_ended");
    EXPECT_EQ(process(message("e1")), processed);
}

TEST_F(InboxInSqlite, AHandlerThatCommitsAndThenFailsIsStopped) {
    sqlite3* connection = connection_.raw();
    const auto handler = [&](sqlite3*, const Message&) {
        connection_.run("COMMIT");
        throw std::runtime_error("no stock");
    };
    EXPECT_EQ(test::code_of([&] { Inbox(options_).process(connection, message("e1"), handler); }),
              "transaction_ended");
}

TEST_F(InboxInSqlite, AHandlerWhoseTransactionSqliteEndedIsCountedAndComesAgain) {
    sqlite3* connection = connection_.raw();
    const auto handler = [&](sqlite3*, const Message&) {
        connection_.run("INSERT OR ROLLBACK INTO effect VALUES (x'00')");
    };
    EXPECT_EQ(Inbox(options_).process(connection, message("e1"), handler).settlement, retry_later);
    EXPECT_EQ(process(message("e1")), processed);
}

// Without a journal ROLLBACK "behaves in an undefined way" (sqlite.org/pragma.html), and a process
// that is killed ruins the file.
TEST_F(InboxInSqlite, RefusesAConnectionThatCannotRollBack) {
    for (const char* mode : {"off", "memory"}) {
        ASSERT_EQ(value(std::string("PRAGMA journal_mode = ") + mode), mode);
        sqlite3* connection = connection_.raw();
        EXPECT_EQ(test::code_of([&] {
                      Inbox(options_).process(connection, message("e1"),
                                              [](sqlite3*, const Message&) { throw 42; });
                  }),
                  "journal_unsafe");
    }
    ASSERT_EQ(value("PRAGMA journal_mode = WAL"), "wal");
    EXPECT_EQ(process(message("e1")), processed);
}

// SQLite commits two files one after the other: a crash between keeps a mark without its effects.
TEST_F(InboxInSqlite, IsNotTheOneOfAnAttachedFile) {
    test::SqliteConnection other(folder_.path() / "other.db");
    other.run("PRAGMA journal_mode = WAL; CREATE TABLE effect (id TEXT); ATTACH '" + path_ +
              "' AS shop");
    sqlite3* connection = other.raw();
    EXPECT_EQ(test::code_of([&] {
                  Inbox(options_).process(connection, message("e1"),
                                          [](sqlite3*, const Message&) { ADD_FAILURE(); });
              }),
              "schema_missing");
    other.run("BEGIN IMMEDIATE");
    EXPECT_EQ(test::code_of([&] {
                  Outbox().append(connection, {.topic = "t", .event_type = "E", .payload = "p"});
              }),
              "schema_missing");
}

TEST_F(InboxInSqlite, TurnsAnyTextIntoTheSameIdInAFileOfTheOtherEncoding) {
    const std::string path = folder_.path() / "utf16.db";
    test::SqliteConnection(path).run("PRAGMA encoding = 'UTF-16'; CREATE TABLE effect (id TEXT)");
    sqlite::migrate(path, "sagaz");
    test::SqliteConnection sql(path);
    sqlite3* connection = sql.raw();
    Inbox(options_).process(connection, message("order-42"), [](sqlite3*, const Message&) {});
    EXPECT_EQ(sql.value("SELECT event_id FROM sagaz_consumer_inbox"),
              "3bf8b157-c423-8eef-a5ae-4a66eca81c6b");
}

TEST_F(InboxInSqlite, MarksInATransactionOfTheCallersConnection) {
    sqlite3* connection = connection_.raw();
    const Inbox inbox(options_);
    connection_.run("BEGIN IMMEDIATE");
    EXPECT_EQ(inbox.mark(connection, message("e1")), processed);
    EXPECT_EQ(inbox.mark(connection, message("e1")), duplicate);
    EXPECT_EQ(inbox.failed(connection, message("e2"), "why"), retry_later);
    connection_.run("COMMIT");
    EXPECT_EQ(process(message("e1")), duplicate);
}

// SQLite refuses to register a function again while a statement of the connection runs.
TEST_F(InboxInSqlite, ProcessesWhatTheSameConnectionIsReading) {
    connection_.run("CREATE TABLE letter (id TEXT); INSERT INTO letter VALUES ('a'), ('b'), ('c')");
    sqlite3* connection = connection_.raw();
    const Inbox inbox(options_);
    sqlite::Query letters(connection, "SELECT id FROM letter");
    while (letters.step()) {
        const auto m = message(std::string(letters.text_at(0)));
        EXPECT_EQ(inbox.process(connection, m, [](sqlite3*, const Message&) {}).settlement,
                  processed);
    }
    EXPECT_EQ(value("SELECT count(*) FROM sagaz_consumer_inbox"), "3");
}

TEST_F(InboxInSqlite, LeavesNoStatementBehind) {
    options_.max_attempts = 1;
    EXPECT_EQ(batch({message("a"), message("bad", "k"), message("c", "k"), message("a")}),
              (std::vector{processed, Settlement::parked, retry_later, duplicate}));
    EXPECT_EQ(sqlite3_next_stmt(connection_.raw(), nullptr), nullptr);
}

TEST_F(InboxInSqlite, TurnsAnyTextIntoTheSameIdAsPostgresDoes) {
    EXPECT_EQ(process(message("order-42")), processed);
    EXPECT_EQ(process(message("0190a6f2-7c3b-7d11-8a51-3f1c9be2d0ag")), processed);
    EXPECT_EQ(value("SELECT group_concat(event_id) FROM "
                    "(SELECT event_id FROM sagaz_consumer_inbox ORDER BY original_id DESC)"),
              "3bf8b157-c423-8eef-a5ae-4a66eca81c6b,06b172d2-df30-8f9d-af32-be8a5c702a9f");
    EXPECT_EQ(process(message("0190A6F2-7C3B-7D11-8A51-3F1C9BE2D0AA")), processed);
    EXPECT_EQ(process(message("0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa")), duplicate);
}

TEST_F(InboxInSqlite, F73_PoisonIsParkedAfterItsLastAttemptAndItsKeyBehindIt) {
    options_.max_attempts = 2;
    EXPECT_EQ(process(message("bad", "k")), retry_later);
    EXPECT_EQ(value("SELECT attempts || last_cause FROM sagaz_inbox_attempt"), "1no stock");
    EXPECT_EQ(process(message("bad", "k")), Settlement::parked);
    EXPECT_EQ(process(message("bad", "k")), Settlement::parked);
    EXPECT_EQ(process(message("e2", "k")), Settlement::parked);
    EXPECT_EQ(process(message("e2", "k")), Settlement::parked);
    EXPECT_EQ(process(message("e3", "l")), processed);
    EXPECT_EQ(parked(), "bad max_attempts dead 2, e2 key_parked waiting 0");
    EXPECT_EQ(value("SELECT count(*) FROM effect"), "1");
    EXPECT_EQ(value("SELECT count(*) FROM sagaz_inbox_attempt"), "0");
}

TEST_F(InboxInSqlite, F76_TheSameIdWithAnotherBodyIsParkedAndStopsNobody) {
    EXPECT_EQ(process(message("e1", "k", "one")), processed);
    EXPECT_EQ(process(message("e1", "k", "two")), Settlement::parked);
    EXPECT_EQ(process(message("e1", "k", "two")), Settlement::parked);
    EXPECT_EQ(process(message("e1", "k", "one")), duplicate);
    EXPECT_EQ(process(message("e2", "k")), processed);
    EXPECT_EQ(parked(), "e1 id_conflict dead 0");
}

TEST_F(InboxInSqlite, SuccessForgetsTheAttempts) {
    sqlite::SqliteUnitOfWork unit(connection_.raw());
    const Inbox inbox(options_);
    unit.begin();
    EXPECT_EQ(inbox.failed(unit, message("e1"), "why"), retry_later);
    unit.commit();
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(value("SELECT count(*) FROM sagaz_inbox_attempt"), "0");
    unit.begin();
    EXPECT_EQ(inbox.failed(unit, message("e1"), "late"), duplicate);
    unit.commit();
    EXPECT_EQ(value("SELECT count(*) FROM sagaz_inbox_attempt"), "0");
}

TEST_F(InboxInSqlite, LeavesOutOfABatchOnlyTheMessageWhoseHandlerThrows) {
    EXPECT_EQ(batch({message("a"), message("bad", "k"), message("c", "k"), message("a")}),
              (std::vector{processed, retry_later, retry_later, duplicate}));
    EXPECT_EQ(value("SELECT group_concat(id) FROM effect"), "a");
}

TEST_F(InboxInSqlite, KeepsWhatIsAskedForAndParksWhatHasNoId) {
    options_.keep_payload = true;
    options_.keep_duration = true;
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(value("SELECT payload || (processing_duration_ms >= 0) FROM sagaz_consumer_inbox"),
              "body1");
    EXPECT_EQ(process(message("")), Settlement::parked);
    EXPECT_EQ(process(message("")), Settlement::parked);
    EXPECT_EQ(parked(), "payments/-1/-1 id_missing dead 0");
}

}  // namespace
}  // namespace sagaz
