// `sagaz dev` as a newcomer runs it: on files, in a terminal that they end with Ctrl-C.
#include "tests/integration/dev_run.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>

namespace sagaz::test {
namespace {

class CliDev : public testing::Test {
protected:
    std::string store() const { return "sqlite:" + (folder_ / "shop.db").string(); }

    static void expect_holds(const DevRun& run, int committed) {
        const auto accounts = run.said("account");
        ASSERT_EQ(accounts.size(), 1U);
        EXPECT_EQ(accounts[0]["committed"], committed);
        EXPECT_EQ(accounts[0]["effects"], committed);
        for (const auto* const none : {"lost", "invented", "reordered", "doubled", "pending"}) {
            EXPECT_EQ(accounts[0][none], 0) << none;
        }
    }

    TemporaryFolder temporary_;
    std::filesystem::path folder_ = temporary_.path();
};

TEST_F(CliDev, ShowsALineAnEventAndGoesOnInTheSameFolder) {
    for (int round = 1; round <= 2; ++round) {
        DevRun run{{"--folder", folder_.string(), "--orders", "40", "--rate", "200"}};
        ASSERT_EQ(run.process().wait(std::chrono::seconds{60}), 0) << run.process().err();
        EXPECT_EQ(run.said("processed").size(), 38U);
        EXPECT_EQ(run.said("rolled_back").size(), 2U);
        EXPECT_TRUE(run.said("processed")[0]["ms_after_commit"].is_number());
        expect_holds(run, 38);
    }
}

TEST_F(CliDev, StartsAKilledRelayAgainAndLosesNothing) {
    DevRun run{{"--folder", folder_.string(), "--rate", "100"}};
    const auto started = run.wait_for_first("started");
    run.wait_for_first("processed");
    ASSERT_EQ(::kill(started["relay"].get<pid_t>(), SIGKILL), 0) << started << run.process().err();
    const auto note = run.wait_for_first("note");
    EXPECT_NE(note["text"].get<std::string>().find("killed by signal 9, and was started again"),
              std::string::npos)
        << note;
    const auto before = run.said("processed").size();
    wait_for("events after the kill", [&] { return run.said("processed").size() > before + 20; });
    EXPECT_EQ(run.end(), 0) << run.process().err();
    const auto account = run.wait_for_first("account");
    expect_holds(run, account["committed"].get<int>());
}

TEST_F(CliDev, TakesEventsFromOutsideAndParksWhatTheConsumerCannotHandle) {
    DevRun run{{"--folder", folder_.string(), "--rate", "0"}};
    run.wait_for_first("started");
    const auto append = [&](const std::string& type, const std::string& payload) {
        return run_cli({"append", "--store", store(), "--topic", "orders", "--key", "me", "--type",
                        type, "--payload", payload})
            .code;
    };
    ASSERT_EQ(append("Hello", R"({"hello": "world"})"), 0);
    const auto hello = run.wait_for_first("processed");
    EXPECT_EQ(hello["event_type"], "Hello");
    EXPECT_EQ(hello["key"], "me");
    ASSERT_EQ(append("OrderPlaced", "no order"), 0);
    EXPECT_EQ(run.wait_for_first("parked")["event_type"], "OrderPlaced");
    EXPECT_EQ(run.said("retry_later").size(), 2U) << "the third attempt parks it";
    EXPECT_EQ(run.end(), 0) << run.process().err();
}

TEST_F(CliDev, LeavesALogOfSomebodyElseAlone) {
    ASSERT_EQ(run_cli({"migrate", "--store", store()}).code, 0);
    ASSERT_EQ(
        run_cli({"append", "--store", store(), "--type", "OrderPaid", "--payload", "{}"}).code, 0);
    const auto refused = run_cli(
        {"dev", "--store", store(), "--schema", "sagaz", "--folder", (folder_ / "dev").string()});
    EXPECT_EQ(refused.code, 2);
    EXPECT_NE(refused.err.find("error[dev_store]"), std::string::npos) << refused.err;

    DevRun run{{"--store", store(), "--folder", (folder_ / "dev").string(), "--orders", "20",
                "--rate", "200"}};
    EXPECT_EQ(run.process().wait(std::chrono::seconds{60}), 0) << run.process().err();
    const auto theirs =
        nlohmann::json::parse(run_cli({"status", "--store", store(), "--json"}).out);
    EXPECT_EQ(theirs["backlog"]["pending_events"], 1) << theirs;
}

TEST_F(CliDev, SendsToItsOwnFileOnly) {
    const auto refused = run_cli({"dev", "--broker", "kafka://127.0.0.1:1"});
    EXPECT_EQ(refused.code, 2);
    EXPECT_NE(refused.err.find("leave it out"), std::string::npos) << refused.err;
}

}  // namespace
}  // namespace sagaz::test
