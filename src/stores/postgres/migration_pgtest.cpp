#include "stores/postgres/migration.hpp"
#include "tests/support/error_code.hpp"
#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/error.hpp>
#include <sagaz/postgres.hpp>

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace sagaz {
namespace {

using test::code_of;
using test::PostgresServer;
using test::Schema;
using test::Sql;

// Everything of a schema that its definition decides, as text.
std::string shape_of(Sql& sql, const std::string& schema) {
    const std::string in = "'" + schema + "'::regnamespace";
    std::string text;
    for (const auto& query :
         {"SELECT c.relname, c.relkind, c.relreplident, c.reloptions::text, a.attname, "
          "a.atttypid::regtype, a.attnotnull, a.attnum, pg_get_expr(d.adbin, d.adrelid) "
          "FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
          "LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
          "WHERE c.relnamespace = " +
              in + " ORDER BY c.relname, a.attnum",
          "SELECT p.oid::regprocedure, pg_get_functiondef(p.oid) FROM pg_proc p "
          "WHERE p.pronamespace = " +
              in + " ORDER BY p.proname, pg_get_function_identity_arguments(p.oid)",
          "SELECT indexdef FROM pg_indexes WHERE schemaname = '" + schema + "' ORDER BY 1"}) {
        for (const auto& row : sql.rows(query)) {
            for (const auto& field : row) text += field + "|";
            text += "\n";
        }
    }
    for (auto at = text.find(schema); at != std::string::npos; at = text.find(schema, at)) {
        text.replace(at, schema.size(), "@");
    }
    return text;
}

TEST(Migration, BringsAnEmptyDatabaseToTheNewestVersionOnce) {
    auto& server = PostgresServer::shared();
    const std::string url = server.url(server.fresh_database());
    EXPECT_TRUE(postgres::migration_status(url, "sagaz").is_behind());
    std::vector<int> all;
    for (const auto& migration : postgres::migrations()) all.push_back(migration.version);
    EXPECT_EQ(postgres::migrate(url, "sagaz", false), all);
    EXPECT_EQ(postgres::migrate(url, "sagaz", false), std::vector<int>{});
    const auto status = postgres::migration_status(url, "sagaz");
    EXPECT_EQ(status.version, postgres::newest_version());
    ASSERT_EQ(status.applied.size(), all.size());
    EXPECT_EQ(status.applied[0].name, "log");
    EXPECT_EQ(status.applied[1].name, "inbox");
    EXPECT_EQ(status.applied[1].compatible_from, 1);
}

TEST(Migration, RunsOnceWhenTwoStartTogether) {
    auto& server = PostgresServer::shared();
    const std::string url = server.url(server.fresh_database());
    std::vector<int> first;
    std::jthread other([&] { first = postgres::migrate(url, "sagaz", true); });
    const auto second = postgres::migrate(url, "sagaz", true);
    other.join();
    EXPECT_EQ(first.size() + second.size(), postgres::migrations().size());
}

// The fifth version and later ones are missing, and somebody has just written to the table of which
// the fifth makes an index.
class BusyMigration : public ::testing::Test {
protected:
    BusyMigration() {
        writer_.run("SET application_name = 'nightly job'");
        writer_.run(postgres::migration_script("sagaz", 0, 4, false));
        writer_.run("BEGIN; LOCK TABLE sagaz.parked IN ROW EXCLUSIVE MODE");
        migrating_ = std::jthread([this] {
            try {
                applied_ = postgres::migrate(server_.url(database_), "sagaz", false);
            } catch (const Error& error) {
                refused_ = std::string(error.code()) + ": " + error.what();
            }
        });
        test::wait_for("the migration to wait for a lock", [&] {
            return other_.number(
                       "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareLock' "
                       "AND locktype = 'relation'") == 1;
        });
    }

    PostgresServer& server_ = PostgresServer::shared();
    const std::string database_ = server_.fresh_database();
    Sql writer_{server_.connect(database_)};
    Sql other_{server_.connect(database_)};
    std::vector<int> applied_;
    std::string refused_;
    std::jthread migrating_;
};

TEST_F(BusyMigration, DoesNotStopTheOthersWhileItWaits) {
    EXPECT_EQ(
        other_.failure("SET lock_timeout = '5s'; DELETE FROM sagaz.parked; RESET lock_timeout"),
        "");
    writer_.run("COMMIT");
    migrating_.join();
    EXPECT_EQ(refused_, "");
    ASSERT_EQ(applied_.size(), static_cast<std::size_t>(postgres::newest_version() - 4));
    EXPECT_EQ(applied_.front(), 5);
}

TEST_F(BusyMigration, SaysAtLastWhomItWaitsFor) {
    migrating_.join();
    EXPECT_NE(refused_.find("lock_not_available"), std::string::npos) << refused_;
    EXPECT_NE(refused_.find("pid " + std::to_string(writer_.backend_pid()) +
                            " (nightly job) has locked parked for"),
              std::string::npos)
        << refused_;
    EXPECT_EQ(applied_, std::vector<int>{});
    writer_.run("COMMIT");
}

TEST(Migration, PrintsPlainSqlThatPsqlAppliesAndRecords) {
    auto& server = PostgresServer::shared();
    const std::string printed = server.fresh_database();
    const std::string migrated = server.fresh_database();
    const auto folder = test::make_folder("sagaz-migration");
    std::ofstream(folder / "script.sql")
        << postgres::migration_script("sagaz", 0, postgres::newest_version(), true);
    test::run({"/usr/bin/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", server.url(printed),
               "-f", (folder / "script.sql").string()},
              folder / "psql.log");
    test::remove_folder(folder);
    postgres::migrate(server.url(migrated), "sagaz", true);
    EXPECT_FALSE(postgres::migration_status(server.url(printed), "sagaz").is_behind());
    Sql one(server.url(printed));
    Sql two(server.url(migrated));
    const std::string shape = shape_of(one, "sagaz");
    EXPECT_GT(shape.size(), 10'000U);
    EXPECT_TRUE(shape == shape_of(two, "sagaz"));
}

TEST(Migration, IsTheSameUnderAnotherSchemaName) {
    auto& server = PostgresServer::shared();
    const std::string url = server.url(server.fresh_database());
    // Not "sagaz": that is in other names too, which stay as they are.
    postgres::migrate(url, "one_schema", false);
    postgres::migrate(url, "other_schema", false);
    Sql sql(url);
    EXPECT_TRUE(shape_of(sql, "one_schema") == shape_of(sql, "other_schema"));
}

TEST(Migration, LeavesNothingWhenItFailsInTheMiddle) {
    auto& server = PostgresServer::shared();
    const std::string url = server.url(server.fresh_database());
    Sql sql(url);
    sql.run("CREATE SCHEMA sagaz; CREATE TABLE sagaz.backlog (a int)");  // the last object's name
    EXPECT_THROW(postgres::migrate(url, "sagaz", false), Error);
    EXPECT_EQ(sql.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'sagaz'::regnamespace"),
              "1");
}

TEST(Migration, DoesNotDependOnTheSearchPath) {
    auto& server = PostgresServer::shared();
    const std::string database = server.fresh_database();
    Sql sql(server.url(database));
    // A function that would win over pg_catalog's if names were looked up in public.
    sql.run(
        "CREATE FUNCTION public.convert_to(text, text) RETURNS bytea LANGUAGE sql "
        "RETURN '\\x66'::bytea;"
        "ALTER DATABASE " +
        database + " SET search_path = public, pg_catalog");
    postgres::migrate(server.url(database), "sagaz", false);
    EXPECT_EQ(sql.value("SELECT count(*) FROM pg_depend d JOIN pg_proc p ON p.oid = d.refobjid "
                        "WHERE p.pronamespace = 'public'::regnamespace AND d.deptype = 'n'"),
              "0");
}

TEST(Migration, RefusesNamesThatAreNoPlainIdentifier) {
    for (const char* name : {"", "Sagaz", "1a", "pg_sagaz", "a-b", "a;DROP TABLE x", "a\"b",
                             "schema_name_that_is_far_too_long_for_a_role_of_its_own"}) {
        EXPECT_EQ(code_of([&] { postgres::check_schema_name(name); }), "schema_name") << name;
    }
    EXPECT_NO_THROW(postgres::check_schema_name("sagaz_2"));
    EXPECT_EQ(code_of([] { (void)postgres::migration_script("sagaz", 0, 99, false); }),
              "version_range");
}

// ------------------------------------------------------------------------------------- settings

TEST(Migration, F12_RefusesADatabaseThatIsNotUtf8) {
    // In these a key such as E'caf\xe9' is taken at the insert and cannot be read by anybody.
    auto& server = PostgresServer::shared();
    Sql admin(server.url());
    for (const char* encoding : {"SQL_ASCII", "WIN1252"}) {
        const std::string name = std::string("not_utf8_") + encoding;
        admin.run("CREATE DATABASE \"" + name + "\" TEMPLATE template0 ENCODING '" + encoding +
                  "' LC_COLLATE 'C' LC_CTYPE 'C'");
        const auto url = server.url(name);
        EXPECT_EQ(code_of([&] { postgres::migrate(url, "sagaz", false); }), "database_encoding");
        const auto store = postgres::open(url);
        EXPECT_EQ(code_of([&] { store->attach(Id::generate()); }), "database_encoding");
    }
}

TEST(Setting, ASessionThatHasPlannedTheSlotTakesTheNewCount) {
    // A session keeps the trigger's plan, in which slot_of is inlined.
    const Schema schema;
    Sql sql = schema.connect();
    const auto highest_slot = [&] {
        sql.run("BEGIN");
        const auto slot = sql.number(
            schema.sql("WITH i AS (INSERT INTO @s@.outbox (id, key, event_type, payload) "
                       "SELECT n, n::text, 'E', '' FROM generate_series(1, 200) n RETURNING slot) "
                       "SELECT max(slot) FROM i"));
        sql.run("ROLLBACK");
        return slot;
    };
    ASSERT_EQ(highest_slot(), 15);
    postgres::set_setting(schema.url(), schema.name(), "slot_count", "4");
    EXPECT_EQ(highest_slot(), 3);
}

TEST(Setting, ChangesTheNumberOfSlotsOnANewSchema) {
    const Schema schema;
    Sql sql = schema.connect();
    for (const int count : {4, 64, 1, 7}) {
        postgres::set_setting(schema.url(), schema.name(), "slot_count", std::to_string(count));
        EXPECT_EQ(sql.number(schema.sql("SELECT count(*) FROM @s@.slot")), count);
        EXPECT_EQ(sql.number(schema.sql("SELECT count(*) FROM @s@.cursor")), count);
        EXPECT_EQ(sql.number(schema.sql("SELECT count(DISTINCT @s@.slot_of(n::text, "
                                        "gen_random_uuid())) FROM generate_series(1, 5000) n")),
                  count);
    }
    sql.run(
        schema.sql("INSERT INTO @s@.outbox (topic, key, event_type, payload) "
                   "SELECT 't', n::text, 'E', '' FROM generate_series(1, 200) n"));
    EXPECT_EQ(sql.number(schema.sql("SELECT max(slot) FROM @s@.outbox")), 6);
}

TEST(Setting, KeepsTheNumberOfSlotsOnceAnIdWasGivenOut) {
    const Schema schema;
    Sql sql = schema.connect();
    // Even a row that was rolled back may have been read with its slot by somebody.
    sql.run(schema.sql("BEGIN; SELECT @s@.append('t', 'k', 'E', 'p'::text); ROLLBACK"));
    EXPECT_EQ(
        code_of([&] { postgres::set_setting(schema.url(), schema.name(), "slot_count", "4"); }),
        "setting_fixed");
    EXPECT_EQ(sql.number(schema.sql("SELECT count(*) FROM @s@.slot")), 16);
}

// Sets the source, and has come as far as waiting for the log's lock.
class WaitingSetter {
public:
    WaitingSetter(const Schema& schema, Sql& watcher)
        : thread_([this, &schema] {
              code_ = code_of(
                  [&] { postgres::set_setting(schema.url(), schema.name(), "source", "/other"); });
          }) {
        test::wait_for("the setter to wait for a lock", [&] {
            return watcher.number(
                       "SELECT count(*) FROM pg_locks WHERE NOT granted AND "
                       "mode = 'ShareRowExclusiveLock'") == 1;
        });
    }

    /// What it ended with.
    std::string code() {
        thread_.join();
        return code_;
    }

private:
    std::string code_;
    std::jthread thread_;
};

TEST(Setting, WaitsForAnInsertInProgressBeforeItJudges) {
    const Schema schema;
    Sql writer = schema.connect();
    Sql watcher = schema.connect();
    writer.run(schema.sql("BEGIN; SELECT @s@.append('t', 'k', 'E', 'p'::text)"));
    WaitingSetter setter(schema, watcher);
    writer.run("COMMIT");
    EXPECT_EQ(setter.code(), "setting_fixed");
}

TEST(Setting, DoesNotStopInsertsWhileItWaits) {
    const Schema schema;
    Sql writer = schema.connect();
    Sql other = schema.connect();
    writer.run(schema.sql("BEGIN; SELECT @s@.append('t', 'k', 'E', 'p'::text)"));
    WaitingSetter setter(schema, other);
    other.run(
        schema.sql("SET statement_timeout = '10s'; SELECT @s@.append('t', 'l', 'E', 'p'::text)"));
    writer.run("COMMIT");
    EXPECT_EQ(setter.code(), "setting_fixed");
}

TEST(Setting, SeesWhatIsPendingUnderAnyDefaultIsolation) {
    PostgresServer server;
    server.configure("default_transaction_isolation = 'repeatable read'");
    server.reload();
    const Schema schema(server);
    Sql writer = schema.connect();
    Sql watcher = schema.connect();
    test::wait_for("the new default", [&] {
        return schema.connect().value("SHOW default_transaction_isolation") == "repeatable read";
    });
    writer.run(schema.sql("BEGIN; SELECT @s@.append('t', 'k', 'E', 'p'::text)"));
    WaitingSetter setter(schema, watcher);
    writer.run("COMMIT");
    EXPECT_EQ(setter.code(), "setting_fixed");
}

TEST(Setting, KeepsSourceAndTemplateWhileEventsWait) {
    const Schema schema;
    Sql sql = schema.connect();
    postgres::set_setting(schema.url(), schema.name(), "source", "/before");
    sql.run(schema.sql("SELECT @s@.append('t', 'k', 'E', 'p'::text)"));
    for (const char* key : {"source", "topic_template"}) {
        EXPECT_EQ(code_of([&] { postgres::set_setting(schema.url(), schema.name(), key, "x"); }),
                  "setting_fixed");
    }
    postgres::set_setting(schema.url(), schema.name(), "on_refused", "park_event");
    EXPECT_EQ(sql.value(schema.sql("SELECT value FROM @s@.setting WHERE key = 'source'")),
              "/before");
}

TEST(Setting, IsAuditedAndMakesEveryRelayAttachAnew) {
    const Schema schema;
    Sql sql = schema.connect();
    const std::string token = sql.value(schema.sql("SELECT @s@.attach()"));
    postgres::set_setting(schema.url(), schema.name(), "topic_template", "shop.{event_type}");
    EXPECT_NE(sql.value(schema.sql("SELECT @s@.attach()")), token);
    EXPECT_EQ(sql.value(schema.sql("SELECT detail ->> 'old' || ' ' || (detail ->> 'new') "
                                   "FROM @s@.audit WHERE action = 'set'")),
              "events.{event_type} shop.{event_type}");
}

TEST(Setting, RefusesValuesThatCannotBeRight) {
    const Schema schema;
    const auto code = [&](const char* key, const std::string& value) {
        return code_of([&] { postgres::set_setting(schema.url(), schema.name(), key, value); });
    };
    for (const char* value : {"0", "65", "-1", "", "x", "4x"}) {
        EXPECT_EQ(code("slot_count", value), "setting_value") << value;
    }
    for (const std::string& value :
         {std::string(), std::string("a b"), std::string("{key}"), std::string(300, 'a')}) {
        EXPECT_EQ(code("topic_template", value), "setting_value") << value;
    }
    EXPECT_EQ(code("source", "a\nb"), "setting_value");
    EXPECT_EQ(code("on_refused", "drop"), "setting_value");
    EXPECT_EQ(code("envelope", "x"), "setting_unknown");
}

}  // namespace
}  // namespace sagaz
