// The traps of reading a log by snapshots, each on a real server.
#include "testing/store_reader.hpp"
#include "tests/support/error_code.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace sagaz {
namespace {

using test::code_of;
using test::commit_event;
using test::open_store;
using test::PostgresWriter;
using test::Schema;
using test::Sql;
using testing::payloads_of;
using testing::StoreReader;
using Words = std::vector<std::string>;

std::uint64_t take_transaction_id(PostgresWriter& writer) {
    return std::stoull(writer.sql().value("SELECT pg_current_xact_id()"));
}

class Window : public ::testing::Test {
protected:
    Schema schema_;
    std::unique_ptr<Store> store_{open_store(schema_)};
};

TEST_F(Window, F09_DeliversACommitThatTheSnapshotListsAsRunning) {
    StoreReader reader(*store_);
    PostgresWriter late(schema_);
    late.append("late");
    commit_event(schema_, "early");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"early"});
    const auto& running = reader.opening().target.running;
    ASSERT_FALSE(running.empty()) << "the transaction is to be listed in this test";
    late.commit();
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"late"});
    EXPECT_TRUE(reader.read_window().empty());
}

TEST_F(Window, F09_DeliversACommitAtOrAboveXmaxThatNoSnapshotLists) {
    StoreReader reader(*store_);
    PostgresWriter first(schema_);
    take_transaction_id(first);
    PostgresWriter late(schema_);
    const auto id = take_transaction_id(late);
    late.append("late");
    first.append("early");
    first.commit();
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"early"});
    const Snapshot& target = reader.opening().target;
    EXPECT_GE(id, target.xmax);
    EXPECT_TRUE(target.running.empty());
    late.commit();
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"late"});
}

TEST_F(Window, DeliversOnceWhatATransactionWroteBeforeAndAfterTheLastDelivered) {
    StoreReader reader(*store_);
    PostgresWriter late(schema_);
    late.append("1");
    commit_event(schema_, "early");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"early"});
    late.append("3");
    late.commit();
    EXPECT_EQ(payloads_of(reader.read_window()), (Words{"1", "3"}));
}

TEST_F(Window, DeliversALateCommitAfterTheCursorWasStoredAndLoaded) {
    PostgresWriter late(schema_);
    {
        StoreReader reader(*store_);
        late.append("late");
        commit_event(schema_, "early");
        EXPECT_EQ(payloads_of(reader.read_window()), Words{"early"});
        EXPECT_EQ(store_->store(reader.moves(), {}).size(), 16U);
        store_->release(reader.owned());
    }
    late.commit();
    const auto other = open_store(schema_);
    StoreReader reader(*other);
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"late"});
}

TEST_F(Window, F21_MergesLateTransactionsByPosition) {
    StoreReader reader(*store_, {2, 1'000'000});  // so the merge goes on across batches
    PostgresWriter one(schema_);
    PostgresWriter two(schema_);
    two.append("1");
    one.append("2");
    two.append("3");
    one.append("4");
    two.append("5");
    commit_event(schema_, "early");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"early"});
    one.commit();
    two.commit();
    EXPECT_EQ(payloads_of(reader.read_window()), (Words{"1", "2", "3", "4", "5"}));
}

TEST_F(Window, F10_KeepsAKeyInOrderWhenTheLaterCommitHasTheEarlierTransactionId) {
    Sql sql = schema_.connect();
    sql.run(
        schema_.sql("CREATE TABLE @s@.account (id int PRIMARY KEY, balance int);"
                    "INSERT INTO @s@.account VALUES (1, 0)"));
    const auto touch = schema_.sql("UPDATE @s@.account SET balance = balance + 1 WHERE id = 1");
    StoreReader reader(*store_);
    PostgresWriter slow(schema_);
    take_transaction_id(slow);  // as soon as it writes anything at all
    PostgresWriter quick(schema_);
    quick.sql().run(touch);
    quick.append("first");
    quick.commit();
    slow.sql().run(touch);
    slow.append("second");
    slow.commit();
    const auto rows = reader.read_window();
    EXPECT_EQ(payloads_of(rows), (Words{"first", "second"}));
    EXPECT_GT(rows.at(0).transaction, rows.at(1).transaction) << "order by xid would reverse it";
}

