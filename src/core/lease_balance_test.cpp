// Several LeaseSteps over one table of slots: what they agree on by looking, and by nothing else.
#include "core/lease_step.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

namespace sagaz::core {

using namespace std::chrono_literals;

namespace {

constexpr Duration kLease = 10s;
constexpr Duration kGrace = 1500ms;
constexpr Duration kStep = 10ms;
constexpr Duration kDrain = 50ms;  ///< From the wish to give a slot away to its release.

struct Member {
    explicit Member(const Id& relay) : id(relay), lease(relay, kLease, kGrace) {}
    Id id;
    LeaseStep lease;
    Instant awake_at{};  ///< Frozen until then.
    Instant drained_at{};
    std::int64_t looks{};
};

class LeaseBalance : public testing::Test {
protected:
    void make_slots(std::int16_t count) {
        for (std::int16_t n = 0; n < count; ++n) slots_.push_back({n, 0, std::nullopt, -1});
    }

    Member& start() {
        std::string text = "00000000-0000-7000-8000-000000000000";
        text.back() = static_cast<char>('0' + members_.size());
        members_.push_back(std::make_unique<Member>(Id::parse(text)));
        beats_[members_.back()->id] = 0;
        return *members_.back();
    }

    void kill(const Member& gone) {
        std::erase_if(members_, [&](const auto& member) { return member.get() == &gone; });
    }

    void leave(const Member& gone) {
        for (SlotView& slot : slots_) {
            if (slot.owner == gone.id) slot.owner.reset();
        }
        beats_.erase(gone.id);
        kill(gone);
    }

    void run(Duration time) {
        for (const Instant end = now_ + time; now_ < end; now_ += kStep) {
            for (const auto& member : members_) act(*member);
            for (const SlotView& slot : slots_) unowned_ += slot.owner ? 0 : 1;
        }
    }

    std::vector<std::size_t> counts() const {
        std::vector<std::size_t> counts;
        for (const auto& member : members_) {
            counts.push_back(static_cast<std::size_t>(std::ranges::count_if(
                slots_, [&](const SlotView& slot) { return slot.owner == member->id; })));
        }
        return counts;
    }

    /// Changes of ownership so far.
    std::int64_t epochs() const {
        std::int64_t sum = 0;
        for (const SlotView& slot : slots_) sum += slot.epoch;
        return sum;
    }

