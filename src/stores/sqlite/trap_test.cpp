// What SQLite does that a log must not fall for.
#include "testing/store_reader.hpp"
#include "tests/support/error_code.hpp"
#include "tests/support/sqlite_file.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <map>
#include <thread>

namespace sagaz {
namespace {

using test::code_of;
using test::commit_event;
using test::SqliteConnection;
using test::SqliteFile;
using testing::payloads_of;
using testing::StoreReader;
using Words = std::vector<std::string>;

TEST(SqliteLog, GivesTheIdOfADeletedRowOutToNobodyElse) {
    const SqliteFile file;
    const auto store = file.open();
    StoreReader reader(*store);
    commit_event(file, "a");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"a"});
    SqliteConnection(file.path()).run("DELETE FROM sagaz_outbox");
    commit_event(file, "b");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"b"});
}

TEST(SqliteLog, RefusesAnIdThatTheCallerChose) {
    const SqliteFile file;
    commit_event(file, "a");
    commit_event(file, "b");
    SqliteConnection sql(file.path());
    sql.run("DELETE FROM sagaz_outbox WHERE id = 1");
    for (const char* id : {"1", "2", "0", "-7"}) {
        EXPECT_ANY_THROW(sql.run(std::string("INSERT INTO sagaz_outbox (id, event_type, payload) "
                                             "VALUES (") +
                                 id + ", 'E', 'p')"))
            << id;
    }
    sql.run("INSERT INTO sagaz_outbox (event_type, payload) VALUES ('E', 'c'), ('E', 'd')");
    EXPECT_EQ(sql.value("SELECT max(id) FROM sagaz_outbox"), "4");
}

TEST(SqliteLog, SaysSoWhenTheSequenceWasSetBack) {
    const SqliteFile file;
    const auto store = file.open();
    StoreReader reader(*store);
    commit_event(file, "a");
    (void)reader.read_window();
    (void)store->store(reader.moves(), {});
    SqliteConnection(file.path())
        .run("DELETE FROM sagaz_outbox; DELETE FROM sqlite_sequence WHERE name = 'sagaz_outbox'");
    EXPECT_EQ(code_of([&] { (void)store->open_window(); }), "incarnation_changed");
    EXPECT_EQ(code_of([&] { StoreReader again(*store); }), "sequence_behind");
}

TEST(SqliteLog, F89_SaysBusyWhileAnotherWritesAndReadsOn) {
    const SqliteFile file;
    commit_event(file, "a");
    const auto store = file.open(Milliseconds{50});
    StoreReader reader(*store);
    {
        test::SqliteWriter writer(file.path());
        writer.append("never committed");
        EXPECT_EQ(code_of([&] { (void)store->observe({}); }), "busy");
        EXPECT_EQ(payloads_of(reader.read_window()), Words{"a"});
        EXPECT_GE(store->flushed(true), reader.opening().gate) << "a sync waits for no writer";
        EXPECT_EQ(code_of([&] { (void)file.open(Milliseconds{50})->attach(Id::generate()); }),
                  "busy");
    }
    EXPECT_FALSE(store->observe({}).slots.empty()) << "and forgot nothing";
    EXPECT_EQ(store->store(reader.moves(), {}).size(), 1U);
}

