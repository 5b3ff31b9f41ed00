#include "core/delivery.hpp"

#include "core/delivery_fixture.hpp"

#include <gtest/gtest.h>

namespace sagaz::core {

using namespace std::chrono_literals;

TEST_F(DeliveryTest, SettlesOnlyTheAcknowledgedPrefix) {
    delivery_.take(batch_of({{1, "a"}, {2, "b"}, {3, "c"}}), now_);
    EXPECT_EQ(publish(), (Positions{1, 2, 3}));
    delivery_.receive(std::vector{accepted(1), accepted(3)});
    EXPECT_EQ(settling().cursor.position, 1);
    EXPECT_EQ(delivery_.in_flight(), 1U);
    delivery_.receive(std::vector{accepted(2)});
    EXPECT_EQ(settling().cursor.position, 3);
    EXPECT_EQ(delivery_.bytes(), 0U);
}

TEST_F(DeliveryTest, F32_SendsAgainFromTheFirstThatWasNotAccepted) {
    delivery_.take(batch_of({{1, "a"}, {2, "a"}, {3, "b"}, {4, "a"}}), now_);
    publish();
    delivery_.receive(std::vector{accepted(1), unknown(2), accepted(3), unknown(4)});
    EXPECT_EQ(publish(), (Positions{2, 4}));
}

TEST_F(DeliveryTest, F59_TakesAMissingReceiptAfterABreakForUnknown) {
    delivery_.take(batch_of({{1, "a"}, {2, "b"}}), now_);
    publish();
    delivery_.receive(std::vector{unknown(1)});
    EXPECT_EQ(delivery_.in_flight(), 0U);
    EXPECT_EQ(publish(), (Positions{1, 2}));
}

TEST_F(DeliveryTest, F42_StopsTheKeyOfARefusedEventAndNoOther) {
    delivery_.take(batch_of({{1, "a"}, {2, "a"}, {3, "b"}, {4, "a"}}), now_);
    publish();
    delivery_.receive(std::vector{unknown(1), refused(2), unknown(3), unknown(4)});
    EXPECT_EQ(publish(), (Positions{1, 3})) << "the event before it goes, those behind it wait";
    delivery_.receive(std::vector{accepted(1), accepted(3)});
    delivery_.take(batch_of({{5, "a"}, {6, "b"}}), now_);
    EXPECT_EQ(publish(), (Positions{6}));
    delivery_.receive(std::vector{accepted(6)});
    const auto parked = settling().parked;
    ASSERT_EQ(parked.size(), 3U);
    EXPECT_EQ(parked[0].reason, "payload_too_large");
    EXPECT_EQ(parked[1].position, 4);
    EXPECT_EQ(parked[1].reason, "behind_parked");
    EXPECT_EQ(parked[2].position, 5);
}

TEST_F(DeliveryTest, F42_ParksOnlyTheEventWhenThePolicySaysSo) {
    own(OnRefused::park_event);
    delivery_.take(batch_of({{1, "a"}, {2, "a"}}), now_);
    publish();
    delivery_.receive(std::vector{refused(1), unknown(2)});
    EXPECT_EQ(publish(), (Positions{2}));
}

TEST_F(DeliveryTest, KeepsAKeyStoppedThatWasParkedBefore) {
    delivery_.stop_keys(0, std::vector<StoppedKey>{{0, "orders", "a", ""}}, now_);
    delivery_.stop_keys(0, std::vector<StoppedKey>{{0, "", "b", "OrderPlaced"}}, now_);
    delivery_.take(batch_of({{1, "a"}, {2, "b"}}), now_);
    EXPECT_EQ(publish(), (Positions{2})) << "key b was stopped in the template's topic only";
}

TEST_F(DeliveryTest, F34_TakesBackWhatTheBrokerDidNotTake) {
    delivery_.take(batch_of({{1, "a"}, {2, "b"}, {3, "c"}}), now_);
    delivery_.prepare(3, 0);
    delivery_.published(1);
    EXPECT_EQ(publish(), (Positions{2, 3}));
}

TEST_F(DeliveryTest, F06_PublishesNothingBeyondTheFlush) {
    delivery_.add({1, 1}, Cursor{}, 500);
    Cursor cursor;
    cursor.target = Snapshot::parse("9:9:");
    delivery_.add({0, 2}, cursor, 700);  // An inherited window: its gate is the load's.
    delivery_.take(batch_of({{1, "a"}}), now_);
    EXPECT_TRUE(delivery_.prepare(10, 699).empty());
    delivery_.published(0);
    EXPECT_EQ(delivery_.prepare(10, 700).size(), 1U);
    delivery_.published(1);
}

TEST_F(DeliveryTest, F22_IgnoresTheReceiptsOfASlotItLost) {
    delivery_.take(batch_of({{1, "a"}, {2, "a"}}), now_);
    publish();
    delivery_.add({0, 3}, Cursor{}, 0);  // Lost and owned again: read anew.
    delivery_.take(batch_of({{1, "a"}, {2, "a"}}), now_);
    const auto old = tokens_;
    EXPECT_EQ(publish(), (Positions{1, 2}));
    delivery_.receive(std::vector{Receipt{old.at(1), Receipt::State::accepted, "", ""},
                                  Receipt{old.at(2), Receipt::State::accepted, "", ""}});
    EXPECT_EQ(settling().cursor.position, 0);
    delivery_.receive(std::vector{accepted(1), accepted(2)});
    EXPECT_EQ(settling().cursor.position, 2);
}

}  // namespace sagaz::core
