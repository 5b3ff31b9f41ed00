// The schema as its users meet it: ways in, rights, and what other tools do to it.
#include "stores/postgres/migration.hpp"
#include "testing/store_reader.hpp"
#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_writer.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>

namespace sagaz {
namespace {

using test::open_store;
using test::Schema;
using test::Sql;
using testing::StoreReader;

class SchemaTest : public ::testing::Test {
protected:
    std::string run(const std::string& sql) { return sql_.failure(schema_.sql(sql)); }
    std::string value(const std::string& sql) { return sql_.value(schema_.sql(sql)); }

    Schema schema_;
    Sql sql_{schema_.connect()};
};

// ------------------------------------------------------------------------------------- ways in

TEST_F(SchemaTest, AppendsFourTypesOfPayloadByteForByte) {
    const std::string json = R"({"path": "C:\\new\\table", "x": "\\x00"})";
    // In two statements, since a statement does not see its own insert.
    const auto appended = [&](const std::string& expression) {
        const auto id =
            value("SELECT @s@.append('orders', '42', 'OrderPlaced', " + expression + ")");
        return value("SELECT convert_from(payload, 'UTF8') FROM @s@.outbox WHERE event_id = '" +
                     id + "'");
    };
    EXPECT_EQ(appended("'" + json + "'"), json) << "a literal without a type";
    EXPECT_EQ(appended("'" + json + "'::text"), json);
    EXPECT_EQ(appended("'" + json + "'::json"), json);
    EXPECT_EQ(appended("'{\"a\":   1}'::jsonb"), "{\"a\": 1}");
    EXPECT_EQ(appended("convert_to('" + json + "', 'UTF8')"), json) << "bytea";
    EXPECT_EQ(appended("''"), "");
}

TEST_F(SchemaTest, AppendTakesAndDefaultsEveryColumn) {
    value("SELECT @s@.append('', NULL, 'E', 'p')");
    EXPECT_EQ(value("SELECT concat_ws('|', topic IS NULL, key IS NULL, event_type, content_type, "
                    "headers IS NULL, aggregate_type IS NULL, held_until IS NULL, "
                    "created_at > now() - interval '1 minute', substr(event_id::text, 15, 1)) "
                    "FROM @s@.outbox"),
              "t|t|E|application/json|t|t|t|t|7");
    const std::string id = "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa";
    EXPECT_EQ(value("SELECT @s@.append('t', 'k', 'E', 'p', headers => '[[\"a\", \"1\"]]', "
                    "content_type => 'text/plain', event_id => '" +
                    id +
                    "', aggregate_type => 'x',"
                    " aggregate_id => 'y', saga_id => 'z')"),
              id);
    EXPECT_EQ(value("SELECT concat_ws('|', topic, key, content_type, headers, aggregate_type, "
                    "aggregate_id, saga_id) FROM @s@.outbox WHERE event_id = '" +
                    id + "'"),
              "t|k|text/plain|[[\"a\", \"1\"]]|x|y|z");
}

TEST_F(SchemaTest, F12_RefusesAtTheInsertWhatCouldNeverLeave) {
    EXPECT_EQ(run("SELECT @s@.append('t', 'k', NULL, 'p')"), "22023");
    EXPECT_EQ(run("SELECT @s@.append('t', 'k', '', 'p')"), "22023");
    EXPECT_EQ(run("SELECT @s@.append('t', 'k', 'E', NULL::text)"), "22004");
    EXPECT_EQ(run("SELECT @s@.append('t', 'k', 'E', 'p', '\"text\"')"), "22023");
    const auto insert = [&](const std::string& columns, const std::string& values) {
        return run("INSERT INTO @s@.outbox (event_type, payload, " + columns +
                   ") VALUES ('E', '', " + values + ")");
    };
    EXPECT_EQ(insert("key", "repeat('k', 2000)"), "");
    EXPECT_EQ(insert("key", "repeat('k', 2001)"), "23514");
    EXPECT_EQ(insert("topic", "repeat('k', 250)"), "23514");
    EXPECT_EQ(insert("content_type", "repeat('k', 256)"), "23514");
    EXPECT_EQ(insert("aggregate_type", "repeat('k', 256)"), "23514");
    EXPECT_EQ(insert("aggregate_id", "repeat('k', 2001)"), "23514");
    EXPECT_EQ(insert("saga_id", "repeat('k', 256)"), "23514");
    EXPECT_EQ(insert("headers", "jsonb_build_object('a', repeat(md5('x'), 8000))"), "23514");
    for (const char* scalar : {"'1'", "'null'", "'\"text\"'"}) {
        EXPECT_EQ(insert("headers", scalar), "23514") << scalar;
    }
    EXPECT_EQ(run("INSERT INTO @s@.outbox (event_type, payload) VALUES (repeat('k', 256), '')"),
              "23514");
    EXPECT_EQ(run("INSERT INTO @s@.outbox (event_type, payload) VALUES ('E', NULL)"), "23502");
    EXPECT_EQ(run("INSERT INTO @s@.outbox (event_type, payload) VALUES ('E', "
                  "convert_to(repeat('p', 16777216), 'UTF8'))"),
              "");
    EXPECT_EQ(run("INSERT INTO @s@.outbox (event_type, payload) VALUES ('E', "
                  "convert_to(repeat('p', 16777217), 'UTF8'))"),
              "23514");
}

TEST_F(SchemaTest, F12_NamesTheLimitAndTheColumnThatAnInsertBreaks) {
    const auto insert = [&](const std::string& column, const std::string& of) {
        const auto type = column == "event_type" ? of : "'E'";
        const auto extra = column == "event_type" ? std::string{} : ", " + column;
        const auto sql =
            schema_.sql("INSERT INTO @s@.outbox (event_type, payload" + extra + ") VALUES (" +
                        type + ", ''" + (extra.empty() ? std::string{} : ", " + of) + ")");
        try {
            sql_.run(sql);
        } catch (const std::exception& error) {
            return std::string{error.what()};
        }
        return std::string{"was taken"};
    };
    for (const auto& [column, of, said] :
         {std::array<std::string, 3>{"key", "repeat('k', 2001)",
                                     "outbox_key_max: key has 2001 bytes, the limit is 2000"},
          {"topic", "repeat('t', 250)", "outbox_text_max: topic has 250 bytes, the limit is 249"},
          {"event_type", "repeat('e', 256)",
           "outbox_text_max: event_type has 256 bytes, the limit is 255"},
          {"aggregate_id", "repeat('a', 2001)",
           "outbox_text_max: aggregate_id has 2001 bytes, the limit is 2000"},
          {"headers", "'1'", "outbox_headers: headers is neither an object nor an array"}}) {
        const auto got = insert(column, of);
        EXPECT_NE(got.find(said), std::string::npos) << got;
    }
}

TEST_F(SchemaTest, GivesAnEventItsSlotWhateverTheInsertSaysOfIt) {
    // By a wrong slot a key has two owners, or none.
    Sql producer{schema_.connect()};
    const auto slot_with = [&](const std::string& table, const std::string& slot) {
        return producer.value(schema_.sql("INSERT INTO @s@." + table +
                                          " (key, event_type, payload, slot, id) "
                                          "VALUES ('42', 'E', '', " +
                                          slot + ", 1) RETURNING slot"));
    };
    EXPECT_EQ(slot_with("outbox", "3"), "14");
    EXPECT_EQ(slot_with("outbox", "1000"), "14");
    EXPECT_EQ(slot_with("outbox_00", "3"), "14") << "a leaf named by itself";
    producer.run("SET session_replication_role = replica");
    EXPECT_EQ(slot_with("outbox_00", "3"), "14") << "as logical replication inserts";
}

TEST_F(SchemaTest, TakesSlotAndLimitsFromNoOperatorOfTheCallersSearchPath) {
    // A producer that could choose a slot could break the order of a key.
    ASSERT_EQ(run("CREATE SCHEMA IF NOT EXISTS sagaz_foreign; "
                  "CREATE FUNCTION sagaz_foreign.yes(int, int) RETURNS boolean "
                  "LANGUAGE sql IMMUTABLE RETURN true; "
                  "CREATE FUNCTION sagaz_foreign.three(bigint, bigint) RETURNS bigint "
                  "LANGUAGE sql IMMUTABLE RETURN 3; "
                  "CREATE OPERATOR sagaz_foreign.<= "
                  "(LEFTARG = int, RIGHTARG = int, FUNCTION = sagaz_foreign.yes); "
                  "CREATE OPERATOR sagaz_foreign.% "
                  "(LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = sagaz_foreign.three)"),
              "");
    Sql producer{schema_.connect()};
    producer.run("SET search_path = sagaz_foreign, pg_catalog");
    ASSERT_EQ(producer.value("SELECT 7::bigint % 16::bigint"), "3") << "the path is a hostile one";
    EXPECT_EQ(producer.value(schema_.sql("INSERT INTO @s@.outbox (key, event_type, payload) "
                                         "VALUES ('42', 'E', '') RETURNING slot")),
              "14");
    EXPECT_EQ(producer.failure(schema_.sql("INSERT INTO @s@.outbox (key, event_type, payload) "
                                           "VALUES (repeat('k', 2001), 'E', '')")),
              "23514");
    run("DROP SCHEMA sagaz_foreign CASCADE");
}

TEST_F(SchemaTest, F12_MeasuresHeadersAsTheyAreReadNotAsTheyAreStored) {
    // A stored value is compressed: 8 MB of it once passed a limit of 128 KB.
    run("CREATE TEMP TABLE stored (headers jsonb); "
        "INSERT INTO stored SELECT jsonb_build_object('a', repeat('x', 8000000))");
    EXPECT_EQ(run("INSERT INTO @s@.outbox (event_type, payload, headers) "
                  "SELECT 'E', '', s.headers FROM stored s"),
              "23514");
}

TEST_F(SchemaTest, ParksAnEventAtEveryLimitOfItsKey) {
    // What the index on parked could not take would stop the relay for good.
    ASSERT_EQ(run("INSERT INTO @s@.outbox (topic, key, event_type, payload) SELECT "
                  "string_agg(substr(md5(n::text), 1, 1), ''), "
                  "(SELECT string_agg(md5(random()::text || m), '') FROM generate_series(1, 62) m),"
                  " 'E', '' FROM generate_series(1, 249) n"),
              "");
    const auto store = open_store(schema_);
    StoreReader reader(*store);
    const auto rows = reader.read_window();
    ASSERT_EQ(rows.size(), 1U);
    const std::vector<Parking> parked{
        {rows[0].slot, rows[0].position, rows[0].event_id, "refused", ""}};
    EXPECT_EQ(store->store(reader.moves(), parked).size(), 16U);
    EXPECT_EQ(value("SELECT count(*) FROM @s@.parked"), "1");
}

TEST_F(SchemaTest, TakesAPlainInsertAndReturnsWhatTheDatabaseChose) {
    const auto row =
        sql_.rows(schema_.sql("INSERT INTO @s@.outbox (topic, key, event_type, payload) VALUES "
                              "('orders', '42', 'OrderPlaced', convert_to('{}', 'UTF8')) "
                              "RETURNING event_id, id, xid, slot, created_at"))
            .at(0);
    EXPECT_EQ(row[1], "1");
    EXPECT_EQ(row[3], value("SELECT @s@.slot_of('42', NULL)"));
}

TEST_F(SchemaTest, TakesRowsOfAnOrmThroughTheJsonView) {
    const auto row =
        sql_
            .rows(schema_.sql(
                "INSERT INTO @s@.outbox_json (topic, key, event_type, payload, headers) VALUES "
                "('orders', '42', 'OrderPlaced', '{\"path\": \"C:\\\\new\"}', '{\"a\": \"1\"}') "
                "RETURNING event_id, topic, payload"))
            .at(0);
    EXPECT_EQ(row[1], "orders");
    EXPECT_EQ(value("SELECT concat_ws('|', convert_from(payload, 'UTF8'), content_type, headers) "
                    "FROM @s@.outbox WHERE event_id = '" +
                    row[0] + "'"),
              R"({"path": "C:\\new"}|application/json|{"a": "1"})");
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox_json"), "0");
}

TEST_F(SchemaTest, SpreadsEventsByKeyAndThoseWithoutByTheirId) {
    EXPECT_EQ(value("SELECT count(DISTINCT @s@.slot_of('k', gen_random_uuid())) "
                    "FROM generate_series(1, 100)"),
              "1");
    EXPECT_EQ(value("SELECT count(DISTINCT @s@.slot_of(NULL, gen_random_uuid())) "
                    "FROM generate_series(1, 2000)"),
              "16");
    EXPECT_EQ(value("SELECT concat_ws('|', min(s), max(s)) FROM (SELECT @s@.slot_of(n::text, NULL) "
                    "AS s FROM generate_series(1, 5000) n) x"),
              "0|15");
    // Golden: rows already written have these slots, whatever the version of PostgreSQL.
    EXPECT_EQ(value("SELECT concat_ws(',', @s@.slot_of('', NULL), @s@.slot_of('42', NULL), "
                    "@s@.slot_of('k', NULL), @s@.slot_of(NULL, "
                    "'0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa'))"),
              "13,14,13,10");
}

TEST_F(SchemaTest, MakesIdsOfVersion7InTheOrderOfTime) {
    EXPECT_EQ(value("SELECT count(*) FROM (SELECT @s@.uuid_v7()::text AS u "
                    "FROM generate_series(1, 1000)) x "
                    "WHERE u !~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-'"),
              "0");
    EXPECT_EQ(value("SELECT abs(extract(epoch FROM clock_timestamp()) * 1000 - "
                    "('x' || lpad(substr(replace(@s@.uuid_v7()::text, '-', ''), 1, 12), 16, '0'))"
                    "::bit(64)::bigint) < 5000"),
              "t");
}

TEST_F(SchemaTest, WorksWithAnEmptySearchPath) {
    ASSERT_EQ(run("SET search_path = ''"), "");
    for (const char* call :
         {"SELECT @s@.append('t', 'k', 'E', 'p'::text)",
          "SELECT @s@.append('t', 'k', 'E', '{}'::json)",
          "SELECT @s@.append('t', 'k', 'E', '{}'::jsonb, '{\"a\": 1}')",
          "SELECT @s@.append('t', 'k', 'E', '\\x00'::bytea)",
          "INSERT INTO @s@.outbox_json (topic, event_type, payload) VALUES ('t', 'E', '{}')",
          "INSERT INTO @s@.outbox (topic, event_type, payload) VALUES ('t', 'E', '')",
          "SELECT @s@.attach()", "SELECT @s@.uuid_v7()", "SELECT @s@.slot_of('k', NULL)",
          "SELECT * FROM @s@.backlog"}) {
        EXPECT_EQ(run(call), "") << call;
    }
}

TEST_F(SchemaTest, HasNoFunctionThatRunsWithMoreRightsUnlessItsPathIsPinned) {
    EXPECT_EQ(value("SELECT count(*) FROM pg_proc WHERE pronamespace = '@s@'::regnamespace AND "
                    "prosecdef AND (proconfig IS NULL OR NOT proconfig::text LIKE "
                    "'%search_path=pg_catalog, pg_temp\"%')"),
              "0")
        << "a path that does not name pg_temp begins with it, for types and tables";
}

TEST_F(SchemaTest, CountsTheBacklog) {
    const auto backlog = [&] {
        return value(
            "SELECT concat_ws('|', pending_events, oldest_pending_age_seconds > 0, "
            "is_estimate) FROM @s@.backlog");
    };
    EXPECT_EQ(backlog(), "0|f|f");
    run("SELECT @s@.append('t', n::text, 'E', 'p') FROM generate_series(1, 100) n");
    EXPECT_EQ(backlog(), "100|t|f");
    const auto store = open_store(schema_);
    StoreReader reader(*store);
    test::PostgresWriter late(schema_);
    late.append("late");
    run("SELECT @s@.append('t', 'k', 'E', 'p')");
    EXPECT_EQ(reader.read_window().size(), 101U);
    (void)store->store(reader.moves(), {});
    EXPECT_EQ(backlog(), "0|f|f");
    late.commit();
    EXPECT_EQ(backlog(), "1|t|f") << "a late commit counts";
    run("SELECT @s@.append('t', n::text, 'E', 'p') FROM generate_series(1, 30000) n");
    EXPECT_EQ(value("SELECT is_estimate AND pending_events BETWEEN 20000 AND 40000 "
                    "FROM @s@.backlog"),
              "t");
}

// --------------------------------------------------------------------------- other people's tools

TEST(SchemaReplication, LetsRowsBeDeletedUnderAPublicationOfAllTables) {
    test::PostgresServer server({.config = {"wal_level = logical"}, .bin = ""});
    const Schema schema(server);
    Sql sql = schema.connect();
    sql.run("CREATE PUBLICATION everything FOR ALL TABLES");
    sql.run(schema.sql("SELECT @s@.append('t', 'k', 'E', 'p'::text)"));
    EXPECT_EQ(sql.failure(schema.sql("DELETE FROM @s@.outbox")), "");
    EXPECT_EQ(sql.rows(schema.sql(
                  "SELECT relname FROM pg_class c WHERE relnamespace = '@s@'::regnamespace AND "
                  "relkind IN ('r', 'p') AND relreplident <> 'f' AND NOT (relreplident = 'd' AND "
                  "EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))")),
              std::vector<Sql::Row>{})
        << "without a replica identity";
    const auto store = open_store(schema);
    StoreReader reader(*store);
    EXPECT_EQ(store->store(reader.moves(), {}).size(), 16U);
    store->tidy(reader.owned());
    store->release(reader.owned());
}

// A nightly backup's login, which must not notice that somebody installed us.
TEST(SchemaDump, ByALoginThatMayOnlyReadAllDataHasTheParkedOfBothDirections) {
    test::PostgresServer server;
    const Schema schema(server, true);
    Sql sql = schema.connect();
    for (const char* direction : {"outbox", "inbox"}) {
        sql.run(schema.sql(
            fmt::format("INSERT INTO @s@.parked (direction, destination, event_id, reason, topic, "
                        "event_type, content_type) VALUES ('{0}', 'default', gen_random_uuid(), "
                        "'r', 'parked of the {0}', 'E', 'c')",
                        direction)));
    }
    sql.run("CREATE ROLE backup LOGIN IN ROLE pg_read_all_data");
    const auto folder = test::make_folder("sagaz-dump");
    const auto file = folder / "dump.sql";
    EXPECT_NO_THROW(
        test::run({server.program("pg_dump"), "-f", file.string(), "-d",
                   server.direct_url("pg_dump is not what is tested", "postgres", "backup")},
                  folder / "log"));
    const auto dump = std::filesystem::exists(file) ? test::read_file(file) : "";
    test::remove_folder(folder);
    EXPECT_NE(dump.find("\tparked of the outbox\t"), std::string::npos);
    EXPECT_NE(dump.find("\tparked of the inbox\t"), std::string::npos);
}

// ----------------------------------------------------------------------------------------- rights

class Rights : public ::testing::Test {
protected:
    Rights() : schema_(test::PostgresServer::shared(), true), admin_(schema_.connect()) {
        admin_.run(
            schema_.sql("SELECT @s@.append('t', 'k', 'E', 'secret'::text); "
                        "SELECT @s@.attach()"));
    }

