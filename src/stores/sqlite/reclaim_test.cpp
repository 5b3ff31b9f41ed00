// What a file gives back of its log, and whom that never holds up.
#include "testing/store_reader.hpp"
#include "tests/support/sqlite_file.hpp"

#include <gtest/gtest.h>

namespace sagaz {
namespace {

using test::commit_event;
using test::SqliteConnection;
using test::SqliteFile;
using testing::payloads_of;
using testing::StoreReader;
using Words = std::vector<std::string>;

constexpr Milliseconds kHour{3'600'000};

class SqliteReclaim : public ::testing::Test {
protected:
    void append(int rows) {
        for (int n = 0; n < rows; ++n) commit_event(file_, std::to_string(n));
    }
    void deliver() {
        (void)reader_.read_window();
        auto moves = reader_.moves();
        for (auto& move : moves) move.cursor.n = ++n_;
        EXPECT_EQ(store_->store(moves, {}).size(), moves.size());
    }
    void grow_old(const std::string& where) {
        sql_.run("UPDATE sagaz_outbox SET created_at = '2020-01-01T00:00:00.000Z' WHERE " + where);
    }
    std::string ids() {
        return sql_.value("SELECT coalesce(group_concat(id), '') FROM sagaz_outbox");
    }

    SqliteFile file_;
    SqliteConnection sql_{file_.path()};
    std::unique_ptr<Store> store_{file_.open()};
    StoreReader reader_{*store_};
    std::int64_t n_{1};
};

TEST_F(SqliteReclaim, F61_DeletesWhatIsDeliveredAndOld) {
    append(4);
    deliver();
    append(1);
    grow_old("id IN (1, 2, 4, 5)");
    EXPECT_EQ(store_->reclaim({}).deleted, 3);
    EXPECT_EQ(ids(), "3,5") << "one is young, the other was not delivered";
    EXPECT_EQ(payloads_of(reader_.read_window()), Words{"0"});
}

TEST_F(SqliteReclaim, DeletesAtOnceWhatLiesASegmentBehind) {
    append(3);
    sql_.run("UPDATE sqlite_sequence SET seq = 300000 WHERE name = 'sagaz_outbox'");
    append(1);
    deliver();
    EXPECT_EQ(store_->reclaim({.retention = kHour}).deleted, 0);
    EXPECT_EQ(store_->reclaim({}).deleted, 3);
    EXPECT_EQ(ids(), "300001");
}

TEST_F(SqliteReclaim, DeletesInBoundedBatches) {
    append(5);
    deliver();
    grow_old("true");
    const ReclaimLimits limits{.rows_max = 2};
    EXPECT_EQ(store_->reclaim(limits).deleted, 2);
    EXPECT_TRUE(store_->reclaim(limits).has_more);
    EXPECT_EQ(store_->reclaim(limits).deleted, 1);
    EXPECT_FALSE(store_->reclaim(limits).has_more);
}

TEST_F(SqliteReclaim, LeavesTheFileToWhoeverWrites) {
    append(1);
    deliver();
    grow_old("true");
    test::SqliteWriter writer(file_.path());
    const Reclaimed held = store_->reclaim({});
    EXPECT_TRUE(held.blocked);
    EXPECT_EQ(held.deleted, 0);
    writer.commit();
    EXPECT_EQ(store_->reclaim({}).deleted, 1);
}

TEST_F(SqliteReclaim, KeepsEverythingWhenACursorIsMissingOrAheadOfTheFile) {
    append(2);
    deliver();
    grow_old("true");
    sql_.run("CREATE TABLE kept AS SELECT * FROM sagaz_cursor");
    for (const char* damage :
         {"DELETE FROM sagaz_cursor", "UPDATE sagaz_cursor SET done = '99:99:', target = '99:99:'",
          "INSERT INTO sagaz_slot (destination, slot) VALUES ('other', 0)"}) {
        sql_.run(damage);
        EXPECT_EQ(store_->reclaim({}).deleted, 0) << damage;
        sql_.run("DELETE FROM sagaz_cursor; INSERT INTO sagaz_cursor SELECT * FROM kept");
    }
    sql_.run("DELETE FROM sagaz_slot WHERE destination = 'other'");
    EXPECT_EQ(store_->reclaim({}).deleted, 2);
}

}  // namespace
}  // namespace sagaz
