// Is the model true? What is expected here is what PostgreSQL does; model_pgtest.cpp runs the
// scripts that matter most on a real one beside it.
#include "database.hpp"

#include <gtest/gtest.h>

namespace sagaz::simulation {
namespace {

class Database : public testing::Test {
protected:
    EventIndex append(SimDatabase::Tx tx, const std::string& key) {
        database_.take_xid(tx);
        return database_.insert(tx, {.topic = "t", .key = key, .payload = "p"},
                                database_.next_position());
    }
    Lsn commit(SimDatabase::Tx tx) {
        const Lsn lsn = database_.write_commit(tx);
        database_.become_visible(tx);
        database_.release_locks(tx);
        return lsn;
    }
    std::size_t live() const { return database_.live(0).size(); }

    Scheduler scheduler_{1};
    SimDatabase database_{scheduler_, 2, Settings{.slot_count = 1}};
};

}  // namespace

TEST_F(Database, GivesAnXidAtTheFirstWriteOnly) {
    const std::uint64_t before = database_.next_xid();
    const auto reader = database_.begin();
    EXPECT_EQ(database_.next_xid(), before);
    database_.release_locks(reader);
    EXPECT_EQ(database_.next_xid(), before);
    const auto writer = database_.begin();
    EXPECT_EQ(database_.take_xid(writer), before);
    EXPECT_EQ(database_.take_xid(writer), before);
}

TEST_F(Database, EndsASnapshotAfterTheLastTransactionThatFinished) {
    const auto first = database_.begin();
    const auto second = database_.begin();
    const auto third = database_.begin();
    const std::uint64_t low = database_.take_xid(first);
    append(second, "a");
    append(third, "b");
    commit(second);
    // The third runs, but its xid is at xmax: it is not in the list. This is the trap of the log.
    const Snapshot snapshot = database_.snapshot();
    EXPECT_EQ(snapshot.xmin, low);
    EXPECT_EQ(snapshot.xmax, low + 2);
    EXPECT_EQ(snapshot.running, std::vector<std::uint64_t>{low});
    EXPECT_FALSE(snapshot.sees(low + 2));
    commit(third);
    EXPECT_EQ(database_.snapshot().xmax, low + 3);
    EXPECT_FALSE(snapshot.sees(low + 2));
}

TEST_F(Database, CountsARolledBackSubtransactionAsFinished) {
    const auto tx = database_.begin();
    const EventIndex kept = append(tx, "a");
    database_.savepoint(tx);
    const EventIndex undone = append(tx, "a");
    database_.rollback_to_savepoint(tx);
    const std::uint64_t xid = database_.row(kept).xid;
    EXPECT_EQ(database_.row(undone).xid, xid) << "the column holds the top transaction's id";
    EXPECT_EQ(database_.next_xid(), xid + 2) << "the subtransaction took one of its own";
    EXPECT_EQ(database_.snapshot().xmax, xid + 2);
    EXPECT_EQ(database_.snapshot().running, std::vector<std::uint64_t>{xid});
    commit(tx);
    EXPECT_EQ(live(), 1U);
    EXPECT_EQ(database_.row(undone).fate, Fate::rolled_back);
}

TEST_F(Database, NeverTakesBackAPosition) {
    const auto undone = database_.begin();
    const EventIndex first = append(undone, "a");
    database_.abort(undone);
    const auto tx = database_.begin();
    const EventIndex second = append(tx, "a");
    EXPECT_EQ(database_.row(second).position, database_.row(first).position + 1);
    EXPECT_EQ(live(), 0U) << "nothing is visible before the commit";
    commit(tx);
    EXPECT_EQ(live(), 1U);
}

TEST_F(Database, GivesARowLockOnAfterTheHolderHasBecomeVisible) {
    const auto holder = database_.begin();
    const auto waiter = database_.begin();
    bool granted = false;
    EXPECT_TRUE(database_.lock(holder, "k", [] {}));
    EXPECT_TRUE(database_.lock(holder, "k", [] {})) << "its own lock again";
    EXPECT_FALSE(database_.lock(waiter, "k", [&] { granted = true; }));
    append(holder, "k");
    database_.write_commit(holder);
    scheduler_.run_for(milliseconds{1});
    EXPECT_FALSE(granted);
    database_.become_visible(holder);
    scheduler_.run_for(milliseconds{1});
    EXPECT_FALSE(granted) << "visible first, then the lock";
    database_.release_locks(holder);
    scheduler_.run_for(milliseconds{1});
    EXPECT_TRUE(granted);
}

TEST_F(Database, F06_ForgetsAVisibleCommitThatWasNotFlushed) {
    const auto kept = database_.begin();
    const EventIndex flushed = append(kept, "a");
    database_.flush(commit(kept));
    const auto async = database_.begin();
    const EventIndex visible = append(async, "b");
    commit(async);
    EXPECT_EQ(live(), 2U);
    EXPECT_FALSE(database_.is_durable(database_.row(visible)));
    database_.crash(database_.flushed_lsn());
    database_.start();
    EXPECT_EQ(live(), 1U);
    EXPECT_EQ(database_.row(flushed).fate, Fate::committed);
    EXPECT_EQ(database_.row(visible).fate, Fate::lost);
}

TEST_F(Database, F08_UsesXidsAndPositionsAgainAfterACrash) {
    const auto kept = database_.begin();
    const EventIndex flushed = append(kept, "a");
    database_.flush(commit(kept));
    const Lsn disk = database_.flushed_lsn();
    std::uint64_t lost_xid = 0;
    for (int n = 0; n < 40; ++n) {
        const auto async = database_.begin();
        lost_xid = database_.row(append(async, "b")).xid;
        commit(async);
    }
    const std::int64_t before = database_.last_position();
    database_.crash(database_.flushed_lsn());
    database_.start();
    EXPECT_EQ(database_.insert_lsn(), disk) << "positions of the WAL come again, too";
    EXPECT_EQ(database_.next_xid(), database_.row(flushed).xid + 1);
    EXPECT_LE(database_.next_xid(), lost_xid);
    const std::int64_t next = database_.next_position();
    EXPECT_GT(next, database_.row(flushed).position) << "never below what is flushed";
    EXPECT_LE(next, database_.row(flushed).position + 33) << "at most 32 are skipped";
    EXPECT_LT(next, before);
}

TEST_F(Database, MakesACommitVisibleThatReachedTheDiskBeforeTheCrash) {
    const auto tx = database_.begin();
    const EventIndex event = append(tx, "a");
    database_.flush(database_.write_commit(tx));
    EXPECT_EQ(live(), 0U) << "its session has not got that far";
    database_.crash(0);
    database_.start();
    EXPECT_EQ(live(), 1U);
    EXPECT_EQ(database_.row(event).fate, Fate::committed);
}

TEST_F(Database, EmptiesTheTokenAndKeepsOnlyFlushedTablesInACrash) {
    database_.make_token(Id::parse("0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa"));
    database_.write([](Tables& tables) { tables.slots[0].epoch = 1; });
    database_.flush(database_.insert_lsn());
    database_.write([](Tables& tables) { tables.slots[0].epoch = 2; });
    EXPECT_EQ(database_.tables().slots[0].epoch, 2);
    database_.crash(database_.flushed_lsn());
    EXPECT_EQ(database_.tables().slots[0].epoch, 1);
    EXPECT_FALSE(database_.token().has_value());
    EXPECT_FALSE(database_.is_up());
}

TEST_F(Database, BringsBackADeletedRowWhoseDeletionWasNotFlushed) {
    const auto tx = database_.begin();
    const EventIndex event = append(tx, "a");
    database_.flush(commit(tx));
    database_.remove(event);
    EXPECT_EQ(live(), 0U);
    database_.crash(database_.flushed_lsn());
    EXPECT_EQ(live(), 1U);
}

TEST_F(Database, WakesThoseWhoWaitForALockWhenItCrashes) {
    const auto holder = database_.begin();
    const auto waiter = database_.begin();
    bool woken = false;
    EXPECT_TRUE(database_.lock(holder, "k", [] {}));
    EXPECT_FALSE(database_.lock(waiter, "k", [&] { woken = true; }));
    database_.crash(0);
    scheduler_.run_for(milliseconds{1});
    EXPECT_TRUE(woken);
}

TEST_F(Database, CoversWhatACursorCounts) {
    LogRow row;
    row.xid = 12;
    row.position = 5;
    Cursor cursor{
        .done = Snapshot::parse("10:11:10"), .target = Snapshot::parse("10:20:14"), .position = 4};
    EXPECT_FALSE(covers(cursor, row));
    cursor.position = 5;
    EXPECT_TRUE(covers(cursor, row));
    row.xid = 14;
    EXPECT_FALSE(covers(cursor, row)) << "still running in target";
    cursor.done = Snapshot::parse("20:20:");
    EXPECT_TRUE(covers(cursor, row));
}

}  // namespace sagaz::simulation
