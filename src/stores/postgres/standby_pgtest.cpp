// Durability::standby: what a standby has not got is not sent. The standby is pg_receivewal, which
// acknowledges what it has written to its disk and needs no files of the server's.
#include "testing/store_reader.hpp"
#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/brokers.hpp>
#include <sagaz/error.hpp>
#include <sagaz/postgres.hpp>
#include <sagaz/relay.hpp>

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <stop_token>
#include <thread>

namespace sagaz {
namespace {

using test::PostgresServer;
using test::Schema;
using testing::StoreReader;

/// A synchronous standby, while this object lives.
class Receiver {
public:
    explicit Receiver(const PostgresServer& server) : folder_(test::make_folder("receivewal")) {
        std::filesystem::create_directory(folder_ / "wal");
        test::give_to_server(folder_);
        pid_ = test::spawn(
            {server.program("pg_receivewal"), "--synchronous", "-D", folder_ / "wal", "-d",
             server.direct_url("replication has no pooler") + "?application_name=receiver"},
            folder_ / "log", SIGKILL);
    }
    ~Receiver() {
        test::end_process(pid_, SIGINT, std::chrono::seconds{5});
        test::remove_folder(folder_);
    }
    Receiver(const Receiver&) = delete;
    Receiver& operator=(const Receiver&) = delete;

private:
    std::filesystem::path folder_;
    pid_t pid_{};
};

class StandbyGate : public ::testing::Test {
protected:
    /// A commit that is visible and that no standby has.
    void commit_locally(const std::string& payload) {
        test::PostgresWriter writer(schema_);
        writer.sql().run("SET LOCAL synchronous_commit = local");
        writer.append(payload);
        writer.commit();
    }
    std::string local_url() const {
        return schema_.direct_url("a pooler takes no options of a session") +
               "?options=-csynchronous_commit%3Dlocal";
    }
    /// What it writes itself waits for nobody, so that nothing but the gate holds it back.
    std::unique_ptr<Store> open(Milliseconds patience = Milliseconds{500},
                                postgres::Durability durability = postgres::Durability::standby) {
        return postgres::open(
            local_url(),
            {.schema = schema_.name(), .statement_timeout = patience, .durability = durability});
    }
    static std::string refusal_of(Store& store) {
        try {
            (void)store.flushed(true);
            return "";
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::unavailable);
            return std::string(error.code());
        }
    }
    PostgresServer server_{};
    Schema schema_{server_};
};

TEST_F(StandbyGate, F05_NothingPassesTheGateBeforeAStandbyHasIt) {
    const auto store = open();
    StoreReader reader(*store);
    server_.let_commits_wait_for("receiver");
    commit_locally("a");
    EXPECT_EQ(reader.read_window().size(), 1U);
    EXPECT_LT(store->flushed(false), reader.opening().gate) << "it is on the server's own disk";
    EXPECT_EQ(refusal_of(*store), "deadline_passed");
    EXPECT_LT(store->flushed(false), reader.opening().gate);
    const Receiver receiver(server_);
    test::wait_for("the standby", [&] { return refusal_of(*store).empty(); });
    EXPECT_GE(store->flushed(false), reader.opening().gate);
}

TEST_F(StandbyGate, F05_AWaitThatIsCancelledProvesNothing) {
    const auto store = open(Milliseconds{20'000});
    StoreReader reader(*store);
    server_.let_commits_wait_for("receiver");
    commit_locally("a");
    EXPECT_EQ(reader.read_window().size(), 1U);
    std::jthread canceller([&] {
        auto eyes = server_.connect();
        test::wait_for("the flush to wait", [&] {
            return eyes.number(
                       "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity "
                       "WHERE wait_event = 'SyncRep'") > 0;
        });
    });
    EXPECT_EQ(refusal_of(*store), "standby_missing");
    EXPECT_LT(store->flushed(false), reader.opening().gate);
}

TEST_F(StandbyGate, SaysThatCommitsWaitForNobody) {
    const auto store = open();
    StoreReader reader(*store);
    EXPECT_EQ(refusal_of(*store), "standby_missing");
}

// The server dies while a commit waits for its standby: then the commit is there, and visible.
TEST_F(StandbyGate, F05_ARelaySendsNothingOfACommitThatOnlyACrashMadeVisible) {
    server_.let_commits_wait_for("receiver");
    auto waiting = schema_.connect();
    waiting.start(schema_.sql("SELECT @s@.append('t', 'k', 'E', 'a')"));
    auto eyes = server_.connect();
    test::wait_for("the commit to wait", [&] {
        return eyes.number("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") ==
               1;
    });
    server_.kill9();
    server_.start();
    EXPECT_EQ(server_.connect().number(schema_.sql("SELECT count(*) FROM @s@.outbox")), 1);
    memory::Topic topic;
    Relay relay(open(Milliseconds{1'000}), memory::open(topic));
    std::jthread running([&](const std::stop_token& stop) { relay.run(stop); });
    std::this_thread::sleep_for(std::chrono::seconds{3});
    EXPECT_EQ(topic.size(), 0U);
    const Receiver receiver(server_);
    test::wait_for("it to be sent", [&] { return topic.size() == 1; }, std::chrono::seconds{60});
}

TEST_F(StandbyGate, F05_APublisherSendsNothingBeforeAStandbyHasIt) {
    const auto relays = open();
    StoreReader reader(*relays);
    const auto publisher =
        postgres::open_publisher(local_url(), {.schema = schema_.name(),
                                               .statement_timeout = Milliseconds{500},
                                               .durability = postgres::Durability::standby});
    (void)publisher->attach();
    server_.let_commits_wait_for("receiver");
    auto local = schema_.connect();
    local.run("SET synchronous_commit = local");
    const auto row = local.rows(
        schema_.sql("INSERT INTO @s@.outbox (topic, key, event_type, payload, held_until) "
                    "VALUES ('t', 'k', 'E', '', clock_timestamp() + interval '1 minute') "
                    "RETURNING slot, id, event_id"));
    const std::vector<RowRef> asked{{static_cast<std::int16_t>(std::stoi(row.at(0)[0])),
                                     std::stoll(row.at(0)[1]), Id::parse(row.at(0)[2])}};
    const Confirmation confirmed = publisher->confirm(asked, {}, Milliseconds{1'000});
    ASSERT_EQ(confirmed.verdicts, std::vector{Verdict::ready});
    EXPECT_LT(confirmed.flushed, confirmed.gate);
    EXPECT_LT(publisher->flushed(false), confirmed.gate);
    EXPECT_THROW((void)publisher->flushed(true), Error);
    const Receiver receiver(server_);
    test::wait_for("the standby", [&] {
        try {
            return publisher->flushed(true) >= confirmed.gate;
        } catch (const Error&) {
            return false;
        }
    });
}

TEST_F(StandbyGate, OfTheServersOwnDiskLetsItPass) {
    const auto store = open(Milliseconds{500}, postgres::Durability::local);
    StoreReader reader(*store);
    server_.let_commits_wait_for("receiver");
    commit_locally("a");
    EXPECT_EQ(reader.read_window().size(), 1U);
    EXPECT_GE(store->flushed(true), reader.opening().gate);
}

}  // namespace
}  // namespace sagaz
