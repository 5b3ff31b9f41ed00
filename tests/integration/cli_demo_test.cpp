// `sagaz demo` as a newcomer runs it, and with what it has to notice.
#include "tests/integration/cli_process.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace sagaz::test {
namespace {

using nlohmann::json;

class CliDemo : public testing::Test {
protected:
    // Thousands of commits: a busy disk may take its time.
    static CliResult run(const std::vector<std::string>& arguments) {
        CliProcess process{arguments};
        const int code = process.wait(std::chrono::seconds{150});
        return {code, process.out(), process.err()};
    }
    CliResult demo() const {
        return run({"demo", "--orders", "1200", "--json", "--folder", folder_.string()});
    }
    CliResult check() const { return run({"demo", "--json", "--check", folder_.string()}); }
    std::vector<std::string> lines() const {
        std::ifstream file(folder_ / "events.jsonl");
        std::vector<std::string> lines;
        for (std::string line; std::getline(file, line);) lines.push_back(line);
        return lines;
    }
    void write(const std::vector<std::string>& lines) const {
        std::ofstream file(folder_ / "events.jsonl", std::ios::trunc);
        for (const auto& line : lines) file << line << '\n';
    }
    /// The order's number of a line.
    static std::int64_t order_of(const std::string& line) {
        return json::parse(json::parse(line)["payload"].get<std::string>())["order"];
    }

    TemporaryFolder temporary_;
    std::filesystem::path folder_ = temporary_.path();
};

TEST_F(CliDemo, TellsATrueStoryAndMissesWhatIsTakenAway) {
    const auto result = demo();
    ASSERT_EQ(result.code, 0) << result.err << result.out;
    const auto told = json::parse(result.out);
    EXPECT_EQ(told["committed"], 1'140) << "one transaction in twenty is rolled back";
    EXPECT_EQ(told["rolled_back"], 60);
    EXPECT_EQ(told["effects"], 1'140);
    EXPECT_EQ(told["published"].get<int>() - told["repeats"].get<int>(), 1'140);
    EXPECT_EQ(told["delivered"].get<int>(), 2 * told["published"].get<int>());
    for (const auto* const damage : {"lost", "invented", "reordered", "doubled"}) {
        EXPECT_EQ(told[damage], 0) << damage;
    }
    EXPECT_EQ(check().code, 0);

    const auto all = lines();
    std::vector<std::string> fewer;
    for (const auto& line : all) {
        if (order_of(line) != 100) fewer.push_back(line);
    }
    ASSERT_LT(fewer.size(), all.size());
    write(fewer);
    const auto missed = check();
    EXPECT_EQ(missed.code, 3);
    EXPECT_EQ(json::parse(missed.out)["lost"], 1);

    auto turned = all;
    std::reverse(turned.begin(), turned.end());
    write(turned);
    const auto reordered = check();
    EXPECT_EQ(reordered.code, 3);
    EXPECT_GT(json::parse(reordered.out)["reordered"], 0);

    auto forged = all;
    auto line = json::parse(forged.back());
    for (auto& header : line["headers"]) {
        if (header[0] == "ce_id" || header[0] == "message_id") {
            header[1] = "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa";
        }
    }
    line["payload"] = R"({"order": 999999, "customer": "nobody", "total": 1})";
    forged.push_back(line.dump());
    write(forged);
    EXPECT_EQ(json::parse(check().out)["invented"], 1);

    line["payload"] = R"({"order": 1, "customer": "customer-119", "total": 1})";
    forged.back() = line.dump();
    write(forged);
    EXPECT_EQ(json::parse(check().out)["doubled"], 1) << "another event of the same order";
}

TEST_F(CliDemo, KeepsItsHandsOffAFolderThatHoldsOne) {
    ASSERT_EQ(demo().code, 0);
    const auto again = demo();
    EXPECT_EQ(again.code, 2);
    EXPECT_NE(again.err.find("error[demo_folder]"), std::string::npos) << again.err;
    EXPECT_EQ(run_cli({"demo", "--check", "/nowhere"}).code, 2);
}

}  // namespace
}  // namespace sagaz::test
