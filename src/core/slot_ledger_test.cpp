#include "core/slot_ledger.hpp"

#include "core/test_rows.hpp"

#include <gtest/gtest.h>

namespace sagaz::core {
namespace {

SharedSnapshot snapshot(const char* text) {
    return std::make_shared<const Snapshot>(Snapshot::parse(text));
}

class SlotLedgerTest : public testing::Test {
protected:
    void add(std::vector<TestRow> rows) {
        BatchHold* hold = pool_.keep(batch_of(rows));
        for (const Row& row : hold->batch->rows) ledger_.append(row, hold, 0);
    }

    BatchPool pool_;
    SlotLedger ledger_{0, Cursor{}};
};

}  // namespace

TEST_F(SlotLedgerTest, StoresOnlyAsFarAsEverythingIsFinished) {
    ledger_.begin_window(snapshot("10:10:"), 10);
    add({{1}, {2}, {3}});
    ledger_.finish(1, pool_);
    EXPECT_EQ(ledger_.settling(10).cursor.position, 0) << "the first is not finished";
    ledger_.finish(0, pool_);
    EXPECT_EQ(ledger_.settling(10).cursor.position, 2);
}

TEST_F(SlotLedgerTest, ClosesAWindowOnlyBehindItsLastRow) {
    ledger_.begin_window(snapshot("10:10:"), 10);
    add({{1}, {2}});
    ledger_.end_window(2);
    ledger_.finish(0, pool_);
    Cursor cursor = ledger_.settling(10).cursor;
    EXPECT_EQ(cursor.done, Snapshot{});
    EXPECT_EQ(cursor.target.text(), "10:10:");
    EXPECT_EQ(cursor.position, 1);
    ledger_.finish(1, pool_);
    cursor = ledger_.settling(10).cursor;
    EXPECT_EQ(cursor.done.text(), "10:10:");
    EXPECT_EQ(cursor.last, 2);
}

TEST_F(SlotLedgerTest, KeepsTheStoredCursorInTheWindowOfAHeldRow) {
    ledger_.begin_window(snapshot("10:10:"), 10);
    add({{1}, {2}});
    ledger_.end_window(2);
    ledger_.entry(0).state = EntryState::held;
    ledger_.finish(1, pool_);
    ledger_.begin_window(snapshot("20:20:"), 20);
    add({{3}});
    ledger_.end_window(3);
    ledger_.finish(2, pool_);
    const Cursor cursor = ledger_.settling(10).cursor;
    EXPECT_EQ(cursor.done, Snapshot{}) << "memory is two windows on, the stored cursor is not";
    EXPECT_EQ(cursor.position, 0);
    ledger_.finish(0, pool_);
    EXPECT_EQ(ledger_.settling(10).cursor.done.text(), "20:20:");
}

TEST_F(SlotLedgerTest, ParksInTheStoreThatPassesThem) {
    ledger_.begin_window(snapshot("10:10:"), 10);
    add({{1}, {2}, {3}});
    ledger_.park(1, "payload_too_large", "1 MB", pool_);
    EXPECT_TRUE(ledger_.settling(10).parked.empty()) << "an earlier event is not finished";
    ledger_.finish(0, pool_);
    const auto settling = ledger_.settling(10);
    ASSERT_EQ(settling.parked.size(), 1U);
    EXPECT_EQ(settling.parked[0].position, 2);
    EXPECT_EQ(settling.parked[0].reason, "payload_too_large");
    EXPECT_EQ(settling.cursor.position, 2);
    EXPECT_EQ(ledger_.front(), 1U) << "not gone before it is stored";
    ledger_.stored(settling, pool_);
    EXPECT_EQ(ledger_.front(), 2U);
}

TEST_F(SlotLedgerTest, ParksNoMoreThanTheLimitAtOnce) {
    ledger_.begin_window(snapshot("10:10:"), 10);
    add({{1}, {2}, {3}});
    for (std::uint64_t n = 0; n < 3; ++n) ledger_.park(n, "r", "", pool_);
    const auto settling = ledger_.settling(2);
    EXPECT_EQ(settling.parked.size(), 2U);
    EXPECT_EQ(settling.cursor.position, 2);
}

TEST_F(SlotLedgerTest, NeverUsesANumberTwice) {
    const auto first = ledger_.settling(1);
    const auto second = ledger_.settling(1);  // The first answer was lost.
    EXPECT_GT(second.cursor.n, first.cursor.n);
}

TEST_F(SlotLedgerTest, EmptyWindowsBehindAStuckRowTakeNoMemory) {
    ledger_.begin_window(snapshot("10:10:"), 10);
    add({{1}});
    ledger_.end_window(1);
    for (std::uint64_t n = 11; n < 2'000; ++n) {
        const std::string text = std::to_string(n) + ":" + std::to_string(n) + ":";
        ledger_.begin_window(snapshot(text.c_str()), n);
        ledger_.end_window(1);
    }
    ledger_.finish(0, pool_);
    EXPECT_EQ(ledger_.settling(1).cursor.done.text(), "1999:1999:");
}

TEST_F(SlotLedgerTest, FreesABatchWithItsLastRow) {
    ledger_.begin_window(snapshot("10:10:"), 10);
    add({{1}, {2}});
    EXPECT_GT(pool_.bytes(), 0U);
    ledger_.finish(1, pool_);
    EXPECT_GT(pool_.bytes(), 0U);
    ledger_.finish(0, pool_);
    EXPECT_EQ(pool_.bytes(), 0U);
}

}  // namespace sagaz::core
