#include "core/delivery_fixture.hpp"

#include <algorithm>

namespace sagaz::core {

using namespace std::chrono_literals;

namespace {

class HeldRowsTest : public DeliveryTest {
protected:
    /// Looks at the held rows that are due, which are all in the same state.
    std::size_t look(HoldState state, Instant now) {
        const auto rows = delivery_.ask_held(1'000, now);
        delivery_.looked_at(std::vector(rows.size(), state), now);
        return rows.size();
    }

    void accept(const Positions& positions) {
        std::vector<Receipt> receipts;
        for (const std::int64_t position : positions) receipts.push_back(accepted(position));
        delivery_.receive(receipts);
    }

    Positions marked() {
        Positions positions;
        for (const RowRef& row : delivery_.to_be_marked(100)) positions.push_back(row.position);
        return positions;
    }

    /// A row whose publisher is dead stands before all others of the slot.
    void take_behind_a_held_one(std::vector<TestRow> rows) {
        rows.insert(rows.begin(), {1, "blocks", true});
        delivery_.take(batch_of(rows), now_);
        const auto asked = delivery_.ask_held(100, now_ + 20ms);
        std::vector<HoldState> states(asked.size(), HoldState::released);
        const auto blocks = std::ranges::find(asked, 1, &RowRef::position);
        states[static_cast<std::size_t>(blocks - asked.begin())] = HoldState::held;
        delivery_.looked_at(states, now_ + 20ms);
    }
};

}  // namespace

TEST_F(HeldRowsTest, LeavesAHeldRowAndItsKeyAloneAndNoOther) {
    delivery_.take(batch_of({{1, "a", true}, {2, "a"}, {3, "b"}}), now_);
    EXPECT_EQ(publish(), (Positions{3}));
    delivery_.receive(std::vector{accepted(3)});
    EXPECT_EQ(settling().cursor.position, 0) << "the stored cursor never passes a held row";
    look(HoldState::held, now_ + 1s);
    EXPECT_EQ(publish(), Positions{});
    look(HoldState::gone, now_ + 1200ms);
    EXPECT_EQ(publish(), (Positions{2}));
    delivery_.receive(std::vector{accepted(2)});
    EXPECT_EQ(settling().cursor.position, 3);
}

TEST_F(HeldRowsTest, SendsAReleasedRowBeforeThoseBehindIt) {
    delivery_.take(batch_of({{1, "a", true}, {2, "a"}}), now_);
    look(HoldState::released, now_ + 20ms);
    EXPECT_EQ(publish(), (Positions{1, 2}));
}

TEST_F(HeldRowsTest, LetsAHoldRunOutByItsOwnClock) {
    delivery_.take(batch_of({{1, "a", true}}), now_);
    EXPECT_EQ(look(HoldState::held, now_ + 1499ms), 1U);
    EXPECT_EQ(publish(), Positions{});
    EXPECT_EQ(look(HoldState::held, now_ + 1500ms), 1U) << "at the end it is looked at once more";
    EXPECT_EQ(publish(), (Positions{1}));
}

TEST_F(HeldRowsTest, AHeldRowBehindAHeldRowWaitsForItsOwnEnd) {
    delivery_.take(batch_of({{1, "a", true}, {2, "a", true}, {3, "a"}}), now_);
    EXPECT_EQ(delivery_.ask_held(10, now_ + 20ms).size(), 2U);
    delivery_.looked_at(std::vector{HoldState::gone, HoldState::held}, now_ + 20ms);
    EXPECT_EQ(publish(), Positions{});
    look(HoldState::released, now_ + 40ms);
    EXPECT_EQ(publish(), (Positions{2, 3}));
}

TEST_F(HeldRowsTest, AReleasedRowBehindAHeldOneOfItsKeyWaitsForIt) {
    delivery_.take(batch_of({{1, "a", true}, {2, "a", true}}), now_);
    (void)delivery_.ask_held(10, now_ + 20ms);
    delivery_.looked_at(std::vector{HoldState::held, HoldState::released}, now_ + 20ms);
    EXPECT_EQ(publish(), Positions{});
    look(HoldState::released, now_ + 40ms);
    EXPECT_EQ(publish(), (Positions{1, 2}));
}

TEST_F(HeldRowsTest, ParksWhatWasHeldBehindARefusedEvent) {
    delivery_.take(batch_of({{1, "a"}}), now_);
    publish();
    delivery_.take(batch_of({{2, "a", true}}), now_);
    delivery_.receive(std::vector{refused(1)});
    look(HoldState::released, now_ + 20ms);
    EXPECT_EQ(publish(), Positions{});
    EXPECT_EQ(settling().parked.size(), 2U);
}

// It fell behind for good before: one row of a key was looked at each time.
TEST_F(HeldRowsTest, KeepsUpWithAKeyWhoseEveryEventIsHeld) {
    std::vector<TestRow> rows;
    for (std::int64_t n = 1; n <= 100; ++n) rows.push_back({n, "hot", true});
    delivery_.take(batch_of(rows), now_);
    EXPECT_EQ(look(HoldState::gone, now_ + 20ms), 100U);
    EXPECT_EQ(settling().cursor.position, 100);
    EXPECT_EQ(delivery_.look_at(), Instant::max());
}

TEST_F(HeldRowsTest, LooksEverMoreRarelyAtARowThatStaysHeld) {
    delivery_.take(batch_of({{1, "a", true}}), now_);
    std::size_t looks = 0;
    Instant now = now_;
    while (now < now_ + 1500ms) {
        now = delivery_.look_at();
        looks += look(HoldState::held, now);
    }
    EXPECT_EQ(now, now_ + 1500ms);
    EXPECT_GT(looks, 20U);
    EXPECT_LT(looks, 50U);
    EXPECT_EQ(publish(), (Positions{1}));
}

TEST_F(HeldRowsTest, TakesTurnsWithManyHeldRows) {
    constexpr std::size_t kRows = 10'000;
    constexpr std::size_t kAtOnce = 500;
    for (std::size_t n = 0; n < kRows; n += 100) {
        std::vector<TestRow> rows;
        for (std::size_t k = 1; k <= 100; ++k) {
            rows.push_back({static_cast<std::int64_t>(n + k), std::to_string(n + k), true});
        }
        delivery_.take(batch_of(rows), now_);
    }
    std::vector<bool> was_asked(kRows + 1);
    now_ += 15ms;
    for (std::size_t n = 0; n < kRows / kAtOnce; ++n) {
        now_ += 5ms;
        const auto rows = delivery_.ask_held(kAtOnce, now_);
        EXPECT_EQ(rows.size(), kAtOnce);
        for (const RowRef& row : rows) was_asked[static_cast<std::size_t>(row.position)] = true;
        delivery_.looked_at(std::vector(rows.size(), HoldState::held), now_);
    }
    EXPECT_EQ(std::ranges::count(was_asked, true), static_cast<std::ptrdiff_t>(kRows));
}

TEST_F(HeldRowsTest, LooksAgainWhenALookHadNoAnswer) {
    delivery_.take(batch_of({{1, "a", true}}), now_);
    EXPECT_EQ(delivery_.ask_held(10, now_ + 20ms).size(), 1U);
    EXPECT_LE(delivery_.look_at(), now_ + 20ms);
    EXPECT_EQ(look(HoldState::released, now_ + 21ms), 1U);
    EXPECT_EQ(publish(), (Positions{1}));
}

TEST_F(HeldRowsTest, MarksWhatItAcceptedBehindAHeldRowOfAnotherKey) {
    take_behind_a_held_one({{2, "a", true}, {3, "b"}});
    EXPECT_TRUE(delivery_.has_taken_over());
    EXPECT_EQ(publish(), (Positions{3, 2}));
    EXPECT_EQ(marked(), Positions{}) << "not accepted yet";
    accept({2, 3});
    EXPECT_EQ(marked(), Positions{}) << "the next store may pass it";
    EXPECT_EQ(marked(), (Positions{2})) << "and not what was never held";
    EXPECT_EQ(marked(), Positions{});
    EXPECT_FALSE(delivery_.has_taken_over());
}

TEST_F(HeldRowsTest, DoesNotMarkWhatTheStoredCursorPasses) {
    delivery_.take(batch_of({{1, "a", true}, {2, "b", true}}), now_);
    look(HoldState::released, now_ + 20ms);
    publish();
    accept({1, 2});
    EXPECT_EQ(marked(), Positions{});
    EXPECT_FALSE(delivery_.has_taken_over());
}

TEST_F(HeldRowsTest, DoesNotMarkWhatWasRefusedNorWhatIsAnothersNow) {
    take_behind_a_held_one({{2, "a", true}, {3, "b", true}});
    publish();
    delivery_.receive(std::vector{refused(2), accepted(3)});
    delivery_.add({0, 2}, Cursor{}, 0);  // Lost and owned again.
    EXPECT_EQ(marked(), Positions{});
    EXPECT_EQ(marked(), Positions{});
    EXPECT_FALSE(delivery_.has_taken_over());
}

TEST_F(HeldRowsTest, MarksInSeveralCallsWhatIsTooMuchForOne) {
    take_behind_a_held_one({{2, "a", true}, {3, "b", true}, {4, "c", true}});
    accept(publish());
    (void)delivery_.to_be_marked(2);
    EXPECT_EQ(delivery_.to_be_marked(2).size(), 2U);
    EXPECT_EQ(delivery_.to_be_marked(2).size(), 1U);
}

}  // namespace sagaz::core
