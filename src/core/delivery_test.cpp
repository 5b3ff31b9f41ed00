#include "core/delivery.hpp"

#include "core/test_rows.hpp"

#include <gtest/gtest.h>

#include <map>

namespace sagaz::core {

using namespace std::chrono_literals;

namespace {

class DeliveryTest : public testing::Test {
protected:
    DeliveryTest() { own(OnRefused::park_key); }

    void own(OnRefused policy) {
        Settings settings;
        settings.on_refused = policy;
        delivery_.configure(settings);
        delivery_.add({0, 1}, Cursor{}, 0);
    }

    /// Publishes what is ready and returns the positions, in order.
    std::vector<std::int64_t> publish() {
        std::vector<std::int64_t> positions;
        const auto envelopes = delivery_.prepare(100, 0);
        for (const Envelope& envelope : envelopes) {
            const auto id = std::string(envelope.headers[1].value);
            positions.push_back(std::stoll(id.substr(34), nullptr, 16));
            tokens_[positions.back()] = envelope.token;
        }
        delivery_.published(envelopes.size());
        return positions;
    }

    Receipt accepted(std::int64_t position) {
        return {tokens_.at(position), Receipt::State::accepted, "", ""};
    }
    Receipt refused(std::int64_t position) {
        return {tokens_.at(position), Receipt::State::refused, "payload_too_large", ""};
    }
    Receipt unknown(std::int64_t position) {
        return {tokens_.at(position), Receipt::State::unknown, "", ""};
    }

    SlotLedger::Settling settling() { return delivery_.find(0)->ledger.settling(100); }

    void look(HoldState state, Instant now) {
        const auto rows = delivery_.held(10);
        const std::vector<HoldState> states(rows.size(), state);
        delivery_.looked_at(rows, states, now);
    }

    using Positions = std::vector<std::int64_t>;
    Instant now_{100s};
    Delivery delivery_{1500ms};
    std::map<std::int64_t, std::uint64_t> tokens_;
};

}  // namespace

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

TEST_F(DeliveryTest, LeavesAHeldRowAndItsKeyAloneAndNoOther) {
    delivery_.take(batch_of({{1, "a", true}, {2, "a"}, {3, "b"}}), now_);
    EXPECT_EQ(publish(), (Positions{3}));
    delivery_.receive(std::vector{accepted(3)});
    EXPECT_EQ(settling().cursor.position, 0) << "the stored cursor never passes a held row";
    look(HoldState::held, now_ + 1s);
    EXPECT_EQ(publish(), Positions{});
    look(HoldState::gone, now_ + 1s);
    EXPECT_EQ(publish(), (Positions{2}));
    delivery_.receive(std::vector{accepted(2)});
    EXPECT_EQ(settling().cursor.position, 3);
}

TEST_F(DeliveryTest, SendsAReleasedRowBeforeThoseBehindIt) {
    delivery_.take(batch_of({{1, "a", true}, {2, "a"}}), now_);
    look(HoldState::released, now_);
    EXPECT_EQ(publish(), (Positions{1, 2}));
}

TEST_F(DeliveryTest, LetsAHoldRunOutByItsOwnClock) {
    delivery_.take(batch_of({{1, "a", true}}), now_);
    look(HoldState::held, now_ + 1499ms);
    EXPECT_EQ(publish(), Positions{});
    look(HoldState::held, now_ + 1500ms);
    EXPECT_EQ(publish(), (Positions{1}));
}

TEST_F(DeliveryTest, AHeldRowBehindAHeldRowWaitsForItsOwnEnd) {
    delivery_.take(batch_of({{1, "a", true}, {2, "a", true}, {3, "a"}}), now_);
    look(HoldState::gone, now_);
    EXPECT_EQ(publish(), Positions{});
    look(HoldState::released, now_);
    EXPECT_EQ(publish(), (Positions{2, 3}));
}

TEST_F(DeliveryTest, ParksWhatWasHeldBehindARefusedEvent) {
    delivery_.take(batch_of({{1, "a"}}), now_);
    publish();
    delivery_.take(batch_of({{2, "a", true}}), now_);
    delivery_.receive(std::vector{refused(1)});
    look(HoldState::released, now_);
    EXPECT_EQ(publish(), Positions{});
    EXPECT_EQ(settling().parked.size(), 2U);
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
