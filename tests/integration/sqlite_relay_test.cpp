// The relay as a process on an SQLite file that another process writes: killed and started again.
#include "tests/integration/cli_process.hpp"
#include "tests/support/postgres_server.hpp"
#include "tests/support/sqlite_file.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

namespace sagaz::test {
namespace {

using nlohmann::json;
using Arguments = std::vector<std::string>;

constexpr const char* kTruth =
    "SELECT event_id, key, id AS order_number, topic, payload FROM sagaz_outbox";

class SqliteRelay : public ::testing::Test {
protected:
    std::string url() const { return "sqlite:" + file_.path(); }
    std::string broker() const { return "file:" + out(); }
    std::string out() const { return folder_.path() / "out.jsonl"; }

    std::size_t lines() const {
        std::ifstream file(out());
        std::size_t count = 0;
        for (std::string line; std::getline(file, line);) ++count;
        return count;
    }

    std::unique_ptr<CliProcess> start_relay() const {
        CliProcess::Options options;
        options.environment = {{"SAGAZ_ADMIN_LISTEN", "127.0.0.1:0"},
                               {"SAGAZ_RELAY_LEASE", "1s"},
                               {"SAGAZ_RELAY_STORE_INTERVAL", "20ms"}};
        return std::make_unique<CliProcess>(
            Arguments{"relay", "--store", url(), "--broker", broker()}, options);
    }

    void wait_for_lines(std::size_t count) const {
        wait_for("published events", [&] { return lines() >= count; }, std::chrono::seconds{60});
    }

    void expect_intact(std::size_t events) const {
        const CliResult drained = run_cli(
            {"relay", "--store", url(), "--broker", broker(), "--until-drained", "--timeout",
             "60s"},
            {.environment = {{"SAGAZ_ADMIN_LISTEN", "127.0.0.1:0"}, {"SAGAZ_RELAY_LEASE", "1s"}}});
        EXPECT_EQ(drained.code, 0) << drained.err;
        const CliResult judged = run_cli(
            {"verify", "--store", url(), "--broker", broker(), "--truth", kTruth, "--json"});
        EXPECT_EQ(judged.code, 0) << judged.out << judged.err;
        const auto report = json::parse(judged.out);
        EXPECT_EQ(report["expected"], events) << judged.out;
    }

    SqliteFile file_;
    TemporaryFolder folder_;
};

TEST_F(SqliteRelay, LosesNothingAndKeepsOrderWhenKilledAgainAndAgain) {
    constexpr int kEvents = 400;
    std::jthread producer([&] {
        for (int n = 0; n < kEvents; ++n) {
            SqliteWriter writer(file_.path());
            for (const char* key : {"a", "b", "c"}) {
                writer.append(key + std::to_string(n), key);
            }
            if (n % 10 == 9) continue;  // rolls back
            writer.commit();
        }
    });
    for (std::size_t round = 1; round <= 3; ++round) {
        const auto relay = start_relay();
        wait_for_lines(round * 100);
        relay->signal(SIGKILL);
        EXPECT_EQ(relay->wait(), 1'000 + SIGKILL);
    }
    producer.join();
    expect_intact(std::size_t{3} * kEvents * 9 / 10);
}

// The second relay stands by: it has no slot until the first one is gone.
TEST_F(SqliteRelay, HandsOverToARelayThatStandsBy) {
    const auto first = start_relay();
    commit_event(file_, "one");
    wait_for_lines(1);
    const auto second = start_relay();
    SqliteConnection sql(file_.path());
    wait_for(
        "both relays", [&] { return sql.value("SELECT count(*) FROM sagaz_relay") == "2"; },
        std::chrono::seconds{30});
    first->signal(SIGKILL);
    EXPECT_EQ(first->wait(), 1'000 + SIGKILL);
    commit_event(file_, "two");
    wait_for_lines(2);
    second->signal(SIGTERM);
    EXPECT_EQ(second->wait(), 0) << second->err();
    expect_intact(2);
}

TEST_F(SqliteRelay, GivesCommandsTheSameFile) {
    const auto run = [&](Arguments arguments, std::string input = {}) {
        arguments.insert(arguments.end(), {"--store", url()});
        return run_cli(arguments, {.input = std::move(input)});
    };
    EXPECT_EQ(run({"migrate", "--check"}).code, 0);
    EXPECT_EQ(run({"wait", "--for", "store,schema", "--timeout", "5s"}).code, 0);
    const auto one = run({"append", "--topic", "t", "--key", "k", "--type", "E", "--payload", "p"});
    EXPECT_EQ(one.code, 0) << one.err;
    const auto many = run({"append"}, R"({"topic":"t","event_type":"E","payload":{"a":1}})"
                                      "\n");
    EXPECT_EQ(many.code, 0) << many.err;
    const auto listed = run({"events", "ls", "--json", "--payload", "--topic", "t"});
    std::istringstream lines_of_it(listed.out);
    std::vector<json> events;
    for (std::string line; std::getline(lines_of_it, line);) events.push_back(json::parse(line));
    ASSERT_EQ(events.size(), 2U) << listed.out << listed.err;
    EXPECT_EQ(events[0]["payload"], "p");
    EXPECT_EQ(events[0]["key"], "k");
    EXPECT_EQ(events[1]["position"], 2);
    const auto shown = run({"events", "show", "2", "--json"});
    EXPECT_EQ(json::parse(shown.out)["event_id"], events[1]["event_id"]);
    const auto by_id = run({"events", "show", events[0]["event_id"], "--json"});
    EXPECT_EQ(json::parse(by_id.out)["position"], 1);
    const auto status = json::parse(run({"status", "--json"}).out);
    EXPECT_EQ(status["backlog"]["pending_events"], 2);
    EXPECT_EQ(status["slots"].size(), 1U);
    EXPECT_EQ(run({"migrate", "--set", "on_refused=park_event"}).code, 0);
    EXPECT_EQ(run({"migrate", "--set", "slot_count=4"}).code, 2);
    EXPECT_NE(run_cli({"migrate", "--print", "--store", "sqlite:any.db"}).out.find("PRAGMA"),
              std::string::npos);
    const auto forbidden =
        run({"verify", "--broker", broker(), "--truth",
             "DELETE FROM sagaz_outbox RETURNING event_id, key, id AS \"order\""});
    EXPECT_NE(forbidden.err.find("truth_query"), std::string::npos) << forbidden.err;
}

}  // namespace
}  // namespace sagaz::test
