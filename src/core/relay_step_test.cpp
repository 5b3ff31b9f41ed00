#include "core/relay_step.hpp"

#include "core/test_rows.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>

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

    /// Attached, owner of the only slot, with its first cursor.
    void begin() {
        expect<command::Attach>();
        step_.on_attached({});
        expect<command::Observe>();
        const SlotView free{0, 0, std::nullopt, -1};
        step_.on_observed({&free, 1}, now_);
        expect<command::Acquire>();
        const OwnedSlot mine{0, 1};
        step_.on_acquired({&mine, 1});
        expect<command::Load>();
        Loaded loaded;
        loaded.cursors.push_back({0, Cursor{}});
        step_.on_loaded(loaded);
        step_.on_tidied(now_);
        step_.on_measured(now_);
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
    RelayStep step_{kMe, RelayOptions{}, 1};
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
            const SlotView mine{0, 1, kMe, 1};
            step_.on_observed({&mine, 1}, now_);
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
        step_.on_observed(views, now_);
        expect<command::Acquire>();
        step_.on_acquired(std::vector{OwnedSlot{slot, slot == 0 ? 2 : 1}});
        expect<command::Load>();
        Loaded loaded;
        loaded.cursors.push_back({slot, Cursor{}});
        step_.on_loaded(loaded);
        step_.on_measured(now_);
        step_.on_tidied(now_);
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
    const SlotView mine{0, 1, kMe, 1};
    step_.on_observed({&mine, 1}, now_);
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
        const SlotView mine{0, 1, kMe, 1};
        step_.on_observed({&mine, 1}, now_);
        step_.on_measured(now_);
        step_.on_tidied(now_);
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
    const SlotView mine{0, 1, kMe, 1};
    step_.on_observed({&mine, 1}, now_);
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
    EXPECT_EQ(expect<command::Release>().slots, (std::vector<OwnedSlot>{{0, 1}}));
    step_.on_released();
    expect<command::End>();
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
    expect<command::Release>();
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

}  // namespace sagaz::core
