// Ownership: what two relays do to each other, on a real server.
#include "testing/store_reader.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/error.hpp>
#include <sagaz/postgres.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>

namespace sagaz {
namespace {

using test::commit_event;
using test::open_store;
using test::Schema;
using test::Sql;
using testing::StoreReader;

class Ownership : public ::testing::Test {
protected:
    // The slot of key "k".
    std::int16_t slot() {
        return static_cast<std::int16_t>(
            sql_.number(schema_.sql("SELECT @s@.slot_of('k', gen_random_uuid())")));
    }

    Schema schema_;
    Sql sql_{schema_.connect()};
    std::unique_ptr<Store> store_{open_store(schema_)};
};

// A relay that was paused stores while a takeover is under way. Without FOR SHARE it would read
// the slot's row as it was, and store.
TEST_F(Ownership, F22_WaitsForATakeoverInProgressAndThenStoresNothingForThatSlot) {
    commit_event(schema_, "a");
    StoreReader reader(*store_);
    const auto rows = reader.read_window();
    ASSERT_EQ(rows.size(), 1U);
    sql_.run(schema_.sql(fmt::format(
        "BEGIN; UPDATE @s@.slot SET owner = gen_random_uuid(), epoch = epoch + 1 WHERE slot = {}",
        slot())));
    const std::vector<Parking> parked{
        {rows[0].slot, rows[0].position, rows[0].event_id, "refused", ""}};
    std::vector<std::int16_t> stored;
    std::jthread paused([&] { stored = store_->store(reader.moves(), parked); });
    Sql watcher = schema_.connect();
    test::wait_for("the store to wait for the takeover", [&] {
        return watcher.number("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1;
    });
    sql_.run("COMMIT");
    paused.join();
    EXPECT_EQ(stored.size(), 15U);
    EXPECT_EQ(std::ranges::count(stored, slot()), 0);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(*) FROM @s@.parked")), 0);
    EXPECT_EQ(sql_.number(schema_.sql(
                  fmt::format("SELECT max(position) FROM @s@.cursor WHERE slot = {}", slot()))),
              0);
}

TEST_F(Ownership, MakesATakeoverWaitForAStoreInProgress) {
    StoreReader reader(*store_);
    // A store whose statement has its locks and is not done: held up by a trigger of ours.
    sql_.run(schema_.sql(R"(
        CREATE FUNCTION @s@.hold() RETURNS trigger LANGUAGE plpgsql AS $f$
        BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN new; END $f$;
        CREATE TRIGGER hold BEFORE INSERT ON @s@.cursor FOR EACH ROW EXECUTE FUNCTION @s@.hold();
        SELECT pg_advisory_lock(4711))"));
    std::vector<std::int16_t> stored;
    std::jthread owner([&] { stored = store_->store(reader.moves(), {}); });
    Sql watcher = schema_.connect();
    test::wait_for("the store to be in the middle", [&] {
        return watcher.number(
                   "SELECT count(*) FROM pg_locks WHERE NOT granted "
                   "AND locktype = 'advisory'") == 1;
    });
    const auto other = open_store(schema_);
    other->attach(Id::generate());
    EXPECT_TRUE(other->acquire(other->observe({}).slots).empty()) << "contended slots are skipped";
    sql_.run("SELECT pg_advisory_unlock(4711)");
    owner.join();
    EXPECT_EQ(stored.size(), 16U);
    EXPECT_EQ(other->acquire(other->observe({}).slots).size(), 16U);
}

// A store with a parked event at which the server is longer than the client has patience.
class GivenUpStore : public Ownership {
protected:
    GivenUpStore() {
        store_ = postgres::open(schema_.url(), {.schema = schema_.name(),
                                                .statement_timeout = std::chrono::seconds{2}});
        commit_event(schema_, "a");
        reader_.emplace(*store_);
        const auto rows = reader_->read_window();
        row_ = {rows.at(0).slot, rows.at(0).position, rows.at(0).event_id};
    }

    std::vector<std::int16_t> store(std::int64_t tries) {
        auto moves = reader_->moves();
        for (auto& move : moves) move.cursor.n += tries;
        return store_->store(
            moves, std::vector<Parking>{{row_.slot, row_.position, row_.event_id, "refused", ""}});
    }
    // The backend that is left waiting for a lock.
    int give_up() {
        EXPECT_THROW((void)store(0), Error);
        return static_cast<int>(
            schema_.connect().number("SELECT pid FROM pg_locks WHERE NOT granted"));
    }
    void accept(std::int64_t epoch) {
        const std::vector<ParkedOutcome> accepted{{.row = row_, .accepted = true}};
        EXPECT_TRUE(store_->settle_parked({row_.slot, epoch}, accepted));
    }
    void wait_for_the_end_of(int backend) {
        Sql watcher = schema_.connect();
        test::wait_for("the store that was given up to end", [&] {
            return watcher.number(
                       "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                       "AND pid = " +
                       std::to_string(backend)) == 0;
        });
    }
    std::int64_t parked() { return sql_.number(schema_.sql("SELECT count(*) FROM @s@.parked")); }

    std::optional<StoreReader> reader_;
    RowRef row_{};
};

TEST_F(GivenUpStore, ParksNothingOnItsOldSnapshotAfterTheEventWasAccepted) {
    sql_.run(schema_.sql("BEGIN; SELECT FROM @s@.slot WHERE slot = " + std::to_string(row_.slot) +
                         " FOR UPDATE"));
    const int late = give_up();
    schema_.server().freeze(late);
    sql_.run("ROLLBACK");
    EXPECT_EQ(store(1).size(), 16U);
    EXPECT_EQ(parked(), 1);
    accept(reader_->owned().at(0).epoch);
    EXPECT_EQ(parked(), 0);
    schema_.server().thaw(late);
    wait_for_the_end_of(late);
    EXPECT_EQ(parked(), 0);
}

TEST_F(GivenUpStore, ThatHoldsTheSlotHoldsUpThatSlotAlone) {
    const std::string slot = std::to_string(row_.slot);
    sql_.run(schema_.sql(
        "CREATE FUNCTION @s@.hold() RETURNS trigger LANGUAGE plpgsql AS "
        "$f$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN new; END $f$; "
        "CREATE TRIGGER hold BEFORE INSERT ON @s@.cursor FOR EACH ROW WHEN (new.slot = " +
        slot + " AND new.n = 1) EXECUTE FUNCTION @s@.hold(); SELECT pg_advisory_lock(4711)"));
    const int late = give_up();
    const auto stored = store(1);
    EXPECT_EQ(stored.size(), 15U);
    EXPECT_EQ(std::ranges::count(stored, row_.slot), 0);
    const auto acquire = [&] {
        auto views = store_->observe({}).slots;
        std::erase_if(views, [&](const SlotView& view) { return view.slot != row_.slot; });
        return store_->acquire(views);
    };
    EXPECT_TRUE(acquire().empty());
    sql_.run("SELECT pg_advisory_unlock(4711)");
    wait_for_the_end_of(late);
    const auto again = acquire();
    ASSERT_EQ(again.size(), 1U);
    EXPECT_EQ(store_->load(again).stopped.size(), 1U) << "it was parked after all";
    accept(again[0].epoch);
    EXPECT_EQ(parked(), 0);
}

TEST_F(Ownership, StoresCursorAndParkedEventTogetherOrNeither) {
    commit_event(schema_, "a");
    StoreReader reader(*store_);
    const auto rows = reader.read_window();
    sql_.run(schema_.sql(R"(
        CREATE FUNCTION @s@.fail() RETURNS trigger LANGUAGE plpgsql AS $f$
        BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $f$;
        CREATE TRIGGER fail BEFORE INSERT ON @s@.parked
        FOR EACH ROW EXECUTE FUNCTION @s@.fail())"));
    const std::vector<Parking> parked{
        {rows[0].slot, rows[0].position, rows[0].event_id, "refused", ""}};
    EXPECT_THROW((void)store_->store(reader.moves(), parked), Error);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT max(n) FROM @s@.cursor")), 0);
    sql_.run(schema_.sql("DROP TRIGGER fail ON @s@.parked"));
    (void)store_->store(reader.moves(), parked);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(*) FROM @s@.parked")), 1);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT max(n) FROM @s@.cursor")), 1);
}

TEST_F(Ownership, ParksEveryColumnOfTheEvent) {
    sql_.run(
        schema_.sql("SELECT @s@.append('t', 'k', 'E', '\\x00ff'::bytea, '{\"a\": \"1\"}', "
                    "'text/plain', NULL, 'agg', 'agg-1', 'saga-1')"));
    StoreReader reader(*store_);
    const auto rows = reader.read_window();
    const std::vector<Parking> parked{{rows[0].slot, rows[0].position, rows[0].event_id,
                                       "unknown_topic", "no such \"topic\", {}"}};
    (void)store_->store(reader.moves(), parked);
    const std::string columns =
        "event_id, slot, xid, created_at, topic, key, event_type, content_type, aggregate_type, "
        "aggregate_id, saga_id, headers, payload";
    EXPECT_EQ(sql_.rows(schema_.sql("SELECT id, " + columns + " FROM @s@.outbox")),
              sql_.rows(schema_.sql("SELECT position, " + columns + " FROM @s@.parked")));
    EXPECT_EQ(sql_.value(schema_.sql("SELECT concat_ws('|', direction, destination, consumer_name, "
                                     "state, reason, detail, attempts) FROM @s@.parked")),
              "outbox|default||waiting|unknown_topic|no such \"topic\", {}|1");
}

TEST_F(Ownership, ParksNothingThatIsGone) {
    commit_event(schema_, "a");
    StoreReader reader(*store_);
    const auto rows = reader.read_window();
    const std::vector<Parking> parked{
        {rows[0].slot, rows[0].position, rows[0].event_id, "refused", ""}};
    sql_.run(schema_.sql("DELETE FROM @s@.outbox"));
    EXPECT_EQ(store_->store(reader.moves(), parked).size(), 16U);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(*) FROM @s@.parked")), 0);
}

TEST_F(Ownership, BeatsAgainAfterItsRowVanished) {
    StoreReader reader(*store_);
    sql_.run(schema_.sql("DELETE FROM @s@.relay"));
    const auto seen =
        store_->observe({.published = 7, .down_reason = "no \"route\"", .down_for_ms = 12});
    EXPECT_EQ(seen.slots.size(), 16U);
    EXPECT_EQ(sql_.value(schema_.sql("SELECT concat_ws('|', id, report ->> 'published', "
                                     "report ->> 'down_reason', report ->> 'down_for_ms') "
                                     "FROM @s@.relay")),
              reader.relay().text() + "|7|no \"route\"|12");
    const auto before = sql_.number(schema_.sql("SELECT beat FROM @s@.relay"));
    (void)store_->observe({});
    EXPECT_EQ(sql_.number(schema_.sql("SELECT beat FROM @s@.relay")), before + 1);
}

TEST_F(Ownership, ForgetsRelaysThatHaveBeenGoneForADay) {
    StoreReader reader(*store_);
    sql_.run(
        schema_.sql("INSERT INTO @s@.relay (id, beat_at) VALUES "
                    "(gen_random_uuid(), now() - interval '2 days'), "
                    "(gen_random_uuid(), now() - interval '2 hours'); "
                    "UPDATE @s@.relay SET beat_at = now() - interval '3 days' WHERE id = '" +
                    reader.relay().text() + "'"));
    store_->tidy(reader.owned());
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(*) FROM @s@.relay")), 2);
}

TEST_F(Ownership, TidiesOnlyWhatItOwns) {
    StoreReader reader(*store_);
    auto moves = reader.moves();
    for (int n = 0; n < 6; ++n) {
        for (auto& move : moves) ++move.cursor.n;
        (void)store_->store(moves, {});
    }
    auto stale = reader.owned();
    for (auto& owned : stale) --owned.epoch;
    store_->tidy(stale);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(*) FROM @s@.cursor")), 16 * 7);
    store_->tidy(reader.owned());
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(*) FROM @s@.cursor")), 16 * 3);
}

TEST_F(Ownership, ReadsSettingsAndTheVersionOfTheSchema) {
    sql_.run(schema_.sql("UPDATE @s@.setting SET value = 'park_event' WHERE key = 'on_refused'"));
    EXPECT_EQ(store_->attach(Id::generate()).settings.on_refused, OnRefused::park_event);
    EXPECT_EQ(store_->attach(Id::generate()).settings.source, "/sagaz/postgres");
    const auto code = [&](const std::string& change) {
        sql_.run(schema_.sql(change));
        try {
            store_->attach(Id::generate());
            return std::string();
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::invalid);
            return std::string(error.code());
        }
    };
    EXPECT_EQ(code("INSERT INTO @s@.schema_version VALUES (99, 'next', 1)"), "")
        << "an older relay lives through an upgrade";
    EXPECT_EQ(code("UPDATE @s@.schema_version SET compatible_from = 99 WHERE version = 99"),
              "schema_too_new");
    EXPECT_EQ(code("DELETE FROM @s@.schema_version WHERE version > 1; "
                   "UPDATE @s@.schema_version SET version = 0"),
              "schema_too_old");
    EXPECT_EQ(code("DELETE FROM @s@.schema_version"), "schema_missing");
    EXPECT_EQ(code("DROP TABLE @s@.schema_version"), "schema_missing");
}

}  // namespace
}  // namespace sagaz