    std::string login(const std::string& role) {
        const std::string user = schema_.name() + "_user_of_" + role;
        admin_.run(fmt::format("CREATE ROLE {} LOGIN IN ROLE {}_{}", user, schema_.name(), role));
        return schema_.server().url("postgres", user);
    }

    void expect(const std::string& role, const std::vector<std::string>& allowed,
                const std::vector<std::string>& forbidden) {
        Sql sql(login(role));
        for (const auto& statement : allowed) {
            EXPECT_EQ(sql.failure(schema_.sql(statement)), "") << role << ": " << statement;
        }
        for (const auto& statement : forbidden) {
            EXPECT_EQ(sql.failure(schema_.sql(statement)), "42501") << role << ": " << statement;
        }
    }

    Schema schema_;
    Sql admin_;
};

const std::vector<std::string> kOfNobody{
    "TRUNCATE @s@.outbox",
    "UPDATE @s@.outbox SET payload = ''",
    "UPDATE @s@.setting SET value = ''",
    "DELETE FROM @s@.audit",
    "UPDATE @s@.audit SET action = ''",
    "DROP TABLE @s@.outbox",
    "UPDATE @s@.cursor SET position = 0",
    "INSERT INTO @s@.schema_version VALUES (9, '', 9)",
    "CREATE TABLE @s@.mine (a int)",
    "SELECT setval('@s@.outbox_id', 1)",
    "INSERT INTO @s@.outbox (id, event_type, payload) VALUES (1, 'E', '')",
    "INSERT INTO @s@.outbox (xid, event_type, payload) VALUES ('1', 'E', '')",
    "ALTER TABLE @s@.slot ADD a int"};

std::vector<std::string> with(std::vector<std::string> some) {
    some.insert(some.end(), kOfNobody.begin(), kOfNobody.end());
    return some;
}

TEST_F(Rights, S06_OfAProducerAreToInsert) {
    expect(
        "producer",
        {"SELECT @s@.append('t', 'k', 'E', 'p'::text)", "SELECT @s@.append('t', 'k', 'E', 'p')",
         "SELECT @s@.append('t', 'k', 'E', '{}'::jsonb)",
         "SELECT @s@.append('t', 'k', 'E', '{}'::json)",
         "SELECT @s@.append('t', 'k', 'E', '\\x00'::bytea)",
         "INSERT INTO @s@.outbox (topic, key, event_type, payload) VALUES ('t', 'k', 'E', '') "
         "RETURNING event_id, id, xid, slot, created_at",
         "INSERT INTO @s@.outbox_json (topic, event_type, payload) VALUES ('t', 'E', '{}') "
         "RETURNING event_id",
         "SELECT token FROM @s@.incarnation"},
        with({"SELECT payload FROM @s@.outbox", "SELECT * FROM @s@.outbox",
              "SELECT * FROM @s@.outbox_00", "DELETE FROM @s@.outbox",
              "INSERT INTO @s@.outbox (held_until, event_type, payload) VALUES (now(), 'E', '')",
              "INSERT INTO @s@.outbox_00 (event_type, payload) VALUES ('E', '')",
              "SELECT * FROM @s@.parked", "SELECT * FROM @s@.slot", "SELECT @s@.attach()",
              "UPDATE @s@.incarnation SET token = gen_random_uuid()", "SELECT * FROM @s@.setting",
              "SELECT * FROM @s@.consumer_inbox", "SELECT @s@.publisher_token('default')",
              "SELECT @s@.settle_00(NULL, 'default', '{}', '{}', '{}', '{}', '{}', '{}')",
              "SELECT @s@.confirm_15(NULL, 'default', 0, '{}', '{}', '{}', '{}', '{}')"}));
}

TEST_F(Rights, S06_OfAPublisherAreAProducersAndAHold) {
    expect("publisher",
           {"INSERT INTO @s@.outbox (held_until, event_type, payload) VALUES (now(), 'E', '')",
            "SELECT @s@.append('t', 'k', 'E', 'p'::text)", "SELECT @s@.publisher_token('default')",
            "SELECT @s@.settle_00(NULL, 'default', '{}', '{}', '{}', '{}', '{}', '{}')",
            "SELECT @s@.confirm_15(NULL, 'default', 0, '{}', '{}', '{}', '{}', '{}')"},
           with({"SELECT payload FROM @s@.outbox", "DELETE FROM @s@.outbox",
                 "UPDATE @s@.outbox SET held_until = 'infinity'", "SELECT * FROM @s@.parked",
                 "SELECT * FROM @s@.cursor", "SELECT @s@.publisher_may(NULL, 'default')",
                 "SELECT @s@.key_is_parked('default', 0::int2, 't', 'k')"}));
}

TEST_F(Rights, S06_OfARelayAreWhatAStoreNeeds) {
    const auto url = login("relay");
    const auto store = postgres::open(url, {.schema = schema_.name()});
    admin_.run(schema_.sql("DELETE FROM @s@.incarnation"));
    StoreReader reader(*store);
    const auto rows = reader.read_window();
    ASSERT_EQ(rows.size(), 1U);
    const std::vector<Parking> parked{
        {rows[0].slot, rows[0].position, rows[0].event_id, "refused", ""}};
    EXPECT_EQ(store->store(reader.moves(), parked).size(), 16U);
    EXPECT_GE(store->flushed(true), reader.opening().gate);
    (void)store->find_late(std::vector{LateQuery{0, 0, 9, {5}, 3, 9}});
    const std::vector<RowRef> sent{{rows[0].slot, rows[0].position, rows[0].event_id}};
    (void)store->look_at(sent);
    store->mark_delivered(sent);
    (void)store->measure();
    store->tidy(reader.owned());
    store->release(reader.owned());
    Sql sql(url);
    for (auto statement :
         with({"INSERT INTO @s@.outbox (event_type, payload) VALUES ('E', '')",
               "SELECT @s@.append('t', 'k', 'E', 'p'::text)", "SELECT * FROM @s@.consumer_inbox",
               "DELETE FROM @s@.slot",
               "INSERT INTO @s@.slot (destination, slot) VALUES ('default', 99)"})) {
        EXPECT_EQ(sql.failure(schema_.sql(statement)), "42501") << statement;
    }
}

TEST_F(Rights, S06_OfAConsumerAreTheInbox) {
    expect("consumer",
           {"INSERT INTO @s@.consumer_inbox (event_id, consumer_name, payload_hash) VALUES "
            "(gen_random_uuid(), 'c', '')",
            "SELECT count(*) FROM @s@.consumer_inbox",
            "INSERT INTO @s@.inbox_attempt (consumer_name, event_id) VALUES ('c', "
            "gen_random_uuid())",
            "SELECT @s@.inbox_mark('c', 'e1', 't', 'E', 'p'::text)",
            "BEGIN; SELECT @s@.inbox_mark_all('c', '{e4}', '{t}', '{E}', '{p}', '{k}', '{NULL}', "
            "'{c}'); CLOSE sagaz_batch; COMMIT",
            "SELECT @s@.inbox_failed('c', 'e2', 'no stock', 1)",
            "SELECT @s@.inbox_park('c', 'e3', 'r', '', 0, 't', 'E', 'p', 'k', NULL, NULL)",
            "SELECT @s@.inbox_obstacle('c', gen_random_uuid(), 't', 'k', 'park_key')",
            "SELECT @s@.inbox_parked_as('c', 'e3')"},
           with({"SELECT * FROM @s@.outbox", "SELECT id FROM @s@.outbox", "SELECT * FROM @s@.slot",
                 "DELETE FROM @s@.consumer_inbox", "SELECT count(*) FROM @s@.parked",
                 "DELETE FROM @s@.parked", "UPDATE @s@.parked SET state = 'waiting'",
                 "INSERT INTO @s@.parked (direction, destination, consumer_name, event_id, reason, "
                 "event_type, content_type) VALUES ('inbox', 'default', 'c', gen_random_uuid(), "
                 "'r', 'E', 'c')",
                 "SELECT nextval('@s@.parked_position')",
                 "SELECT @s@.append('t', 'k', 'E', 'p'::text)"}));
}

// The functions by which it parks run with their owner's rights.
TEST_F(Rights, S06_OfAConsumerDoNotReachParkedEvents) {
    const std::string id = "00000000-0000-7000-8000-000000000007";
    admin_.run(
        schema_.sql("INSERT INTO @s@.parked (direction, destination, consumer_name, event_id, "
                    "reason, topic, key, event_type, content_type) VALUES ('outbox', 'default', "
                    "'c', '" +
                    id + "', 'refused', 't', 'k', 'E', 'c')"));
    Sql sql(login("consumer"));
    const auto value = [&](const std::string& call) {
        return sql.value(schema_.sql("SELECT @s@." + call));
    };
    const std::string park = "', 'forged', '', 0, 't', 'E', 'forged', 'k', NULL, NULL)";
    EXPECT_EQ(value("inbox_obstacle('c', '" + id + "', 't', 'k', 'park_key')"), "<null>");
    EXPECT_EQ(value("inbox_parked_as('c', '" + id + "')"), "<null>");
    value("inbox_park('c', '" + id + park);
    EXPECT_EQ(value("inbox_parked_as('c', '" + id + "')"), "forged");
    EXPECT_EQ(value("inbox_parked_as('another', '" + id + "')"), "<null>");
    EXPECT_EQ(value("inbox_obstacle('another', '" + id + "', 't', 'k', 'park_key')"), "<null>");
    EXPECT_EQ(admin_.value(schema_.sql("SELECT string_agg(direction || ' ' || reason, ', ' ORDER "
                                       "BY position) FROM @s@.parked")),
              "outbox refused, inbox forged");
    EXPECT_EQ(Sql(login("reader")).number(schema_.sql("SELECT count(reason) FROM @s@.parked")), 2);
}

TEST_F(Rights, S07_OfARelayAreNotLentToAFunctionInPublic) {
    // Preferred to the polymorphic one of pg_catalog when names are looked up by search_path.
    admin_.run(
        "CREATE FUNCTION public.unnest(smallint[]) RETURNS SETOF smallint LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'a stranger''s function ran'; END $$");
    const auto store = postgres::open(login("relay"), {.schema = schema_.name()});
    EXPECT_NO_THROW({
        StoreReader reader(*store);
        EXPECT_EQ(reader.read_window().size(), 1U);
        store->store(reader.moves(), {});
    });
    admin_.run("DROP FUNCTION public.unnest(smallint[])");
}

TEST_F(Rights, S07_OfTheOwnerAreNotLentToATypeOfTheCallers) {
    admin_.run(
        schema_.sql("INSERT INTO @s@.audit (action, detail) VALUES ('set', "
                    "'{\"old_incarnation\": \"00000000-0000-7000-8000-000000000001\", "
                    "\"new_incarnation\": \"00000000-0000-7000-8000-000000000002\"}')"));
    const auto call = [&](const std::string& role, const std::vector<std::string>& types,
                          const std::vector<std::string>& statements) {
        Sql sql(login(role));
        for (const auto& type : types) {
            sql.run(
                fmt::format("CREATE FUNCTION pg_temp.trap(pg_catalog.{0}) RETURNS boolean "
                            "LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'ran as %', "
                            "current_user; END $$; CREATE DOMAIN pg_temp.{0} AS pg_catalog.{0} "
                            "CHECK (pg_temp.trap(VALUE))",
                            type));
        }
        for (const auto& statement : statements) {
            EXPECT_EQ(sql.failure(schema_.sql(statement)), "") << role << ": it ran as the owner";
        }
    };
    call("producer", {"uuid"},
         {"SELECT @s@.resolve('00000000-0000-7000-8000-000000000001', "
          "'{00000000-0000-7000-8000-000000000003}', '{9}', '{3}', '{0}')"});
    call("relay", {"jsonb", "name", "uuid", "tid"},
         {"SELECT @s@.rebase(true)",
          "SELECT @s@.inbox_keep(interval '1 day', interval '1 s', NULL, 0)"});
    call("consumer", {"uuid", "text", "bytea", "jsonb"},
         {"SELECT @s@.inbox_event_id('e')",
          "SELECT @s@.inbox_park('c', 'e', 'r', '', 0, 't', 'E', 'p', 'k', '{}', NULL)",
          "SELECT @s@.inbox_obstacle('c', gen_random_uuid(), 't', 'k', 'park_key')",
          "SELECT @s@.inbox_parked_as('c', 'e')", "SELECT @s@.inbox_replay('c')",
          "SELECT @s@.inbox_replay_failed('c', 'e', 'x')"});
}

TEST_F(Rights, S06_OfAReaderAreAllButPayloads) {
    expect("reader",
           {"SELECT id, topic, key, event_type FROM @s@.outbox", "SELECT * FROM @s@.backlog",
            "SELECT * FROM @s@.slot", "SELECT * FROM @s@.cursor", "SELECT * FROM @s@.relay",
            "SELECT * FROM @s@.setting", "SELECT * FROM @s@.audit",
            "SELECT reason, detail FROM @s@.parked", "SELECT last_value FROM @s@.outbox_id",
            "SELECT event_id FROM @s@.consumer_inbox"},
           with({"SELECT payload FROM @s@.outbox", "SELECT headers FROM @s@.outbox",
                 "SELECT payload FROM @s@.parked", "SELECT payload FROM @s@.consumer_inbox",
                 "DELETE FROM @s@.outbox", "SELECT nextval('@s@.outbox_id')",
                 "SELECT @s@.append('t', 'k', 'E', 'p'::text)", "SELECT @s@.attach()"}));
}

TEST_F(Rights, S06_OfEverybodyElseAreNone) {
    admin_.run(fmt::format("CREATE ROLE {}_stranger LOGIN", schema_.name()));
    Sql sql(schema_.server().url("postgres", schema_.name() + "_stranger"));
    for (const char* statement : {"SELECT * FROM @s@.backlog", "SELECT @s@.uuid_v7()",
                                  "SELECT @s@.append('t', 'k', 'E', 'p'::text)"}) {
        EXPECT_EQ(sql.failure(schema_.sql(statement)), "42501") << statement;
    }
}

TEST_F(Rights, AreGrantedTwiceWithoutHarm) {
    EXPECT_NO_THROW(postgres::migrate(schema_.url(), schema_.name(), true));
}

// pg_dump holds such a lock for as long as it runs, a consumer for its transaction. Whoever waits
// for it makes every relay and every consumer wait behind him.
TEST_F(Rights, AreGrantedAgainWithoutWaitingForWhoReadsWhatIsParked) {
    Sql dump = schema_.connect();
    dump.run(schema_.sql("BEGIN; LOCK TABLE @s@.parked IN ACCESS SHARE MODE"));
    const std::string user = schema_.name() + "_owner";
    admin_.run(
        fmt::format("CREATE ROLE {0} SUPERUSER LOGIN; ALTER ROLE {0} SET lock_timeout = "
                    "'2s'",
                    user));
    EXPECT_NO_THROW(
        postgres::migrate(schema_.server().url("postgres", user), schema_.name(), true));
}

}  // namespace
}  // namespace sagaz
