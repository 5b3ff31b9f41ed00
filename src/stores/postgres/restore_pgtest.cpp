// The re-base after a restore: migration 0004 argues why it is safe.
#include "stores/postgres/migration.hpp"
#include "testing/store_reader.hpp"
#include "tests/support/error_code.hpp"
#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace sagaz {
namespace {

using test::code_of;
using test::commit_event;
using test::open_store;
using test::PostgresServer;
using test::PostgresWriter;
using test::Schema;
using test::Sql;
using testing::payloads_of;
using testing::StoreReader;
using Words = std::vector<std::string>;

// What a dump makes of a database: rows and cursors of a cluster whose transaction ids were far
// ahead of this one's, so that every old snapshot counts what is written here as finished.
constexpr const char* kOtherWorld = R"(
UPDATE @s@.outbox SET xid = (xid::text::bigint + 1000000)::text::xid8;
UPDATE @s@.cursor SET system_identifier = system_identifier + 1,
    done = regexp_replace(done::text, '.*', (pg_snapshot_xmin(done)::text::bigint + 1000000)
           || ':' || (pg_snapshot_xmax(done)::text::bigint + 1000000) || ':')::pg_snapshot,
    target = regexp_replace(target::text, '.*', (pg_snapshot_xmin(target)::text::bigint + 1000000)
           || ':' || (pg_snapshot_xmax(target)::text::bigint + 1000000) || ':')::pg_snapshot
WHERE n > 0;
UPDATE @s@.cursor SET system_identifier = system_identifier + 1 WHERE n = 0;
UPDATE @s@.incarnation SET system_identifier = system_identifier + 1)";

// As a relay does: attaches anew until the cursors are sound.
std::unique_ptr<StoreReader> reader_of(Store& store) {
    std::unique_ptr<StoreReader> reader;
    test::wait_for("sound cursors", [&] {
        try {
            reader = std::make_unique<StoreReader>(store);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::unavailable) throw;
        }
        return reader != nullptr;
    });
    return reader;
}

class Restore : public ::testing::Test {
protected:
    void commit(const std::string& payload, const std::string& key = "k") {
        commit_event(schema_, payload, key);
    }
    void deliver(const Words& expected) {
        const auto store = open_store(schema_);
        const auto reader = reader_of(*store);
        EXPECT_EQ(payloads_of(reader->read_window()), expected);
        EXPECT_EQ(store->store(reader->moves(), {}).size(), 16U);
        store->release(reader->owned());
    }
    /// Two events are delivered, and the next one will be at the place of the second.
    std::unique_ptr<StoreReader> deliver_two_and_set_back(Store& store) {
        auto reader = reader_of(store);
        commit("a");
        commit("b");
        EXPECT_EQ(reader->read_window().size(), 2U);
        EXPECT_EQ(store.store(reader->moves(), {}).size(), 16U);
        sql_.run(schema_.sql("SELECT setval('@s@.outbox_id', 1)"));
        return reader;
    }
    void restore() { sql_.run(schema_.sql(kOtherWorld)); }
    std::string value(const std::string& sql) { return sql_.value(schema_.sql(sql)); }
    std::int64_t audited(const std::string& name) {
        return sql_.number(schema_.sql("SELECT (detail ->> '" + name +
                                       "')::bigint FROM @s@.audit "
                                       "WHERE action = 'rebase' ORDER BY id DESC LIMIT 1"));
    }

    Schema schema_;
    Sql sql_{schema_.connect()};
};

TEST_F(Restore, F60_DeliversWhatCameAlongAndWhatIsNewAndNothingTwice) {
    commit("a");
    commit("b");
    deliver({"a", "b"});
    commit("c");
    commit("d");
    restore();
    commit("e");
    deliver({"c", "d", "e"});
    EXPECT_EQ(audited("moved"), 3);
    EXPECT_EQ(audited("moved_in_doubt"), 0);
    commit("f");
    deliver({"f"});
    EXPECT_EQ(value("SELECT count(*) FROM @s@.audit WHERE action = 'rebase'"), "1");
}

