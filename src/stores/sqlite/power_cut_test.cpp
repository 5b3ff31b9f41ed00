// The disk's part: what is on it when, what happens when it fails.
#include "testing/store_reader.hpp"
#include "tests/support/error_code.hpp"
#include "tests/support/sqlite_disk.hpp"
#include "tests/support/sqlite_file.hpp"

#include <gtest/gtest.h>

namespace sagaz {
namespace {

using test::code_of;
using test::SqliteConnection;
using test::SqliteDisk;
using test::SqliteFile;
using testing::payloads_of;
using testing::StoreReader;
using Words = std::vector<std::string>;

class SqlitePowerCut : public ::testing::Test {
protected:
    std::string events_after_a_cut() {
        return SqliteConnection(disk_.cut_power(file_.path()))
            .value("SELECT count(*) FROM sagaz_outbox");
    }

    SqliteDisk disk_;
    SqliteFile file_;
};

constexpr const char* kInsert =
    "INSERT INTO sagaz_outbox (topic, key, event_type, payload) VALUES ('t', 'k', 'E', 'a')";

TEST_F(SqlitePowerCut, F87_TheGateHoldsForAConnectionWithSynchronousNormal) {
    SqliteConnection application(file_.path());
    application.run("PRAGMA synchronous = NORMAL");
    const auto store = file_.open();
    StoreReader reader(*store);
    application.run(kInsert);
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"a"}) << "everybody reads it";
    EXPECT_EQ(events_after_a_cut(), "0") << "yet it is not on the disk";
    EXPECT_LT(store->flushed(false), reader.opening().gate);
    EXPECT_GE(store->flushed(true), reader.opening().gate);
    EXPECT_EQ(events_after_a_cut(), "1");
}

TEST_F(SqlitePowerCut, F87_TheGateHoldsWhenTheLogWasMovedToTheDatabase) {
    SqliteConnection application(file_.path());
    application.run("PRAGMA synchronous = NORMAL");
    const auto store = file_.open();
    StoreReader reader(*store);
    application.run(kInsert);
    application.run("PRAGMA wal_checkpoint(RESTART)");
    EXPECT_EQ(events_after_a_cut(), "1") << "a checkpoint syncs what it moved";
    application.run(kInsert);
    EXPECT_EQ(reader.read_window().size(), 2U);
    EXPECT_GE(store->flushed(true), reader.opening().gate);
    EXPECT_EQ(events_after_a_cut(), "2");
}

TEST_F(SqlitePowerCut, EveryCommitOfARelayIsOnTheDisk) {
    const auto store = file_.open();
    StoreReader reader(*store);
    test::commit_event(file_, "a");
    (void)reader.read_window();
    (void)store->store(reader.moves(), {});
    SqliteConnection after(disk_.cut_power(file_.path()));
    EXPECT_EQ(after.value("SELECT max(position) FROM sagaz_cursor"), "1");
    EXPECT_GE(store->flushed(false), reader.opening().gate) << "and opens the gate";
}

TEST_F(SqlitePowerCut, F88_UsesAConnectionNoMoreWhoseSyncFailed) {
    const auto store = file_.open();
    StoreReader reader(*store);
    test::commit_event(file_, "a");
    (void)reader.read_window();
    disk_.fail_syncs(true);
    EXPECT_EQ(code_of([&] { (void)store->flushed(true); }), "file_io");
    disk_.fail_syncs(false);
    EXPECT_EQ(code_of([&] { (void)store->flushed(true); }), "incarnation_changed");
    StoreReader again(*store);
    EXPECT_EQ(payloads_of(again.read_window()), Words{"a"});
    EXPECT_GE(store->flushed(true), again.opening().gate);
    EXPECT_EQ(events_after_a_cut(), "1");
}

TEST_F(SqlitePowerCut, F90_GoesOnWhenTheDiskHasRoomAgain) {
    const auto store = file_.open();
    StoreReader reader(*store);
    test::commit_event(file_, "a");
    (void)reader.read_window();
    disk_.fail_writes(true);
    EXPECT_EQ(code_of([&] { (void)store->store(reader.moves(), {}); }), "disk_full");
    EXPECT_ANY_THROW(test::commit_event(file_, "refused"));
    disk_.fail_writes(false);
    EXPECT_EQ(code_of([&] { (void)store->observe({}); }), "incarnation_changed");
    test::commit_event(file_, "b");
    StoreReader again(*store);
    EXPECT_EQ(payloads_of(again.read_window()), (Words{"a", "b"}));
}

}  // namespace
}  // namespace sagaz
