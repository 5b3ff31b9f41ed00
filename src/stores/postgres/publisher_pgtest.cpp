// What an optimistic publisher asks of a real server: migration 0006 says why the answers are safe.
#include "stores/postgres/migration.hpp"
#include "testing/store_reader.hpp"
#include "tests/support/error_code.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/error.hpp>
#include <sagaz/postgres.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <mutex>
#include <thread>

namespace sagaz {
namespace {

using test::code_of;
using test::Schema;
using test::Sql;
using testing::StoreReader;
using Verdicts = std::vector<Verdict>;
using enum Verdict;

constexpr Milliseconds kMargin{1'000};
constexpr std::int64_t kSegment = std::int64_t{1} << 18;

/// A producer's transaction that holds what it appends.
class Appending {
public:
    explicit Appending(const Schema& schema) : schema_(schema), sql_(schema.connect()) {
        sql_.run("BEGIN");
    }
    RowRef append(const std::string& key = "k", const std::string& topic = "t") {
        const auto text = [](const std::string& value) {
            return value.empty() ? std::string("NULL") : "'" + value + "'";
        };
        const auto row = sql_.rows(schema_.sql(
            fmt::format("INSERT INTO @s@.outbox (topic, key, event_type, payload, held_until) "
                        "VALUES ({}, {}, 'E', 'p', clock_timestamp() + interval '1 minute') "
                        "RETURNING slot, id, event_id",
                        text(topic), text(key))));
        return {static_cast<std::int16_t>(std::stoi(row.at(0)[0])), std::stoll(row.at(0)[1]),
                Id::parse(row.at(0)[2])};
    }
    void commit() { sql_.run("COMMIT"); }
    Sql& sql() { return sql_; }

private:
    const Schema& schema_;
    Sql sql_;
};

class Publisher : public ::testing::Test {
protected:
    Publisher() : Publisher(test::PostgresServer::shared()) {}
    explicit Publisher(test::PostgresServer& server, bool with_roles = false)
        : schema_(server, with_roles) {
        (void)publisher_->attach();
    }

    void run(const std::string& sql) { sql_.run(schema_.sql(sql)); }
    std::string value(const std::string& sql) { return sql_.value(schema_.sql(sql)); }

    RowRef append(const std::string& key = "k", const std::string& topic = "t") {
        Appending transaction(schema_);
        const RowRef row = transaction.append(key, topic);
        transaction.commit();
        return row;
    }
    /// A key, not "k", whose events have its slot.
    std::string neighbour() {
        return value(
            "SELECT n::text FROM generate_series(1, 1000) n "
            "WHERE @s@.slot_of(n::text, NULL) = @s@.slot_of('k', NULL) LIMIT 1");
    }
    void go_to(std::int64_t id) {
        run(fmt::format("SELECT setval('@s@.outbox_id', {}, false)", id));
    }

    Verdicts ask(const std::vector<RowRef>& asked, const std::vector<RowRef>& acknowledged = {}) {
        return publisher_->confirm(asked, acknowledged, kMargin).verdicts;
    }
    Verdict ask(const RowRef& row) { return ask(std::vector{row}).at(0); }
    void settle(const RowRef& row) { publisher_->settle(std::vector{row}, {}); }

    /// Reads all there is and stores that it is delivered, or parked.
    std::vector<testing::ReadRow> deliver(const std::vector<Parking>& parked = {}) {
        auto rows = reader_.read_window();
        auto moves = reader_.moves();
        for (auto& move : moves) move.cursor.n += stores_;
        ++stores_;
        EXPECT_EQ(store_->store(moves, parked).size(), moves.size());
        return rows;
    }
    static Parking parking_of(const RowRef& row) {
        return {row.slot, row.position, row.event_id, "refused", ""};
    }

    Schema schema_;
    Sql sql_{schema_.connect()};
    std::unique_ptr<Store> store_{test::open_store(schema_)};
    StoreReader reader_{*store_};
    std::int64_t stores_{};
    std::unique_ptr<PublisherStore> publisher_{
        postgres::open_publisher(schema_.url(), {.schema = schema_.name()})};
};

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

// -------------------------------------------------------------------------------- the server's
// ways

TEST_F(Publisher, SettlesUnderAnyIsolationWhatARelayMarksMeanwhile) {
    for (const std::string isolation : {"repeatable read", "serializable"}) {
        const std::string role = schema_.name() + "_" + isolation.substr(0, 4);
        run("CREATE ROLE " + role + " SUPERUSER LOGIN; ALTER ROLE " + role +
            " SET default_transaction_isolation = '" + isolation + "'");
        const auto publisher = postgres::open_publisher(schema_.server().url("postgres", role),
                                                        {.schema = schema_.name()});
        (void)publisher->attach();
        const std::vector<RowRef> row{append()};
        EXPECT_EQ(publisher->confirm(row, {}, kMargin).verdicts, Verdicts{ready});
        Sql relay = schema_.connect();
        relay.run("BEGIN");
        relay.run(schema_.sql("UPDATE @s@.outbox SET held_until = '-infinity'"));
        std::string failure;
        std::jthread settling([&] { failure = code_of([&] { publisher->settle(row, {}); }); });
        test::wait_for("the publisher to wait", [&] {
            return sql_.number("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1;
        });
        relay.run("COMMIT");
        settling.join();
        EXPECT_EQ(failure, "");
        EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox"), "0") << isolation;
    }
}

TEST_F(Publisher, DoesNotWaitLongForARebase) {
    const RowRef row = append();
    Sql rebase = schema_.connect();
    rebase.run("BEGIN");
    rebase.run(schema_.sql("LOCK TABLE @s@.outbox IN SHARE ROW EXCLUSIVE MODE"));
    EXPECT_EQ(code_of([&] { settle(row); }), "lock_not_available");
    EXPECT_EQ(ask(row), ready) << "a question waits for nobody";
    rebase.run("ROLLBACK");
    settle(row);
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox"), "0");
}

TEST_F(Publisher, SettlesUnderAPublicationForAllTables) {
    run("CREATE PUBLICATION all_of_" + schema_.name() + " FOR ALL TABLES");
    const RowRef row = append();
    publisher_->settle(std::vector{row}, std::vector{append("other")});
    run("DROP PUBLICATION all_of_" + schema_.name());
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox"), "1");
}

TEST_F(Publisher, ConnectsAgainByItself) {
    const RowRef row = append();
    EXPECT_EQ(ask(row), ready);
    run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND application_name = 'sagaz'");
    EXPECT_NE(code_of([&] { (void)ask(row); }), "");
    EXPECT_EQ(ask(row), ready);
}

class AsynchronousPublisher : public Publisher {
protected:
    AsynchronousPublisher() : Publisher(lazy_server()) {}
    static test::PostgresServer& lazy_server() {
        static test::PostgresServer server({.config = {"wal_writer_delay = 10s"}, .bin = ""});
        return server;
    }
};

TEST_F(AsynchronousPublisher, F06_SaysWhatTheDiskMustHaveFirst) {
    (void)publisher_->flushed(true);
    Appending transaction(schema_);
    transaction.sql().run("SET LOCAL synchronous_commit = off");
    const std::vector<RowRef> row{transaction.append()};
    transaction.commit();
    const Confirmation answer = publisher_->confirm(row, {}, kMargin);
    EXPECT_EQ(answer.verdicts, Verdicts{ready});
    EXPECT_GT(answer.gate, answer.flushed);
    EXPECT_GE(publisher_->flushed(true), answer.gate);
    const Confirmation again = publisher_->confirm(row, {}, kMargin);
    EXPECT_GE(again.flushed, answer.gate) << "told with the answer";
}

class PublisherRights : public Publisher {
protected:
    PublisherRights() : Publisher(test::PostgresServer::shared(), true) {}
    std::unique_ptr<PublisherStore> open_as(const std::string& role) {
        const std::string user = schema_.name() + "_user_of_" + role;
        run(fmt::format("CREATE ROLE {} LOGIN IN ROLE {}_{}", user, schema_.name(), role));
        return postgres::open_publisher(schema_.server().url("postgres", user),
                                        {.schema = schema_.name()});
    }
};

TEST_F(PublisherRights, S06_OfAPublisherAreEnough) {
    const auto publisher = open_as("publisher");
    (void)publisher->attach();
    const std::vector<RowRef> rows{append("1"), append("2")};
    EXPECT_EQ(publisher->confirm(rows, {}, kMargin).verdicts, (Verdicts{ready, ready}));
    EXPECT_GT(publisher->flushed(true), 0U);
    publisher->settle(std::vector{rows[0]}, std::vector{rows[1]});
    EXPECT_EQ(value("SELECT count(*) FROM @s@.outbox"), "1");
    deliver({parking_of(append("3"))});
    EXPECT_EQ(publisher->confirm(std::vector{append("3")}, {}, kMargin).verdicts, Verdicts{behind});
}

TEST_F(PublisherRights, S06_OfAProducerAreNotAndTheErrorNamesWhatIs) {
    const auto publisher = open_as("producer");
    try {
        (void)publisher->attach();
        FAIL() << "a producer attached";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), "permission_denied");
        EXPECT_NE(error.hint().find("GRANT " + schema_.name() + "_publisher TO"),
                  std::string_view::npos)
            << error.hint();
    }
}

// ------------------------------------------------------------------------------------ all together

/// Producers that lock a row of theirs, append, commit and publish by themselves, and a relay that
/// stores its cursor whenever publishers have sent all that it has read.
class Crowd {
public:
    explicit Crowd(const Schema& schema) : schema_(schema) {
        schema.connect().run(schema.sql(
            "CREATE TABLE @s@.account (key text PRIMARY KEY, n bigint NOT NULL DEFAULT 0); "
            "INSERT INTO @s@.account (key) SELECT n::text FROM generate_series(1, 4) n"));
    }