TEST_F(Restore, F60_SeesThatNewRowsLookDeliveredThoughNothingElseTells) {
    commit("a");
    deliver({"a"});
    restore();
    // The counter of transactions has caught up with the snapshots, and the cluster is its own.
    sql_.run(
        schema_.sql("UPDATE @s@.cursor c SET system_identifier = k.system_identifier, "
                    "done = '900:900:', target = '900:900:' FROM pg_control_system() k;"
                    "UPDATE @s@.outbox SET xid = '800'"));
    commit("b");
    sql_.run(schema_.sql("UPDATE @s@.outbox SET xid = '850' WHERE xid <> '800'"));
    commit("c");
    deliver({"b", "c"});
}

TEST_F(Restore, LeavesNoRowBehindWhoseTransactionIsStillToCome) {
    commit("a");
    deliver({"a"});
    restore();
    commit("b");
    deliver({"b"});
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox o WHERE NOT EXISTS (SELECT FROM @s@.cursor c "
                    "WHERE c.slot = o.slot AND pg_visible_in_snapshot(o.xid, c.done))"),
              "0")
        << "or it would be met again, and its segment never truncated";
}

TEST_F(Restore, RepeatsNothingOfAWindowThatWasHalfRead) {
    for (const char* payload : {"a", "b", "c"}) commit(payload);
    const auto store = open_store(schema_);
    {
        const auto reader = reader_of(*store);
        EXPECT_EQ(reader->read_window().size(), 3U);
        auto moves = reader->moves();
        for (auto& move : moves) {
            move.cursor.done = Snapshot{};
            move.cursor.last = 0;
            move.cursor.position = 2;
        }
        EXPECT_EQ(store->store(moves, {}).size(), 16U);
        store->release(reader->owned());
    }
    restore();
    commit("d");
    deliver({"c", "d"});
}

TEST_F(Restore, TakesASequenceThatWasNotCopiedAboveEverything) {
    for (const char* payload : {"a", "b", "c"}) commit(payload);
    deliver({"a", "b", "c"});
    commit("d");
    restore();
    sql_.run(
        schema_.sql("ALTER SEQUENCE @s@.outbox_id RESTART; INSERT INTO @s@.audit (id, action) "
                    "OVERRIDING SYSTEM VALUE VALUES (7, 'copied')"));
    deliver({"d"});
    EXPECT_EQ(audited("moved"), 1) << "nobody has appended: all is of the old world";
    commit("e");
    EXPECT_EQ(value("SELECT min(id) > 4 FROM @s@.outbox WHERE payload = 'e'"), "t");
    deliver({"e"});
}

// Producers that started before "sagaz migrate --after-restore": their rows have ids and
// transactions that the old cursors count as delivered.
TEST_F(Restore, F08_LosesNothingThoughTheSequenceGaveIdsOutAgain) {
    for (const char* payload : {"a", "b", "c", "d"}) commit(payload);
    deliver({"a", "b", "c", "d"});
    commit("e");
    restore();
    sql_.run(schema_.sql("ALTER SEQUENCE @s@.outbox_id RESTART"));
    commit("f");
    commit("g");
    deliver({"a", "b", "e", "f", "g"});
    EXPECT_EQ(audited("moved_in_doubt"), 4) << "a and b may be new, and f and g look delivered";
}

TEST_F(Restore, F08_KeepsTheOrderThoughOneBeforeDied) {
    commit("a");
    commit("b");
    deliver({"a", "b"});
    commit("c");
    restore();
    sql_.run(schema_.sql("ALTER SEQUENCE @s@.outbox_id RESTART"));
    commit("d");  // at the place of a, and after c
    sql_.run(schema_.sql("ALTER TABLE @s@.audit ADD CONSTRAINT no CHECK (false) NOT VALID"));
    EXPECT_EQ(sql_.failure(schema_.sql("SELECT @s@.rebase()")), "23514");
    sql_.run(schema_.sql("ALTER TABLE @s@.audit DROP CONSTRAINT no"));
    deliver({"a", "c", "d"});  // a is at or below what the sequence has given out
}

TEST_F(Restore, F08_LosesNothingThoughTheSequenceHasCaughtUp) {
    for (const char* payload : {"a", "b"}) commit(payload);
    deliver({"a", "b"});
    restore();
    sql_.run(schema_.sql("ALTER SEQUENCE @s@.outbox_id RESTART"));
    for (const char* payload : {"c", "d", "e"}) commit(payload);
    deliver({"c", "d", "e"});
}

