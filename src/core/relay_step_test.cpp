#include "core/relay_step.hpp"

#include "core/test_rows.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>

#include <optional>
#include <span>
#include <variant>
#include <vector>

namespace sagaz::core {

using namespace std::chrono_literals;

namespace {

const Id kMe = Id::parse("00000000-0000-7000-8000-000000000001");

class RelayStepTest : public testing::Test {
protected:
    /// Asserts that the next command is a `T` and returns it.
    template <class T>
    T expect() {
        Command next = step_.next(now_);
        T* command = std::get_if<T>(&next);
        EXPECT_NE(command, nullptr) << "got command " << next.index();
        return command == nullptr ? T{} : std::move(*command);
    }

    /// Answers an `observe`; the window that comes with it ends at `last_position`.
    void see(const std::vector<SlotView>& slots, std::int64_t last_position = 1,
             const std::vector<RelayView>& relays = {}) {
        Observed seen{.slots = slots, .relays = relays};
        seen.opening = {
            .target = Snapshot::parse("10:10:"), .ceiling = 10, .last_position = last_position};
        step_.on_observed(seen, now_);
    }

    /// Attached, owner of the only slot, with its first cursor.
    void begin() {
        expect<command::Attach>();
        step_.on_attached({});
        expect<command::Observe>();
        see({{0, 0, std::nullopt, -1}});
        expect<command::Acquire>();
        const OwnedSlot mine{0, 1};
        step_.on_acquired({&mine, 1});
        expect<command::Load>();
        Loaded loaded;
        loaded.cursors.push_back({0, Cursor{}});
        step_.on_loaded(loaded, now_);
        step_.on_tidied(now_);
        step_.on_measured({}, now_);
    }

    void open(std::int64_t last_position, std::uint64_t gate = 0, std::uint64_t flushed = 0) {
        expect<command::OpenWindow>();
        step_.on_opened({.target = Snapshot::parse("10:10:"),
                         .ceiling = 10,
                         .last_position = last_position,
                         .gate = gate,
                         .flushed = flushed},
                        now_);
    }

    void read(const std::vector<TestRow>& rows, std::int64_t read_to) {
        expect<command::StartRead>();
        ReadResult result;
        result.batch = batch_of(rows);
        result.progress.push_back({0, read_to});
        expect<command::FinishRead>();
        step_.on_read(std::move(result), now_);
    }

    void publish(std::size_t count) {
        EXPECT_EQ(expect<command::Publish>().envelopes.size(), count);
        step_.on_published(count, now_);
    }

    void poll(std::vector<Receipt> receipts) {
        expect<command::Poll>();
        step_.on_receipts(receipts, now_);
    }

