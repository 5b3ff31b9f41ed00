#include "stores/sqlite/error_table.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <ostream>

namespace sagaz {
namespace {

struct Native {
    const char* name;
    int result;
    const char* message;
    ErrorKind kind;
    const char* code;
};

void PrintTo(const Native& native, std::ostream* out) { *out << native.name; }

class SqliteResult : public ::testing::TestWithParam<Native> {};

TEST_P(SqliteResult, HasItsKindCodeAndHint) {
    const Native& native = GetParam();
    const auto& meaning = sqlite::meaning_of(native.result, native.message);
    EXPECT_EQ(meaning.kind, native.kind);
    EXPECT_EQ(meaning.code, native.code);
    EXPECT_FALSE(meaning.hint.empty());
}

using enum ErrorKind;

INSTANTIATE_TEST_SUITE_P(
    Results, SqliteResult,
    ::testing::Values(
        Native{"BusySnapshot", SQLITE_BUSY_SNAPSHOT, "", conflict, "busy_snapshot"},
        Native{"Busy", SQLITE_BUSY, "", unavailable, "busy"},
        Native{"BusyRecovery", SQLITE_BUSY_RECOVERY, "", unavailable, "busy"},
        Native{"Locked", SQLITE_LOCKED_SHAREDCACHE, "", unavailable, "busy"},
        Native{"Protocol", SQLITE_PROTOCOL, "", unavailable, "busy"},
        Native{"Schema", SQLITE_SCHEMA, "", unavailable, "busy"},
        Native{"Abort", SQLITE_ABORT_ROLLBACK, "", conflict, "transaction_rolled_back"},
        Native{"Interrupt", SQLITE_INTERRUPT, "", unavailable, "statement_canceled"},
        Native{"Moved", SQLITE_READONLY_DBMOVED, "", unavailable, "incarnation_changed"},
        Native{"ReadOnly", SQLITE_READONLY, "", invalid, "read_only"},
        Native{"ReadOnlyFolder", SQLITE_READONLY_DIRECTORY, "", invalid, "read_only"},
        Native{"Full", SQLITE_FULL, "", unavailable, "disk_full"},
        Native{"CannotOpen", SQLITE_CANTOPEN_ISDIR, "", invalid, "database_missing"},
        Native{"Permission", SQLITE_PERM, "", invalid, "permission_denied"},
        Native{"Authorizer", SQLITE_AUTH, "", invalid, "permission_denied"},
        Native{"Sync", SQLITE_IOERR_FSYNC, "", unavailable, "file_io"},
        Native{"ShortRead", SQLITE_IOERR_SHORT_READ, "", unavailable, "file_io"},
        Native{"Corrupt", SQLITE_CORRUPT_INDEX, "", fatal, "data_corrupted"},
        Native{"NoDatabase", SQLITE_NOTADB, "", fatal, "data_corrupted"},
        Native{"Memory", SQLITE_NOMEM, "", unavailable, "out_of_memory"},
        Native{"TooBig", SQLITE_TOOBIG, "", invalid, "limit_exceeded"},
        Native{"Check", SQLITE_CONSTRAINT_CHECK, "", invalid, "limit_exceeded"},
        Native{"Unique", SQLITE_CONSTRAINT_UNIQUE, "", invalid, "duplicate"},
        Native{"PrimaryKey", SQLITE_CONSTRAINT_PRIMARYKEY, "", invalid, "duplicate"},
        Native{"Rowid", SQLITE_CONSTRAINT_ROWID, "", invalid, "duplicate"},
        Native{"Trigger", SQLITE_CONSTRAINT_TRIGGER, "", invalid, "statement_failed"},
        Native{"NoTable", SQLITE_ERROR, "no such table: sagaz_outbox", invalid, "schema_missing"},
        Native{"NoColumn", SQLITE_ERROR, "no such column: x", invalid, "schema_missing"},
        Native{"Other", SQLITE_ERROR, "near \"SELEC\": syntax error", invalid, "statement_failed"}),
    [](const auto& each) { return std::string(each.param.name); });

TEST(SqliteResults, AreAllInTheTest) {
    // A new row of the table needs its line above.
    EXPECT_EQ(sqlite::result_table().size(), 25U);
}

}  // namespace
}  // namespace sagaz
