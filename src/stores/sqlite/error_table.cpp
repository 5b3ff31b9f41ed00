#include "stores/sqlite/error_table.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <string>

namespace sagaz::inline v0::sqlite {
namespace {

using enum ErrorKind;

constexpr int kFamily = 0xff;  // The low byte of an extended code is its family's.
constexpr std::size_t kMessageMax = 300;
constexpr std::string_view kRetry = "nothing to do: it is tried again";

constexpr std::array kResults{
    Meaning{SQLITE_BUSY_SNAPSHOT, "", conflict, "busy_snapshot",
            "another connection wrote since this transaction began to read; roll back, run it "
            "again, and begin it with BEGIN IMMEDIATE"},
    Meaning{SQLITE_BUSY, "", unavailable, "busy",
            "another connection writes for longer than the busy time-out; keep its transactions "
            "short"},
    Meaning{SQLITE_LOCKED, "", unavailable, "busy", kRetry},
    Meaning{SQLITE_PROTOCOL, "", unavailable, "busy", kRetry},
    Meaning{SQLITE_SCHEMA, "", unavailable, "busy", kRetry},
    Meaning{SQLITE_ABORT_ROLLBACK, "", conflict, "transaction_rolled_back",
            "run the whole transaction again"},
    Meaning{SQLITE_INTERRUPT, "", unavailable, "statement_canceled",
            "the application interrupted its connection"},
    Meaning{SQLITE_READONLY_DBMOVED, "", unavailable, "incarnation_changed",
            "nothing to do: the file was replaced and is read anew"},
    Meaning{SQLITE_READONLY, "", invalid, "read_only",
            "make the file and its folder writable: SQLite keeps -wal and -shm beside it"},
    Meaning{SQLITE_FULL, "", unavailable, "disk_full", "make room on the file's disk"},
    Meaning{SQLITE_CANTOPEN, "", invalid, "database_missing",
            "check the path and its permissions, or make the file: sagaz migrate"},
    Meaning{SQLITE_PERM, "", invalid, "permission_denied", "check the file's permissions"},
    Meaning{SQLITE_AUTH, "", invalid, "permission_denied",
            "the application's authorizer refuses it"},
    Meaning{SQLITE_IOERR, "", unavailable, "file_io",
            "the file could not be read or written; see the system's log, and the disk"},
    Meaning{SQLITE_CORRUPT, "", fatal, "data_corrupted",
            "stop writing; restore the file from a backup"},
    Meaning{SQLITE_NOTADB, "", fatal, "data_corrupted",
            "the path names a file that is no SQLite database, or an encrypted one"},
    Meaning{SQLITE_NOMEM, "", unavailable, "out_of_memory", "give the process more memory"},
    Meaning{SQLITE_TOOBIG, "", invalid, "limit_exceeded", "a value is over a limit of SQLite"},
    Meaning{SQLITE_CONSTRAINT_CHECK, "", invalid, "limit_exceeded",
            "a value is over a limit of the outbox, or not of its form"},
    Meaning{SQLITE_CONSTRAINT_UNIQUE, "", invalid, "duplicate", "the row exists already"},
    Meaning{SQLITE_CONSTRAINT_PRIMARYKEY, "", invalid, "duplicate", "the row exists already"},
    Meaning{SQLITE_CONSTRAINT_ROWID, "", invalid, "duplicate", "the row exists already"},
    Meaning{SQLITE_CONSTRAINT, "", invalid, "statement_failed", "see the message"},
    Meaning{SQLITE_ERROR, "no such table", invalid, "schema_missing", "run: sagaz migrate"},
    Meaning{SQLITE_ERROR, "no such column", invalid, "schema_missing", "run: sagaz migrate"},
};

constexpr Meaning kOther{SQLITE_ERROR, "", invalid, "statement_failed", "see the message"};

}  // namespace

std::span<const Meaning> result_table() { return kResults; }

const Meaning& meaning_of(int extended, std::string_view message) {
    const auto* const found = std::ranges::find_if(kResults, [&](const Meaning& row) {
        const bool fits = row.native == extended || row.native == (extended & kFamily);
        return fits && message.find(row.words) != std::string_view::npos;
    });
    return found == kResults.end() ? kOther : *found;
}

Error error_of(int extended, sqlite3* connection) {
    const char* message = connection ? sqlite3_errmsg(connection) : sqlite3_errstr(extended);
    const Meaning& meaning = meaning_of(extended, message);
    const std::string_view seen(message);
    return {meaning.kind, std::string(meaning.code),
            std::string(seen.substr(0, kMessageMax)) + " (" + std::to_string(extended) + ")",
            std::string(meaning.hint)};
}

}  // namespace sagaz::inline v0::sqlite