// A transaction that begins as a reader is refused when another one commits before its first write.
TEST(SqliteLog, F89_WritesBesideBusyProducersWithoutAConflict) {
    constexpr int kEach = 60;
    const SqliteFile file;
    const auto store = file.open(Milliseconds{30'000});
    StoreReader reader(*store);
    std::atomic<int> running{2};
    std::vector<testing::ReadRow> rows;
    {
        std::vector<std::jthread> producers;
        for (const char* key : {"a", "b"}) {
            producers.emplace_back([&, key] {
                for (int n = 0; n < kEach; ++n) commit_event(file, std::to_string(n), key);
                --running;
            });
        }
        while (running > 0 || rows.size() < std::size_t{2} * kEach) {
            const auto more = reader.read_window();
            rows.insert(rows.end(), more.begin(), more.end());
            ASSERT_GE(store->flushed(true), reader.opening().gate);
        }
    }
    std::map<std::string, int> next;
    for (const auto& row : rows) EXPECT_EQ(row.payload, std::to_string(next[*row.key]++));
    EXPECT_EQ(rows.size(), std::size_t{2} * kEach);
}

TEST(SqliteLog, F89_GoesOnBesideALongReaderAndHoldsNoneUpItself) {
    const SqliteFile file;
    const auto store = file.open();
    StoreReader reader(*store);
    SqliteConnection application(file.path());
    application.run("BEGIN; SELECT count(*) FROM sagaz_outbox");
    for (int n = 0; n < 50; ++n) {
        commit_event(file, std::to_string(n));
        EXPECT_EQ(reader.read_window().size(), 1U);
        auto moves = reader.moves();
        moves[0].cursor.n += n;
        EXPECT_EQ(store->store(moves, {}).size(), 1U);
        store->tidy(reader.owned());
    }
    SqliteConnection sql(file.path(), 0);
    EXPECT_EQ(sql.value("PRAGMA wal_checkpoint(TRUNCATE)"), "1") << "the reader keeps the log";
    application.run("COMMIT");
    EXPECT_EQ(sql.value("PRAGMA wal_checkpoint(TRUNCATE)"), "0") << "the store must not";
}

// The new file's log must outlive the old file's last connection, which deletes a log by name.
TEST(SqliteLog, F90_LeavesAReplacedFileAndReadsTheNewOne) {
    const SqliteFile file;
    commit_event(file, "a");
    const std::string backup = file.copy();
    const auto store = file.open();
    StoreReader reader(*store);
    commit_event(file, "lost");
    EXPECT_EQ(reader.read_window().size(), 2U);
    const auto moves = reader.moves();
    file.replace(backup);
    SqliteConnection application(file.path());
    application.run(
        "INSERT INTO sagaz_outbox (topic, key, event_type, payload) VALUES ('t', 'k', 'E', 'new')");
    EXPECT_EQ(code_of([&] { (void)store->store(moves, {}); }), "incarnation_changed");
    EXPECT_EQ(code_of([&] { (void)store->flushed(true); }), "incarnation_changed");
    StoreReader again(*store);
    EXPECT_EQ(payloads_of(again.read_window()), (Words{"a", "new"})) << "the same id as lost";
    EXPECT_EQ(application.value("SELECT count(*) FROM sagaz_outbox"), "2");
}

void restore_in_place(const std::string& from, const std::string& to) {
    SqliteConnection source(from);
    SqliteConnection target(to);
    sqlite3_backup* backup = sqlite3_backup_init(target.raw(), "main", source.raw(), "main");
    ASSERT_NE(backup, nullptr);
    EXPECT_EQ(sqlite3_backup_step(backup, -1), SQLITE_DONE);
    sqlite3_backup_finish(backup);
}

// The ids above the backup are given out again: a relay that remembers them would skip the new.
TEST(SqliteLog, F90_NoticesAFileThatWasRestoredInPlace) {
    const SqliteFile file;
    commit_event(file, "a");
    const std::string backup = file.copy();
    const auto store = file.open();
    const auto other = file.open();
    StoreReader reader(*store);
    const Attached before = other->attach(Id::generate());
    commit_event(file, "lost");
    EXPECT_EQ(reader.read_window().size(), 2U);
    restore_in_place(backup, file.path());
    commit_event(file, "new");
    commit_event(file, "newer");
    EXPECT_EQ(code_of([&] { (void)store->open_window(); }), "incarnation_changed");
    StoreReader again(*store);
    EXPECT_EQ(payloads_of(again.read_window()), (Words{"a", "new", "newer"}));
    EXPECT_EQ(code_of([&] { (void)other->flushed(false); }), "incarnation_changed");
    EXPECT_NE(other->attach(Id::generate()).incarnation, before.incarnation);
}

TEST(SqliteLog, F90_StopsWhenTheFileIsGone) {
    const SqliteFile file;
    const auto store = file.open();
    store->attach(Id::generate());
    std::filesystem::remove(file.path());
    EXPECT_EQ(code_of([&] { (void)store->observe({}); }), "incarnation_changed");
    EXPECT_EQ(code_of([&] { (void)store->attach(Id::generate()); }), "database_missing");
}

TEST(SqliteStore, NamesWhatIsWrongWithAPath) {
    const test::TemporaryFolder folder;
    const auto attach = [&](const std::string& name) {
        return code_of([&] { (void)sqlite::open(folder.path() / name)->attach(Id::generate()); });
    };
    EXPECT_EQ(attach("absent.db"), "database_missing");
    SqliteConnection(folder.path() / "empty.db").run("CREATE TABLE mine (n)");
    EXPECT_EQ(attach("empty.db"), "schema_missing");
    std::ofstream(folder.path() / "text.db") << std::string(5'000, 'x');
    EXPECT_EQ(attach("text.db"), "data_corrupted");
    for (const char* path : {"", ":memory:"}) {
        EXPECT_EQ(code_of([&] { (void)sqlite::open(path); }), "store_url") << path;
    }
    EXPECT_EQ(code_of([&] { (void)sqlite::open("a.db", {.schema = "a;b"}); }), "schema_name");
}

TEST(SqliteStore, RefusesASchemaThatItDoesNotKnow) {
    const SqliteFile file;
    SqliteConnection sql(file.path());
    sql.run("UPDATE sagaz_schema_version SET version = 0");
    EXPECT_EQ(code_of([&] { (void)file.open()->attach(Id::generate()); }), "schema_too_old");
    sql.run("UPDATE sagaz_schema_version SET version = 9");
    EXPECT_EQ(code_of([&] { (void)file.open()->attach(Id::generate()); }), "");
    sql.run("UPDATE sagaz_schema_version SET compatible_from = 9");
    EXPECT_EQ(code_of([&] { (void)file.open()->attach(Id::generate()); }), "schema_too_new");
}

TEST(SqliteStore, MeasuresTheBacklogAndEstimatesALongOne) {
    const SqliteFile file;
    const auto store = file.open();
    StoreReader reader(*store);
    EXPECT_EQ(store->measure().pending, 0);
    EXPECT_EQ(store->measure().oldest_age_seconds, 0);
    SqliteConnection(file.path())
        .run(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 12000) "
            "INSERT INTO sagaz_outbox (created_at, event_type, payload) "
            "SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-60 seconds'), 'E', 'p' FROM n");
    EXPECT_EQ(store->measure().pending, 12'000);
    EXPECT_NEAR(store->measure().oldest_age_seconds, 60, 30);
    (void)reader.read_window();
    (void)store->store(reader.moves(), {});
    EXPECT_EQ(store->measure().pending, 0);
}

TEST(SqliteStore, TakesWhatPlainSqlWritesInAnyType) {
    const SqliteFile file;
    SqliteConnection(file.path())
        .run(
            "INSERT INTO sagaz_outbox (topic, key, event_type, payload, headers, created_at) "
            "VALUES "
            "('t', 42, 'E', '{\"a\": \"\xc3\xa4\"}', '{\"h\": \"1\"}', 'yesterday'), "
            "('t', NULL, 'E', x'00ff', NULL, '2026-01-02T03:04:05.678Z')");
    const auto store = file.open();
    StoreReader reader(*store);
    const auto rows = reader.read_window();
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows[0].key, "42");
    EXPECT_EQ(rows[0].payload, "{\"a\": \"\xc3\xa4\"}");
    EXPECT_EQ(rows[0].headers, "{\"h\": \"1\"}");
    EXPECT_EQ(rows[1].payload, std::string("\0\xff", 2));
    EXPECT_EQ(rows[1].created_at.time_since_epoch(), std::chrono::milliseconds{1'767'323'045'678});
    EXPECT_EQ(rows[0].event_id.text()[14], '7') << "a UUIDv7";
    EXPECT_NE(rows[0].event_id, rows[1].event_id);
}

}  // namespace
}  // namespace sagaz
