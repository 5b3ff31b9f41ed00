// What an optimistic publisher's store does that the port does not ask for: the file, its disk and
// its other writers.
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
using test::SqliteWriter;
using testing::StoreReader;

constexpr Milliseconds kHold{60'000};
constexpr Milliseconds kMargin{500};

class SqlitePublisher : public ::testing::Test {
protected:
    RowRef append(const std::string& key, Milliseconds hold = kHold) {
        SqliteWriter writer(file_.path());
        writer.append({.topic = "t", .key = key, .event_type = "E", .payload = "p"}, hold);
        writer.commit();
        SqliteConnection sql(file_.path());
        const auto at = "FROM sagaz_outbox ORDER BY id DESC LIMIT 1";
        return {0, std::stoll(sql.value(std::string("SELECT id ") + at)),
                Id::parse(sql.value(std::string("SELECT event_id ") + at))};
    }

    static std::vector<Verdict> verdicts_of(PublisherStore& store, std::vector<RowRef> asked,
                                            const std::vector<RowRef>& acknowledged = {}) {
        return store.confirm(asked, acknowledged, kMargin).verdicts;
    }

    std::string events_after_a_cut() {
        return SqliteConnection(disk_.cut_power(file_.path()))
            .value("SELECT count(*) FROM sagaz_outbox");
    }

    SqliteDisk disk_;
    SqliteFile file_;
    std::unique_ptr<Store> relay_ = file_.open();
    StoreReader reader_{*relay_};  // A relay has attached to the file.
};

using Verdicts = std::vector<Verdict>;

}  // namespace

TEST_F(SqlitePublisher, F87_TheGateHoldsForAConnectionWithSynchronousNormal) {
    SqliteConnection application(file_.path());
    application.run("PRAGMA synchronous = NORMAL");
    const auto store = file_.open_publisher();
    (void)store->attach();
    application.run(
        "INSERT INTO sagaz_outbox (topic, key, event_type, payload, held_until) "
        "VALUES ('t', 'k', 'E', 'a', '2999-01-01T00:00:00.000Z')");
    const RowRef row{0, 1, Id::parse(application.value("SELECT event_id FROM sagaz_outbox"))};
    const Confirmation confirmation = store->confirm(std::vector{row}, {}, kMargin);
    EXPECT_EQ(confirmation.verdicts, Verdicts{Verdict::ready}) << "everybody reads it";
    EXPECT_LT(confirmation.flushed, confirmation.gate);
    EXPECT_LT(store->flushed(false), confirmation.gate);
    EXPECT_EQ(events_after_a_cut(), "0") << "yet it is not on the disk";
    EXPECT_GE(store->flushed(true), confirmation.gate);
    EXPECT_EQ(events_after_a_cut(), "1");
}

TEST_F(SqlitePublisher, F87_TheGateHoldsWhenTheLogWasMovedToTheDatabase) {
    SqliteConnection application(file_.path());
    application.run("PRAGMA synchronous = NORMAL");
    const auto store = file_.open_publisher();
    (void)store->attach();
    const char* insert = "INSERT INTO sagaz_outbox (event_type, payload) VALUES ('E', 'a')";
    application.run(insert);
    application.run("PRAGMA wal_checkpoint(RESTART)");
    application.run(insert);
    EXPECT_EQ(store->flushed(true), 2U);
    EXPECT_EQ(events_after_a_cut(), "2");
}

TEST_F(SqlitePublisher, F88_UsesAConnectionNoMoreWhoseSyncFailed) {
    const auto store = file_.open_publisher();
    (void)store->attach();
    (void)append("k");
    disk_.fail_syncs(true);
    EXPECT_EQ(code_of([&] { (void)store->flushed(true); }), "file_io");
    disk_.fail_syncs(false);
    EXPECT_EQ(code_of([&] { (void)store->flushed(true); }), "incarnation_changed");
    (void)store->attach();
    EXPECT_EQ(store->flushed(true), 1U);
}