TEST_F(Restore, F08_SetsASequenceForthThatSomebodySetBack) {
    const auto store = open_store(schema_);
    const auto reader = deliver_two_and_set_back(*store);
    commit("c");  // at the place of b
    commit("d");
    sql_.run(schema_.sql("SELECT setval('@s@.outbox_id', 1)"));
    EXPECT_EQ(code_of([&] { (void)store->open_window(); }), "incarnation_changed");
    store->release(reader->owned());
    deliver({"a", "c", "d"});  // a is at or below what the sequence says: it may be new, too
    commit("e");
    deliver({"e"});
}

TEST_F(Restore, F08_LosesNothingThoughASequenceSetBackHasCaughtUpUnseen) {
    commit("a");
    commit("b");
    deliver({"a", "b"});
    sql_.run(schema_.sql("SELECT setval('@s@.outbox_id', 1)"));
    commit("c");  // at the place of b
    commit("d");
    deliver({"c", "d"});
    EXPECT_EQ(audited("moved"), 2);
}

TEST_F(Restore, F08_RemembersThatASequenceWasSetBackUntilTheLogIsReBased) {
    const auto store = open_store(schema_);
    const auto reader = deliver_two_and_set_back(*store);
    EXPECT_EQ(code_of([&] { (void)store->open_window(); }), "incarnation_changed");
    store->release(reader->owned());
    PostgresWriter late(schema_);
    late.append("c");  // at the place of b, where no look finds it yet
    commit("d");
    const auto waits = code_of([&] { StoreReader{*store}; });
    EXPECT_TRUE(waits == "rebasing" || waits == "lock_not_available") << waits;
    late.commit();
    sql_.run(schema_.sql("UPDATE @s@.slot SET owner = NULL"));  // of the reader that has thrown
    const auto again = reader_of(*store);
    EXPECT_EQ(payloads_of(again->read_window()), (Words{"c", "d"}));
}

// Where no id was given out in this world the ids alone tell the order; a clock may have gone back.
TEST_F(Restore, F08_KeepsTheOrderOfIdsThoughTheClockWentBackBetweenThem) {
    commit("a");
    commit("b");
    sql_.run(
        schema_.sql("UPDATE @s@.outbox SET created_at = created_at - interval '1 hour' "
                    "WHERE payload = 'b'"));
    restore();
    sql_.run(schema_.sql("ALTER SEQUENCE @s@.outbox_id RESTART"));
    deliver({"a", "b"});
}

TEST_F(Restore, KeepsWhatIsParkedBeforeTheRestOfItsKey) {
    commit("refused");
    const auto store = open_store(schema_);
    {
        const auto reader = reader_of(*store);
        const auto rows = reader->read_window();
        ASSERT_EQ(rows.size(), 1U);
        EXPECT_EQ(store
                      ->store(reader->moves(), std::vector<Parking>{{rows[0].slot, rows[0].position,
                                                                     rows[0].event_id, "no", ""}})
                      .size(),
                  16U);
        store->release(reader->owned());
    }
    commit("later");
    restore();
    sql_.run(schema_.sql("ALTER SEQUENCE @s@.outbox_id RESTART"));
    deliver({"later"});
    EXPECT_EQ(value("SELECT max(p.position) < (SELECT min(o.id) FROM @s@.outbox o WHERE "
                    "o.payload = 'later') FROM @s@.parked p"),
              "t");
}

TEST_F(Restore, F60_LosesNothingOfALogThatIsPastTwoThousandMillionIds) {
    sql_.run(schema_.sql("SELECT setval('@s@.outbox_id', (1::bigint << 31) + (1 << 18))"));
    commit("a");
    commit("b");
    restore();
    deliver({"a", "b"});
    EXPECT_EQ(audited("moved"), 2);
}

// Two thousand million events, or a sequence that was set far forward: not walked, and not wrapped.
TEST_F(Restore, MovesWhatIsPendingWhereverItsIdsAre) {
    commit("a");
    deliver({"a"});
    Words expected;
    for (const int bits : {31, 32, 52, 60}) {
        sql_.run(schema_.sql(
            fmt::format("SELECT setval('@s@.outbox_id', (1::bigint << {}) - 2)", bits)));
        for (const char* place : {"below", "at", "above"}) {
            expected.push_back(fmt::format("{} {}", place, bits));
            commit(expected.back());
        }
    }
    restore();
    deliver(expected);
    EXPECT_EQ(audited("moved"), 12);
}

