#include "core/keep_inbox_step.hpp"

#include <gtest/gtest.h>

namespace sagaz::core {

using namespace std::chrono_literals;

namespace {

class KeepInboxStepTest : public testing::Test {
protected:
    /// The time from now until it asks, looked at every 10 ms; a day: it does not.
    Duration wait() {
        const Instant from = now_;
        for (;; now_ += 10ms) {
            if (auto limits = step_.next(lowest_, now_)) {
                asked_ = *std::move(limits);
                return now_ - from;
            }
            if (now_ - from >= 24h) return 24h;
        }
    }
    Duration wait_after(const InboxKept& kept) {
        step_.kept(kept, now_);
        return wait();
    }

    Instant now_{1'000s};
    std::optional<std::int16_t> lowest_{0};
    InboxLimits asked_;
    KeepInboxStep step_{Milliseconds{7'200'000}};
};

TEST_F(KeepInboxStepTest, LeavesItToTheOwnerOfTheLowestSlot) {
    lowest_ = 1;
    EXPECT_EQ(wait(), 24h);
    lowest_.reset();
    EXPECT_EQ(wait(), 24h);
    lowest_ = 0;
    EXPECT_EQ(wait(), 5min) << "a new owner has more urgent things to do first";
    EXPECT_EQ(asked_.retention, 2h);
}

TEST_F(KeepInboxStepTest, AsksOnceAnHourWhenThereIsNothingToDo) {
    wait();
    EXPECT_EQ(wait_after({}), 1h);
    EXPECT_EQ(wait_after({}), 1h);
}

TEST_F(KeepInboxStepTest, GoesOnInPiecesWhileThereIsMore) {
    wait();
    EXPECT_EQ(asked_.place, "");
    EXPECT_EQ(wait_after({.made = "one"}), 100ms);
    EXPECT_EQ(wait_after({.dropped = "another"}), 100ms);
    EXPECT_EQ(wait_after({.removed = 3, .place = "there"}), 100ms);
    EXPECT_EQ(asked_.place, "there");
    EXPECT_EQ(wait_after({}), 1h);
    EXPECT_EQ(asked_.place, "") << "from the start";
}

TEST_F(KeepInboxStepTest, IsMorePatientEachTimeSomebodyIsInTheWayAndBoundedSo) {
    wait();
    Milliseconds patience = asked_.patience;
    EXPECT_EQ(patience, 50ms);
    for (int n = 0; n < 10; ++n) {
        EXPECT_EQ(wait_after({.blocked = true, .place = "there"}), 1min);
        EXPECT_EQ(asked_.place, "") << "what was blocked comes first";
        EXPECT_GE(asked_.patience, patience);
        EXPECT_LT(asked_.patience, 1s);
        patience = asked_.patience;
    }
    EXPECT_GT(patience, 500ms);
    wait_after({});
    EXPECT_EQ(asked_.patience, 50ms);
}

TEST_F(KeepInboxStepTest, DoesNotAskAgainAtOnceAfterAnError) {
    wait();
    now_ += 10ms;
    EXPECT_GT(wait(), 59s);
}

TEST_F(KeepInboxStepTest, LeavesTheInboxAloneWithoutARetention) {
    step_ = KeepInboxStep{Milliseconds{0}};
    EXPECT_EQ(wait(), 24h);
}

}  // namespace
}  // namespace sagaz::core
