// An optimistic publisher's store among others: locks, isolation, rights, and producers and a relay
// that all work at once.
#include "stores/postgres/publisher_fixture.hpp"
#include "tests/support/error_code.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <thread>

namespace sagaz {
namespace {

using test::code_of;
using test::Schema;
using test::Sql;
using testing::StoreReader;
using enum Verdict;

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
    EXPECT_NE(value("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE pid <> pg_backend_pid() AND application_name = 'sagaz'"),
              "0");
    (void)code_of([&] { (void)ask(row); });  // It fails, but where a pooler has another session.
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
            if (n % 4 == 2) test::pause_briefly();  // A cursor is stored meanwhile,
            transaction.commit();
            for (int pauses = n % 5; pauses > 2; --pauses)
                test::pause_briefly();  // and we are slow.
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
