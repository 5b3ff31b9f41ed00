#include "core/reclaim_step.hpp"

#include <gtest/gtest.h>

namespace sagaz::core {

using namespace std::chrono_literals;

namespace {

class ReclaimStepTest : public testing::Test {
protected:
    bool is_due() { return step_.is_due(lowest_, delivered_, now_); }
    void answer(const Reclaimed& reclaimed) { step_.reclaimed(reclaimed, delivered_, now_); }

    /// The time from now until it is due, looked at every 10 ms.
    Duration wait() {
        const Instant from = now_;
        while (!is_due() && now_ < from + 10min) now_ += 10ms;
        return now_ - from;
    }

    Instant now_{1'000s};
    std::uint64_t delivered_{};
    std::optional<std::int16_t> lowest_{0};
    ReclaimStep step_{1};
};

}  // namespace

TEST_F(ReclaimStepTest, LeavesItToTheOwnerOfTheLowestSlot) {
    lowest_ = 1;
    EXPECT_EQ(wait(), 10min);
    lowest_.reset();
    EXPECT_EQ(wait(), 10min);
    lowest_ = 0;
    EXPECT_EQ(wait(), 1s) << "a new owner has more urgent things to do first";
}

TEST_F(ReclaimStepTest, AsksOnceAMinuteWhenNothingIsDelivered) {
    wait();
    answer({});
    EXPECT_EQ(wait(), 60s);
    answer({});
    EXPECT_EQ(wait(), 60s);
}

TEST_F(ReclaimStepTest, AsksEverySecondWhileEventsAreDelivered) {
    wait();
    answer({});
    now_ += 500ms;
    ++delivered_;
    EXPECT_EQ(wait(), 500ms);
    answer({});
    EXPECT_EQ(wait(), 60s);
}

TEST_F(ReclaimStepTest, AsksAgainAtOnceWhileThereIsMore) {
    wait();
    answer({.truncations = 1, .has_more = true});
    EXPECT_EQ(wait(), 20ms);
    answer({.truncations = 1, .blocked = true, .has_more = true});
    EXPECT_EQ(wait(), 20ms) << "one segment is held, the others can go";
}

TEST_F(ReclaimStepTest, F13_BacksOffWhileBlockedAndSaysForHowLong) {
    wait();
    answer({});
    ++delivered_;
    wait();
    const Instant from = now_;
    EXPECT_EQ(step_.blocked_for(now_), 0s);
    Duration last{};
    for (int n = 0; n < 20; ++n) {
        answer({.blocked = true});
        ++delivered_;
        last = wait();
        EXPECT_LE(last, 15s);
    }
    EXPECT_GE(last, 3s) << "a quarter of the longest, at least";
    EXPECT_EQ(step_.blocked_for(now_), now_ - from);
    answer({.truncations = 1, .has_more = true});
    EXPECT_EQ(step_.blocked_for(now_), 0s);
    answer({.blocked = true});
    EXPECT_LE(wait(), 510ms) << "it begins anew";
}

TEST_F(ReclaimStepTest, ForgetsWhatBlockedAnotherOwner) {
    wait();
    answer({.blocked = true});
    now_ += 1s;
    EXPECT_GT(step_.blocked_for(now_), 0s);
    lowest_ = 5;
    EXPECT_FALSE(is_due());
    EXPECT_EQ(step_.blocked_for(now_), 0s);
}

}  // namespace sagaz::core
