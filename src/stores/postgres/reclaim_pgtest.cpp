// Emptying what is delivered: what goes, what stays, and who never waits for it.
#include "stores/postgres/migration.hpp"
#include "stores/postgres/statements.hpp"
#include "testing/store_reader.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

namespace sagaz {
namespace {

using test::commit_event;
using test::open_store;
using test::PostgresServer;
using test::PostgresWriter;
using test::Schema;
using test::Sql;
using testing::payloads_of;
using testing::StoreReader;
using Words = std::vector<std::string>;

constexpr Milliseconds kHour{3'600'000};

class Reclaim : public ::testing::Test {
protected:
    // The next id is the first of that segment, counted from the first lap of the ring.
    void go_to(int segment) {
        const auto last = (std::int64_t{segment} << postgres::kSegmentBits) - 1;
        if (last > 0)
            sql_.run(schema_.sql(fmt::format("SELECT setval('@s@.outbox_id', {})", last)));
    }
    void append(const std::string& payload, const std::string& key = "k") {
        commit_event(schema_, payload, key);
    }
    // One event in each of these segments.
    void append_to(std::initializer_list<int> segments) {
        for (const int segment : segments) {
            go_to(segment);
            append(std::to_string(segment));
        }
    }
    StoreReader& reader() {
        if (!reader_) reader_.emplace(*store_);
        return *reader_;
    }
    std::vector<CursorMove> next_moves() {
        auto moves = reader().moves();
        ++n_;
        for (auto& move : moves) move.cursor.n += n_;
        return moves;
    }
    Words deliver() {
        const auto rows = reader().read_window();
        EXPECT_EQ(store_->store(next_moves(), {}).size(), 16U);
        return payloads_of(rows);
    }
    // Until there is no more.
    Reclaimed reclaim(const ReclaimLimits& limits = {}) {
        Reclaimed sum;
        for (bool has_more = true; has_more;) {
            const Reclaimed one = store_->reclaim(limits);
            sum.truncations += one.truncations;
            sum.deleted += one.deleted;
            sum.blocked = one.blocked;
            has_more = one.has_more;
        }
        return sum;
    }
    std::int64_t rows_in(int leaf) {
        return sql_.number(schema_.sql(fmt::format("SELECT count(*) FROM @s@.outbox_{:02}", leaf)));
    }
    std::string mark_of(int leaf) {
        return sql_.value(schema_.sql(fmt::format(
            "SELECT concat_ws('|', removed_upto, truncations, truncated_at IS NOT NULL) "
            "FROM @s@.segment WHERE segment = {}",
            leaf)));
    }
    void grow_old(const std::string& where) {
        sql_.run(schema_.sql(
            "UPDATE @s@.outbox SET created_at = now() - interval '2 hours' WHERE " + where));
    }

