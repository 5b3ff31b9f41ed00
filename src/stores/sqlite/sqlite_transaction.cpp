#include "stores/sqlite/database.hpp"
#include "stores/sqlite/error_table.hpp"

#include <sagaz/error.hpp>
#include <sagaz/sqlite.hpp>

#include <string>

namespace sagaz::inline v0::sqlite {
namespace {

constexpr std::int64_t kOff = 0;
constexpr std::int64_t kNormal = 1;

void check_state(sqlite3* connection, Synchronous accepted) {
    if (sqlite3_get_autocommit(connection) != 0) {
        throw Error(ErrorKind::invalid, "no_transaction",
                    "no transaction is open on the connection",
                    "BEGIN IMMEDIATE first: an event belongs to the transaction of what it tells");
    }
    Query journal(connection, "PRAGMA main.journal_mode");
    const std::string mode(journal.step() ? journal.text_at(0) : "off");
    if (mode == "off" || mode == "memory") {
        throw Error(ErrorKind::invalid, "journal_unsafe",
                    "PRAGMA journal_mode of the connection is " + mode,
                    "a killed process can ruin the file, and a rollback is not sure; run "
                    "PRAGMA journal_mode = WAL before BEGIN");
    }
    Query synchronous(connection, "PRAGMA main.synchronous");
    const std::int64_t level = synchronous.step() ? synchronous.number_at(0) : kOff;
    if (level == kOff) {
        throw Error(ErrorKind::invalid, "synchronous_off",
                    "PRAGMA synchronous of the connection is OFF",
                    "a power cut can ruin the file; run PRAGMA synchronous = FULL before BEGIN");
    }
    if (level == kNormal && accepted == Synchronous::full) {
        throw Error(ErrorKind::invalid, "synchronous_normal",
                    "PRAGMA synchronous of the connection is NORMAL",
                    "a power cut can take back what was committed, with its events; run PRAGMA "
                    "synchronous = FULL before BEGIN, or accept it: "
                    "SqliteTransaction{connection, Synchronous::normal}");
    }
}

// Values stay where they are: the caller's event outlives the statement.
void bind(sqlite3_stmt* statement, int place, const Parameter& parameter) {
    const char* bytes = parameter.bytes.empty() ? "" : parameter.bytes.data();
    const auto size = parameter.bytes.size();
    if (parameter.null) {
        sqlite3_bind_null(statement, place);
    } else if (parameter.binary) {
        sqlite3_bind_blob64(statement, place, bytes, size, SQLITE_STATIC);
    } else {
        sqlite3_bind_text64(statement, place, bytes, size, SQLITE_STATIC, SQLITE_UTF8);
    }
}

std::optional<std::string> value_at(sqlite3_stmt* statement, int column) {
    const auto* text = sqlite3_column_text(statement, column);
    if (text == nullptr) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(text),
                       static_cast<std::size_t>(sqlite3_column_bytes(statement, column)));
}

}  // namespace

SqliteTransaction::SqliteTransaction(sqlite3* connection, Synchronous accepted)
    : connection_(connection), accepted_(accepted) {}

Rows SqliteTransaction::execute(const Statement& statement) {
    check_state(connection_, accepted_);
    sqlite3_stmt* raw = nullptr;
    const int prepared = sqlite3_prepare_v2(connection_, statement.sql.c_str(),
                                            static_cast<int>(statement.sql.size()), &raw, nullptr);
    if (prepared != SQLITE_OK) throw error_of(sqlite3_extended_errcode(connection_), connection_);
    const StatementHandle handle(raw);
    for (std::size_t n = 0; n < statement.parameters.size(); ++n) {
        bind(raw, static_cast<int>(n) + 1, statement.parameters[n]);
    }
    Rows rows;
    int result = SQLITE_OK;
    while ((result = sqlite3_step(raw)) == SQLITE_ROW) {
        auto& row = rows.emplace_back();
        for (int column = 0; column < sqlite3_column_count(raw); ++column) {
            row.push_back(value_at(raw, column));
        }
    }
    if (result != SQLITE_DONE) throw error_of(sqlite3_extended_errcode(connection_), connection_);
    return rows;
}

}  // namespace sagaz::inline v0::sqlite