TEST_F(Window, F10_TakesPositionsFromASequenceWithoutCache) {
    Sql sql = schema_.connect();
    EXPECT_EQ(sql.number(fmt::format("SELECT cache_size FROM pg_sequences WHERE schemaname = '{}' "
                                     "AND sequencename = 'outbox_id'",
                                     schema_.name())),
              1);
}

// The ceiling of late rows rests on it.
TEST_F(Window, TakesTheTransactionIdBeforeThePosition) {
    Sql sql = schema_.connect();
    sql.run(schema_.sql(R"(
        CREATE FUNCTION @s@.checked_id() RETURNS bigint LANGUAGE plpgsql AS $f$
        BEGIN
            IF pg_current_xact_id_if_assigned() IS NULL THEN
                RAISE EXCEPTION 'the position comes first';
            END IF;
            RETURN nextval('@s@.outbox_id');
        END $f$;
        ALTER TABLE @s@.outbox ALTER COLUMN id SET DEFAULT @s@.checked_id())"));
    EXPECT_EQ(sql.failure(schema_.sql("INSERT INTO @s@.outbox (topic, key, event_type, payload) "
                                      "VALUES ('t', 'k', 'E', '')")),
              "");
    EXPECT_EQ(sql.failure(schema_.sql("SELECT @s@.append('t', 'k', 'E', 'x'::text)")), "");
}

TEST_F(Window, HasACeilingAboveEveryIdGivenOutAndNoneToCome) {
    StoreReader reader(*store_);
    PostgresWriter before(schema_);
    const auto low = take_transaction_id(before);
    const Opening opening = store_->open_window();
    PostgresWriter after(schema_);
    const auto high = take_transaction_id(after);
    EXPECT_GT(opening.ceiling, low);
    EXPECT_LE(opening.ceiling, high);
    EXPECT_GE(opening.ceiling, opening.target.xmax);
}

TEST_F(Window, TakesNoTransactionIdForReading) {
    StoreReader reader(*store_);
    commit_event(schema_, "a");
    const auto before = store_->open_window().ceiling;
    EXPECT_EQ(reader.read_window().size(), 1U);
    EXPECT_TRUE(reader.read_window().empty());
    (void)store_->flushed(false);
    EXPECT_EQ(store_->open_window().ceiling, before);
}

// Why the snapshot of a cursor is never taken in the statement that stores it.
TEST_F(Window, CannotSeeItsOwnTransactionInASnapshot) {
    PostgresWriter writer(schema_);
    const auto own = take_transaction_id(writer);
    const auto snapshot = Snapshot::parse(writer.sql().value("SELECT pg_current_snapshot()"));
    EXPECT_EQ(std::ranges::count(snapshot.running, own), 0);
}

TEST_F(Window, KeepsBacklogOutOfTheSearchForLateRows) {
    StoreReader reader(*store_);
    commit_event(schema_, "a");
    ASSERT_EQ(reader.read_window().size(), 1U);
    const Opening opening = reader.opening();
    for (int n = 0; n < 5; ++n) commit_event(schema_, "backlog");
    Sql sql = schema_.connect();
    const auto slot =
        static_cast<std::int16_t>(sql.number(schema_.sql("SELECT slot FROM @s@.outbox LIMIT 1")));
    const LateQuery query{slot, 0, 1'000, {}, opening.target.xmax, opening.ceiling};
    EXPECT_TRUE(store_->find_late(std::vector{query}).empty());
    LateQuery without = query;
    without.range_end = opening.ceiling + 1'000;
    EXPECT_EQ(store_->find_late(std::vector{without}).size(), 5U) << "what a ceiling keeps out";
}

TEST_F(Window, FindsALateTransactionByItsRowsWithinTheBoundsOnly) {
    StoreReader reader(*store_);
    PostgresWriter writer(schema_);
    const auto id = take_transaction_id(writer);
    for (int n = 1; n <= 9; ++n) writer.append(std::to_string(n));
    writer.commit();
    Sql sql = schema_.connect();
    const auto slot =
        static_cast<std::int16_t>(sql.number(schema_.sql("SELECT slot FROM @s@.outbox LIMIT 1")));
    const auto is_found = [&](std::int64_t after, std::int64_t upto) {
        const std::vector queries{LateQuery{slot, after, upto, {id}, 0, 0}};
        const std::vector by_range{LateQuery{slot, after, upto, {}, id, id + 1}};
        const bool listed = !store_->find_late(queries).empty();
        EXPECT_EQ(!store_->find_late(by_range).empty(), listed);
        return listed;
    };
    EXPECT_TRUE(is_found(0, 9));
    EXPECT_TRUE(is_found(5, 6));
    EXPECT_TRUE(is_found(8, 100));
    EXPECT_FALSE(is_found(9, 100));
    EXPECT_FALSE(is_found(0, 0));
    EXPECT_FALSE(is_found(5, 5));
    const std::vector twice{LateQuery{slot, 0, 9, {id}, id, id + 1}};
    EXPECT_EQ(store_->find_late(twice).size(), 1U);
}

TEST_F(Window, KeepsRowsAtOnePositionTogether) {
    StoreReader reader(*store_, {1, 1'000'000});
    Sql sql = schema_.connect();
    // As a logical copy or a sequence set back may leave them.
    const auto insert = schema_.sql(
        "INSERT INTO @s@.outbox (id, topic, key, event_type, payload) VALUES "
        "(1, 't', 'k', 'E', 'a'), (2, 't', 'k', 'E', 'b'), (2, 't', 'k', 'E', 'c'), "
        "(3, 't', 'k', 'E', 'd'); SELECT setval('@s@.outbox_id', 3)");
    PostgresWriter late(schema_);
    late.sql().run(insert);
    sql.run(schema_.sql("SELECT setval('@s@.outbox_id', 10)"));
    commit_event(schema_, "early");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"early"});
    late.commit();
    EXPECT_EQ(reader.read_window().size(), 4U) << "late";

    const Schema other;
    const auto store = open_store(other);
    StoreReader plain(*store, {1, 1'000'000});
    other.connect().run(
        other.sql("INSERT INTO @s@.outbox (id, topic, key, event_type, payload) VALUES "
                  "(1, 't', 'k', 'E', 'a'), (2, 't', 'k', 'E', 'b'), (2, 't', 'k', 'E', 'c'), "
                  "(3, 't', 'k', 'E', 'd'); SELECT setval('@s@.outbox_id', 3)"));
    EXPECT_EQ(plain.read_window().size(), 4U) << "plain";
}

