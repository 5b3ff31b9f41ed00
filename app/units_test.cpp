#include "app/units.hpp"

#include <gtest/gtest.h>

namespace sagaz::app {
namespace {

using std::chrono::milliseconds;

TEST(Duration, NeedsAWholeNumberAndAUnit) {
    EXPECT_EQ(parse_duration("10ms"), milliseconds{10});
    EXPECT_EQ(parse_duration("30s"), milliseconds{30'000});
    EXPECT_EQ(parse_duration("5m"), milliseconds{300'000});
    EXPECT_EQ(parse_duration("2h"), milliseconds{7'200'000});
    EXPECT_EQ(parse_duration("7d"), milliseconds{604'800'000});
    for (const auto* const wrong :
         {"", "30", "s", "-1s", "1.5s", "30 s", "30S", "30sec", "0", " 1s", "1s "}) {
        EXPECT_EQ(parse_duration(wrong), std::nullopt) << wrong;
    }
}

TEST(Duration, RefusesWhatWouldOverflow) {
    EXPECT_EQ(parse_duration("99999999999999999999ms"), std::nullopt);
    EXPECT_EQ(parse_duration("9223372036854775807d"), std::nullopt);
}

TEST(Size, NeedsABinaryUnit) {
    EXPECT_EQ(parse_size("512B"), 512U);
    EXPECT_EQ(parse_size("64KiB"), 65'536U);
    EXPECT_EQ(parse_size("8MiB"), std::size_t{8} << 20);
    EXPECT_EQ(parse_size("1GiB"), std::size_t{1} << 30);
    for (const auto* const wrong : {"8", "8MB", "8M", "8mib", "", "MiB", "99999999999GiB"}) {
        EXPECT_EQ(parse_size(wrong), std::nullopt) << wrong;
    }
}

TEST(DurationText, ReadsLikeAPersonWouldSayIt) {
    EXPECT_EQ(duration_text(milliseconds{250}), "250ms");
    EXPECT_EQ(duration_text(milliseconds{1'550}), "1.5s");
    EXPECT_EQ(duration_text(milliseconds{200'000}), "3m 20s");
    EXPECT_EQ(duration_text(milliseconds{3'600'000}), "1h");
    EXPECT_EQ(duration_text(milliseconds{187'200'000}), "2d 4h");
}

TEST(Nearest, FindsTheWordThatWasMeantAndNothingForNonsense) {
    EXPECT_EQ(nearest("batchmax", {"batch_max", "lease"}), "batch_max");
    EXPECT_EQ(nearest("kafak", {"kafka", "file"}), "kafka");
    EXPECT_EQ(nearest("zzzzzz", {"batch_max", "lease"}), "");
}

}  // namespace
}  // namespace sagaz::app
