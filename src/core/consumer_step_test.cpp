#include "core/consumer_step.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
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

const ConsumerStep::Options kOptions{1s, 100ms, 5s};

Message message_of(const Partition& partition, std::int64_t position) {
    Message message;
    message.source_topic = partition.topic;
    message.partition = partition.number;
    message.position = position;
    return message;
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
                step_.on_message(message_of(fetch->partition, log.front()));
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

    Instant now_{1h};
    ConsumerStep step_{kOptions, 1};
    Partition zero_{"orders", 0};
    Partition one_{"orders", 1};
    std::map<Partition, std::vector<std::int64_t>> logs_;
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

// A group of members around one log, with everything that can go wrong between two steps: members
// that crash, are frozen and go on as owners of what others have by now, commits that arrive late
// and in any order, also those of the dead.
class Group {
public:
    explicit Group(std::uint64_t seed) : random_(seed) {
        for (auto& member : members_) member = fresh();
    }

    void run(int turns) {
        for (int n = 0; n < turns; ++n) {
            now_ += std::chrono::milliseconds{below(40)};
            const int what = below(100);
            const auto who = static_cast<std::size_t>(below(kMembers));
            if (what < 4)
                rebalance();
            else if (what < 6)
                members_[who] = fresh();  // Killed between two steps.
            else if (what < 14)
                apply_a_commit();
            else
                turn(who, true);
        }
    }

    // Nothing goes wrong any more: the rest must come.
    void finish() {
        for (int n = 0; n < 200'000 && !is_finished(); ++n) {
            if (n % 1'000 == 0) rebalance();
            now_ += 10ms;
            turn(static_cast<std::size_t>(n) % kMembers, false);
            if (n % 7 == 0) apply_a_commit();
        }
    }

    bool is_finished() const {
        return std::all_of(logs_.begin(), logs_.end(), [](const auto& log) {
            return log.second.finished.size() == static_cast<std::size_t>(kMessages);
        });
    }

    const std::vector<std::string>& damage() const { return damage_; }
    int repeats() const { return repeats_; }

private:
    static constexpr int kMembers = 3;
    static constexpr int kPartitions = 4;
    static constexpr int kMessages = 60;
    struct Log {
        std::int64_t committed{};
        std::set<std::int64_t> finished{};
    };
    struct Member {
        std::unique_ptr<ConsumerStep> step{};
        std::map<Partition, std::int64_t> reads{};  // What it believes to own, and its position.
    };

    int below(int end) { return std::uniform_int_distribution<int>(0, end - 1)(random_); }
    Member fresh() {
        Member made;
        made.step = std::make_unique<ConsumerStep>(kOptions, random_());
        return made;
    }

    // Everybody gives up everything; who is frozen does not hear of it, and goes on.
    void rebalance() {
        std::vector<std::size_t> awake;
        for (std::size_t n = 0; n < kMembers; ++n) {
            if (below(3) > 0) awake.push_back(n);
        }
        for (const std::size_t n : awake) {
            std::vector<Partition> all;
            all.reserve(members_[n].reads.size());
            for (const auto& [partition, position] : members_[n].reads) all.push_back(partition);
            const auto last = members_[n].step->on_revoked(all, below(4) == 0);
            if (!last.empty()) commits_.push_back({members_[n].step.get(), last});
            members_[n].reads.clear();
        }
        if (awake.empty()) return;
        for (auto& [partition, log] : logs_) {
            Member& owner =
                members_[awake[static_cast<std::size_t>(below(static_cast<int>(awake.size())))]];
            owner.reads[partition] = log.committed;
            owner.step->on_assigned(std::vector{partition});
        }
    }

    void apply_a_commit() {
        if (commits_.empty()) return;
        const auto at = commits_.begin() + below(static_cast<int>(commits_.size()));
        const bool succeeded = below(5) > 0;
        for (const auto& [partition, done] : at->second) {
            Log& log = logs_[partition];
            if (!succeeded) continue;
            for (std::int64_t n = log.committed; n < done; ++n) {
                if (!log.finished.contains(n)) {
                    damage_.push_back("committed past the unfinished " + std::to_string(n));
                }
            }
            log.committed = done;
        }
        for (auto& member : members_) {
            if (member.step.get() == at->first) member.step->on_committed(at->second, succeeded);
        }
        commits_.erase(at);
    }

    void handle(Member& member, const Message& message, bool trouble) {
        Log& log = logs_[{message.source_topic, message.partition}];
        const int what = trouble ? below(10) : 9;
        if (what == 0) return member.step->on_failure(now_);
        if (what == 1) return member.step->on_reply({Settlement::in_progress, 30ms}, now_);
        if (log.finished.insert(message.position).second) {
            if (!log.finished.empty() && *log.finished.rbegin() != message.position) {
                damage_.push_back("out of order: " + std::to_string(message.position));
            }
        } else {
            ++repeats_;
        }
        if (what == 2) {  // Killed after the handler's commit, before anything else.
            member = fresh();
            return;
        }
        member.step->on_reply(Settlement::processed, now_);
    }

    void turn(std::size_t who, bool trouble) {
        Member& member = members_[who];
        const ConsumerCommand command = member.step->next(now_);
        if (const auto* fetch = std::get_if<consume::Fetch>(&command)) {
            std::int64_t& position = member.reads[fetch->partition];
            if (position == kMessages) return member.step->on_nothing(fetch->partition);
            member.step->on_message(message_of(fetch->partition, position++));
        } else if (const auto* one = std::get_if<consume::Handle>(&command)) {
            handle(member, *one->message, trouble);
        } else if (const auto* commit = std::get_if<consume::Commit>(&command)) {
            commits_.push_back({member.step.get(), commit->progress});
        }
    }

    std::mt19937_64 random_;
    Instant now_{1h};
    std::map<Partition, Log> logs_ = [] {
        std::map<Partition, Log> made;
        for (int n = 0; n < kPartitions; ++n) made[{"orders", n}];
        return made;
    }();
    Member members_[kMembers];
    std::vector<std::pair<const ConsumerStep*, std::vector<Progress>>> commits_;
    std::vector<std::string> damage_;
    int repeats_{};
};

TEST(ConsumerGroup, F74_SkipsNothingWhateverCrashesMovesOrComesLate) {
    const char* given = std::getenv("SAGAZ_SEED");
    const std::uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
    int repeats = 0;
    for (std::uint64_t seed = first; seed < first + 300; ++seed) {
        Group group{seed};
        group.run(1'500);
        group.finish();
        EXPECT_TRUE(group.is_finished()) << "seed " << seed;
        for (const std::string& one : group.damage()) ADD_FAILURE() << one << ", seed " << seed;
        repeats += group.repeats();
        if (HasFailure()) break;
    }
    EXPECT_GT(repeats, 0) << "nothing went wrong in any run: it showed nothing";
}

}  // namespace
}  // namespace sagaz::core