TEST_F(Window, KeepsRowsAtOnePositionTogetherWhenOneIsLarge) {
    StoreReader reader(*store_, {10, 2'000});
    schema_.connect().run(schema_.sql(
        "INSERT INTO @s@.outbox (id, topic, key, event_type, payload) VALUES "
        "(1, 't', 'k', 'E', 'a'), (2, 't', 'k', 'E', 'b'), "
        "(2, 't', 'k', 'E', convert_to(repeat('c', 10000), 'UTF8')), (3, 't', 'k', 'E', 'd'); "
        "SELECT setval('@s@.outbox_id', 3)"));
    EXPECT_EQ(reader.read_window().size(), 4U);
}

TEST_F(Window, F12_CountsHeadersAmongTheBytesOfABatch) {
    schema_.connect().run(
        schema_.sql("INSERT INTO @s@.outbox (topic, key, event_type, payload, headers) "
                    "SELECT 't', 'k', 'E', '', jsonb_build_object('a', repeat(md5(n::text), 3000)) "
                    "FROM generate_series(1, 200) n"));
    StoreReader reader(*store_, {5'000, 1 << 20});
    EXPECT_EQ(reader.read_window().size(), 200U);
    EXPECT_LE(reader.bytes_most(), std::size_t{4} << 20);
}

// ------------------------------------------------------------------------------------ the ring

TEST_F(Window, ReadsAcrossSegmentsAndOverAJumpOfTheSequence) {
    Sql sql = schema_.connect();
    Words expected;
    for (const std::int64_t start :
         {0LL, (1LL << 18) - 3, (5LL << 18) - 1, (15LL << 18) + 7, (16LL << 18) - 2, 77LL << 18}) {
        sql.run(schema_.sql(fmt::format("SELECT setval('@s@.outbox_id', {})", start + 1)));
        for (int n = 0; n < 5; ++n) {
            expected.push_back(fmt::format("{}", expected.size()));
            commit_event(schema_, expected.back());
        }
    }
    StoreReader reader(*store_, {3, 1'000'000});
    EXPECT_EQ(payloads_of(reader.read_window()), expected);
    EXPECT_LT(reader.batches(), 60U) << "a jump is passed at once";
}

TEST_F(Window, FindsLateRowsInEverySegmentSinceTheirTransactionBegan) {
    Sql sql = schema_.connect();
    const auto set = [&](std::int64_t to) {
        sql.run(schema_.sql(fmt::format("SELECT setval('@s@.outbox_id', {})", to)));
    };
    StoreReader reader(*store_, {2, 1'000'000});
    (void)reader.read_window();  // learns where transactions from here on begin
    PostgresWriter oldest(schema_);
    oldest.append("1");
    set(1LL << 18);
    commit_event(schema_, "x");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"x"});
    PostgresWriter younger(schema_);
    younger.append("2");
    oldest.append("3");
    set((9LL << 18) - 2);
    oldest.append("4");
    younger.append("5");
    oldest.append("6");
    commit_event(schema_, "y");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"y"});
    younger.commit();
    EXPECT_EQ(payloads_of(reader.read_window()), (Words{"2", "5"}));
    oldest.commit();
    EXPECT_EQ(payloads_of(reader.read_window()), (Words{"1", "3", "4", "6"}));
}

