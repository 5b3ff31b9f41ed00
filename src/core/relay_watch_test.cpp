#include "core/relay_watch.hpp"

#include <gtest/gtest.h>

namespace sagaz::core {

using namespace std::chrono_literals;

namespace {

const Id kA = Id::parse("00000000-0000-7000-8000-00000000000a");
const Id kB = Id::parse("00000000-0000-7000-8000-00000000000b");
const Id kC = Id::parse("00000000-0000-7000-8000-00000000000c");

class RelayWatchTest : public testing::Test {
protected:
    void see(std::vector<RelayView> relays, Duration later) { watch_.observed(relays, later); }

    RelayWatch watch_{kB, 10s};
};

using Ids = std::vector<Id>;

}  // namespace

TEST_F(RelayWatchTest, CountsItselfWhateverItSees) {
    EXPECT_EQ(watch_.living(), Ids{kB});
    see({}, 0s);
    EXPECT_EQ(watch_.share_of(kB, 16), 16U);
}

TEST_F(RelayWatchTest, CountsAnUnknownRelayUntilItShouldHaveBeaten) {
    see({{kA, 4}}, 0s);
    EXPECT_EQ(watch_.living(), (Ids{kA, kB}));
    see({{kA, 4}}, 2s);
    EXPECT_EQ(watch_.living(), (Ids{kA, kB}));
    see({{kA, 4}}, 1s);
    EXPECT_EQ(watch_.living(), Ids{kB});
}

TEST_F(RelayWatchTest, CountsOneThatHasBeatenForALease) {
    see({{kA, 4}}, 0s);
    see({{kA, 5}}, 1s);
    see({{kA, 5}}, 9s);
    EXPECT_EQ(watch_.living(), (Ids{kA, kB}));
    EXPECT_FALSE(watch_.is_awake(kA));
    see({{kA, 5}}, 1s);
    EXPECT_EQ(watch_.living(), Ids{kB});
    see({{kA, 6}}, 1s);
    EXPECT_EQ(watch_.living(), (Ids{kA, kB}));
    EXPECT_TRUE(watch_.is_awake(kA));
}

TEST_F(RelayWatchTest, ForgetsOneThatLeftAtOnce) {
    see({{kA, 4}}, 0s);
    see({{kA, 5}}, 1s);
    see({}, 1s);
    EXPECT_EQ(watch_.living(), Ids{kB});
    EXPECT_EQ(watch_.unchanged_for(), 0s);
}

TEST_F(RelayWatchTest, SharesEvenlyAndLeavesOutWhoIsTooMany) {
    see({{kA, 1}, {kC, 1}}, 0s);
    EXPECT_EQ(watch_.share_of(kA, 16), 6U);
    EXPECT_EQ(watch_.share_of(kB, 16), 5U);
    EXPECT_EQ(watch_.share_of(kC, 16), 5U);
    EXPECT_EQ(watch_.share_of(kA, 2), 1U);
    EXPECT_EQ(watch_.share_of(kC, 2), 0U);
    EXPECT_EQ(watch_.share_of(Id::generate(), 16), 0U);
}

}  // namespace sagaz::core
