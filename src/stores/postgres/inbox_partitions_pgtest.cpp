// Partitions of the inbox: which are made, what goes with one that is dropped, and who waits for
// it.
#include "stores/postgres/migration.hpp"
#include "tests/support/inbox_message.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/error.hpp>
#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace sagaz {
namespace {

using test::open_store;
using test::Schema;
using test::Sql;

constexpr Milliseconds kDay{86'400'000};

class InboxPartitions : public ::testing::Test {
protected:
    explicit InboxPartitions(bool with_roles = false)
        : schema_(test::PostgresServer::shared(), with_roles) {
        store_->attach(Id::generate());
    }

    void run(const std::string& sql) { sql_.run(schema_.sql(sql)); }
    std::string value(const std::string& sql) { return sql_.value(schema_.sql(sql)); }
    std::int64_t number(const std::string& sql) { return sql_.number(schema_.sql(sql)); }

    /// A mark of an id that was made `made` days ago (before noon), set `set` days ago.
    void mark(double made, double set, const std::string& consumer = "billing") {
        run(fmt::format(
            "INSERT INTO @s@.consumer_inbox (event_id, consumer_name, payload_hash, consumed_at) "
            "VALUES (overlay(@s@.inbox_first_id(now() - {} * interval '1 day')::text PLACING "
            "substr(gen_random_uuid()::text, 20) FROM 20)::uuid, '{}', '', now() - {} * interval "
            "'1 day')",
            made, consumer, set));
    }
    /// A partition of one day that is over, as if it had been made ahead.
    std::string old_partition(int days_ago) {
        const auto begins =
            fmt::format("date_trunc('day', now() - interval '{} days', 'UTC')", days_ago);
        const auto name = value("SELECT 'consumer_inbox_' || to_char(" + begins +
                                " AT TIME ZONE 'UTC', "
                                "'YYYYMMDD')");
        run("SELECT @s@.inbox_add_partition('" + name + "', @s@.inbox_first_id(" + begins +
            "), @s@.inbox_first_id(" + begins + " + interval '24 hours'))");
        return name;
    }
    std::string where_is(const std::string& condition) {
        return value("SELECT coalesce(string_agg(replace(replace(tableoid::regclass::text, '" +
                     schema_.name() +
                     ".', ''), 'consumer_inbox_', ''), ',' ORDER BY event_id), '')"
                     " FROM @s@.consumer_inbox WHERE " +
                     condition);
    }
    std::string partitions() {
        return value(
            "SELECT coalesce(string_agg(name, ',' ORDER BY begins), '') "
            "FROM @s@.inbox_partitions()");
    }
    std::int64_t marks() { return number("SELECT count(*) FROM @s@.consumer_inbox"); }

    struct Kept {
        std::vector<std::string> made{};
        std::vector<std::string> dropped{};
        std::int64_t removed{};
        bool blocked{};
    };
    /// As a relay does, until there is nothing more to do.
    Kept keep(InboxLimits limits = {.retention = 30 * kDay}) {
        Kept sum;
        for (int n = 0; n < 1'000; ++n) {
            const auto kept = store_->keep_inbox(limits);
            sum.removed += kept.removed;
            sum.blocked = sum.blocked || kept.blocked;
            limits.place = kept.place;
            if (!kept.made.empty()) sum.made.push_back(kept.made);
            if (!kept.dropped.empty()) sum.dropped.push_back(kept.dropped);
            if (kept.made.empty() && kept.dropped.empty() && kept.place.empty()) return sum;
        }
        ADD_FAILURE() << "it does not end";
        return sum;
    }

