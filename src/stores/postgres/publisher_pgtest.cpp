// What an optimistic publisher asks of a real server: migration 0006 says why the answers are safe.
#include "stores/postgres/migration.hpp"
#include "stores/postgres/publisher_fixture.hpp"
#include "tests/support/error_code.hpp"

#include <algorithm>
#include <array>

namespace sagaz {
namespace {

using test::code_of;
using test::Sql;
using enum Verdict;

constexpr std::int64_t kSegment = std::int64_t{1} << 18;

// ------------------------------------------------------------------------------ late transactions

TEST_F(Publisher, F09_WaitsBehindALateTransactionThatTheCursorListsAsRunning) {
    Appending late(schema_);
    const RowRef elder = late.append();
    append("other");
    EXPECT_EQ(deliver().size(), 1U) << "of a higher id, in a transaction of a higher one";
    late.commit();
    const RowRef row = append();
    ASSERT_LT(elder.position, row.position);
    EXPECT_EQ(ask({row, elder}), (Verdicts{behind, ready}));
    settle(elder);
    EXPECT_EQ(ask(row), ready);
}

// It began after the last transaction that had finished, so no snapshot lists it.
TEST_F(Publisher, F09_WaitsBehindALateTransactionThatNoSnapshotLists) {
    append("other");
    Appending late(schema_);
    const RowRef elder = late.append();
    EXPECT_EQ(deliver().size(), 1U);
    late.commit();
    const RowRef row = append();
    EXPECT_EQ(ask({row, elder}), (Verdicts{behind, ready}));
    EXPECT_EQ(deliver().size(), 2U);
    EXPECT_EQ(ask(append()), ready);
}

TEST_F(Publisher, CountsWhatAStoredCursorHasPassedInTheMiddleOfAWindow) {
    const RowRef before = append();
    deliver();
    const RowRef passed = append();
    const RowRef next = append();
    const auto store_at = [&](std::int64_t position) {
        run(fmt::format(
            "INSERT INTO @s@.cursor (destination, slot, n, epoch, done, target, position, last_id, "
            "done_ceiling, incarnation, system_identifier) "
            "SELECT DISTINCT ON (slot) destination, slot, n + 1, epoch, done, "
            "pg_current_snapshot(), {}, last_id, done_ceiling, incarnation, system_identifier "
            "FROM @s@.cursor ORDER BY slot, n DESC",
            position));
    };
    store_at(0);
    EXPECT_EQ(ask({before, passed, next}), (Verdicts{late, ready, behind}));
    store_at(passed.position);
    EXPECT_EQ(ask({before, passed, next}), (Verdicts{late, late, ready}));
}

TEST_F(Publisher, DoesNotWaitForATransactionThatWasRolledBack) {
    Appending late(schema_);
    late.append();
    append("other");
    deliver();
    const RowRef row = append();
    EXPECT_EQ(ask(row), ready) << "it runs, so it holds no lock that this one needed";
    late.sql().run("ROLLBACK");
    EXPECT_EQ(ask(row), ready);
}

TEST_F(Publisher, DoesNotWaitForEventsThatARelayDeliveredWhileTheyWereHeld) {
    const RowRef elder = append();
    const RowRef row = append();
    EXPECT_EQ(ask(row), behind);
    run("UPDATE @s@.outbox SET held_until = '-infinity' WHERE id = " +
        std::to_string(elder.position));
    EXPECT_EQ(ask({elder, row}), (Verdicts{late, ready}));
    publisher_->settle({}, std::vector{elder});
    EXPECT_EQ(
        value("SELECT held_until FROM @s@.outbox WHERE id = " + std::to_string(elder.position)),
        "-infinity");
}

TEST_F(Publisher, TakesANullTopicForAny) {
    const RowRef templated = append("k", "");
    const RowRef row = append("k", "t");
    EXPECT_EQ(ask({templated, row}), (Verdicts{ready, behind}));
    settle(templated);
    EXPECT_EQ(ask({row, append("k", "")}), (Verdicts{ready, behind}));
}

TEST_F(Publisher, HoldsWhateverAWriterWroteIntoAHold) {
    const RowRef row = append();
    run("UPDATE @s@.outbox SET held_until = 'infinity'");
    EXPECT_EQ(ask(row), ready);
    publisher_->settle({}, std::vector{row});
    EXPECT_EQ(value("SELECT held_until = 'epoch' FROM @s@.outbox"), "t");
}

// --------------------------------------------------------------------------------- segment borders

TEST_F(Publisher, WaitsBehindAnElderInTheSegmentBefore) {
    go_to(kSegment - 1);
    const RowRef elder = append();
    const RowRef row = append();
    ASSERT_EQ(row.position, kSegment);
    EXPECT_EQ(ask({row, elder, append("other")}), (Verdicts{behind, ready, ready}));
    EXPECT_EQ(ask({row}, {elder}), Verdicts{ready});
    settle(elder);
    EXPECT_EQ(ask(row), ready);
}

TEST_F(Publisher, AnswersForSeveralSegmentsInTheOrderOfTheQuestion) {
    go_to(16 * kSegment - 1);
    const RowRef last = append("1");
    const RowRef first = append("2");
    ASSERT_EQ(first.position, 16 * kSegment) << "the first leaf of the ring, again";
    const RowRef second = append("2");
    const std::vector<RowRef> asked{second, last, first};
    const Confirmation answer = publisher_->confirm(asked, {}, kMargin);
    EXPECT_EQ(answer.verdicts, (Verdicts{behind, ready, ready}));
    ASSERT_EQ(answer.batch->rows.size(), 2U);
    EXPECT_EQ(answer.batch->rows[0].event_id, last.event_id);
    EXPECT_EQ(answer.batch->rows[1].event_id, first.event_id);
    publisher_->settle(std::vector{last, first}, std::vector{second});
    EXPECT_EQ(value("SELECT string_agg(concat(id, held_until > now()), ' ') FROM @s@.outbox"),
              fmt::format("{}f", second.position));
}

// A transaction that was there before all cursors that are known, with rows in any segment.
TEST_F(Publisher, F09_WaitsBehindALongTransactionsElderTwoSegmentsBefore) {
    Appending late(schema_);
    const RowRef elder = late.append();
    go_to(2 * kSegment);
    for (int n = 0; n < 3; ++n) {
        append("k");
        deliver();
    }
    EXPECT_EQ(ask(append("1")), ready);
    late.commit();
    const RowRef row = append();
    const RowRef other = append(neighbour());
    EXPECT_EQ(ask({row, other, elder}), (Verdicts{behind, ready, ready}));
    EXPECT_EQ(ask({row}, {elder}), Verdicts{ready});
    deliver();
    EXPECT_EQ(ask(append()), ready);
}

// Somebody reads the ring whose snapshot is from before an elder was parked and its segment
// emptied. A truncation is seen by every snapshot, so the elder is nowhere.
TEST_F(Publisher, F61_SaysBehindWhenASegmentWasEmptiedUnderItsSnapshot) {
    go_to(kSegment - 1);
    const RowRef elder = append();
    const RowRef row = append();
    Sql old = schema_.connect();
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    const auto token = old.value(schema_.sql("SELECT token FROM @s@.incarnation"));
    const auto verdict = [&](Sql& sql) {
        return sql.value(schema_.sql(fmt::format(
            "SELECT verdict FROM @s@.confirm_01('{}', 'default', 0, '{{{}}}', '{{{}}}', '{{{}}}', "
            "'{{}}', '{{}}')",
            token, row.slot, row.position, row.event_id.text())));
    };
    deliver({parking_of(elder)});
    while (store_->reclaim({}).has_more) {
    }
    ASSERT_EQ(value("SELECT count(*) FROM @s@.outbox_00"), "0");
    EXPECT_EQ(verdict(old), "1") << "behind";
    EXPECT_EQ(verdict(sql_), "2") << "late: the cursor has passed it";
}

TEST_F(Publisher, LocksNoSegmentButTheOneThatIsAsked) {
    go_to(3 * kSegment);
    append();
    deliver();
    Appending running(schema_);
    running.append("running");
    const RowRef row = append();
    Sql session = schema_.connect();
    session.run("BEGIN");
    const auto call = [&](const std::string& function, const std::string& rows) {
        session.run(schema_.sql(fmt::format(
            "SELECT @s@.{}((SELECT token FROM @s@.incarnation), 'default', {})", function, rows)));
    };
    const auto rows =
        fmt::format("'{{{}}}', '{{{}}}', '{{{}}}'", row.slot, row.position, row.event_id.text());
    const auto locked = [&] {
        return value(fmt::format(
            "SELECT string_agg(DISTINCT c.relname, ' ') FROM pg_locks l "
            "JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE l.pid = {} AND n.nspname = '@s@' AND c.relkind IN ('r', 'p') "
            "AND c.relname LIKE 'outbox%'",
            session.backend_pid()));
    };
    call("confirm_03", "0, " + rows + ", '{}', '{}'");
    EXPECT_EQ(locked(), "outbox_03");
    call("settle_03", rows + ", '{}', '{}', '{}'");
    EXPECT_EQ(locked(), "outbox_03");
}

// ---------------------------------------------------------------------------------------- backlog

TEST_F(Publisher, SaysBehindWithoutReadingABacklog) {
    run("INSERT INTO @s@.outbox (topic, key, event_type, payload) "
        "SELECT 't', '" +
        neighbour() + "', 'E', '' FROM generate_series(1, 1001)");
    EXPECT_EQ(ask({append(), append("elsewhere")}), (Verdicts{behind, ready}));
    deliver();
    EXPECT_EQ(ask(append()), ready);
}

TEST_F(Publisher, TellsNoMorePayloadThanFits) {
    run("INSERT INTO @s@.outbox (topic, key, event_type, payload, held_until) "
        "SELECT 't', n::text, 'E', convert_to(repeat('x', 6000000), 'UTF8'), "
        "       clock_timestamp() + interval '1 minute' FROM generate_series(1, 3) n");
    std::vector<RowRef> asked;
    for (const auto& row : sql_.rows(schema_.sql("SELECT slot, id, event_id FROM @s@.outbox"))) {
        asked.push_back(
            {static_cast<std::int16_t>(std::stoi(row[0])), std::stoll(row[1]), Id::parse(row[2])});
    }
    std::ranges::sort(asked, {}, &RowRef::position);
    EXPECT_EQ(ask(asked), (Verdicts{ready, ready, behind}));
    EXPECT_EQ(ask(asked[2]), ready);
}

// ----------------------------------------------------------------------------------- parked elders

TEST_F(Publisher, WaitsBehindWhatIsParkedOfItsKeyWhateverTheTopicsWord) {
    const RowRef with_topic = append("1", "t");
    const RowRef other_topic = append("2", "u");
    const RowRef templated = append("3", "");
    deliver({parking_of(with_topic), parking_of(other_topic), parking_of(templated)});
    const auto ask_for = [&](const std::string& key, const std::string& topic) {
        run("DELETE FROM @s@.outbox");
        return ask(append(key, topic));
    };
    EXPECT_EQ(ask_for("1", "t"), behind);
    EXPECT_EQ(ask_for("2", "t"), ready);
    EXPECT_EQ(ask_for("3", "t"), behind);
    EXPECT_EQ(ask_for("1", ""), behind);
    EXPECT_EQ(ask_for("2", ""), behind);
    EXPECT_EQ(ask_for("3", ""), behind);
    EXPECT_EQ(ask_for("4", ""), ready);
}

TEST_F(Publisher, PassesWhatIsParkedWhereARefusedEventStopsOnlyItself) {
    deliver({parking_of(append())});
    const RowRef row = append();
    EXPECT_EQ(ask(row), behind);
    postgres::set_setting(schema_.url(), schema_.name(), "on_refused", "park_event");
    EXPECT_EQ(code_of([&] { (void)ask(row); }), "incarnation_changed");
    EXPECT_EQ(publisher_->attach().settings.on_refused, OnRefused::park_event);
    EXPECT_EQ(ask(row), ready);
}

// ------------------------------------------------------------------------------ doubt and restores

TEST_F(Publisher, F60_TrustsNoCursorThatIsInDoubt) {
    const std::array doubts{
        "UPDATE @s@.cursor SET system_identifier = 1",
        "UPDATE @s@.cursor SET done = '4000000000000:4000000000000:'",
        "UPDATE @s@.cursor SET target = '4000000000000:4000000000000:'",
        "UPDATE @s@.cursor SET last_id = 1000000",
        "SELECT setval('@s@.outbox_id', 1, false)",
        "DELETE FROM @s@.cursor",
    };
    go_to(1'000);
    const RowRef row = append();
    EXPECT_EQ(ask(row), ready);
    for (const std::string doubt : doubts) {
        run("CREATE TABLE @s@.kept AS SELECT * FROM @s@.cursor");
        run(doubt);
        EXPECT_NE(ask(row), ready) << doubt;
        if (!doubt.starts_with("DELETE")) {
            EXPECT_TRUE(publisher_->attach().incarnation.is_zero()) << doubt;
            EXPECT_EQ(ask(row), late) << doubt;
        }
        run("DELETE FROM @s@.cursor; INSERT INTO @s@.cursor SELECT * FROM @s@.kept; "
            "DROP TABLE @s@.kept; SELECT setval('@s@.outbox_id', 2000)");
        EXPECT_FALSE(publisher_->attach().incarnation.is_zero());
    }
    EXPECT_EQ(ask(row), ready);
}

TEST_F(Publisher, F60_ForgetsWhatItKnewWhenTheLogIsRebased) {
    const RowRef row = append();
    EXPECT_EQ(ask(row), ready);
    run("SELECT @s@.rebase(true)");
    EXPECT_EQ(code_of([&] { (void)ask(row); }), "incarnation_changed");
    EXPECT_EQ(code_of([&] { settle(row); }), "incarnation_changed");
    (void)publisher_->attach();
    EXPECT_EQ(ask(row), not_committed) << "it has moved";
    settle(row);
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox"), "1");
    EXPECT_EQ(ask(append("other")), ready);
}

TEST_F(Publisher, SettlesNothingWhereThereIsAnotherDestination) {
    const RowRef row = append();
    const auto elsewhere = postgres::open_publisher(
        schema_.url(), {.schema = schema_.name(), .destination = "elsewhere"});
    EXPECT_EQ(code_of([&] { (void)elsewhere->attach(); }), "destination");
    run("INSERT INTO @s@.destination (name) VALUES ('second')");
    EXPECT_EQ(code_of([&] { (void)ask(row); }), "destination");
    EXPECT_EQ(code_of([&] { settle(row); }), "destination");
    EXPECT_EQ(code_of([&] { (void)publisher_->attach(); }), "destination");
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox"), "1");
}

}  // namespace
}  // namespace sagaz
