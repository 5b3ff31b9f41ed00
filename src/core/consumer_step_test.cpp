#include "core/consumer_step_fixture.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace sagaz::core {
namespace {

using namespace std::chrono_literals;

ConsumerStep::Options with_stopped_keys(std::size_t count) {
    ConsumerStep::Options options = kOptions;
    options.stopped_keys_max = count;
    return options;
}

class ConsumerStepTest : public ::testing::Test {
protected:
    // The next command that is neither Serve nor a Fetch of a partition where nothing is.
    ConsumerCommand next() {
        while (true) {
            ConsumerCommand command = step_.next(now_);
            if (std::holds_alternative<consume::Serve>(command)) continue;
            const auto* fetch = std::get_if<consume::Fetch>(&command);
            if (fetch == nullptr) return command;
            auto& log = logs_[fetch->partition];
            if (log.empty()) {
                step_.on_nothing(fetch->partition);
            } else {
                step_.on_message(message_of(fetch->partition, log.front(), key_of(log.front())));
                log.erase(log.begin());
            }
        }
    }

    // The partition and position of the message to handle; none: another command.
    std::optional<std::pair<std::int32_t, std::int64_t>> handled() {
        const ConsumerCommand command = next();
        const auto* handle = std::get_if<consume::Handle>(&command);
        if (handle == nullptr) return std::nullopt;
        return std::pair{handle->message->partition, handle->message->position};
    }

    std::vector<Progress> committed() {
        const ConsumerCommand command = next();
        const auto* commit = std::get_if<consume::Commit>(&command);
        return commit == nullptr ? std::vector<Progress>{} : commit->progress;
    }

    Instant waits_until() {
        const ConsumerCommand command = next();
        const auto* wait = std::get_if<consume::Wait>(&command);
        return wait == nullptr ? Instant{} : wait->until;
    }

    // How long it takes until the next message is handed out.
    Duration until_handled() {
        const Instant from = now_;
        while (true) {
            const ConsumerCommand command = next();
            if (std::holds_alternative<consume::Handle>(command)) return now_ - from;
            const auto* wait = std::get_if<consume::Wait>(&command);
            if (wait == nullptr) return Duration::max();
            now_ = wait->until;
        }
    }

    using Handled = std::pair<std::int32_t, std::int64_t>;

    std::optional<std::string> key_of(std::int64_t position) const {
        const auto found = keys_.find(position);
        return found == keys_.end() ? std::nullopt : std::optional{found->second};
    }

    // The positions that are handed out one after another, of which those in `refused` are to be
    // handled again in an hour; until there is nothing to do. Takes part in commits.
    std::vector<std::int64_t> settle_all_but(const std::set<std::int64_t>& refused) {
        std::vector<std::int64_t> seen;
        while (true) {
            const ConsumerCommand command = next();
            if (const auto* handle = std::get_if<consume::Handle>(&command)) {
                seen.push_back(handle->message->position);
                step_.on_reply(refused.contains(seen.back()) ? Reply{Settlement::retry_later, 1h}
                                                             : Reply{Settlement::processed},
                               now_);
            } else if (const auto* commit = std::get_if<consume::Commit>(&command)) {
                for (const auto& [partition, done] : commit->progress) committed_[partition] = done;
                step_.on_committed(commit->progress, true);
            } else {
                return seen;
            }
        }
    }

    // What is committed, when the next commit is due too.
    std::int64_t committed_after_all() {
        now_ += 1s;
        settle_all_but({});
        return committed_[zero_];
    }

    Instant now_{1h};
    ConsumerStep step_{kOptions, 1};
    Partition zero_{"orders", 0};
    Partition one_{"orders", 1};
    std::map<Partition, std::vector<std::int64_t>> logs_;
    std::map<std::int64_t, std::string> keys_;
    std::map<Partition, std::int64_t> committed_;
};

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
    EXPECT_EQ(seen, (std::vector<std::int64_t>{0, 1, 2, 3, 5, 6, 8}))
        << "8 from the one that waits on, its own key's put behind it";
    EXPECT_EQ(logs_[zero_].size(), 21U) << "no more is fetched";
    now_ += 1h;
    EXPECT_EQ(settle_all_but({}).size(), 30U - 6U);
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

// The offsets that stopped keys hold are of a log that is gone: none of its messages may stand for
// one of the new log that is at the same place.
TEST_F(ConsumerStepTest, F74_AStoppedKeyOfALogThatBeganAnewHoldsNoOffset) {
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
    EXPECT_EQ(committed_[zero_], 1) << "the new log's";
    now_ += 1h - 2s;  // The old one is due, the new one a second later.
    EXPECT_EQ(settle_all_but({}), (std::vector<std::int64_t>{1}));
    EXPECT_EQ(committed_[zero_], 1) << "the old one's settlement is not the new one's";
    now_ += 1s;
    EXPECT_EQ(settle_all_but({}), (std::vector<std::int64_t>{1}));
    EXPECT_EQ(committed_after_all(), 2);
}

TEST_F(ConsumerStepTest, F74_AStoppedKeyOfALogThatBeganAnewHoldsNoOffsetAboveTheNewOnes) {
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