    void produce(int producer, int events) {
        const auto publisher = postgres::open_publisher(schema_.url(), {.schema = schema_.name()});
        (void)publisher->attach();
        for (int n = 0; n < events; ++n) {
            const std::string key = std::to_string(1 + (producer + n) % 4);
            Appending transaction(schema_);
            if (n % 3 == 0) transaction.sql().run("SELECT pg_current_xact_id()");
            const auto count = transaction.sql().number(schema_.sql(
                "UPDATE @s@.account SET n = n + 1 WHERE key = '" + key + "' RETURNING n"));
            const std::vector<RowRef> row{transaction.append(key)};
            transaction.commit();
            test::wait_for("an event to be next", [&] {
                const auto verdict = publisher->confirm(row, {}, kMargin).verdicts.at(0);
                EXPECT_TRUE(verdict == ready || verdict == behind);
                return verdict == ready;
            });
            {
                const std::scoped_lock lock(mutex_);
                sent_[key].push_back(count);
            }
            publisher->settle(row, {});
        }
    }

    void relay(const std::stop_token& stop) {
        const auto store = test::open_store(schema_);
        StoreReader reader(*store);
        for (std::int64_t stores = 0; !stop.stop_requested(); ++stores) {
            std::vector<RowRef> rows;
            for (const auto& row : reader.read_window()) {
                rows.push_back({row.slot, row.position, row.event_id});
            }
            test::wait_for("publishers to send what was read", [&] {
                const auto states = store->look_at(rows);
                return std::ranges::count(states, HoldState::gone) == std::ssize(rows);
            });
            auto moves = reader.moves();
            for (auto& move : moves) move.cursor.n += stores;
            (void)store->store(moves, {});
        }
    }

    std::map<std::string, std::vector<std::int64_t>> sent() const { return sent_; }

private:
    const Schema& schema_;
    std::mutex mutex_;
    std::map<std::string, std::vector<std::int64_t>> sent_;
};

TEST(PublisherCrowd, KeepsTheOrderOfEachKeyAcrossFourPublishersAndARelay) {
    constexpr int kEvents = 60;
    const Schema schema;
    (void)test::open_store(schema)->attach(Id::generate());
    Crowd crowd(schema);
    {
        std::jthread relay([&](const std::stop_token& stop) { crowd.relay(stop); });
        std::vector<std::jthread> producers;
        for (int n = 0; n < 4; ++n) producers.emplace_back([&, n] { crowd.produce(n, kEvents); });
    }
    const auto sent = crowd.sent();
    ASSERT_EQ(sent.size(), 4U);
    for (const auto& [key, counts] : sent) {
        EXPECT_EQ(counts.size(), static_cast<std::size_t>(kEvents));
        EXPECT_TRUE(std::ranges::is_sorted(counts)) << key;
    }
    EXPECT_EQ(schema.connect().number(schema.sql("SELECT count(*) FROM @s@.outbox")), 0);
}

}  // namespace
}  // namespace sagaz
