// A transaction of the inbox on the caller's own connection.
//
// SQLite answers COMMIT in the caller's process, so no answer is lost: when it fails, the
// transaction is still open (another connection reads, the disk is full) or was rolled back, and
// nothing was committed either way.
#include "stores/sqlite/caller_statements.hpp"
#include "stores/sqlite/error_table.hpp"

#include <sagaz/error.hpp>
#include <sagaz/sqlite.hpp>

#include <string>

namespace sagaz::inline v0::sqlite {

SqliteUnitOfWork::SqliteUnitOfWork(sqlite3* connection, Synchronous accepted)
    : connection_(connection), accepted_(accepted), kept_(std::make_unique<KeptStatements>()) {}

SqliteUnitOfWork::~SqliteUnitOfWork() { rollback(); }

Rows SqliteUnitOfWork::execute(const Statement& statement) {
    check_in_transaction(connection_);
    if (!is_open_) check_durable(connection_, accepted_);  // A transaction that the caller began.
    return kept_->execute(connection_, statement);
}

void SqliteUnitOfWork::begin() {
    if (sqlite3_get_autocommit(connection_) == 0) {
        throw Error(ErrorKind::invalid, "transaction_open",
                    "the connection is in a transaction already",
                    "end it first, or use mark and failed in your own unit of work");
    }
    check_durable(connection_, accepted_);
    command("BEGIN IMMEDIATE");
    is_open_ = true;
}

void SqliteUnitOfWork::commit() {
    if (sqlite3_get_autocommit(connection_) != 0) {
        is_open_ = false;
        throw Error(ErrorKind::fatal, "transaction_ended",
                    "the handler, or a failure that SQLite rolls back, ended the transaction of "
                    "its mark",
                    "take COMMIT and ROLLBACK out of the handler; let it throw what fails");
    }
    command("COMMIT");
    is_open_ = false;
}

void SqliteUnitOfWork::rollback() noexcept {
    if (!is_open_) return;
    is_open_ = false;
    if (sqlite3_get_autocommit(connection_) != 0) return;
    sqlite3_exec(connection_, "ROLLBACK", nullptr, nullptr, nullptr);
}

// SQLite ends a transaction by itself, too, when the disk is full; then nothing was committed.
bool SqliteUnitOfWork::is_open() noexcept {
    return !is_open_ || sqlite3_get_autocommit(connection_) == 0;
}

void SqliteUnitOfWork::command(std::string_view sql) {
    const int result =
        sqlite3_exec(connection_, std::string(sql).c_str(), nullptr, nullptr, nullptr);
    if (result != SQLITE_OK) {
        throw sqlite::error_of(sqlite3_extended_errcode(connection_), connection_);
    }
}

}  // namespace sagaz::inline v0::sqlite
