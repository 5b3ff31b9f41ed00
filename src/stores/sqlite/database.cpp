#include "stores/sqlite/database.hpp"

#include "stores/sqlite/error_table.hpp"

#include <sagaz/error.hpp>

#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace sagaz::inline v0::sqlite {
namespace {

void check(int result, sqlite3* connection) {
    if (result == SQLITE_OK) return;
    const int extended = connection ? sqlite3_extended_errcode(connection) : result;
    throw error_of(extended == SQLITE_OK ? result : extended, connection);
}

Error missing(const std::string& path) {
    return {ErrorKind::invalid, "database_missing", "there is no file " + path,
            "check the path, or make the file: sagaz migrate --store sqlite:" + path};
}

}  // namespace

std::optional<FileIdentity> identity_of(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    return FileIdentity{static_cast<std::int64_t>(status.st_dev),
                        static_cast<std::int64_t>(status.st_ino)};
}

StatementHandle prepare(sqlite3* connection, std::string_view sql) {
    sqlite3_stmt* statement = nullptr;
    check(sqlite3_prepare_v2(connection, sql.data(), static_cast<int>(sql.size()), &statement,
                             nullptr),
          connection);
    return StatementHandle(statement);
}

// ------------------------------------------------------------------------------------------ Query

Query::Query(sqlite3* connection, std::string_view sql)
    : connection_(connection), statement_(prepare(connection, sql)) {}

Query& Query::text(std::string_view value) {
    // A null pointer would bind NULL; the copy lets the caller's value go.
    const char* bytes = value.empty() ? "" : value.data();
    check(sqlite3_bind_text64(statement_.get(), next_++, bytes, value.size(), SQLITE_TRANSIENT,
                              SQLITE_UTF8),
          connection_);
    return *this;
}

Query& Query::optional_text(const std::optional<std::string>& value) {
    return value ? text(*value) : null();
}

Query& Query::number(std::int64_t value) {
    check(sqlite3_bind_int64(statement_.get(), next_++, value), connection_);
    return *this;
}

Query& Query::null() {
    check(sqlite3_bind_null(statement_.get(), next_++), connection_);
    return *this;
}

bool Query::step() {
    const int result = sqlite3_step(statement_.get());
    if (result == SQLITE_ROW) return true;
    if (result == SQLITE_DONE) return false;
    check(result, connection_);
    return false;
}

void Query::run() {
    while (step()) {
    }
}

std::string_view Query::name_of(int column) const {
    return sqlite3_column_name(statement_.get(), column);
}

bool Query::is_null(int column) const {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

bool Query::is_integer(int column) const {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_INTEGER;
}

std::int64_t Query::number_at(int column) const {
    return sqlite3_column_int64(statement_.get(), column);
}

double Query::real_at(int column) const { return sqlite3_column_double(statement_.get(), column); }

std::string_view Query::text_at(int column) const {
    const auto* text = sqlite3_column_text(statement_.get(), column);
    if (text == nullptr) return {};
    return {reinterpret_cast<const char*>(text),
            static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

std::string_view Query::bytes_at(int column) const {
    if (sqlite3_column_type(statement_.get(), column) == SQLITE_TEXT) return text_at(column);
    const void* bytes = sqlite3_column_blob(statement_.get(), column);
    if (bytes == nullptr) return {};
    return {static_cast<const char*>(bytes),
            static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

// --------------------------------------------------------------------------------------- Database

Database::Database(std::string path, Access access, Milliseconds busy_timeout)
    : path_(std::move(path)) {
    const auto before = identity_of(path_);
    if (!before && access != Access::create) throw missing(path_);
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                      (access == Access::create ? SQLITE_OPEN_CREATE : 0);
    sqlite3* connection = nullptr;
    const int result = sqlite3_open_v2(path_.c_str(), &connection, flags, nullptr);
    connection_.reset(connection);
    check(result, connection);
    sqlite3_extended_result_codes(connection, 1);
    wait_at_most(busy_timeout);
    // The wait comes first: the mode may have to be changed, and the log to be recovered.
    if (access != Access::look) begin_wal();
    run_script("PRAGMA synchronous = FULL");
    const auto after = identity_of(path_);
    if (!after || (before && *before != *after)) {
        throw Error(ErrorKind::unavailable, "incarnation_changed",
                    "the file was replaced while it was opened", "nothing to do: it is read anew");
    }
    identity_ = *after;
}

void Database::wait_at_most(Milliseconds patience) noexcept {
    const auto wait =
        std::min<Milliseconds::rep>(patience.count(), std::numeric_limits<int>::max());
    sqlite3_busy_timeout(connection_.get(), static_cast<int>(wait));
}

void Database::begin_wal() {
    auto mode = query("PRAGMA journal_mode = WAL");
    if (mode.step() && mode.text_at(0) == "wal") return;
    throw Error(ErrorKind::invalid, "read_only", "the file cannot be put into WAL mode",
                "put it on a local disk, where it and its folder can be written");
}

void Database::run_script(const std::string& sql) {
    check(sqlite3_exec(connection_.get(), sql.c_str(), nullptr, nullptr, nullptr),
          connection_.get());
}

void Database::sync_log() {
    sqlite3_file* log = nullptr;
    check(sqlite3_file_control(connection_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER,
                               static_cast<void*>(&log)),
          connection_.get());
    const bool is_open = log != nullptr && log->pMethods != nullptr;
    const int result = is_open ? log->pMethods->xSync(log, SQLITE_SYNC_NORMAL) : SQLITE_IOERR_FSYNC;
    if (result != SQLITE_OK) throw error_of(result, nullptr);
}

bool Database::is_replaced() const { return identity_of(path_) != identity_; }

// ------------------------------------------------------------------------------------------ Scope

Scope::Scope(Database& database, Kind kind) : database_(database) {
    database_.run_script(kind == Kind::write ? "BEGIN IMMEDIATE" : "BEGIN");
}

Scope::~Scope() {
    // Many errors roll back by themselves; then there is nothing left to roll back.
    if (!open_ || sqlite3_get_autocommit(database_.raw()) != 0) return;
    sqlite3_exec(database_.raw(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Scope::commit() {
    database_.run_script("COMMIT");
    open_ = false;
}

}  // namespace sagaz::inline v0::sqlite