    Schema schema_;
    Sql sql_{schema_.connect()};
    std::unique_ptr<Store> store_{open_store(schema_)};
};

TEST_F(InboxPartitions, AreMadeAWeekAheadOnceThereIsAMark) {
    EXPECT_TRUE(keep().made.empty()) << "nobody uses the inbox";
    mark(0, 0);
    const auto kept = keep();
    ASSERT_EQ(kept.made.size(), 7U);
    EXPECT_EQ(kept.made[0],
              value("SELECT 'consumer_inbox_' || to_char(now() AT TIME ZONE 'UTC' + interval '1 "
                    "day', 'YYYYMMDD')"));
    EXPECT_EQ(value("SELECT bool_and(p.begins = q.ends) FROM @s@.inbox_partitions() p JOIN LATERAL "
                    "(SELECT max(o.ends) AS ends FROM @s@.inbox_partitions() o WHERE o.begins < "
                    "p.begins) q ON q.ends IS NOT NULL"),
              "t");
    EXPECT_TRUE(keep().made.empty());
    EXPECT_EQ(marks(), 1);
}

TEST_F(InboxPartitions, AreOfMoreDaysWhenMarksAreKeptForLong) {
    mark(0, 0);
    EXPECT_EQ(keep({.retention = 365 * kDay}).made.size(), 1U);
    EXPECT_EQ(value("SELECT ends - begins FROM @s@.inbox_partitions()"), "13 days");
}

TEST_F(InboxPartitions, TakeWhatTheDefaultHeldOfTheirTime) {
    mark(-2, 0);  // a producer whose clock is two days ahead
    mark(0, 0);
    EXPECT_EQ(where_is("true"), "default,default");
    EXPECT_EQ(keep().made.size(), 7U);
    EXPECT_EQ(where_is("true"),
              "default," + value("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '2 days', "
                                 "'YYYYMMDD')"));
}

TEST_F(InboxPartitions, HoldIdsByTheirTimeAndTheRestApart) {
    mark(0, 0);
    keep();
    run("DELETE FROM @s@.consumer_inbox");
    const auto marked = [&](const std::string& id) {
        run("SELECT @s@.inbox_mark('billing', '" + id + "', 't', 'E', 'p'::text)");
        return where_is("coalesce(original_id, event_id::text) = '" + id + "'");
    };
    EXPECT_EQ(marked("00000000-0000-4000-8000-000000000001"), "low");
    EXPECT_EQ(marked("ffffffff-ffff-4fff-bfff-ffffffffffff"), "high");
    EXPECT_EQ(marked(value("SELECT @s@.inbox_first_id(now() + interval '1 day')")),
              value("SELECT to_char(now() AT TIME ZONE 'UTC' + interval '1 day', 'YYYYMMDD')"));
    EXPECT_EQ(marked(value("SELECT @s@.inbox_first_id(now() - interval '900 days')")), "default");
    EXPECT_EQ(marked(value("SELECT @s@.inbox_first_id(now() + interval '900 days')")), "default");
}

TEST_F(InboxPartitions, F71_AreDroppedWholePastTheRetentionAndNoSooner) {
    const auto past = old_partition(40);
    const auto kept = old_partition(29);
    for (int n = 0; n < 3; ++n) mark(40, 40);
    mark(40, 39, "shipping");
    mark(29, 29);
    const auto done = keep();
    EXPECT_EQ(done.dropped, std::vector<std::string>{past});
    EXPECT_EQ(done.removed, 4);
    EXPECT_EQ(marks(), 1);
    EXPECT_NE(partitions().find(kept), std::string::npos);
    EXPECT_EQ(value("SELECT detail ->> 'removed' FROM @s@.audit WHERE action = 'inbox_partition'"),
              R"({"billing": 3, "shipping": 1})");
}

TEST_F(InboxPartitions, F71_LoseNoMarkThatWasSetLaterThanItsIdSays) {
    old_partition(40);
    mark(40, 40);
    mark(40, 1);  // the consumer was away
    run("INSERT INTO @s@.consumer_inbox (event_id, consumer_name, payload_hash, consumed_at) "
        "VALUES (@s@.inbox_first_id(now() - interval '40 days'), 'billing', '', now() - interval "
        "'40 days')");
    run("SELECT @s@.inbox_park('billing', @s@.inbox_first_id(now() - interval '40 days')::text, "
        "'id_conflict', '', 0, 't', 'E', 'p', NULL, NULL, NULL)");
    // The id of the parked one is of another moment, and that of an old mark.
    run("UPDATE @s@.parked SET event_id = (SELECT event_id FROM @s@.consumer_inbox WHERE "
        "consumed_at < now() - interval '39 days' LIMIT 1)");
    EXPECT_EQ(keep().dropped.size(), 1U);
    EXPECT_EQ(where_is("true"), "default,default");
}

TEST_F(InboxPartitions, F71_StayWhileManyOfTheirMarksAreYoung) {
    const auto name = old_partition(40);
    run("INSERT INTO @s@.consumer_inbox (event_id, consumer_name, payload_hash) SELECT "
        "overlay(@s@.inbox_first_id(now() - interval '40 days')::text PLACING "
        "substr(gen_random_uuid()::text, 20) FROM 20)::uuid, 'late', '' FROM generate_series(1, "
        "1001)");
    EXPECT_TRUE(keep().dropped.empty());
    EXPECT_EQ(marks(), 1'001);
    run("UPDATE @s@.consumer_inbox SET consumed_at = now() - interval '31 days' WHERE event_id = "
        "(SELECT event_id FROM @s@.consumer_inbox LIMIT 1)");
    EXPECT_EQ(keep().dropped, std::vector<std::string>{name});
    EXPECT_EQ(marks(), 1'000);
}

TEST_F(InboxPartitions, SweepWhatHasNoPartitionByTheTimeOfTheMark) {
    // Some pieces. A random id alone falls into a partition one time in 400,000, and stays there.
    run("INSERT INTO @s@.consumer_inbox (event_id, consumer_name, payload_hash, consumed_at) "
        "SELECT overlay(gen_random_uuid()::text PLACING 'ffff' FROM 1)::uuid, 'billing', '\\x00', "
        "now() - n % 2 * interval '31 days' FROM generate_series(1, 20000) n");
    run("SELECT @s@.inbox_mark('billing', 'conflict', 't', 'E', 'p'::text)");
    run("SELECT @s@.inbox_mark('billing', 'conflict', 't', 'E', 'another'::text)");
    run("UPDATE @s@.consumer_inbox SET consumed_at = now() - interval '31 days' WHERE original_id "
        "= 'conflict'");
    EXPECT_EQ(keep().removed, 10'000);
    EXPECT_EQ(marks(), 10'001);
    EXPECT_EQ(keep().removed, 0);
}

TEST_F(InboxPartitions, F15_NobodyWaitsLongForAnAttemptAndItGoesOnLater) {
    mark(0, 0);
    Sql consumer{schema_.connect()};
    consumer.run(schema_.sql(
        "BEGIN; SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'p'::text)"));  // a long handler
    const auto blocked = store_->keep_inbox({.retention = 30 * kDay});
    EXPECT_TRUE(blocked.blocked);
    EXPECT_EQ(blocked.made, "");
    // What queued behind the attempt goes on when the patience is at its end.
    Sql keeper{schema_.connect()};
    keeper.start(
        schema_.sql("SELECT @s@.inbox_keep(interval '30 days', interval '500 ms', NULL, 0)"));
    test::wait_for("an attempt that waits",
                   [&] { return number("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0; });
    Sql other{schema_.connect()};
    EXPECT_EQ(other.failure(schema_.sql("SET lock_timeout = '30s'; SELECT @s@.inbox_mark('billing',"
                                        " 'e2', 't', 'E', 'p'::text)")),
              "");
    keeper.finish();
    consumer.run("COMMIT");
    EXPECT_EQ(keep().made.size(), 7U);
    EXPECT_EQ(marks(), 3);
}

TEST_F(InboxPartitions, OfTwoAtOnceOneKeepsThem) {
    mark(0, 0);
    Sql first{schema_.connect()};
    first.run(
        schema_.sql("BEGIN; SELECT @s@.inbox_keep(interval '30 days', interval '1 s', NULL, "
                    "0)"));
    const auto second = store_->keep_inbox({.retention = 30 * kDay});
    EXPECT_FALSE(second.blocked);
    EXPECT_EQ(second.made, "");
    first.run("COMMIT");
    EXPECT_EQ(keep().made.size(), 6U);
}

TEST_F(InboxPartitions, ChangeUnderConsumersOfWhichNoneFails) {
    mark(0, 0);
    std::atomic<bool> done{};
    std::atomic<int> handled{};
    std::vector<std::string> trouble(3);
    std::vector<std::jthread> consumers;
    for (std::size_t n = 0; n < trouble.size(); ++n) {
        consumers.emplace_back([&, n] {
            try {
                Sql mine{schema_.url()};
                const Inbox inbox{{.consumer_name = "billing", .schema = schema_.name()}};
                // Ids of today, of every day for which a partition is made meanwhile, and of old.
                for (int turn = 0; !done; ++turn) {
                    const auto id = mine.value(schema_.sql(fmt::format(
                        "SELECT overlay(@s@.inbox_first_id(now() + {} * interval '1 day')::text "
                        "PLACING substr(gen_random_uuid()::text, 20) FROM 20)",
                        turn % 2 == 0 ? turn % 9 : -(turn % 61))));
                    PGconn* connection = mine.raw();
                    for (const auto expected : {Settlement::processed, Settlement::duplicate}) {
                        const auto outcome =
                            inbox.process(connection, test::message(id), [](PGconn*, auto&) {});
                        if (outcome.settlement == expected) continue;
                        if (outcome.settlement == Settlement::in_progress) break;
                        trouble[n] = outcome.reason + " instead of the expected outcome";
                        return;
                    }
                    ++handled;
                }
            } catch (const std::exception& error) {
                trouble[n] = error.what();
            }
        });
    }
    test::wait_for("consumers at work", [&] { return handled > 30; });
    for (int day = 60; day > 40; --day) {
        test::wait_for("a moment for a partition", [&] {
            return sql_.failure(schema_.sql(fmt::format(
                       "SET lock_timeout = '100ms'; SELECT @s@.inbox_add_partition('old_{0}', "
                       "@s@.inbox_first_id(date_trunc('day', now()) - {0} * interval '1 day'), "
                       "@s@.inbox_first_id(date_trunc('day', now()) - {0} * interval '1 day' + "
                       "interval '1 day'))",
                       day))) == "";
        });
    }
    Kept sum;
    test::wait_for("every partition to be made and dropped", [&] {
        const auto kept = keep({.retention = 35 * kDay, .patience = Milliseconds{200}});
        sum.made.insert(sum.made.end(), kept.made.begin(), kept.made.end());
        sum.dropped.insert(sum.dropped.end(), kept.dropped.begin(), kept.dropped.end());
        return sum.made.size() == 4 && sum.dropped.size() == 20;
    });
    done = true;
    consumers.clear();
    for (const auto& what : trouble) EXPECT_EQ(what, "");
    EXPECT_EQ(number("SELECT count(*) FROM (SELECT event_id FROM @s@.consumer_inbox GROUP BY "
                     "event_id HAVING count(*) > 1) d"),
              0);
}

TEST_F(InboxPartitions, AreKeptUnderReadCommittedAndForAnHourAtLeast) {
    EXPECT_EQ(sql_.failure(schema_.sql("SELECT @s@.inbox_keep(interval '59 minutes', interval '1 "
                                       "s', NULL, 0)")),
              "22023");
    run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    EXPECT_EQ(sql_.failure(schema_.sql("SELECT @s@.inbox_keep(interval '1 day', interval '1 s', "
                                       "NULL, 0)")),
              "0A000");
    run("ROLLBACK");
}

class InboxPartitionRights : public InboxPartitions {
protected:
    InboxPartitionRights() : InboxPartitions(true) {}

    Sql as(const std::string& role) {
        const auto login = schema_.name() + "_a_" + role;
        sql_.run(fmt::format("CREATE ROLE {} LOGIN; GRANT {}_{} TO {}", login, schema_.name(), role,
                             login));
        return Sql{schema_.server().url("postgres", login)};
    }
};

TEST_F(InboxPartitionRights, S06_AreTheTablesAndNobodyForgetsAMark) {
    mark(0, 0);
    store_ = postgres::open(schema_.server().url("postgres",
                                                 [&] {
                                                     (void)as("relay");
                                                     return schema_.name() + "_a_relay";
                                                 }()),
                            {.schema = schema_.name()});
    store_->attach(Id::generate());
    ASSERT_EQ(keep().made.size(), 7U) << "with the rights of a relay";
    const auto partition = "@s@." + partitions().substr(0, partitions().find(','));

    auto consumer = as("consumer");
    const auto id = value("SELECT @s@.inbox_first_id(now() + interval '1 day')");
    EXPECT_EQ(consumer.value(schema_.sql("SELECT @s@.inbox_mark('billing', '" + id +
                                         "', 't', 'E', 'p'::text)")),
              "processed");
    EXPECT_EQ(consumer.failure(schema_.sql("UPDATE @s@.consumer_inbox SET processing_duration_ms = "
                                           "1 WHERE consumer_name = 'billing'")),
              "");
    for (const auto& statement :
         {"DELETE FROM @s@.consumer_inbox",
          "UPDATE @s@.consumer_inbox SET event_id = "
          "gen_random_uuid()",
          "UPDATE @s@.consumer_inbox SET consumed_at = now() - interval '1 "
          "year'",
          "TRUNCATE @s@.consumer_inbox",
          "SELECT @s@.inbox_keep(interval '1 hour', interval '1 s', NULL, 0)"}) {
        EXPECT_EQ(consumer.failure(schema_.sql(statement)), "42501") << statement;
    }
    for (const auto* const verb : {"DELETE FROM ", "TRUNCATE ", "DROP TABLE ", "TABLE "}) {
        EXPECT_EQ(consumer.failure(schema_.sql(verb + partition)), "42501") << verb;
    }
    auto reader = as("reader");
    EXPECT_EQ(reader.value(schema_.sql("SELECT count(event_id) FROM @s@.consumer_inbox")), "2");
    EXPECT_EQ(reader.failure(schema_.sql("SELECT payload FROM @s@.consumer_inbox")), "42501");
    EXPECT_EQ(reader.value(schema_.sql("SELECT count(*) FROM @s@.inbox_partitions()")), "7");
}

TEST(InboxPartitionsMigration, MovesMarksThatWereThereBefore) {
    auto& server = test::PostgresServer::shared();
    const auto database = server.fresh_database();
    auto sql = server.connect(database);
    sql.run(postgres::migration_script("sagaz", 0, 5, false));
    sql.run(
        "INSERT INTO sagaz.consumer_inbox (event_id, consumer_name, payload_hash) "
        "SELECT gen_random_uuid(), 'billing', '' FROM generate_series(1, 500)");
    postgres::migrate(server.url(database), "sagaz", false);
    EXPECT_EQ(sql.number("SELECT count(*) FROM sagaz.consumer_inbox"), 500);
    EXPECT_LT(sql.number("SELECT count(*) FROM sagaz.consumer_inbox_default"), 50);
}

}  // namespace
}  // namespace sagaz
