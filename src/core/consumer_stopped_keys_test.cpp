// What goes on while a message waits to be handled again, and what does not.
#include "core/consumer_step_fixture.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace sagaz::core {
namespace {

using namespace std::chrono_literals;

ConsumerStep::Options with_stopped_keys(std::size_t count) {
    ConsumerStep::Options options = kOptions;
    options.stopped_keys_max = count;
    return options;
}

TEST_F(ConsumerStepTest, F73_AMessageThatIsNotSettledHoldsItsKeyAndNoOther) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0, 1, 2, 3, 4};
    keys_ = {{0, "a"}, {1, "b"}, {2, "a"}, {3, "c"}, {4, "a"}};
    EXPECT_EQ(settle_all_but({0}), (std::vector<std::int64_t>{0, 1, 3}));
    EXPECT_EQ(step_.waiting(), 1U);
    EXPECT_FALSE(committed_.contains(zero_)) << "nothing behind the one that waits";
    now_ += 1h;
    EXPECT_EQ(settle_all_but({2}), (std::vector<std::int64_t>{0, 2})) << "in the key's order";
    EXPECT_EQ(committed_[zero_], 2);
    now_ += 1h;
    EXPECT_EQ(settle_all_but({}), (std::vector<std::int64_t>{2, 4}));
    EXPECT_EQ(step_.waiting(), 0U);
    EXPECT_EQ(committed_after_all(), 5);
}

TEST_F(ConsumerStepTest, F68_CommitsUpToTheFirstMessageThatWaits) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {10, 11, 12, 13, 14};
    keys_ = {{10, "a"}, {11, "b"}, {12, "c"}, {13, "d"}, {14, "e"}};
    EXPECT_EQ(settle_all_but({11, 13}), (std::vector<std::int64_t>{10, 11, 12, 13, 14}));
    now_ += 1s;
    EXPECT_TRUE(settle_all_but({}).empty());
    EXPECT_EQ(committed_[zero_], 11);
    EXPECT_TRUE(step_.on_revoked(std::vector{zero_}, false).empty()) << "there is no more to say";
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {11, 12, 13, 14};
    EXPECT_EQ(settle_all_but({}), (std::vector<std::int64_t>{11, 12, 13, 14})) << "repeats";
    EXPECT_EQ(committed_after_all(), 15);
}

TEST_F(ConsumerStepTest, F73_MessagesWithoutAKeyAreOneKey) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0, 1, 2, 3};
    keys_ = {{1, "a"}, {3, ""}};  // An empty key is a key.
    EXPECT_EQ(settle_all_but({0}), (std::vector<std::int64_t>{0, 1, 3}));
    now_ += 1h;
    EXPECT_EQ(settle_all_but({}), (std::vector<std::int64_t>{0, 2}));
}

TEST_F(ConsumerStepTest, F73_OneStoppedKeyTooManyHoldsThePartition) {
    for (const std::size_t most : {0U, 1U, 2U, 5U}) {
        step_ = ConsumerStep{with_stopped_keys(most), 1};
        step_.on_assigned(std::vector{zero_});
        std::set<std::int64_t> all;
        logs_[zero_].clear();
        for (std::int64_t n = 0; n < 7; ++n) {
            logs_[zero_].push_back(n);
            keys_[n] = "k" + std::to_string(n);
            all.insert(n);
        }
        // All fail, as when the database is away.
        EXPECT_EQ(settle_all_but(all).size(), most + 1);
        EXPECT_EQ(step_.waiting(), most + 1);
        now_ += 1h;
        EXPECT_EQ(settle_all_but({}).size(), 7U) << "and all come when it is back";
        EXPECT_EQ(committed_after_all(), 7);
    }
}

