#include "core/breaker.hpp"

#include <gtest/gtest.h>

namespace sagaz::core {

using namespace std::chrono_literals;

namespace {

using State = Breaker::State;

class BreakerTest : public testing::Test {
protected:
    void fail(int times) {
        for (int n = 0; n < times; ++n) breaker_.failed(now_);
    }

    Instant now_{100s};
    Breaker breaker_{3, 1s, 4s, 7};
};

}  // namespace

TEST_F(BreakerTest, OpensAfterSoManyFailuresInARow) {
    fail(2);
    breaker_.succeeded();
    fail(2);
    EXPECT_EQ(breaker_.state(), State::closed) << "a success between them begins anew";
    EXPECT_TRUE(breaker_.failed(now_));
    EXPECT_EQ(breaker_.state(), State::open);
    EXPECT_FALSE(breaker_.failed(now_)) << "it is open already";
}

TEST_F(BreakerTest, IsTriedAgainAfterAWaitThatGrowsToItsLimit) {
    fail(3);
    Duration longest{};
    for (int n = 0; n < 50; ++n) {
        const Duration wait = breaker_.try_at() - now_;
        EXPECT_GE(wait, 250ms);
        EXPECT_LE(wait, 4s);
        longest = std::max(longest, wait);
        breaker_.half_open(breaker_.try_at() - 1ms);
        EXPECT_EQ(breaker_.state(), State::open);
        now_ = breaker_.try_at();
        breaker_.half_open(now_);
        EXPECT_EQ(breaker_.state(), State::half_open);
        EXPECT_TRUE(breaker_.failed(now_)) << "one failure is enough";
    }
    EXPECT_GT(longest, 2s);
}

TEST_F(BreakerTest, ClosesWhenATrySucceedsAndNotForWhatWasSentBefore) {
    fail(3);
    breaker_.succeeded();
    EXPECT_EQ(breaker_.state(), State::open);
    breaker_.half_open(breaker_.try_at());
    breaker_.succeeded();
    EXPECT_EQ(breaker_.state(), State::closed);
    fail(2);
    EXPECT_EQ(breaker_.state(), State::closed);
}

}  // namespace sagaz::core
