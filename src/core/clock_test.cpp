#include "core/clock.hpp"

#include <gtest/gtest.h>

namespace sagaz::core {

using namespace std::chrono_literals;

TEST(Clock, TellsNoSkewThatASlowAnswerExplains) {
    const Time before{100s};
    const Time after{108s};
    EXPECT_EQ(skew_of(before, before, after), 0s);
    EXPECT_EQ(skew_of(Time{104s}, before, after), 0s);
    EXPECT_EQ(skew_of(after, before, after), 0s);
    EXPECT_EQ(skew_of(Time{110s}, before, after), 2s) << "ahead";
    EXPECT_EQ(skew_of(Time{97s}, before, after), -3s) << "behind";
}

}  // namespace sagaz::core