TEST_F(ConsumerStepTest, F73_GoesNoFurtherAheadThanAllowed) {
    step_.on_assigned(std::vector{zero_});
    for (std::int64_t n = 0; n < 30; ++n) {
        logs_[zero_].push_back(n);
        keys_[n] = n % 3 == 1 ? "a" : "k" + std::to_string(n);
    }
    const auto seen = settle_all_but({1});
    EXPECT_EQ(seen, (std::vector<std::int64_t>{0, 1, 2, 3, 5, 6, 8, 9}))
        << "8 behind the one that waits, its own key's put behind it";
    EXPECT_EQ(logs_[zero_].size(), 20U) << "no more is fetched";
    now_ += 1h;
    EXPECT_EQ(settle_all_but({}).size(), 30U - 7U);
    EXPECT_EQ(committed_after_all(), 30);
}

TEST_F(ConsumerStepTest, F73_HoldsNoMoreBytesThanAllowed) {
    step_.on_assigned(std::vector{zero_});
    std::size_t held = 0;
    const auto give = [&](std::int64_t position) {
        Message message = message_of(zero_, position, "a");
        message.event.payload.assign(kHeldMax / 3, 'x');
        step_.on_message(std::move(message));
    };
    give(0);
    ASSERT_TRUE(handled());
    step_.on_reply({Settlement::retry_later, 1h}, now_);
    std::int64_t position = 1;
    for (ConsumerCommand command = step_.next(now_);
         !std::holds_alternative<consume::Wait>(command); command = step_.next(now_)) {
        if (!std::holds_alternative<consume::Fetch>(command)) continue;
        give(position++);
        ++held;
        ASSERT_LT(held, 100U);
    }
    EXPECT_EQ(held, 2U) << "with the first they are over the limit";
    now_ += 1h;
    EXPECT_EQ(settle_all_but({}), (std::vector<std::int64_t>{0, 1, 2}));
}

TEST_F(ConsumerStepTest, F73_AKeyThatCatchesUpAndNewMessagesTakeTurns) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0, 1, 2};
    keys_ = {{0, "a"}, {1, "a"}, {2, "a"}, {3, "b"}, {4, "b"}, {5, "b"}};
    EXPECT_EQ(settle_all_but({0}), (std::vector<std::int64_t>{0}));
    now_ += 1h;
    logs_[zero_] = {3, 4, 5};
    step_.on_rung();
    EXPECT_EQ(settle_all_but({}), (std::vector<std::int64_t>{0, 3, 1, 4, 2, 5}));
}

// What was open in a log that is gone may be at the place of one of the new log.
TEST_F(ConsumerStepTest, F74_AMessageOfALogThatIsGoneDoesNotStandForOneOfTheNew) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0, 1, 2};
    keys_ = {{0, "a"}, {1, "b"}, {2, "c"}};
    EXPECT_EQ(settle_all_but({1}), (std::vector<std::int64_t>{0, 1, 2}));
    keys_ = {{0, "d"}, {1, "e"}, {2, "f"}};
    logs_[zero_] = {0, 1};
    step_.on_rung();
    now_ += 1s;
    EXPECT_EQ(settle_all_but({1}), (std::vector<std::int64_t>{0, 1}));
    now_ += 1s;
    settle_all_but({});
    EXPECT_EQ(committed_[zero_], 1);
    now_ += 1h - 2s;  // The old one is due, the new one a second later.
    EXPECT_EQ(settle_all_but({}), (std::vector<std::int64_t>{1}));
    EXPECT_EQ(committed_[zero_], 1) << "the old one's settlement is not the new one's";
    now_ += 1s;
    EXPECT_EQ(settle_all_but({}), (std::vector<std::int64_t>{1}));
    EXPECT_EQ(committed_after_all(), 2);
}

TEST_F(ConsumerStepTest, F74_TheOffsetGoesBackBelowWhatIsOpenOfALogThatIsGone) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0, 5};
    keys_ = {{0, "a"}, {5, "b"}};
    EXPECT_EQ(settle_all_but({5}), (std::vector<std::int64_t>{0, 5}));
    logs_[zero_] = {0};
    step_.on_rung();
    EXPECT_EQ(settle_all_but({}), (std::vector<std::int64_t>{0}));
    now_ += 1s;
    settle_all_but({});
    EXPECT_EQ(committed_[zero_], 1) << "1 to 4 of the new log are not handled";
}

