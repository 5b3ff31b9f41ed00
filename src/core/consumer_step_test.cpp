#include "core/consumer_step_fixture.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <variant>
#include <vector>

namespace sagaz::core {
namespace {

using namespace std::chrono_literals;

TEST_F(ConsumerStepTest, F68_CommitsOnlyBehindASettledMessage) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {7, 8};
    ASSERT_EQ(handled(), (Handled{0, 7}));
    step_.on_reply(Settlement::processed, now_);
    EXPECT_EQ(committed(), (std::vector<Progress>{{zero_, 8}}));
    ASSERT_EQ(handled(), (Handled{0, 8}));
    step_.on_reply(Settlement::retry_later, now_);
    step_.on_committed(std::vector<Progress>{{zero_, 8}}, true);
    now_ += 1h;
    ASSERT_EQ(handled(), (Handled{0, 8})) << "nothing to commit, and the same message again";
    step_.on_reply(Settlement::parked, now_);
    EXPECT_EQ(committed(), (std::vector<Progress>{{zero_, 9}}));
}

TEST_F(ConsumerStepTest, F73_AMessageThatIsNotSettledHoldsItsPartitionAndNoOther) {
    step_.on_assigned(std::vector{zero_, one_});
    logs_[zero_] = {0, 1};
    logs_[one_] = {0, 1, 2};
    std::vector<Handled> seen;
    for (auto one = handled(); one; one = handled()) {
        seen.push_back(*one);
        step_.on_reply(
            one->first == 0 ? Reply{Settlement::in_progress, 70ms} : Reply{Settlement::processed},
            now_);
        // The first settlement is committed at once; its answer never comes here.
        if (seen.size() == 2) {
            EXPECT_EQ(committed(), (std::vector<Progress>{{one_, 1}}));
        }
    }
    EXPECT_EQ(seen, (std::vector<Handled>{{0, 0}, {1, 0}, {1, 1}, {1, 2}}));
    EXPECT_EQ(step_.waiting(), 1U);
    EXPECT_EQ(waits_until(), now_ + 70ms);
    now_ += 70ms;
    EXPECT_EQ(handled(), (Handled{0, 0}));
}

TEST_F(ConsumerStepTest, F73_APoisonMessageIsTriedAtGrowingBoundedIntervals) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0};
    Duration longest{};
    ASSERT_TRUE(handled());
    for (int n = 0; n < 50; ++n) {
        step_.on_failure(now_);
        const Duration wait = until_handled();
        EXPECT_GE(wait, 10ms);
        EXPECT_LE(wait, kOptions.retry_max);
        longest = std::max(longest, wait);
    }
    EXPECT_GE(longest, kOptions.retry_max / 4);
}

TEST_F(ConsumerStepTest, TakesAWaitOfTheHandlerWithinBounds) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0};
    ASSERT_TRUE(handled());
    step_.on_reply({Settlement::retry_later, Milliseconds::max()}, now_);
    now_ += 59min;
    EXPECT_FALSE(handled());
    now_ += 1min;
    ASSERT_TRUE(handled());
    step_.on_reply({Settlement::retry_later, 1ms}, now_);
    EXPECT_EQ(waits_until(), now_ + 10ms);
}

TEST_F(ConsumerStepTest, ThePartitionsTakeTurns) {
    step_.on_assigned(std::vector{zero_, one_});
    logs_[zero_] = {0, 1, 2};
    logs_[one_] = {0, 1, 2};
    std::vector<std::int32_t> seen;
    while (seen.size() < 6) {
        const auto one = handled();
        if (!one) continue;
        seen.push_back(one->first);
        step_.on_reply(Settlement::duplicate, now_);
    }
    EXPECT_EQ(seen, (std::vector<std::int32_t>{0, 1, 0, 1, 0, 1}));
}

TEST_F(ConsumerStepTest, LooksAtTheGroupBeforeEveryMessage) {
    step_.on_assigned(std::vector{zero_});
    step_.on_message(message_of(zero_, 0));
    step_.on_message(message_of(zero_, 1));
    EXPECT_TRUE(std::holds_alternative<consume::Serve>(step_.next(now_)));
    EXPECT_TRUE(std::holds_alternative<consume::Handle>(step_.next(now_)));
    step_.on_reply(Settlement::processed, now_);
    EXPECT_TRUE(std::holds_alternative<consume::Serve>(step_.next(now_)));
}