// Segment by segment it would take four million statements.
TEST_F(Window, ReadsALateTransactionAcrossAFarJumpOfTheSequence) {
    StoreReader reader(*store_, {2, 1'000'000});
    (void)reader.read_window();
    PostgresWriter late(schema_);
    late.append("1");
    schema_.connect().run(
        schema_.sql(fmt::format("SELECT setval('@s@.outbox_id', {})", 1LL << 40)));
    commit_event(schema_, "x");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"x"});
    late.append("2");
    late.commit();
    EXPECT_EQ(payloads_of(reader.read_window()), (Words{"1", "2"}));
}

TEST_F(Window, RunsNoDefinitionOfDataWhileItWorks) {
    Sql sql = schema_.connect();
    sql.run(fmt::format(
        "CREATE FUNCTION public.refuse_{0}() RETURNS event_trigger LANGUAGE plpgsql AS $f$ BEGIN "
        "RAISE EXCEPTION 'DDL at run time'; END $f$;"
        "CREATE EVENT TRIGGER refuse_{0} ON ddl_command_start EXECUTE FUNCTION public.refuse_{0}()",
        schema_.name()));
    StoreReader reader(*store_);
    commit_event(schema_, "a");
    EXPECT_EQ(reader.read_window().size(), 1U);
    EXPECT_EQ(store_->store(reader.moves(), {}).size(), 16U);
    (void)store_->observe({});
    store_->tidy(reader.owned());
    store_->release(reader.owned());
    sql.run(fmt::format("DROP EVENT TRIGGER refuse_{}", schema_.name()));
}

// ------------------------------------------------------------------------------------- the gate

TEST(Gate, F06_ForcesTheLogToDiskInsteadOfWaitingForLuck) {
    test::PostgresServer server(
        {.config = {"wal_writer_delay = 10s", "synchronous_commit = off"}, .bin = ""});
    const Schema schema(server);
    const auto store = open_store(schema);
    StoreReader reader(*store);
    (void)store->flushed(true);
    commit_event(schema, "a");
    EXPECT_EQ(reader.read_window().size(), 1U) << "visible";
    EXPECT_GT(reader.opening().gate, store->flushed(false)) << "and not on disk";
    EXPECT_GE(store->flushed(true), reader.opening().gate);
}

}  // namespace
}  // namespace sagaz