// As librdkafka 2.1.0 does after a partition's leader has changed.
TEST_F(ConsumerStepTest, F68_AClientThatRepeatsAMessageDoesNotMoveTheOffsetPastWhatIsOpen) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0, 1, 2, 3};
    keys_ = {{0, "a"}, {1, "b"}, {2, "c"}, {3, "d"}};
    EXPECT_EQ(settle_all_but({1}), (std::vector<std::int64_t>{0, 1, 2, 3}));
    logs_[zero_] = {2, 3};
    step_.on_rung();
    EXPECT_EQ(settle_all_but({1}), (std::vector<std::int64_t>{2, 3}));
    now_ += 1s;
    settle_all_but({1});
    EXPECT_EQ(committed_[zero_], 1);
    now_ += 1h;
    EXPECT_EQ(settle_all_but({}), (std::vector<std::int64_t>{1}));
    EXPECT_EQ(committed_after_all(), 4);
}

TEST_F(ConsumerStepTest, F74_AnswersToCommitsOfAnEarlierAssignmentAreNoProgress) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {7, 8};
    ASSERT_TRUE(handled());
    step_.on_reply(Settlement::processed, now_);
    const auto first = committed();
    ASSERT_EQ(first, (std::vector<Progress>{{zero_, 8}}));
    ASSERT_TRUE(handled());
    step_.on_reply(Settlement::processed, now_);
    const auto last = step_.on_revoked(std::vector{zero_}, false);
    ASSERT_EQ(last, (std::vector<Progress>{{zero_, 9}}));
    step_.on_assigned(std::vector{zero_});
    step_.on_committed(first, true);
    step_.on_committed(last, false);
    now_ += 1h;
    EXPECT_TRUE(committed().empty()) << "nothing came of it since";
    EXPECT_TRUE(step_.on_revoked(std::vector{zero_}, false).empty());
}

TEST_F(ConsumerStepTest, F73_TheKeyThatIsDueComesWhateverKeyIsBeforeIt) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0, 1};
    keys_ = {{0, "a"}, {1, "b"}};
    ASSERT_EQ(handled(), (Handled{0, 0}));
    step_.on_reply({Settlement::retry_later, 1h}, now_);
    ASSERT_EQ(handled(), (Handled{0, 1}));
    step_.on_reply({Settlement::retry_later, 100ms}, now_);
    EXPECT_EQ(waits_until(), now_ + 100ms);
    now_ += 100ms;
    EXPECT_EQ(handled(), (Handled{0, 1}));
}

TEST_F(ConsumerStepTest, F73_ASettledMessageEndsTheGrowthOfItsKeysWait) {
    step_.on_assigned(std::vector{zero_});
    logs_[zero_] = {0, 1};
    keys_ = {{0, "a"}, {1, "a"}};
    ASSERT_TRUE(handled());
    for (int n = 0; n < 12; ++n) {
        step_.on_failure(now_);
        until_handled();
    }
    step_.on_reply(Settlement::processed, now_);
    ASSERT_EQ(committed(), (std::vector<Progress>{{zero_, 1}}));
    ASSERT_EQ(handled(), (Handled{0, 1}));
    step_.on_failure(now_);
    EXPECT_LE(until_handled(), kOptions.retry_initial);
}

