#include "core/publish_step_fixture.hpp"

#include <gtest/gtest.h>

namespace sagaz::core {

namespace {

class PublishBreakerTest : public PublishStepTest {};

}  // namespace

TEST_F(PublishBreakerTest, OpensTheBreakerAfterFailuresInARowAndGivesBackWhatWaits) {
    for (std::uint64_t call = 1; call <= 2; ++call) {
        send(call, static_cast<std::int64_t>(call));
        receive(Receipt::State::unknown, {static_cast<std::int64_t>(call)});
    }
    hand(3, {3});
    confirm({Verdict::ready});
    publish();
    hand(4, {4});
    receive(Receipt::State::unknown, {3});
    EXPECT_EQ(step_->breaker(), Breaker::State::open);
    EXPECT_EQ(answer(3), "in_doubt");
    EXPECT_EQ(answer(4), "breaker_open");
    hand(5, {5});
    EXPECT_EQ(answer(5), "breaker_open");
    EXPECT_EQ(left(LeftReason::breaker_open), 2U);
}

// The time of each went to waiting for an elder: that says nothing of the destination.
TEST_F(PublishBreakerTest, OpensForNoKeyThatIsTooHot) {
    for (std::int64_t call = 1; call <= 5; ++call) {
        const Instant deadline = now_ + options_.timeout;
        hand(static_cast<std::uint64_t>(call), {call});
        while (now_ < deadline - 40ms) ASSERT_EQ(confirm({Verdict::behind}), Positions{call});
        ASSERT_EQ(confirm({Verdict::ready}), Positions{call});
        ASSERT_EQ(publish(), Positions{call});
        now_ = deadline;
        (void)step_->next(now_);
        EXPECT_EQ(answer(static_cast<std::uint64_t>(call)), "timeout");
        accept({call});
        (void)settle();
    }
    EXPECT_EQ(step_->breaker(), Breaker::State::closed);
}

TEST_F(PublishBreakerTest, CountsAnErrorOfTheStoreOnceHoweverManyWait) {
    for (std::uint64_t call = 1; call <= 3; ++call) {
        EXPECT_EQ(step_->breaker(), Breaker::State::closed);
        hand(call, {1, 2, 3, 4, 5});
        ASSERT_TRUE(run_to<command::Confirm>());
        fail_store("incarnation_changed");
        EXPECT_EQ(answer(call), "unavailable");
        attach();
    }
    EXPECT_EQ(step_->breaker(), Breaker::State::open);
}

TEST_F(PublishBreakerTest, TriesOneAtATimeWhenTheBreakerIsHalfOpen) {
    for (std::uint64_t call = 1; call <= 3; ++call) {
        send(call, static_cast<std::int64_t>(call));
        receive(Receipt::State::unknown, {static_cast<std::int64_t>(call)});
    }
    settle();
    now_ += 2s;
    ASSERT_TRUE(run_to<command::Poll>());
    EXPECT_EQ(step_->breaker(), Breaker::State::half_open);
    step_->on_receipts({}, now_);
    send(10, 10);
    hand(11, {11});
    EXPECT_EQ(answer(11), "breaker_open");
    accept({10});
    EXPECT_EQ(step_->breaker(), Breaker::State::closed);
    hand(12, {12});
    EXPECT_EQ(answer(12), "");
}

TEST_F(PublishBreakerTest, TriesWithTheNextOneWhenTheTryWasRolledBack) {
    for (std::uint64_t call = 1; call <= 3; ++call) {
        send(call, static_cast<std::int64_t>(call));
        receive(Receipt::State::unknown, {static_cast<std::int64_t>(call)});
    }
    settle();
    now_ += 2s;
    ASSERT_TRUE(run_to<command::Poll>());
    hand(10, {10});
    confirm({Verdict::not_committed});
    EXPECT_EQ(answer(10), "not_committed");
    send(11, 11);
    receive(Receipt::State::unknown, {11});
    EXPECT_EQ(step_->breaker(), Breaker::State::open) << "one failure is enough";
}

TEST_F(PublishBreakerTest, TriesNothingWhileTheDestinationSaysThatItIsDown) {
    for (std::uint64_t call = 1; call <= 3; ++call) {
        send(call, static_cast<std::int64_t>(call));
        receive(Receipt::State::unknown, {static_cast<std::int64_t>(call)});
    }
    settle();
    step_->on_destination("no server can be reached", now_);
    now_ += 1h;
    ASSERT_TRUE(run_to<command::Poll>());
    EXPECT_EQ(step_->breaker(), Breaker::State::open);
    step_->on_destination("", now_);
    step_->on_receipts({}, now_);
    run_to<command::Poll>();
    EXPECT_EQ(step_->breaker(), Breaker::State::half_open);
}

}  // namespace sagaz::core
