#include "stores/sqlite/migration.hpp"

#include "testing/store_reader.hpp"
#include "tests/support/error_code.hpp"
#include "tests/support/sqlite_file.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

namespace sagaz {
namespace {

using test::code_of;
using test::SqliteConnection;
using test::SqliteFile;

std::vector<std::string> shape_of(const std::string& path) {
    return SqliteConnection(path).run(
        "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY 1");
}

TEST(SqliteMigration, MakesTheFileOnceAndPutsItIntoWalMode) {
    const test::TemporaryFolder folder;
    const std::string path = folder.path() / "new.db";
    EXPECT_EQ(code_of([&] { (void)sqlite::migration_status(path, "sagaz"); }), "database_missing");
    EXPECT_EQ(sqlite::migrate(path, "sagaz"), std::vector<int>{1});
    EXPECT_EQ(sqlite::migrate(path, "sagaz"), std::vector<int>{});
    const auto status = sqlite::migration_status(path, "sagaz");
    EXPECT_FALSE(status.is_behind());
    ASSERT_EQ(status.applied.size(), 1U);
    EXPECT_EQ(status.applied[0].name, "log");
    SqliteConnection sql(path);
    EXPECT_EQ(sql.value("PRAGMA journal_mode"), "wal");
    EXPECT_EQ(sql.value("SELECT value FROM sagaz_setting WHERE key = 'source'"), "/sagaz/new.db");
}

TEST(SqliteMigration, TakesAFileThatTheApplicationHasMade) {
    const test::TemporaryFolder folder;
    const std::string path = folder.path() / "my shop.db";
    SqliteConnection(path).run("CREATE TABLE orders (id INTEGER PRIMARY KEY)");
    EXPECT_TRUE(sqlite::migration_status(path, "sagaz").is_behind());
    sqlite::migrate(path, "sagaz");
    sqlite::migrate(path, "other");
    SqliteConnection sql(path);
    EXPECT_EQ(sql.value("SELECT count(*) FROM other_outbox"), "0");
    EXPECT_EQ(sql.value("SELECT value FROM sagaz_setting WHERE key = 'source'"), "/sagaz/sqlite")
        << "a name with a blank is no part of a URI";
}

TEST(SqliteMigration, IsNotUpToDateWhereALaterProgramHasBeen) {
    const test::TemporaryFolder folder;
    const std::string path = folder.path() / "new.db";
    sqlite::migrate(path, "sagaz");
    SqliteConnection sql(path);
    sql.run("INSERT INTO sagaz_schema_version (version, name, compatible_from) VALUES (9, 'x', 1)");
    EXPECT_TRUE(sqlite::migrate(path, "sagaz").empty()) << "it lets this program work beside it";
    sql.run("UPDATE sagaz_schema_version SET compatible_from = 9 WHERE version = 9");
    EXPECT_EQ(code_of([&] { (void)sqlite::migrate(path, "sagaz"); }), "schema_too_new");
}

TEST(SqliteMigration, DoesTheWorkOnceWhenTwoRunAtOnce) {
    const test::TemporaryFolder folder;
    const std::string path = folder.path() / "new.db";
    std::vector<std::size_t> applied(4);
    {
        std::vector<std::jthread> threads;
        for (auto& count : applied) {
            threads.emplace_back([&] { count = sqlite::migrate(path, "sagaz").size(); });
        }
    }
    EXPECT_EQ(std::ranges::count(applied, 1U), 1);
    EXPECT_EQ(std::ranges::count(applied, 0U), 3);
}

TEST(SqliteMigration, PrintsTheSameSchemaAsPlainSql) {
    const test::TemporaryFolder folder;
    const std::string by_script = folder.path() / "script.db";
    SqliteConnection(by_script).run(sqlite::migration_script("sagaz", 0, 1));
    const SqliteFile file;
    EXPECT_EQ(shape_of(by_script), shape_of(file.path()));
    EXPECT_FALSE(sqlite::migration_status(by_script, "sagaz").is_behind());
    EXPECT_EQ(code_of([] { (void)sqlite::migration_script("sagaz", 0, 9); }), "version_range");
}

TEST(SqliteSetting, ChangesAndTellsEveryRelay) {
    const SqliteFile file;
    const auto store = file.open();
    testing::StoreReader reader(*store);
    sqlite::set_setting(file.path(), "sagaz", "topic_template", "mine.{event_type}");
    sqlite::set_setting(file.path(), "sagaz", "on_refused", "park_event");
    EXPECT_EQ(code_of([&] { (void)store->open_window(); }), "incarnation_changed");
    const auto settings = store->attach(Id::generate()).settings;
    EXPECT_EQ(settings.topic_template, "mine.{event_type}");
    EXPECT_EQ(settings.on_refused, OnRefused::park_event);
    EXPECT_EQ(settings.slot_count, 1);
    EXPECT_EQ(SqliteConnection(file.path()).value("SELECT count(*) FROM sagaz_audit"), "2");
}

TEST(SqliteSetting, RefusesWhatCannotChange) {
    const SqliteFile file;
    const auto set = [&](const char* key, const char* value) {
        return code_of([&] { sqlite::set_setting(file.path(), "sagaz", key, value); });
    };
    EXPECT_EQ(set("colour", "red"), "setting_unknown");
    EXPECT_EQ(set("source", "a b"), "setting_value");
    EXPECT_EQ(set("slot_count", "16"), "setting_fixed");
    EXPECT_EQ(set("slot_count", "1"), "");
    test::commit_event(file, "a");
    EXPECT_EQ(set("source", "/shop"), "setting_fixed");
    EXPECT_EQ(set("on_refused", "park_event"), "");
}

}  // namespace
}  // namespace sagaz