TEST_F(ConsumerStepTest, F73_WhatWasSettledCountsNoLongerAsHeld) {
    ConsumerStep::Options options = with_stopped_keys(5);
    options.ahead_max = 100;
    step_ = ConsumerStep{options, 1};
    step_.on_assigned(std::vector{zero_});
    step_.on_message(message_of(zero_, 0, "z"));
    ASSERT_TRUE(handled());
    step_.on_reply({Settlement::retry_later, 1h}, now_);
    for (std::int64_t n = 1; n <= 3; ++n) {
        Message large = message_of(zero_, n, "a");
        large.event.payload.assign(kHeldMax * 6 / 10, 'x');
        step_.on_message(std::move(large));
        ASSERT_EQ(handled(), (Handled{0, n}));
        step_.on_reply({Settlement::retry_later, 10ms}, now_);
        now_ += 10ms;
        ASSERT_EQ(handled(), (Handled{0, n}));
        step_.on_reply(Settlement::processed, now_);
    }
}

TEST_F(ConsumerStepTest, F73_WhatHeadersTakeCountsAsHeld) {
    ConsumerStep::Options options = kOptions;
    options.ahead_max = 10'000;
    step_ = ConsumerStep{options, 1};
    step_.on_assigned(std::vector{zero_});
    std::size_t bytes = 0;
    const auto give = [&](std::int64_t position) {
        Message message = message_of(zero_, position, "a");
        message.event.headers.assign(500, Header{"h", ""});
        bytes += 500 * sizeof(Header);
        step_.on_message(std::move(message));
    };
    give(0);
    ASSERT_TRUE(handled());
    step_.on_reply({Settlement::retry_later, 1h}, now_);
    give(1);
    for (std::int64_t position = 2; position < 1'000; ++position) {
        ConsumerCommand command = step_.next(now_);
        if (std::holds_alternative<consume::Wait>(command)) break;
        if (std::holds_alternative<consume::Fetch>(command)) give(position);
    }
    EXPECT_LE(bytes, 2 * kHeldMax);
}

TEST_F(ConsumerStepTest, F74_LooksAtTheGroupWhileItPutsMessagesBehind) {
    step_.on_assigned(std::vector{zero_});
    step_.on_message(message_of(zero_, 0, "a"));
    ASSERT_TRUE(handled());
    step_.on_reply({Settlement::retry_later, 1h}, now_);
    int since = 0;
    std::int64_t position = 1;
    for (ConsumerCommand command = step_.next(now_);
         !std::holds_alternative<consume::Wait>(command); command = step_.next(now_)) {
        if (std::holds_alternative<consume::Serve>(command)) since = 0;
        if (!std::holds_alternative<consume::Fetch>(command)) continue;
        ASSERT_LE(++since, 2) << "fetched without a look";
        step_.on_message(message_of(zero_, position++, "a"));
    }
    EXPECT_GT(position, 5);
}

// A long backlog of a stopped key is put behind it as if it were handled: in turns.
TEST_F(ConsumerStepTest, F73_WhatIsPutBehindAStoppedKeyIsATurn) {
    ConsumerStep::Options options = kOptions;
    options.ahead_max = 1'000;
    options.held_max_bytes = std::size_t{16} << 20;
    step_ = ConsumerStep{options, 1};
    step_.on_assigned(std::vector{zero_, one_});
    step_.on_message(message_of(zero_, 0, "a"));
    step_.on_message(message_of(one_, 0, "b"));
    ASSERT_EQ(handled(), (Handled{0, 0}));
    step_.on_reply({Settlement::retry_later, 1h}, now_);
    ASSERT_EQ(handled(), (Handled{1, 0}));
    step_.on_reply(Settlement::processed, now_);
    step_.on_rung();
    step_.on_message(message_of(one_, 1, "b"));
    int fetches = 0;
    std::int64_t position = 1;
    for (ConsumerCommand command = step_.next(now_);
         !std::holds_alternative<consume::Handle>(command); command = step_.next(now_)) {
        if (!std::holds_alternative<consume::Fetch>(command)) continue;
        ASSERT_LE(++fetches, 3) << "and the other partition has a message";
        step_.on_message(message_of(zero_, position++, "a"));
    }
}

}  // namespace
}  // namespace sagaz::core
