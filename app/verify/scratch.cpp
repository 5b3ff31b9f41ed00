#include "app/verify/scratch.hpp"

#include <sagaz/error.hpp>

#include <sqlite3.h>

#include <algorithm>

namespace sagaz::verify {

namespace {

[[noreturn]] void fail(sqlite3* database) {
    throw Error(ErrorKind::fatal, "scratch_file",
                std::string("the temporary database failed: ") + sqlite3_errmsg(database),
                "Free disk space, or point TMPDIR at a disk that has some.");
}

}  // namespace

void Query::Finalize::operator()(sqlite3_stmt* statement) const noexcept {
    sqlite3_finalize(statement);
}

Query::Query(sqlite3* database, const char* sql) : database_(database) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v3(database, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr));
    statement_.reset(statement);
}

void Query::check(int code) const {
    if (code != SQLITE_OK) fail(database_);
}

Query& Query::bind(int index, std::int64_t value) {
    check(sqlite3_bind_int64(statement_.get(), index, value));
    return *this;
}

// Static: the caller keeps the bytes until reset, so SQLite need not copy them. An empty view may
// have no address, and SQLite would read that as NULL.
Query& Query::bind_blob(int index, std::string_view bytes) {
    check(sqlite3_bind_blob64(statement_.get(), index, bytes.empty() ? "" : bytes.data(),
                              bytes.size(), SQLITE_STATIC));
    return *this;
}

Query& Query::bind_blob(int index, std::optional<std::string_view> bytes) {
    if (bytes) return bind_blob(index, *bytes);
    check(sqlite3_bind_null(statement_.get(), index));
    return *this;
}

bool Query::step() {
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) fail(database_);
    return false;
}

void Query::reset() { sqlite3_reset(statement_.get()); }

void Query::run() {
    while (step()) {
    }
    reset();
}

std::int64_t Query::number(int column) const {
    return sqlite3_column_int64(statement_.get(), column);
}

std::optional<std::int64_t> Query::maybe_number(int column) const {
    if (sqlite3_column_type(statement_.get(), column) == SQLITE_NULL) return std::nullopt;
    return number(column);
}

std::optional<std::string_view> Query::blob(int column) const {
    if (sqlite3_column_type(statement_.get(), column) == SQLITE_NULL) return std::nullopt;
    const void* bytes = sqlite3_column_blob(statement_.get(), column);
    const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
    if (size == 0) return std::string_view{};
    return std::string_view(static_cast<const char*>(bytes), size);
}

void Scratch::Close::operator()(sqlite3* database) const noexcept { sqlite3_close_v2(database); }

Scratch::Scratch(std::size_t cache_bytes) {
    sqlite3* database = nullptr;
    const int code = sqlite3_open("", &database);  // no name: temporary, on disk
    database_.reset(database);
    if (code != SQLITE_OK) fail(database);
    execute("PRAGMA journal_mode = OFF");
    execute("PRAGMA synchronous = OFF");
    execute("PRAGMA locking_mode = EXCLUSIVE");
    const auto kibibytes = std::max<std::size_t>(cache_bytes / 1'024, 64);
    execute(("PRAGMA cache_size = -" + std::to_string(kibibytes)).c_str());
}

void Scratch::execute(const char* sql) {
    if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
        fail(database_.get());
    }
}

}  // namespace sagaz::verify
