#include "telemetry/log.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <future>
#include <mutex>
#include <thread>

namespace sagaz::telemetry {
namespace {

constexpr std::chrono::system_clock::time_point kAt{std::chrono::milliseconds{1'700'000'000'123}};

TEST(LogLine, IsOneJsonObjectWhateverTheValuesHold) {
    const std::string nasty = "a\"b\\c\n\x01\x1b[31m \xff\xfe end";
    const std::array fields{Field{"reason", nasty}, Field{"slots", "16"}};
    const auto line = format_line(LogFormat::json, kAt, LogLevel::warning, "relay_stopped", fields);

    EXPECT_EQ(line.find('\n'), std::string::npos);
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
    const auto object = nlohmann::json::parse(line);
    EXPECT_EQ(object["time"], "2023-11-14T22:13:20.123Z");
    EXPECT_EQ(object["level"], "warning");
    EXPECT_EQ(object["event"], "relay_stopped");
    EXPECT_EQ(object["slots"], "16");
}

TEST(LogLine, QuotesInTextWhatIsNotOneWord) {
    const std::array fields{Field{"slots", "16"}, Field{"reason", "no\nroute \x1b[2J"},
                            Field{"empty", ""}};
    const auto line = format_line(LogFormat::text, kAt, LogLevel::info, "destination_down", fields);

    EXPECT_EQ(line,
              "2023-11-14T22:13:20.123Z info destination_down slots=16 "
              "reason=\"no\\nroute \\u001b[2J\" empty=\"\"");
}

TEST(LogWriter, WritesWhatIsImportantEnoughInOrder) {
    std::vector<std::string> lines;
    {
        LogWriter writer{LogFormat::text, LogLevel::info,
                         [&](std::string_view line) { lines.emplace_back(line); }};
        writer.write(LogLevel::debug, "left_out", {});
        writer.write(LogLevel::info, "first", {});
        writer.write(LogLevel::error, "second", {});
    }
    ASSERT_EQ(lines.size(), 2U);
    EXPECT_TRUE(lines[0].ends_with("info first"));
    EXPECT_TRUE(lines[1].ends_with("error second"));
}

TEST(LogWriter, F93_GivesUpLinesInsteadOfWaitingForABlockedReader) {
    std::promise<void> unblock;
    const auto blocked = unblock.get_future().share();
    std::size_t written = 0;
    std::size_t dropped = 0;
    {
        LogWriter writer{LogFormat::text, LogLevel::info, [&](std::string_view) {
                             blocked.wait();
                             ++written;
                         }};
        for (std::size_t n = 0; n < LogWriter::kQueueMax + 100; ++n) {
            writer.write(LogLevel::info, "line", {});
        }
        dropped = writer.dropped();
        EXPECT_GE(dropped, 90U);
        unblock.set_value();
    }
    EXPECT_EQ(written + dropped, LogWriter::kQueueMax + 100);
}

}  // namespace
}  // namespace sagaz::telemetry