TEST_F(ConsumerStepTest, F74_CommitsWhatIsSettledWhenAPartitionIsRevoked) {
    step_.on_assigned(std::vector{zero_, one_});
    logs_[zero_] = {4, 5};
    ASSERT_TRUE(handled());
    step_.on_reply(Settlement::processed, now_);
    EXPECT_EQ(committed(), (std::vector<Progress>{{zero_, 5}}));
    ASSERT_TRUE(handled());
    step_.on_reply(Settlement::processed, now_);
    EXPECT_EQ(step_.on_revoked(std::vector{zero_, one_}, false),
              (std::vector<Progress>{{zero_, 6}}));
    EXPECT_EQ(step_.partitions(), 0U);
    step_.on_message(message_of(zero_, 6));  // Was on its way.
    EXPECT_FALSE(handled());
}

TEST_F(ConsumerStepTest, F74_CommitsNothingOfAPartitionThatIsLost) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {4};
    ASSERT_TRUE(handled());
    step_.on_reply(Settlement::processed, now_);
    EXPECT_TRUE(step_.on_revoked(std::vector{zero_}, true).empty());
    now_ += 1h;
    EXPECT_TRUE(committed().empty());
}

TEST_F(ConsumerStepTest, F74_AnUnsettledMessageIsForgottenWithItsPartition) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {4};
    ASSERT_TRUE(handled());
    step_.on_reply({Settlement::retry_later, 1h}, now_);
    EXPECT_TRUE(step_.on_revoked(std::vector{zero_}, false).empty());
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {4};
    EXPECT_EQ(handled(), (Handled{0, 4})) << "as if it came for the first time";
}

TEST_F(ConsumerStepTest, ACommitThatFailedIsAskedForAgain) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {10};
    ASSERT_TRUE(handled());
    step_.on_reply(Settlement::processed, now_);
    EXPECT_EQ(committed(), (std::vector<Progress>{{zero_, 11}}));
    step_.on_committed(std::vector<Progress>{{zero_, 11}}, false);
    now_ += 1s;
    EXPECT_EQ(committed(), (std::vector<Progress>{{zero_, 11}}));
}

TEST_F(ConsumerStepTest, F74_HandlesALogThatBeginsAnewAndGoesBackWithIt) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {1'000};
    ASSERT_TRUE(handled());
    step_.on_reply(Settlement::processed, now_);
    EXPECT_EQ(committed(), (std::vector<Progress>{{zero_, 1'001}}));
    step_.on_committed(std::vector<Progress>{{zero_, 1'001}}, true);
    logs_[zero_] = {0, 1};  // The topic was made again: these are other messages.
    step_.on_rung();
    ASSERT_EQ(handled(), (Handled{0, 0}));
    step_.on_reply(Settlement::processed, now_);
    now_ += 1s;
    EXPECT_EQ(committed(), (std::vector<Progress>{{zero_, 1}}));
    ASSERT_EQ(handled(), (Handled{0, 1}));
    step_.on_reply(Settlement::processed, now_);
    EXPECT_EQ(step_.on_revoked(std::vector{zero_}, false), (std::vector<Progress>{{zero_, 2}}));
}

TEST_F(ConsumerStepTest, CommitsAtAnIntervalAndOneAtATime) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0, 1, 2};
    ASSERT_TRUE(handled());
    step_.on_reply(Settlement::processed, now_);
    EXPECT_EQ(committed(), (std::vector<Progress>{{zero_, 1}}));
    ASSERT_TRUE(handled());
    step_.on_reply(Settlement::processed, now_);
    now_ += 1h;
    ASSERT_TRUE(handled()) << "the first has no answer yet";
    step_.on_reply(Settlement::processed, now_);
    step_.on_committed(std::vector<Progress>{{zero_, 1}}, true);
    EXPECT_EQ(committed(), (std::vector<Progress>{{zero_, 3}}));
    step_.on_committed(std::vector<Progress>{{zero_, 3}}, true);
    EXPECT_GT(waits_until(), now_);
}

TEST_F(ConsumerStepTest, StopsWithoutAnotherMessage) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0, 1};
    ASSERT_TRUE(handled());
    step_.on_reply(Settlement::processed, now_);
    step_.stop();
    EXPECT_TRUE(std::holds_alternative<consume::Leave>(step_.next(now_)));
    EXPECT_EQ(step_.on_revoked(std::vector{zero_}, false), (std::vector<Progress>{{zero_, 1}}));
    step_.on_left();
    EXPECT_TRUE(std::holds_alternative<consume::End>(step_.next(now_)));
}

}  // namespace
}  // namespace sagaz::core
