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

// A group of members around one log, with everything that can go wrong between two steps: members
// that crash, are frozen and go on as owners of what others have by now, commits that arrive late
// and in any order, also those of the dead.
class Group {
public:
    explicit Group(std::uint64_t seed) : random_(seed) {
        options_.stopped_keys_max = static_cast<std::size_t>(below(4));
        options_.ahead_max = static_cast<std::size_t>(1 + below(20));
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
    bool overtook() const { return overtook_; }  // One key went on while another waited.

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
        made.step = std::make_unique<ConsumerStep>(options_, random_());
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
            check_order(log, message);
        } else {
            ++repeats_;
        }
        if (what == 2) {  // Killed after the handler's commit, before anything else.
            member = fresh();
            return;
        }
        member.step->on_reply(Settlement::processed, now_);
    }

    // The first time of a message comes after that of all before it: of its key, or of its
    // partition where no key may stop alone.
    void check_order(const Log& log, const Message& message) {
        const bool by_key = options_.stopped_keys_max > 0;
        for (std::int64_t n = 0; n < kMessages; ++n) {
            if (by_key && key_of(n) != message.event.key) continue;
            if (log.finished.contains(n) != (n <= message.position)) {
                damage_.push_back("out of order: " + std::to_string(message.position));
                return;
            }
        }
        const auto before =
            std::distance(log.finished.begin(), log.finished.find(message.position));
        overtook_ = overtook_ || before < message.position;
    }

    static std::optional<std::string> key_of(std::int64_t position) {
        if (position % 7 == 0) return std::nullopt;
        return std::to_string(position % 7);
    }

    void turn(std::size_t who, bool trouble) {
        Member& member = members_[who];
        const ConsumerCommand command = member.step->next(now_);
        if (const auto* fetch = std::get_if<consume::Fetch>(&command)) {
            std::int64_t& position = member.reads[fetch->partition];
            // The client gives something twice.
            if (trouble && below(50) == 0) position = std::max(position - 1 - below(3), 0L);
            if (position == kMessages) return member.step->on_nothing(fetch->partition);
            member.step->on_message(message_of(fetch->partition, position, key_of(position)));
            ++position;
        } else if (const auto* one = std::get_if<consume::Handle>(&command)) {
            handle(member, *one->message, trouble);
        } else if (const auto* commit = std::get_if<consume::Commit>(&command)) {
            commits_.push_back({member.step.get(), commit->progress});
        }
    }

    std::mt19937_64 random_;
    ConsumerStep::Options options_{kOptions};
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
    bool overtook_{};
};

TEST(ConsumerGroup, F74_SkipsNothingWhateverCrashesMovesOrComesLate) {
    const char* given = std::getenv("SAGAZ_SEED");
    const std::uint64_t first = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
    int repeats = 0;
    int overtook = 0;
    for (std::uint64_t seed = first; seed < first + 300; ++seed) {
        Group group{seed};
        group.run(1'500);
        group.finish();
        EXPECT_TRUE(group.is_finished()) << "seed " << seed;
        for (const std::string& one : group.damage()) ADD_FAILURE() << one << ", seed " << seed;
        repeats += group.repeats();
        overtook += group.overtook() ? 1 : 0;
        if (HasFailure()) break;
    }
    EXPECT_GT(repeats, 0) << "nothing went wrong in any run: it showed nothing";
    EXPECT_GT(overtook, 0) << "no key was overtaken by another in any run";
}

}  // namespace
}  // namespace sagaz::core