    Instant now_{1'000s};
    RelayOptions options_{.retention = 3h};
    RelayStep step_{kMe, options_, 1};
};

}  // namespace

TEST_F(RelayStepTest, ReadsPublishesSettlesAndStores) {
    begin();
    open(2);
    read({{1}, {2}}, 2);
    publish(2);
    poll({{1, Receipt::State::accepted, "", ""}, {2, Receipt::State::accepted, "", ""}});
    now_ += 100ms;
    const auto store = expect<command::StoreCursors>();
    ASSERT_EQ(store.moves.size(), 1U);
    EXPECT_EQ(store.moves[0].cursor.done.text(), "10:10:");
    EXPECT_EQ(store.moves[0].cursor.last, 2);
    EXPECT_EQ(store.moves[0].epoch, 1);
}

TEST_F(RelayStepTest, F57_KeepsTheCursorWhenTheBrokerIsDown) {
    begin();
    open(1);
    read({{1}}, 1);
    step_.on_destination("no broker is connected", now_);
    expect<command::Publish>();
    step_.on_published(0, now_);
    poll({});
    now_ += 10ms;
    for (int n = 0; n < 50; ++n) {
        Command next = step_.next(now_);
        EXPECT_FALSE(std::holds_alternative<command::StoreCursors>(next));
        if (std::holds_alternative<command::Publish>(next)) step_.on_published(0, now_);
        if (std::holds_alternative<command::Poll>(next)) step_.on_receipts({}, now_);
        if (std::holds_alternative<command::OpenWindow>(next)) {
            step_.on_opened({.target = Snapshot::parse("10:10:"), .last_position = 1}, now_);
        }
        if (std::holds_alternative<command::Observe>(next)) {
            see({{0, 1, kMe, 1}});
        }
        now_ += 100ms;
    }
    EXPECT_EQ(step_.counters().parked, 0U);
    EXPECT_EQ(step_.counters().refused, 0U);
    EXPECT_GT(step_.down_for(now_), 4s);
}

TEST_F(RelayStepTest, F06_MakesTheDiskCatchUpWhenItDoesNotByItself) {
    begin();
    open(1, 500, 400);
    read({{1}}, 1);
    EXPECT_FALSE(expect<command::Flush>().force);
    step_.on_flushed(450, now_);
    now_ += 5ms;
    EXPECT_TRUE(expect<command::Flush>().force);
    step_.on_flushed(510, now_);
    publish(1);
}

TEST_F(RelayStepTest, F06_MakesTheDiskCatchUpThoughThereIsMoreToRead) {
    begin();
    open(1'000, 500, 400);
    read({{1}}, 1);
    read({{2}}, 2);
    now_ += 5ms;
    EXPECT_TRUE(expect<command::Flush>().force);
    step_.on_flushed(510, now_);
    expect<command::StartRead>();
    publish(2);
}

TEST_F(RelayStepTest, ReadsSlotsThatCameInTwoTakeovers) {
    begin();
    open(0);
    const auto take_over = [&](std::int16_t slot) {
        now_ += 3s;
        expect<command::Observe>();
        std::vector<SlotView> views{{0, 1, kMe, 1}, {1, 0, std::nullopt, -1}};
        if (slot == 0) views = {{0, 0, std::nullopt, -1}, {1, 1, kMe, 1}};
        see(views, 0);
        expect<command::Acquire>();
        step_.on_acquired(std::vector{OwnedSlot{slot, slot == 0 ? 2 : 1}});
        expect<command::Load>();
        Loaded loaded;
        loaded.cursors.push_back({slot, Cursor{}});
        step_.on_loaded(loaded, now_);
        step_.on_measured({}, now_);
        step_.on_tidied(now_);
        step_.on_reclaimed({}, now_);
    };
    take_over(1);
    take_over(0);  // The lower slot came last.
    open(2);
    const auto request = expect<command::StartRead>().request;
    ASSERT_EQ(request.ranges.size(), 2U);
    EXPECT_EQ(request.ranges[0].slot, 0);
    EXPECT_EQ(request.ranges[1].slot, 1);
    expect<command::FinishRead>();
    ReadResult result;
    result.batch = batch_of({{1, "k", false, 0}, {2, "l", false, 1}});
    result.progress = {{0, 2}, {1, 2}};
    step_.on_read(std::move(result), now_);
    publish(2);
}

TEST_F(RelayStepTest, ForgetsEverythingWithTheDatabasesMemory) {
    begin();
    open(2);
    read({{1}, {2}}, 2);
    now_ += 3s;  // Time to beat.
    expect<command::Observe>();
    step_.on_store_error(Error{ErrorKind::unavailable, "incarnation_changed", "", ""}, now_);
    EXPECT_EQ(step_.slots_owned(), 0U);
    now_ += 1s;
    expect<command::Attach>();
}

TEST_F(RelayStepTest, F60_AttachesAtOnceHoweverLongTheDatabaseWasAway) {
    begin();
    for (int n = 0; n < 10; ++n) {
        step_.on_store_error(Error{ErrorKind::unavailable, "connection_lost", "", ""}, now_);
        now_ += 10s;
    }
    expect<command::Observe>();
    const Error forgot{ErrorKind::unavailable, "incarnation_changed", "", ""};
    step_.on_store_error(forgot, now_);
    expect<command::Attach>();
    step_.on_attached({});
    expect<command::Observe>();
    step_.on_store_error(forgot, now_);
    poll({});
    EXPECT_TRUE(std::holds_alternative<command::Wait>(step_.next(now_))) << "a hot loop";
}

TEST_F(RelayStepTest, KeepsItsMemoryThroughALostConnection) {
    begin();
    open(1);
    expect<command::StartRead>();
    step_.on_store_error(Error{ErrorKind::unavailable, "connection_lost", "", ""}, now_);
    EXPECT_FALSE(step_.store_is_up());
    EXPECT_EQ(step_.slots_owned(), 1U);
    poll({});
    EXPECT_TRUE(std::holds_alternative<command::Wait>(step_.next(now_)));
    now_ += 1s;
    expect<command::Observe>();
    see({{0, 1, kMe, 1}});
    step_.on_reclaimed({}, now_);
    read({{1}}, 1);
}

TEST_F(RelayStepTest, ReadsLessAfterAReadThatTookTooLong) {
    begin();
    open(1);
    std::size_t rows = RelayOptions{}.batch_max / 10;  // as every relay begins
    for (int n = 0; n < 20; ++n) {
        EXPECT_EQ(expect<command::StartRead>().request.rows_max, rows);
        step_.on_store_error(Error{ErrorKind::unavailable, "deadline_passed", "", ""}, now_);
        rows = std::max<std::size_t>(1, rows / 2);
        now_ += 10s;
        expect<command::Observe>();
        see({{0, 1, kMe, 1}});
        step_.on_measured({}, now_);
        step_.on_tidied(now_);
        step_.on_reclaimed({}, now_);
    }
    EXPECT_EQ(rows, 1U);
    EXPECT_EQ(expect<command::StartRead>().request.rows_max, 1U);
    expect<command::FinishRead>();
    step_.on_read({nullptr, {{0, 0}}, 0}, now_);
    EXPECT_EQ(expect<command::StartRead>().request.rows_max, 2U);
}

TEST_F(RelayStepTest, ReadsLittleWhileTheDestinationIsSlowerThanTheLog) {
    const std::size_t few = RelayOptions{}.batch_max / 10;
    begin();
    open(1'000);
    const auto finish_read = [&](std::int64_t position) {
        ReadResult result;
        result.batch = batch_of({{position}});
        result.progress.push_back({0, position});
        expect<command::FinishRead>();
        step_.on_read(std::move(result), now_);
    };
    EXPECT_EQ(expect<command::StartRead>().request.rows_max, few) << "nothing is known of it yet";
    finish_read(1);
    EXPECT_EQ(expect<command::StartRead>().request.rows_max, 2 * few) << "nothing is on its way";
    publish(1);
    poll({});
    finish_read(2);
    EXPECT_EQ(expect<command::StartRead>().request.rows_max, few) << "the first is not answered";
    publish(1);
    poll({{1, Receipt::State::accepted, "", ""}, {2, Receipt::State::accepted, "", ""}});
    finish_read(3);
    expect<command::StoreCursors>();
    step_.on_stored(std::vector<std::int16_t>{0}, now_);
    EXPECT_EQ(expect<command::StartRead>().request.rows_max, 2 * few);
}

TEST_F(RelayStepTest, F58_StoresAgainUnderANewNumberWhenTheAnswerWasLost) {
    begin();
    open(1);
    read({{1}}, 1);
    publish(1);
    poll({{1, Receipt::State::accepted, "", ""}});
    now_ += 100ms;
    const auto first = expect<command::StoreCursors>();
    step_.on_store_error(Error{ErrorKind::unavailable, "connection_lost", "", ""}, now_);
    now_ += 200ms;
    expect<command::Observe>();
    see({{0, 1, kMe, 1}});
    const auto second = expect<command::StoreCursors>();
    EXPECT_EQ(second.moves[0].cursor.last, 1);
    EXPECT_GT(second.moves[0].cursor.n, first.moves[0].cursor.n);
}

TEST_F(RelayStepTest, F28_DrainsStoresReleasesAndEnds) {
    begin();
    open(2);
    read({{1}, {2}}, 2);
    publish(2);
    step_.stop(now_, now_ + 20s);
    poll({{1, Receipt::State::accepted, "", ""}});
    poll({{2, Receipt::State::accepted, "", ""}});
    const auto store = expect<command::StoreCursors>();
    EXPECT_EQ(store.moves[0].cursor.last, 2);
    const std::int16_t stored = 0;
    step_.on_stored({&stored, 1}, now_);
    expect<command::Leave>();
    step_.on_left();
    expect<command::End>();
}

TEST_F(RelayStepTest, F28_LeavesThoughTheDatabaseLostItsMemoryJustBeforeTheStop) {
    begin();
    step_.on_store_error(Error{ErrorKind::unavailable, "incarnation_changed", "", ""}, now_);
    step_.stop(now_, now_ + 20s);
    expect<command::Attach>();
    step_.on_attached({});
    expect<command::Leave>();
    step_.on_left();
    expect<command::End>();
}

TEST_F(RelayStepTest, F28_EndsInTimeWhenItCannotAttachToLeave) {
    begin();
    step_.on_store_error(Error{ErrorKind::unavailable, "incarnation_changed", "", ""}, now_);
    const Instant deadline = now_ + 20s;
    step_.stop(now_, deadline);
    while (now_ < deadline) {
        Command next = step_.next(now_);
        if (auto* wait = std::get_if<command::Wait>(&next)) {
            now_ = std::max(now_ + 1ms, wait->until);
            continue;
        }
        ASSERT_TRUE(std::holds_alternative<command::Attach>(next)) << "command " << next.index();
        step_.on_store_error(Error{ErrorKind::unavailable, "store_unavailable", "", ""}, now_);
    }
    expect<command::End>();
}

TEST_F(RelayStepTest, F28_EndsAtOnceWhenItNeverAttached) {
    step_.stop(now_, now_ + 20s);
    expect<command::End>();
}

TEST_F(RelayStepTest, F28_SendsWhatStandsBeforeASentEventAndThenEnds) {
    begin();
    open(2);
    read({{1, "k", true}, {2, "l"}}, 2);
    publish(1);
    poll({{1, Receipt::State::accepted, "", ""}});
    now_ += 20ms;
    expect<command::LookAt>();
    step_.on_looked_at(std::vector{HoldState::held}, now_);
    step_.stop(now_, now_ + 20s);
    now_ += 20ms;
    EXPECT_EQ(expect<command::LookAt>().rows.size(), 1U);
    step_.on_looked_at(std::vector{HoldState::released}, now_);
    publish(1);
    poll({{2, Receipt::State::accepted, "", ""}});
    EXPECT_EQ(expect<command::StoreCursors>().moves[0].cursor.last, 2) << "nothing will repeat";
}

TEST_F(RelayStepTest, F28_DropsWhatIsHeldWhenNothingBehindItWasSent) {
    begin();
    open(1);
    read({{1, "k", true}}, 1);
    step_.stop(now_, now_ + 20s);
    expect<command::StoreCursors>();
}

TEST_F(RelayStepTest, PollsOftenWhileEventsComeToOthersSlots) {
    begin();
    open(0);
    now_ += 400ms;
    EXPECT_FALSE(std::holds_alternative<command::OpenWindow>(step_.next(now_))) << "at rest";
    now_ += 200ms;
    open(7);
    expect<command::StartRead>();
    step_.on_read({nullptr, {{0, 7}}, 0}, now_);
    now_ += 10ms;
    open(7);
}

TEST_F(RelayStepTest, AtRestALookAtTheSlotsTakesThePlaceOfAPoll) {
    begin();
    open(0);
    int openings = 0;
    int looks = 0;
    for (const Instant end = now_ + 30s; now_ < end; now_ += 10ms) {
        for (Command next = step_.next(now_); !std::holds_alternative<command::Wait>(next);
             next = step_.next(now_)) {
            if (std::holds_alternative<command::OpenWindow>(next)) {
                ++openings;
                step_.on_opened({.target = Snapshot::parse("10:10:"), .last_position = 0}, now_);
            } else if (std::holds_alternative<command::Observe>(next)) {
                ++looks;
                see({{0, 1, kMe, 1}}, 0);
            } else if (std::holds_alternative<command::Measure>(next)) {
                step_.on_measured({}, now_);
            } else if (std::holds_alternative<command::Reclaim>(next)) {
                ++openings;  // As much of a statement.
                step_.on_reclaimed({}, now_);
            } else if (std::holds_alternative<command::Poll>(next)) {
                step_.on_receipts({}, now_);
            } else {
                FAIL() << "command " << next.index();
            }
        }
    }
    EXPECT_GE(looks, 14) << "it beats";
    EXPECT_LE(looks + openings, 57);
}

TEST_F(RelayStepTest, F28_GivesASlotAwayOnlyWhenItsCursorHasCaughtUp) {
    begin();
    open(1);
    read({{1}}, 1);
    publish(1);
    const Id other = Id::parse("00000000-0000-7000-8000-000000000002");
    std::int64_t beat = 0;
    Command next = step_.next(now_);
    const std::vector<SlotView> slots{{0, 1, kMe, 1}, {1, 1, kMe, 1}};
    const auto wants = [&] {  // Two slots, and another relay that looks and has none.
        for (int n = 0; n < 105; ++n) {
            now_ += 100ms;
            see(slots, 1, {{other, ++beat}});
            const OwnedSlot second{1, 1};
            if (n == 0) step_.on_acquired({&second, 1});
        }
    };
    wants();
    Loaded loaded;
    loaded.cursors.push_back({1, Cursor{}});
    expect<command::Load>();
    step_.on_loaded(loaded, now_);
    // The higher slot has nothing in hand: it may go as soon as its cursor is stored.
    for (next = step_.next(now_); !std::holds_alternative<command::Release>(next);
         next = step_.next(now_)) {
        if (auto* store = std::get_if<command::StoreCursors>(&next)) {
            std::vector<std::int16_t> stored;
            for (const CursorMove& move : store->moves) stored.push_back(move.slot);
            step_.on_stored(stored, now_);
        } else if (std::holds_alternative<command::OpenWindow>(next)) {
            step_.on_opened({.target = Snapshot::parse("10:10:"), .last_position = 1}, now_);
        } else {
            ASSERT_TRUE(std::holds_alternative<command::Poll>(next)) << "command " << next.index();
            step_.on_receipts({}, now_);
        }
    }
    EXPECT_EQ(std::get<command::Release>(next).slots, (std::vector<OwnedSlot>{{1, 1}}));
    step_.on_released(std::get<command::Release>(next).slots);
    EXPECT_EQ(step_.slots_owned(), 1U);
}

TEST_F(RelayStepTest, F29_TriesAFailingStoreAtMostFiveTimesASecond) {
    int tries = 0;
    for (const Instant end = now_ + 10s; now_ < end; now_ += 1ms) {
        Command next = step_.next(now_);
        if (std::holds_alternative<command::Attach>(next)) {
            step_.on_attached({});  // It answers once each time it is up, and is gone again.
        } else if (std::holds_alternative<command::Observe>(next)) {
            ++tries;
            if (tries % 3 == 0) see({{0, 0, std::nullopt, -1}});
            step_.on_store_error(Error{ErrorKind::unavailable, "incarnation_changed", "", ""},
                                 now_);
        }
    }
    EXPECT_GT(tries, 5);
    EXPECT_LE(tries, 50);
}

TEST_F(RelayStepTest, F94_GivesUpWhatIsOnItsWayWhenTheTimeIsUp) {
    begin();
    open(1);
    read({{1}}, 1);
    publish(1);
    step_.stop(now_, now_ + 1s);
    Command next = step_.next(now_);
    for (; std::holds_alternative<command::Poll>(next); next = step_.next(now_)) {
        step_.on_receipts({}, now_);
        now_ += 100ms;
    }
    EXPECT_TRUE(std::holds_alternative<command::Abandon>(next));
    step_.on_receipts(std::vector{Receipt{1, Receipt::State::unknown, "", ""}}, now_);
    EXPECT_EQ(expect<command::StoreCursors>().moves[0].cursor.position, 0);
    const std::int16_t stored = 0;
    step_.on_stored({&stored, 1}, now_);
    expect<command::Leave>();
    EXPECT_EQ(step_.counters().accepted, 0U);
}

TEST_F(RelayStepTest, IsDrainedOnlyAfterALookThatFoundNothing) {
    begin();
    EXPECT_FALSE(step_.is_drained(now_));
    open(1);
    EXPECT_FALSE(step_.is_drained(now_)) << "rows are to be read";
    read({{1}}, 1);
    EXPECT_FALSE(step_.is_drained(now_)) << "a row is in hand";
    publish(1);
    poll({{1, Receipt::State::accepted, "", ""}});
    EXPECT_TRUE(step_.is_drained(now_));
    EXPECT_FALSE(step_.is_drained(now_ + 1ms)) << "something may have come since";
}

TEST(RelayOptions, OutOfRangeNamesTheOption) {
    RelayOptions options;
    options.batch_max = 0;
    try {
        RelayStep step(kMe, options, 1);
        FAIL() << "accepted";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), "option_range");
        EXPECT_NE(std::string(error.what()).find("batch_max"), std::string::npos);
    }
}

namespace {

/// Answers what an idle relay asks, half a second apart, until it wants to reclaim.
std::optional<ReclaimLimits> reclaim_within(int steps, RelayStep& step, Instant now,
                                            const std::vector<SlotView>& views) {
    for (; steps > 0; --steps) {
        const Command next = step.next(now);
        if (const auto* reclaim = std::get_if<command::Reclaim>(&next)) return reclaim->limits;
        if (std::holds_alternative<command::Observe>(next)) step.on_observed({.slots = views}, now);
        if (std::holds_alternative<command::Tidy>(next)) step.on_tidied(now);
        if (std::holds_alternative<command::Measure>(next)) step.on_measured({}, now);
        if (std::holds_alternative<command::Poll>(next)) step.on_receipts({}, now);
        if (std::holds_alternative<command::OpenWindow>(next)) {
            step.on_opened({.target = Snapshot::parse("10:10:")}, now);
        }
        now += 500ms;
    }
    return std::nullopt;
}

}  // namespace

TEST_F(RelayStepTest, F61_ReclaimsWhatIsDeliveredWithItsRetention) {
    begin();
    const auto limits = reclaim_within(10, step_, now_, {{0, 1, kMe, 1}});
    ASSERT_TRUE(limits.has_value());
    EXPECT_EQ(limits->retention, options_.retention);
}

TEST_F(RelayStepTest, LeavesReclaimingToTheOwnerOfTheLowestSlot) {
    expect<command::Attach>();
    step_.on_attached({});
    expect<command::Observe>();
    const std::vector<SlotView> views{{0, 1, Id::generate(), 1}, {1, 0, std::nullopt, -1}};
    see(views);
    expect<command::Acquire>();
    const OwnedSlot mine{1, 1};
    step_.on_acquired({&mine, 1});
    expect<command::Load>();
    Loaded loaded;
    loaded.cursors.push_back({1, Cursor{}});
    step_.on_loaded(loaded, now_);
    const std::vector<SlotView> later{{0, 1, views[0].owner, 1}, {1, 1, kMe, 1}};
    EXPECT_FALSE(reclaim_within(15, step_, now_, later).has_value());
}

}  // namespace sagaz::core