    Instant now_{1'000s};
    std::vector<SlotView> slots_;
    std::map<Id, std::int64_t> beats_;
    std::vector<std::unique_ptr<Member>> members_;
    std::int64_t unowned_{};  ///< Slots without an owner, added up over all steps of time.

private:
    void act(Member& member) {
        if (now_ < member.awake_at) return;
        if (now_ >= member.lease.observe_at()) look(member);
        const auto leaving = member.lease.leaving();
        if (!leaving) {
            member.drained_at = now_ + kDrain;
        } else if (now_ >= member.drained_at) {
            SlotView& slot = slots_[static_cast<std::size_t>(*leaving)];
            if (slot.owner == member.id) slot.owner.reset();
            member.lease.lost(*leaving);
        }
    }

    void look(Member& member) {
        ++member.looks;
        Observed seen;
        seen.slots = slots_;
        for (SlotView& slot : seen.slots) {
            const auto beat = slot.owner ? beats_.find(*slot.owner) : beats_.end();
            if (beat != beats_.end()) slot.owner_beat = beat->second;
        }
        for (const auto& [relay, beat] : beats_) seen.relays.push_back({relay, beat});
        ++beats_[member.id];
        member.lease.observed(seen, now_);
        std::vector<OwnedSlot> taken;
        for (const SlotView& claim : member.lease.claims()) {
            SlotView& slot = slots_[static_cast<std::size_t>(claim.slot)];
            if (slot.owner != claim.owner || slot.epoch != claim.epoch) continue;
            slot.owner = member.id;
            taken.push_back({slot.slot, ++slot.epoch});
        }
        member.lease.acquired(taken);
    }
};

using Counts = std::vector<std::size_t>;

}  // namespace

TEST_F(LeaseBalance, OneTakesAllAtOnce) {
    make_slots(16);
    start();
    run(50ms);
    EXPECT_EQ(counts(), Counts{16});
}

TEST_F(LeaseBalance, ThoseThatStartTogetherShareFromTheFirstLookOn) {
    make_slots(16);
    for (int n = 0; n < 4; ++n) start();
    run(100ms);
    EXPECT_EQ(counts(), (Counts{4, 4, 4, 4}));
    EXPECT_EQ(epochs(), 16);
}

TEST_F(LeaseBalance, OneThatJoinsGetsItsShareOneSlotAtATime) {
    make_slots(16);
    start();
    run(5s);
    start();
    unowned_ = 0;
    run(8s);
    EXPECT_EQ(counts(), (Counts{8, 8}));
    EXPECT_EQ(epochs(), 16 + 8) << "each slot moved once";
    EXPECT_LE(unowned_ * kStep, 8 * (100ms + 2 * kStep)) << "for how long they were without owner";
}

TEST_F(LeaseBalance, GoesUpAndDownAgainWithoutMovingMoreThanItMust) {
    make_slots(16);
    start();
    run(5s);
    for (int n = 0; n < 3; ++n) start();
    run(15s);
    EXPECT_EQ(counts(), (Counts{4, 4, 4, 4}));
    EXPECT_EQ(epochs(), 16 + 12);
    for (int n = 0; n < 3; ++n) {
        leave(*members_.back());
        run(5s);
    }
    EXPECT_EQ(counts(), Counts{16});
}

TEST_F(LeaseBalance, TheSlotsOfOneThatLeftAreTakenAtTheNextLook) {
    make_slots(16);
    for (int n = 0; n < 4; ++n) start();
    run(10s);
    leave(*members_.front());
    unowned_ = 0;
    run(5s);
    EXPECT_EQ(counts(), (Counts{6, 5, 5}));
    EXPECT_LE(unowned_ * kStep, 4 * (530ms + 2 * kStep));
}

TEST_F(LeaseBalance, TheSlotsOfOneThatDiedAreSharedAfterTheLease) {
    make_slots(16);
    for (int n = 0; n < 4; ++n) start();
    run(10s);
    kill(*members_.front());
    run(kLease - 1s);
    EXPECT_EQ(counts(), (Counts{4, 4, 4}));
    run(3s);
    EXPECT_EQ(counts(), (Counts{6, 5, 5}));
}

TEST_F(LeaseBalance, WhatWasLeftBehindKeepsNobodyWaiting) {
    make_slots(16);
    beats_[Id::parse("00000000-0000-7000-8000-0000000000ff")] = 77;  // Killed long ago.
    start();
    run(100ms);
    EXPECT_EQ(counts(), Counts{8});
    run(4s);
    EXPECT_EQ(counts(), Counts{16});
}

TEST_F(LeaseBalance, ThoseBeyondTheSlotsStandByAndFollow) {
    make_slots(2);
    for (int n = 0; n < 4; ++n) start();
    run(10s);
    EXPECT_EQ(counts(), (Counts{1, 1, 0, 0}));
    const std::int64_t before = epochs();
    run(60s);
    EXPECT_EQ(epochs(), before);
    leave(*members_.front());
    run(2s);
    EXPECT_EQ(counts(), (Counts{1, 1, 0}));
}

TEST_F(LeaseBalance, NothingIsGivenToOneThatIsFrozen) {
    make_slots(16);
    start();
    run(5s);
    Member& frozen = start();
    run(1s);
    frozen.awake_at = now_ + 8s;  // Less than the lease: it counts as alive.
    const std::int64_t before = epochs();
    unowned_ = 0;
    run(7s);
    EXPECT_LE(epochs(), before + 1) << "one slot may have been on its way";
    EXPECT_LE(unowned_ * kStep, 4s) << "and it comes back";
    run(20s);
    EXPECT_EQ(counts(), (Counts{8, 8}));
}

TEST_F(LeaseBalance, NothingMovesWhileTheRelaysStayTheSame) {
    make_slots(64);
    for (int n = 0; n < 5; ++n) start();
    run(30s);
    const std::int64_t before = epochs();
    std::map<Id, std::int64_t> looks;
    for (const auto& member : members_) looks[member->id] = member->looks;
    run(60s);
    EXPECT_EQ(epochs(), before);
    for (const auto& member : members_) {
        EXPECT_LE(member->looks - looks[member->id], 120) << "twice a second";
    }
}

}  // namespace sagaz::core
