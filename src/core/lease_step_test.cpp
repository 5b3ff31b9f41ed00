#include "core/lease_step.hpp"

#include <gtest/gtest.h>

namespace sagaz::core {

using namespace std::chrono_literals;

namespace {

const Id kMe = Id::parse("00000000-0000-7000-8000-000000000001");
const Id kOther = Id::parse("00000000-0000-7000-8000-000000000002");

constexpr Duration kGrace = 1500ms;

class LeaseStepTest : public testing::Test {
protected:
    std::vector<std::int16_t> see(SlotView slot, Duration later) {
        now_ += later;
        return lease_.observed({.slots = {slot}}, now_);
    }

    /// Observes an owner that never beats again, each time it is due, for `duration`.
    void watch_silence(Duration duration) {
        const Instant end = now_ + duration;
        while (now_ < end) see({0, 4, kOther, 17}, lease_.observe_at() - now_);
    }

    Instant now_{100s};
    LeaseStep lease_{kMe, 10s, kGrace};
};

}  // namespace

TEST_F(LeaseStepTest, TakesAFreeSlotAtOnce) {
    see({0, 4, std::nullopt, -1}, 0s);
    ASSERT_EQ(lease_.claims().size(), 1U);
    EXPECT_EQ(lease_.claims()[0].epoch, 4);
}

TEST_F(LeaseStepTest, TakesASilentOwnersSlotAfterTheLeaseAndNotBefore) {
    see({0, 4, kOther, 17}, 0s);
    watch_silence(9s);
    EXPECT_TRUE(lease_.claims().empty());
    watch_silence(2s);
    EXPECT_EQ(lease_.claims().size(), 1U);
}

TEST_F(LeaseStepTest, CountsASlotAsWithoutOwnerWhileNobodyWhoLivesHasIt) {
    see({0, 4, std::nullopt, -1}, 0s);
    EXPECT_EQ(lease_.without_owner(), 1U);
    const OwnedSlot mine{0, 5};
    lease_.acquired({&mine, 1});
    EXPECT_EQ(lease_.without_owner(), 0U) << "the next look has not been taken yet";
    see({0, 6, kOther, 17}, 1s);
    watch_silence(9s);
    EXPECT_EQ(lease_.without_owner(), 0U);
    watch_silence(2s);
    EXPECT_EQ(lease_.without_owner(), 1U) << "its owner is dead";
    see({0, 6, kOther, 18}, 500ms);
    EXPECT_EQ(lease_.without_owner(), 0U) << "it was only slow";
}

TEST_F(LeaseStepTest, ABeatStartsTheLeaseAnew) {
    see({0, 4, kOther, 17}, 0s);
    watch_silence(9s);
    see({0, 4, kOther, 18}, 500ms);
    see({0, 4, kOther, 18}, 5s);
    EXPECT_TRUE(lease_.claims().empty());
}

TEST_F(LeaseStepTest, F29_AnOutageOfTheDatabaseMakesNoOwnerLookSilent) {
    see({0, 4, kOther, 17}, 0s);
    see({0, 4, kOther, 17}, 10min);  // Nothing could be read in between.
    EXPECT_TRUE(lease_.claims().empty());
}

TEST_F(LeaseStepTest, LosesASlotWhoseEpochMovedOn) {
    see({0, 4, std::nullopt, -1}, 0s);
    const OwnedSlot mine{0, 5};
    lease_.acquired({&mine, 1});
    EXPECT_TRUE(see({0, 5, kMe, 1}, 1s).empty());
    EXPECT_EQ(see({0, 6, kOther, 1}, 1s), std::vector<std::int16_t>{0});
    EXPECT_EQ(lease_.owned_count(), 0U);
}

TEST_F(LeaseStepTest, ClaimsAgainWhatIsItsOwnByATakeOverItNeverHeardOf) {
    see({0, 5, kMe, 1}, 0s);
    EXPECT_EQ(lease_.claims().size(), 1U);
}

TEST_F(LeaseStepTest, F22_KnowsThatItWasFrozenPastItsLease) {
    see({0, 4, std::nullopt, -1}, 0s);
    const OwnedSlot mine{0, 5};
    lease_.acquired({&mine, 1});
    EXPECT_FALSE(lease_.is_stale(now_ + 9s));
    EXPECT_TRUE(lease_.is_stale(now_ + 10s));
}

TEST_F(LeaseStepTest, ForgetsWithTheDatabase) {
    see({0, 4, std::nullopt, -1}, 0s);
    const OwnedSlot mine{0, 5};
    lease_.acquired({&mine, 1});
    lease_.forget();
    EXPECT_EQ(lease_.owned_count(), 0U);
    EXPECT_LE(lease_.observe_at(), now_);
}

TEST_F(LeaseStepTest, AfterASlotThatCannotBeSettledAnotherOneIsGivenAway) {
    std::vector<OwnedSlot> mine;
    Observed seen;
    for (std::int16_t slot = 0; slot < 4; ++slot) {
        mine.push_back({slot, 5});
        seen.slots.push_back({slot, 5, kMe, 1});
    }
    lease_.acquired(mine);
    seen.relays.push_back({kOther, 0});
    std::vector<std::int16_t> tried;
    for (const Instant end = now_ + 3min; now_ < end; now_ += 100ms) {
        ++seen.relays[0].beat;
        lease_.observed(seen, now_);
        const auto leaving = lease_.leaving();
        if (leaving && (tried.empty() || tried.back() != *leaving)) tried.push_back(*leaving);
    }
    ASSERT_GE(tried.size(), 5U);
    tried.resize(5);
    EXPECT_EQ(tried, (std::vector<std::int16_t>{3, 2, 1, 0, 3}));
}

TEST_F(LeaseStepTest, F28_ASlotIsLeftUnreadForGraceAndNoLonger) {
    const OwnedSlot mine[] = {{0, 5}, {1, 5}};
    lease_.acquired(mine);
    Observed seen{.slots = {{0, 5, kMe, 1}, {1, 5, kMe, 1}}, .relays = {{kOther, 0}}};
    Duration unread{};
    Duration longest{};
    for (const Instant end = now_ + 3min; now_ < end; now_ += 10ms) {
        if (now_ >= lease_.observe_at()) {
            ++seen.relays[0].beat;
            lease_.observed(seen, now_);
        }
        unread = lease_.leaving() ? unread + 10ms : Duration{};
        longest = std::max(longest, unread);
    }
    EXPECT_GT(longest, 1s) << "it tries";
    EXPECT_LE(longest, kGrace + 10ms);
}

}  // namespace sagaz::core
