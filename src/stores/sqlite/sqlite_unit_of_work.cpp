// A transaction of the inbox on the caller's own connection.
//
// SQLite answers COMMIT in the caller's process, so no answer is lost: when it fails, the
// transaction is still open (another connection reads, the disk is full) or was rolled back, and
// nothing was committed either way.
#include "stores/sqlite/database.hpp"
#include "stores/sqlite/error_table.hpp"

#include <sagaz/error.hpp>
#include <sagaz/sqlite.hpp>

#include <openssl/evp.h>

#include <array>
#include <string>

namespace sagaz::inline v0::sqlite {
namespace {

// SQLite has no SHA-256, and the mark keeps the hash of a message's body.
void sha256(sqlite3_context* context, int /*count*/, sqlite3_value** values) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
    unsigned size = 0;
    // An id is text, in whatever encoding the file has; a body is bytes.
    const void* bytes = sqlite3_value_type(values[0]) == SQLITE_TEXT
                            ? sqlite3_value_text(values[0])
                            : sqlite3_value_blob(values[0]);
    const auto length = static_cast<std::size_t>(sqlite3_value_bytes(values[0]));
    if (EVP_Digest(bytes == nullptr ? "" : bytes, length, hash.data(), &size, EVP_sha256(),
                   nullptr) != 1) {
        sqlite3_result_error(context, "SHA-256 is not available", -1);
        return;
    }
    sqlite3_result_blob(context, hash.data(), static_cast<int>(size), SQLITE_TRANSIENT);
}

}  // namespace

SqliteUnitOfWork::SqliteUnitOfWork(sqlite3* connection, Synchronous accepted)
    : connection_(connection), accepted_(accepted) {}

SqliteUnitOfWork::~SqliteUnitOfWork() { rollback(); }

Rows SqliteUnitOfWork::execute(const Statement& statement) {
    return SqliteTransaction(connection_, accepted_).execute(statement);
}

void SqliteUnitOfWork::begin() {
    if (sqlite3_get_autocommit(connection_) == 0) {
        throw Error(ErrorKind::invalid, "transaction_open",
                    "the connection is in a transaction already",
                    "end it first, or use mark and failed in your own unit of work");
    }
    const int registered = sqlite3_create_function_v2(connection_, "sagaz_sha256", 1,
                                                      SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr,
                                                      sha256, nullptr, nullptr, nullptr);
    if (registered != SQLITE_OK) throw sqlite::error_of(registered, connection_);
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
