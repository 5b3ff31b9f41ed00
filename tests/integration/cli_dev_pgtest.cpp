// `sagaz dev --store` on a real PostgreSQL, which may be one that people work with.
#include "tests/integration/cli_database.hpp"
#include "tests/integration/dev_run.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace sagaz::test {
namespace {

class CliDevOnPostgres : public CliOnADatabase {};

TEST_F(CliDevOnPostgres, RunsInSchemasOfItsOwnBesideTheRealLog) {
    ASSERT_EQ(run_cli({"migrate", "--no-roles", "--store", url_}).code, 0);
    ASSERT_EQ(run_cli({"append", "--store", url_, "--type", "OrderPaid", "--payload", "{}"}).code,
              0);
    for (int round = 1; round <= 2; ++round) {
        DevRun run{{"--store", url_, "--orders", "40", "--rate", "200"}};
        ASSERT_EQ(run.process().wait(std::chrono::seconds{60}), 0) << run.process().err();
        EXPECT_EQ(run.said("processed").size(), 38U);
        const auto account = run.wait_for_first("account");
        EXPECT_EQ(account["committed"], 38);
        EXPECT_EQ(account["effects"], 38);
        EXPECT_EQ(account["lost"], 0);
        EXPECT_EQ(account["doubled"], 0);
        std::filesystem::remove_all(run.wait_for_first("started")["folder"].get<std::string>());
    }
    const auto theirs = nlohmann::json::parse(run_cli({"status", "--store", url_, "--json"}).out);
    EXPECT_EQ(theirs["backlog"]["pending_events"], 1) << theirs;
    EXPECT_EQ(Sql{url_}.number("SELECT count(*) FROM sagaz_dev.outbox"), 76);
}

TEST_F(CliDevOnPostgres, ShowsNoPasswordToOthersOnTheMachine) {
    const std::string password = "s3cret-of-dev";
    DevRun run{{"--store",
                url_ + (url_.find('?') == std::string::npos ? "?" : "&") + "password=" + password,
                "--rate", "0"}};
    const auto started = run.wait_for_first("started");
    const auto words = [&] {
        std::ifstream file{"/proc/" + std::to_string(started["relay"].get<pid_t>()) + "/cmdline"};
        std::stringstream read;
        read << file.rdbuf();
        return read.str();
    };
    // Between fork and exec the child still shows what its parent was started with.
    wait_for("the relay to run as itself", [&] { return words().starts_with("sagaz"); });
    EXPECT_EQ(words().find(password), std::string::npos);
    EXPECT_EQ(run.process().out().find(password), std::string::npos);
    EXPECT_EQ(run.end(), 0) << run.process().err();
    std::filesystem::remove_all(started["folder"].get<std::string>());
}

}  // namespace
}  // namespace sagaz::test