TEST_F(SqlitePublisher, F89_ConfirmsAndSyncsWhileAnotherConnectionWrites) {
    const auto store = file_.open_publisher(Milliseconds{20});
    (void)store->attach();
    const RowRef row = append("k");
    SqliteWriter other(file_.path());
    other.append("not committed");
    EXPECT_EQ(verdicts_of(*store, {row}), Verdicts{Verdict::ready});
    EXPECT_EQ(store->flushed(true), 1U);
    EXPECT_EQ(code_of([&] { store->settle(std::vector{row}, {}); }), "busy");
    other.commit();
    store->settle(std::vector{row}, {});
    EXPECT_EQ(verdicts_of(*store, {row}), Verdicts{Verdict::not_committed});
}

TEST_F(SqlitePublisher, F90_ActsOnNoFileThatWasPutInItsPlace) {
    const auto store = file_.open_publisher();
    (void)store->attach();
    const RowRef row = append("k");
    file_.replace(file_.copy());
    EXPECT_EQ(code_of([&] { verdicts_of(*store, {row}); }), "incarnation_changed");
    EXPECT_EQ(code_of([&] { (void)store->flushed(true); }), "incarnation_changed");
    EXPECT_EQ(code_of([&] { store->settle(std::vector{row}, {}); }), "incarnation_changed");
    EXPECT_TRUE(store->attach().incarnation.is_zero());
    EXPECT_EQ(verdicts_of(*store, {row}), Verdicts{Verdict::late})
        << "a copy may be of any age; a relay is to give it a token first";
    StoreReader relay(*relay_);
    EXPECT_EQ(code_of([&] { verdicts_of(*store, {row}); }), "incarnation_changed");
    EXPECT_FALSE(store->attach().incarnation.is_zero());
    EXPECT_EQ(verdicts_of(*store, {row}), Verdicts{Verdict::ready});
}

TEST_F(SqlitePublisher, F90_NoticesThatTheFileWasSetBack) {
    const auto store = file_.open_publisher();
    (void)store->attach();
    (void)append("k");
    EXPECT_EQ(store->flushed(true), 1U);
    SqliteConnection(file_.path())
        .run("DELETE FROM sagaz_outbox; DELETE FROM sqlite_sequence WHERE name = 'sagaz_outbox'");
    EXPECT_EQ(code_of([&] { (void)store->flushed(false); }), "incarnation_changed");
    (void)store->attach();
    EXPECT_EQ(store->flushed(false), 0U) << "what was on the disk was of another state";
}

TEST_F(SqlitePublisher, LooksThroughNoBacklog) {
    const auto store = file_.open_publisher();
    (void)store->attach();
    SqliteConnection(file_.path())
        .run(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000) "
            "INSERT INTO sagaz_outbox (key, event_type, payload) SELECT n, 'E', 'p' FROM n");
    const RowRef keyed = append("k");
    EXPECT_EQ(verdicts_of(*store, {keyed}), Verdicts{Verdict::behind});
    (void)reader_.read_window();
    (void)relay_->store(reader_.moves(), {});
    EXPECT_EQ(verdicts_of(*store, {keyed}), Verdicts{Verdict::late}) << "the cursor has passed it";
    const RowRef next = append("k");
    EXPECT_EQ(verdicts_of(*store, {next}), Verdicts{Verdict::ready});
}

TEST_F(SqlitePublisher, TakesTheTemplatesTopicForTheOneThatItMakes) {
    const auto store = file_.open_publisher();
    (void)store->attach();
    SqliteConnection(file_.path())
        .run(
            "INSERT INTO sagaz_outbox (topic, key, event_type, payload) VALUES "
            "('events.e', 'same', 'Other', 'p'), ('events.other', 'not', 'Other', 'p')");
    SqliteWriter writer(file_.path());
    for (const auto* key : {"same", "not"}) {
        writer.append({.key = key, .event_type = "E", .payload = "p"}, kHold);
    }
    writer.commit();
    std::vector<RowRef> rows;
    for (const auto& row : reader_.read_window()) {
        if (row.held) rows.push_back({row.slot, row.position, row.event_id});
    }
    EXPECT_EQ(verdicts_of(*store, rows), (Verdicts{Verdict::behind, Verdict::ready}));
}

TEST_F(SqlitePublisher, NamesAFile) {
    for (const char* path : {"", ":memory:"}) {
        EXPECT_EQ(code_of([&] { (void)sqlite::open_publisher(path); }), "store_url");
    }
}

}  // namespace sagaz
