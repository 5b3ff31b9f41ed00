#include "core/window.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>

namespace sagaz::core {
namespace {

SharedSnapshot snapshot(const char* text) {
    return std::make_shared<const Snapshot>(Snapshot::parse(text));
}

Opening opening(const char* target, std::uint64_t ceiling, std::int64_t last_position) {
    return {.target = Snapshot::parse(target), .ceiling = ceiling, .last_position = last_position};
}

Cursor closed_at(const char* done, std::uint64_t ceiling, std::int64_t last) {
    Cursor cursor;
    cursor.done = cursor.target = Snapshot::parse(done);
    cursor.done_ceiling = cursor.target_ceiling = ceiling;
    cursor.position = cursor.last = last;
    return cursor;
}

}  // namespace

TEST(SlotWindow, ReadsEverythingTheFirstTime) {
    SlotWindow window{3, Cursor{}, 0};
    ASSERT_TRUE(window.is_closed());
    window.open(opening("100:100:", 100, 57), snapshot("100:100:"));
    ASSERT_TRUE(window.wants_rows());
    EXPECT_EQ(window.range().after, 0);
    EXPECT_EQ(window.range().upto, 57);
    EXPECT_TRUE(window.range().late.empty());
    window.advance(57, 40);
    EXPECT_TRUE(window.is_closed());
    EXPECT_EQ(window.last(), 40);
}

TEST(SlotWindow, F09_LooksForTransactionsListedAsRunning) {
    SlotWindow window{0, closed_at("10:20:10,14", 20, 500), 0};
    window.open(opening("14:30:14", 30, 500), snapshot("14:30:14"));
    ASSERT_TRUE(window.needs_late_query());
    const LateQuery query = window.late_query();
    EXPECT_EQ(query.transactions, std::vector<std::uint64_t>{10}) << "14 is still running";
    EXPECT_EQ(query.upto, 500);
}

TEST(SlotWindow, F09_LooksForTransactionsBeyondXmaxThatNoListNames) {
    // 25 had begun when done was taken, but nothing above 19 had finished: it is in no list.
    SlotWindow window{0, closed_at("20:20:", 26, 500), 0};
    window.open(opening("40:40:", 45, 900), snapshot("40:40:"));
    ASSERT_TRUE(window.needs_late_query());
    EXPECT_EQ(window.late_query().range_min, 20U);
    EXPECT_EQ(window.late_query().range_end, 26U) << "the ceiling keeps it off the backlog";
}

TEST(SlotWindow, LooksAsFarAsTheTargetWithoutACeiling) {
    SlotWindow window{0, closed_at("20:20:", 0, 500), 0};
    window.open(opening("40:40:", 45, 900), snapshot("40:40:"));
    EXPECT_EQ(window.late_query().range_end, 40U);
}

TEST(SlotWindow, SkipsTheSearchWhenNothingCanBeLate) {
    SlotWindow window{0, closed_at("20:20:", 20, 500), 0};
    window.open(opening("40:40:", 45, 900), snapshot("40:40:"));
    EXPECT_FALSE(window.needs_late_query());
    EXPECT_EQ(window.range().after, 500);
}

TEST(SlotWindow, ReadsLateRowsBeforeTheOthers) {
    SlotWindow window{0, closed_at("10:20:10,14", 20, 500), 0};
    window.open(opening("30:30:", 30, 900), snapshot("30:30:"));
    window.found_late({10, 14});
    EXPECT_EQ(window.range().upto, 500);
    EXPECT_EQ(window.range().late, (std::vector<std::uint64_t>{10, 14}));
    window.advance(300, 300);
    EXPECT_EQ(window.range().after, 300);
    window.advance(500, 480);
    EXPECT_TRUE(window.range().late.empty());
    EXPECT_EQ(window.range().after, 500);
    EXPECT_EQ(window.range().upto, 900);
    window.advance(900, 0);
    EXPECT_TRUE(window.is_closed());
    EXPECT_EQ(window.last(), 500);
}

TEST(SlotWindow, TakesUpAnInheritedWindowWhereItWasStored) {
    Cursor cursor = closed_at("10:20:10", 20, 500);
    cursor.target = Snapshot::parse("30:30:");
    cursor.target_ceiling = 31;
    cursor.position = 200;  // Still among the late rows.
    SlotWindow window{0, cursor, 77};
    ASSERT_TRUE(window.needs_end());
    window.open(opening("50:50:", 50, 1'000), snapshot("50:50:"));
    ASSERT_TRUE(window.needs_late_query());
    EXPECT_EQ(window.late_query().after, 200);
    window.found_late({10});
    EXPECT_EQ(window.range().after, 200);
    EXPECT_EQ(window.range().target->text(), "30:30:") << "its own target, not the new one";
    EXPECT_GE(window.gate(), 77U);
}

TEST(SlotWindow, F08_RefusesASequenceThatStandsBelowWhatWasDelivered) {
    SlotWindow window{0, closed_at("20:20:", 20, 500), 0};
    try {
        window.open(opening("40:40:", 45, 499), snapshot("40:40:"));
        FAIL() << "opened";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), "sequence_behind");
        EXPECT_EQ(error.kind(), ErrorKind::fatal);
    }
}

}  // namespace sagaz::core