    Schema schema_;
    Sql sql_{schema_.connect()};
    std::unique_ptr<Store> store_{open_store(schema_)};
    std::optional<StoreReader> reader_;
    std::int64_t n_{};
};

// --------------------------------------------------------------------------------------- what goes

TEST_F(Reclaim, EmptiesADeliveredSegmentWithItsToastAndRemembersIt) {
    sql_.run(
        schema_.sql("INSERT INTO @s@.outbox (topic, key, event_type, payload) "
                    "SELECT 't', n::text, 'E', (SELECT string_agg(uuid_send(gen_random_uuid()), "
                    "'') FROM generate_series(1, 500 + n)) FROM generate_series(1, 20) n"));
    append_to({1});
    const auto size = [&] {
        return sql_.number(schema_.sql(
            "SELECT pg_relation_size(reltoastrelid) FROM pg_class WHERE oid = '@s@.outbox_00'::"
            "regclass"));
    };
    EXPECT_GT(size(), 0);
    EXPECT_EQ(deliver().size(), 21U);
    EXPECT_EQ(reclaim().truncations, 1);
    EXPECT_EQ(rows_in(0), 0);
    EXPECT_EQ(rows_in(1), 1) << "it is still being written";
    EXPECT_EQ(size(), 0);
    EXPECT_EQ(mark_of(0), "20|1|t");
    EXPECT_EQ(mark_of(1), "0|0|f");
    EXPECT_EQ(reclaim().truncations, 0) << "an empty one is not emptied again";
}

TEST_F(Reclaim, F61_KeepsASegmentWithoutOneOfItsCursors) {
    append("a", "k");
    append("b", "other");
    append_to({1});
    (void)reader().read_window();
    auto moves = next_moves();
    const auto slot = sql_.number(schema_.sql("SELECT slot FROM @s@.outbox WHERE key = 'other'"));
    std::erase_if(moves, [&](const CursorMove& move) { return move.slot == slot; });
    (void)store_->store(moves, {});
    EXPECT_EQ(reclaim().truncations, 0) << "a slot that nobody stores for keeps its segment";
    EXPECT_EQ(rows_in(0), 2);
    (void)store_->store(next_moves(), {});
    EXPECT_EQ(reclaim().truncations, 1);
}

TEST_F(Reclaim, F61_JudgesByTheStoredCursorAndNotByWhatARelayRemembers) {
    append("a");
    append_to({1});
    EXPECT_EQ(reader().read_window().size(), 2U);
    EXPECT_EQ(reclaim({.age = Milliseconds{0}}).truncations, 0);
    StoreReader next(*store_);
    EXPECT_EQ(next.read_window().size(), 2U);
}

// What it was told by a cursor of another cluster, or one that is ahead of this one.
TEST_F(Reclaim, F61_TrustsNoForeignCursor) {
    append("a");
    append_to({1});
    (void)deliver();
    sql_.run(schema_.sql("CREATE TABLE @s@.kept AS SELECT * FROM @s@.cursor"));
    for (const char* damage :
         {"UPDATE @s@.cursor SET system_identifier = system_identifier + 1",
          "UPDATE @s@.cursor SET target = '1:4000000000:'",
          "UPDATE @s@.cursor SET done = '1:4000000000:'",
          "UPDATE @s@.cursor SET position = 1 << 30", "UPDATE @s@.cursor SET last_id = 1 << 30",
          "DELETE FROM @s@.cursor", "INSERT INTO @s@.destination (name) VALUES ('other')"}) {
        sql_.run(schema_.sql(damage));
        EXPECT_EQ(reclaim({.age = Milliseconds{0}}).truncations, 0) << damage;
        EXPECT_EQ(rows_in(0), 1) << damage;
        sql_.run(
            schema_.sql("DELETE FROM @s@.destination WHERE name = 'other'; "
                        "TRUNCATE @s@.cursor; INSERT INTO @s@.cursor SELECT * FROM @s@.kept"));
    }
    EXPECT_EQ(reclaim().truncations, 1);
}

// The row's transaction began before others that are delivered, and ends after them.
TEST_F(Reclaim, F09_KeepsASegmentForALateCommit) {
    PostgresWriter late(schema_);
    late.append("late");
    append("quick");
    append_to({1});
    EXPECT_EQ(deliver(), (Words{"quick", "1"}));
    EXPECT_EQ(reclaim().truncations, 0);
    late.commit();
    EXPECT_EQ(reclaim().truncations, 0) << "committed, and still not delivered";
    EXPECT_EQ(deliver(), Words{"late"});
    EXPECT_EQ(reclaim().truncations, 1);
}

// Between the first look and the lock somebody else commits there.
TEST_F(Reclaim, F61_LooksAgainUnderTheLock) {
    PostgresWriter late(schema_);
    late.append("between");
    append("quick");
    append_to({1});
    (void)deliver();
    sql_.run(schema_.sql(R"(
        CREATE TABLE @s@.go (n int);
        ALTER FUNCTION @s@.segment_state(name) RENAME TO true_state;
        CREATE FUNCTION @s@.segment_state(leaf name, OUT is_delivered boolean,
            OUT newest_id bigint, OUT newest_at timestamptz) LANGUAGE plpgsql AS $f$
        BEGIN
            SELECT * INTO is_delivered, newest_id, newest_at FROM @s@.true_state(leaf);
            WHILE NOT EXISTS (SELECT FROM @s@.go) LOOP PERFORM pg_sleep(0.005); END LOOP;
        END $f$)"));
    Reclaimed reclaimed;
    std::jthread reclaimer([&] { reclaimed = store_->reclaim({}); });
    test::wait_for("the first look", [&] {
        return sql_.number("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") ==
               1;
    });
    late.commit();
    sql_.run(schema_.sql("INSERT INTO @s@.go VALUES (1)"));
    reclaimer.join();
    EXPECT_EQ(reclaimed.truncations, 0);
    EXPECT_EQ(deliver(), Words{"between"});
}

TEST_F(Reclaim, F15_ABacklogLargerThanTheRingLosesNothing) {
    Words expected;
    const auto append_each = [&](int from, int upto) {
        for (int segment = from; segment < upto; ++segment) {
            append_to({segment});
            expected.push_back(std::to_string(segment));
        }
    };
    append_each(0, 16);
    EXPECT_EQ(deliver(), expected);
    expected.clear();
    append_each(16, 26);
    // Ten leaves hold a delivered lap and one that is not, the others only the first.
    EXPECT_EQ(reclaim().truncations, 6);
    append_each(26, 45);
    EXPECT_EQ(reclaim().truncations, 0);
    EXPECT_EQ(deliver(), expected);
    EXPECT_EQ(reclaim().truncations, 15) << "all but the one that is being written";
    EXPECT_EQ(mark_of(0), fmt::format("{}|1|t", std::int64_t{32} << postgres::kSegmentBits));
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(*) FROM @s@.outbox")), 2) << "two laps of it";
}

// --------------------------------------------------------------------------- by age and retention

TEST_F(Reclaim, KeepsWhatRetentionSays) {
    append_to({0, 1});
    (void)deliver();
    const ReclaimLimits limits{.retention = kHour};
    EXPECT_EQ(reclaim(limits).truncations, 0);
    append("a");
    (void)deliver();
    grow_old("id = 1");
    EXPECT_EQ(reclaim(limits).truncations, 1);
    EXPECT_EQ(rows_in(1), 2);
}

TEST_F(Reclaim, DeletesByAgeFromTheSegmentThatIsBeingWritten) {
    for (int n = 1; n <= 6; ++n) append(std::to_string(n));
    (void)deliver();
    append("7");
    grow_old("id <= 4 OR id = 7");
    EXPECT_EQ(reclaim({.retention = 3 * kHour}).deleted, 0);
    EXPECT_EQ(reclaim({.age = 3 * kHour}).deleted, 0);
    EXPECT_EQ(reclaim({.rows_max = 3}).deleted, 4);
    EXPECT_EQ(
        sql_.value(schema_.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM @s@.outbox")),
        "5,6,7")
        << "two are young, and the last was not delivered";
    EXPECT_EQ(mark_of(0), "4|0|f");
    EXPECT_EQ(deliver(), Words{"7"});
}

TEST_F(Reclaim, EmptiesTheSegmentThatIsBeingWrittenOnceInItsAge) {
    append("a");
    (void)deliver();
    grow_old("true");
    EXPECT_EQ(reclaim().truncations, 1) << "nothing has come for an hour";
    append("b");
    (void)deliver();
    grow_old("true");
    const Reclaimed again = reclaim();
    EXPECT_EQ(again.truncations, 0);
    EXPECT_EQ(again.deleted, 1) << "by age, then";
    sql_.run(schema_.sql("UPDATE @s@.segment SET truncated_at = now() - interval '2 hours'"));
    EXPECT_EQ(reclaim().truncations, 1) << "its dead rows";
}

// Rows deleted by age leave room only by a vacuum, which the leaves get for that alone.
TEST(ReclaimVacuum, ComesForRowsThatWereDeletedByAge) {
    PostgresServer server({.config = {"autovacuum_naptime = 1s"}, .bin = ""});
    const Schema schema(server);
    Sql sql = schema.connect();
    const auto store = open_store(schema);
    StoreReader reader(*store);
    sql.run(
        schema.sql("INSERT INTO @s@.outbox (topic, key, event_type, payload, created_at) "
                   "SELECT 't', (n % 100)::text, 'E', '', now() - interval '2 hours' "
                   "FROM generate_series(1, 30000) n"));
    commit_event(schema, "young");
    EXPECT_EQ(reader.read_window().size(), 30'001U);
    (void)store->store(reader.moves(), {});
    const auto vacuums = [&] {
        return sql.number(
            schema.sql("SELECT autovacuum_count FROM pg_stat_all_tables "
                       "WHERE relid = '@s@.outbox_00'::regclass"));
    };
    EXPECT_EQ(vacuums(), 0);
    while (store->reclaim({.rows_max = 5'000}).has_more) {
    }
    EXPECT_EQ(sql.number(schema.sql("SELECT count(*) FROM @s@.outbox")), 1);
    test::wait_for("autovacuum to come", [&] { return vacuums() > 0; }, std::chrono::seconds{60});
    EXPECT_EQ(sql.number(schema.sql("SELECT count(*) FROM pg_class t JOIN pg_class c "
                                    "ON c.reltoastrelid = t.oid WHERE c.oid = "
                                    "'@s@.outbox_00'::regclass AND t.reloptions::text LIKE "
                                    "'%autovacuum_vacuum_threshold=25000%'")),
              1);
}

// ------------------------------------------------------------------------------------- who holds
// it

TEST_F(Reclaim, F13_AForgottenTransactionDelaysReclaimingAndNeverDelivery) {
    append_to({0, 1, 2});
    Sql forgotten = schema_.connect();
    forgotten.run(schema_.sql("BEGIN; SELECT count(*) FROM @s@.outbox_00"));
    (void)deliver();
    const Reclaimed reclaimed = reclaim();
    EXPECT_TRUE(reclaimed.blocked);
    EXPECT_EQ(reclaimed.truncations, 1) << "the other one goes";
    EXPECT_EQ(rows_in(0), 1);
    append("more");
    EXPECT_EQ(deliver(), Words{"more"});
    forgotten.run("COMMIT");
    const Reclaimed after = reclaim();
    EXPECT_FALSE(after.blocked);
    EXPECT_EQ(after.truncations, 1);
}

TEST_F(Reclaim, F13_APreparedTransactionDelaysReclaimingAndNeverDelivery) {
    PostgresWriter orphan(schema_);
    orphan.append("orphan");
    orphan.sql().run("PREPARE TRANSACTION '" + schema_.name() + "'");
    append("a");
    append_to({1});
    EXPECT_EQ(deliver(), (Words{"a", "1"}));
    EXPECT_EQ(reclaim().truncations, 0);
    sql_.run("COMMIT PREPARED '" + schema_.name() + "'");
    EXPECT_EQ(reclaim().truncations, 0) << "what it appended is not delivered yet";
    EXPECT_EQ(deliver(), Words{"orphan"});
    EXPECT_EQ(reclaim().truncations, 1);
}

// pg_dump locks every table ACCESS SHARE in a REPEATABLE READ transaction, as this does.
TEST_F(Reclaim, F61_ADumpDelaysReclaimingAndSeesEverything) {
    append_to({0, 1});
    (void)deliver();
    Sql dump = schema_.connect();
    dump.run("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT 1");
    dump.run(schema_.sql("LOCK TABLE @s@.outbox IN ACCESS SHARE MODE"));
    EXPECT_TRUE(reclaim().blocked);
    append("more");
    EXPECT_EQ(deliver(), Words{"more"});
    EXPECT_EQ(dump.value(schema_.sql("SELECT count(*) FROM @s@.outbox")), "2");
    dump.run("COMMIT");
    EXPECT_EQ(reclaim().truncations, 1);
}

TEST_F(Reclaim, F14_AHeldSnapshotThatNeverTouchedTheSegmentHoldsNothing) {
    Sql holder = schema_.connect();
    holder.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_current_xact_id()");
    append_to({0, 1});
    (void)deliver();
    EXPECT_EQ(reclaim().truncations, 1);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT pg_total_relation_size('@s@.outbox_00')")),
              sql_.number(schema_.sql("SELECT pg_total_relation_size('@s@.outbox_05')")));
}

// Somebody reads the segment all the time, so every attempt fails; meanwhile others insert there
// and read, and would rather fail than wait.
TEST_F(Reclaim, F15_NobodyWaitsBehindAnAttempt) {
    append_to({0, 1});
    (void)deliver();
    Sql holder = schema_.connect();
    holder.run(schema_.sql("BEGIN; SELECT count(*) FROM @s@.outbox_00"));
    std::atomic<bool> is_over{};
    std::atomic<int> attempts{};
    std::jthread reclaimer([&] {
        while (!is_over) {
            EXPECT_TRUE(store_->reclaim({}).blocked);
            ++attempts;
        }
    });
    Sql hasty = schema_.connect();
    hasty.run("SET lock_timeout = '1ms'");
    // Ids of the segment that is held, as a transaction has that took them long ago.
    for (int id = 10; id < 300 || attempts < 50; ++id) {
        EXPECT_EQ(hasty.failure(schema_.sql(
                      fmt::format("INSERT INTO @s@.outbox (id, topic, key, event_type, payload) "
                                  "VALUES ({}, 't', 'k', 'E', ''); DELETE FROM @s@.outbox WHERE "
                                  "id = {}",
                                  id, id))),
                  "");
        EXPECT_EQ(hasty.failure(schema_.sql("SELECT count(*) FROM @s@.outbox")), "");
    }
    is_over = true;
}

// A relay that sleeps after it has sent the statement, and never takes the answer.
TEST_F(Reclaim, F22_ARelayFrozenInTheMiddleHoldsNoLock) {
    append_to({0, 1});
    (void)deliver();
    std::string text = postgres::Statements(schema_.name()).reclaim;
    const auto put = [&](const std::string& place, const std::string& value) {
        ASSERT_NE(text.find(place), std::string::npos);
        text.replace(text.find(place), place.size(), value);
    };
    put("$1", "(SELECT token FROM " + schema_.name() + ".incarnation)");
    put("{retention}", "0");
    put("{age}", "3600000");
    put("{rows_max}", "1000");
    Sql frozen = schema_.connect();
    frozen.start(text);
    // Not by a look at the leaf, which the one attempt would find held.
    test::wait_for("the segment to be empty", [&] { return mark_of(0) == "1|1|t"; });
    test::wait_for("the locks to be gone", [&] {
        return sql_.number(fmt::format("SELECT count(*) FROM pg_locks WHERE pid = {}",
                                       frozen.backend_pid())) == 0;
    });
}

// Its TOAST table and its indexes have locks of their own.
TEST_F(Reclaim, GivesUpSoonWhenOnlyTheToastTableIsHeld) {
    append_to({0, 1, 2});
    (void)deliver();
    const auto toast =
        sql_.value(schema_.sql("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = "
                               "'@s@.outbox_00'::regclass"));
    Sql holder = schema_.connect();
    holder.run("BEGIN; SELECT count(*) FROM " + toast);
    const Reclaimed reclaimed = reclaim();
    EXPECT_TRUE(reclaimed.blocked);
    EXPECT_EQ(reclaimed.truncations, 1);
    EXPECT_EQ(rows_in(0), 1) << "not half";
    holder.run("COMMIT");
    EXPECT_EQ(reclaim().truncations, 1);
}

TEST_F(Reclaim, TwoThatReclaimAtOnceEmptyEachSegmentOnce) {
    append_to({0, 1, 2, 3, 4, 5, 6, 7, 8});
    (void)deliver();
    const auto other = open_store(schema_);
    (void)other->attach(Id::generate());
    const auto work = [](Store& store) {
        int truncations = 0;
        for (int n = 0; n < 60; ++n) truncations += store.reclaim({}).truncations;
        return truncations;
    };
    int second = 0;
    std::jthread thread([&] { second = work(*other); });
    const int first = work(*store_);
    thread.join();
    EXPECT_EQ(first + second, 8);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT sum(truncations) FROM @s@.segment")), 8);
}

TEST_F(Reclaim, RefusesAnyIsolationButReadCommitted) {
    append_to({0, 1});
    (void)deliver();
    for (const char* level : {"REPEATABLE READ", "SERIALIZABLE"}) {
        sql_.run(std::string("BEGIN ISOLATION LEVEL ") + level);
        EXPECT_EQ(sql_.failure(schema_.sql("SELECT @s@.reclaim('0', '0', 1)")), "0A000");
        sql_.run("ROLLBACK");
    }
    // The store says which it wants, whatever the default.
    sql_.run("ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'");
    const auto store = open_store(schema_);
    (void)store->attach(Id::generate());
    const Reclaimed reclaimed = store->reclaim({});
    sql_.run("ALTER DATABASE postgres RESET default_transaction_isolation");
    EXPECT_EQ(reclaimed.truncations, 1);
}

// ------------------------------------------------------------------------------------- how it
// looks

// A row is delivered when it is visible in done, or visible in target at or below position. The
// probes must find every other row, wherever the cursor stands.
TEST_F(Reclaim, FindsWhatTheDefinitionSaysIsUndelivered) {
    sql_.run(schema_.sql(R"(
        SELECT setseed(0.42);
        CREATE FUNCTION @s@.some(low int, high int) RETURNS int LANGUAGE sql VOLATILE
        RETURN low + floor(random() * (high - low + 1))::int;
        CREATE FUNCTION @s@.sample() RETURNS text LANGUAGE plpgsql VOLATILE AS $f$
        DECLARE
            base bigint := pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 60;
            d bigint := base + @s@.some(0, 40);
            t bigint := d + @s@.some(0, 15);
            done pg_snapshot;
            target pg_snapshot;
            last bigint;
            at bigint;
            delivered boolean;
            judged boolean;
        BEGIN
            DELETE FROM @s@.outbox_00;
            DELETE FROM @s@.cursor;
            INSERT INTO @s@.outbox (xid, id, key, event_type, payload)
            SELECT (base + @s@.some(0, 50))::text::xid8, @s@.some(1, 60), 'k', 'E', ''
            FROM generate_series(1, @s@.some(1, 4)) n;
            target := format('%s:%s:%s', t - 12, t, (SELECT string_agg(x::text, ',' ORDER BY x)
                FROM generate_series(t - 12, t - 1) x WHERE random() < 0.25));
            done := format('%s:%s:%s', d - 12, d, (SELECT string_agg(x::text, ',' ORDER BY x)
                FROM generate_series(d - 12, d - 1) x
                WHERE random() < 0.25 OR NOT pg_visible_in_snapshot(x::text::xid8, target)));
            SELECT coalesce(max(o.id), 0) INTO last FROM @s@.outbox o
            WHERE pg_visible_in_snapshot(o.xid, done);
            at := @s@.some(0, 60);
            INSERT INTO @s@.cursor (destination, slot, n, epoch, done, target, position, last_id,
                                    system_identifier)
            SELECT 'default', @s@.slot_of('k', NULL), 1, 0, done, target, at, last,
                   c.system_identifier FROM pg_control_system() c;
            SELECT bool_and(pg_visible_in_snapshot(o.xid, done)
                            OR (pg_visible_in_snapshot(o.xid, target) AND o.id <= at))
            INTO delivered FROM @s@.outbox o;
            judged := (@s@.segment_state('outbox_00')).is_delivered;
            RETURN CASE WHEN judged = delivered THEN delivered::text
                        ELSE format('%s %s at %s last %s: %s', done, target, at, last,
                                    (SELECT jsonb_agg(o) FROM @s@.outbox o)) END;
        END $f$;
        CREATE FUNCTION @s@.burn() RETURNS void LANGUAGE plpgsql AS $f$
        BEGIN
            FOR n IN 1..200 LOOP
                BEGIN CREATE TEMP TABLE one (n int); RAISE EXCEPTION 'x';
                EXCEPTION WHEN raise_exception THEN NULL; END;
            END LOOP;
        END $f$;
        SELECT @s@.burn();
        SELECT setval('@s@.outbox_id', 1000))"));
    std::set<std::string> answers;
    sql_.run("SET jit = off; SET enable_seqscan = off; SET synchronous_commit = off");
    for (int n = 0; n < 400; ++n) {
        const auto answer = sql_.value(schema_.sql("SELECT @s@.sample()"));
        ASSERT_TRUE(answer == "true" || answer == "false") << answer;
        answers.insert(answer);
    }
    EXPECT_EQ(answers.size(), 2U) << "only one kind was met";
}

// Under a lock that others wait for: pages touched must not grow with the segment.
TEST_F(Reclaim, LooksWithoutReadingTheSegment) {
    Sql old = schema_.connect();
    old.run("BEGIN; SELECT pg_current_xact_id()");
    sql_.run(
        schema_.sql("INSERT INTO @s@.outbox (topic, key, event_type, payload) SELECT 't', "
                    "(n % 5000)::text, 'E', convert_to(repeat('ab', 100), 'UTF8') "
                    "FROM generate_series(1, 60000) n"));
    append_to({1});
    EXPECT_EQ(deliver().size(), 60'001U);
    const auto plan = sql_.rows(
        schema_.sql("EXPLAIN (ANALYZE, BUFFERS, COSTS off) SELECT @s@.segment_state('outbox_00')"));
    std::string text;
    for (const auto& line : plan) text += line[0] + "\n";
    const auto at = text.find("shared hit=");
    ASSERT_NE(at, std::string::npos) << text;
    EXPECT_LT(std::stoi(text.substr(at + 11)), 1'500) << text;
    EXPECT_EQ(sql_.value(schema_.sql("SELECT is_delivered FROM @s@.segment_state('outbox_00')")),
              "t");
}

}  // namespace
}  // namespace sagaz