TEST_F(Restore, RunsAloneOrNotAtAll) {
    sql_.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    EXPECT_EQ(sql_.failure(schema_.sql("SELECT @s@.rebase()")), "SG003");
    sql_.run("ROLLBACK; BEGIN; SELECT pg_current_xact_id()");
    EXPECT_EQ(sql_.failure(schema_.sql("SELECT @s@.rebase()")), "SG003")
        << "its snapshot would count its own rows as delivered";
    sql_.run("ROLLBACK");
    EXPECT_EQ(value("SELECT @s@.rebase() IS NULL"), "t") << "nothing to do";
}

// A default of the database, until the end of the test.
class Default {
public:
    Default(Sql& sql, const std::string& name, const std::string& value) : sql_(sql), name_(name) {
        sql_.run("ALTER DATABASE postgres SET " + name + " = '" + value + "'");
    }
    ~Default() {
        sql_.run("ALTER DATABASE postgres RESET " + name_);
        // A pooler's sessions would keep it for the next test.
        sql_.run(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND state = 'idle'");
    }
    Default(const Default&) = delete;
    Default& operator=(const Default&) = delete;

private:
    Sql& sql_;
    std::string name_;
};

TEST_F(Restore, ByHandTakesAsLongAsItTakesUnderAnyDefault) {
    commit("a");
    restore();
    const Default isolation(sql_, "default_transaction_isolation", "serializable");
    const Default timeout(sql_, "statement_timeout", "200ms");
    PostgresWriter open(schema_);
    open.append("b");
    std::string code{"none"};
    std::jthread by_hand(
        [&] { code = code_of([&] { (void)postgres::rebase(schema_.url(), schema_.name()); }); });
    test::wait_for("the re-base to wait for the log",
                   [&] { return value("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"; });
    std::this_thread::sleep_for(std::chrono::milliseconds{400});
    open.commit();
    by_hand.join();
    EXPECT_EQ(code, "");
}

TEST_F(Restore, OfARelayIsDoneUnderAnyDefaultIsolation) {
    commit("a");
    restore();
    const Default isolation(sql_, "default_transaction_isolation", "serializable");
    deliver({"a"});
}

TEST_F(Restore, DeliversOnceWhatCommitsWhileItWaitsForTheLog) {
    commit("a");
    deliver({"a"});
    restore();
    PostgresWriter open(schema_);
    open.append("b");
    EXPECT_EQ(sql_.failure(schema_.sql("SELECT @s@.rebase()")), "55P03")
        << "whoever waits for the log makes inserts wait";
    Sql rebase = schema_.connect();
    rebase.start(schema_.sql("SELECT @s@.rebase()"));
    test::wait_for("the re-base to wait for the log", [&] {
        return value("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = " +
                     std::to_string(rebase.backend_pid())) == "1";
    });
    open.commit();
    rebase.finish();
    commit("c");
    deliver({"b", "c"});
}

TEST_F(Restore, DeliversWhatIsInsertedWhileItHoldsTheLog) {
    commit("a");
    restore();
    Sql rebase = schema_.connect();
    rebase.run(schema_.sql("BEGIN; SELECT @s@.rebase()"));
    PostgresWriter late(schema_);
    late.sql().start(schema_.sql("SELECT @s@.append('t', 'k', 'E', 'late')"));
    test::wait_for("the insert to wait",
                   [&] { return value("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"; });
    rebase.run("COMMIT");
    late.sql().finish();
    deliver({"a"});
    late.commit();
    deliver({"late"});
}

TEST_F(Restore, F22_AnOwnerOfBeforeStoresNothing) {
    commit("a");
    const auto store = open_store(schema_);
    const auto reader = reader_of(*store);
    EXPECT_EQ(reader->read_window().size(), 1U);
    Sql rebase = schema_.connect();
    rebase.run(schema_.sql("BEGIN; SELECT @s@.rebase(true)"));
    std::vector<std::int16_t> stored{1};
    std::thread waits([&] { stored = store->store(reader->moves(), {}); });
    test::wait_for("the store to wait for the re-base",
                   [&] { return value("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"; });
    rebase.run("COMMIT");
    waits.join();
    EXPECT_TRUE(stored.empty()) << "it began under the old token; the epoch stopped it";
    EXPECT_EQ(code_of([&] { (void)store->store(reader->moves(), {}); }), "incarnation_changed");
    deliver({"a"});
}

TEST_F(Restore, F29_OfManyRelaysThatStartAtOnceOneRebases) {
    for (int n = 0; n < 500; ++n) commit(std::to_string(n), std::to_string(n));
    restore();
    std::vector<std::thread> relays;
    std::atomic<std::size_t> owned{};
    for (int n = 0; n < 6; ++n) {
        relays.emplace_back([&] {
            const auto store = open_store(schema_);
            owned += reader_of(*store)->owned().size();
        });
    }
    for (auto& relay : relays) relay.join();
    EXPECT_EQ(value("SELECT count(*) FROM @s@.audit WHERE action = 'rebase'"), "1");
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox"), "500");
}

TEST_F(Restore, RefusesACopyWhoseKeysLeadToOtherSlots) {
    sql_.run(schema_.sql("UPDATE @s@.setting SET value = '64' WHERE key = 'slot_count'"));
    EXPECT_EQ(sql_.failure(schema_.sql("SELECT @s@.rebase(true)")), "SG002");
}

TEST_F(Restore, AForcedOneRepeatsNothingThatWasDelivered) {
    commit("a");
    deliver({"a"});
    commit("b");
    sql_.run(schema_.sql("SELECT @s@.rebase(true)"));
    deliver({"b"});
    EXPECT_EQ(audited("moved"), 1);
}

// Files put back under a relay whose connection lives on, with the token of before.
TEST_F(Restore, F60_StoresNoTargetOfTheFuture) {
    const auto store = open_store(schema_);
    const auto reader = reader_of(*store);
    (void)reader->read_window();
    auto moves = reader->moves();
    for (auto& move : moves) move.cursor.target = Snapshot{1'000'000, 1'000'000, {}};
    EXPECT_TRUE(store->store(moves, {}).empty());
}

TEST(RestoredDump, F60_IntoANewClusterLosesNothing) {
    PostgresServer old_server;
    const Schema schema(old_server);
    Sql(schema.url()).run("SELECT pg_current_xact_id()");
    for (int n = 0; n < 300; ++n) commit_event(schema, "delivered" + std::to_string(n));
    {
        const auto store = open_store(schema);
        const auto reader = reader_of(*store);
        EXPECT_EQ(reader->read_window().size(), 300U);
        EXPECT_EQ(store->store(reader->moves(), {}).size(), 16U);
    }
    commit_event(schema, "pending");
    const auto folder = test::make_folder("sagaz-restore");
    const auto file = (folder / "dump.sql").string();
    test::run({old_server.bin() + "/pg_dump", "-d", schema.url(), "-f", file}, folder / "log");
    PostgresServer server;
    test::run({old_server.bin() + "/psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", server.url(), "-f",
               file},
              folder / "log");
    test::remove_folder(folder);
    const auto store = postgres::open(server.url(), {.schema = schema.name()});
    PostgresWriter writer(server.url(), schema.name());
    writer.append("new");
    writer.commit();
    EXPECT_EQ(payloads_of(reader_of(*store)->read_window()), (Words{"pending", "new"}));
}

// Two primaries of one past: neither's memory counts in the other.
TEST(PromotedStandby, F18_ARelayOfTheOldPrimaryStoresNothingInTheNew) {
    PostgresServer old_primary;
    const Schema schema(old_primary);
    commit_event(schema, "both");
    const auto standby = old_primary.standby();
    Sql(standby->url()).run("SELECT pg_promote()");
    std::string url = schema.url();
    const auto store =
        postgres::open(url, {.schema = schema.name(), .current_url = [&] { return url; }});
    const auto reader = reader_of(*store);
    commit_event(schema, "old only");
    EXPECT_EQ(payloads_of(reader->read_window()), (Words{"both", "old only"}));
    PostgresWriter writer(standby->url(), schema.name());
    writer.append("new only");
    writer.commit();
    const auto there = postgres::open(standby->url(), {.schema = schema.name()});
    (void)there->attach(Id::generate());
    url = standby->url();
    old_primary.stop();
    std::string code;
    test::wait_for("the new primary to answer", [&] {
        code = code_of([&] { (void)store->store(reader->moves(), {}); });
        return code == "incarnation_changed" || code.empty();
    });
    EXPECT_EQ(code, "incarnation_changed");
    EXPECT_EQ(payloads_of(reader_of(*store)->read_window()), (Words{"both", "new only"}));
}

}  // namespace
}  // namespace sagaz
