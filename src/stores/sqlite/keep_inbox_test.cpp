// Marks of consumers in a file: which go, which stay, and whom that never holds up.
#include "tests/support/sqlite_file.hpp"

#include <sagaz/id.hpp>

#include <gtest/gtest.h>

namespace sagaz {
namespace {

using test::SqliteConnection;
using test::SqliteFile;

class SqliteKeepInbox : public ::testing::Test {
protected:
    SqliteKeepInbox() { store_->attach(Id::generate()); }

    void mark(const std::string& consumer, int count, const std::string& set) {
        sql_.run("WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < " +
                 std::to_string(count) +
                 ") INSERT INTO sagaz_consumer_inbox (event_id, consumer_name, payload_hash, "
                 "consumed_at) SELECT lower(hex(randomblob(16))), '" +
                 consumer + "', x'', strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '" + set + "') FROM c");
    }
    std::string marks() { return sql_.value("SELECT count(*) FROM sagaz_consumer_inbox"); }
    std::int64_t keep() {
        InboxLimits limits;
        std::int64_t removed = 0;
        for (int n = 0; n < 100; ++n) {
            const auto kept = store_->keep_inbox(limits);
            removed += kept.removed;
            limits.place = kept.place;
            if (kept.place.empty()) return removed;
        }
        ADD_FAILURE() << "it does not end";
        return removed;
    }

    SqliteFile file_;
    SqliteConnection sql_{file_.path()};
    std::unique_ptr<Store> store_{file_.open()};
};

TEST_F(SqliteKeepInbox, F71_RemovesMarksPastTheRetentionPieceByPiece) {
    EXPECT_EQ(keep(), 0);
    mark("billing", 1'500, "-31 days");
    mark("billing", 700, "-29 days");
    mark("shipping", 1'000, "-40 days");
    const auto first = store_->keep_inbox({});
    EXPECT_LE(first.removed, 1'000);
    EXPECT_NE(first.place, "");
    EXPECT_EQ(first.removed + keep(), 2'500);
    EXPECT_EQ(marks(), "700");
}

TEST_F(SqliteKeepInbox, LeavesTheMarkOfAMessageThatIsParked) {
    mark("billing", 2, "-31 days");
    sql_.run(
        "INSERT INTO sagaz_parked (direction, destination, consumer_name, event_id, reason, "
        "event_type, content_type) SELECT 'inbox', 'default', consumer_name, event_id, "
        "'id_conflict', 'E', '' FROM sagaz_consumer_inbox LIMIT 1");
    EXPECT_EQ(keep(), 1);
    EXPECT_EQ(marks(), "1");
}

TEST_F(SqliteKeepInbox, WaitsForNoOtherWriter) {
    mark("billing", 1, "-31 days");
    sql_.run("BEGIN IMMEDIATE");
    EXPECT_TRUE(store_->keep_inbox({}).blocked);
    sql_.run("COMMIT");
    EXPECT_EQ(keep(), 1);
}

}  // namespace
}  // namespace sagaz
