#include "stores/sqlite/caller_statements.hpp"

#include "stores/sqlite/error_table.hpp"

#include <sagaz/error.hpp>
#include <sagaz/id.hpp>

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

namespace sagaz::inline v0::sqlite {
namespace {

constexpr std::int64_t kOff = 0;
constexpr std::int64_t kNormal = 1;
constexpr std::size_t kKeptMax = 32;
constexpr std::size_t kKeptTextMax = std::size_t{16} * 1024;  // An append of many events is longer.
constexpr std::string_view kMissingFunction = "no such function: sagaz_";

// ---------------------------------------------------------------------------------- the functions

using Hash = std::array<unsigned char, 32>;

std::optional<Hash> sha256(sqlite3_context* context, std::string_view bytes) {
    Hash hash{};
    if (EVP_Digest(bytes.data(), bytes.size(), hash.data(), nullptr, EVP_sha256(), nullptr) == 1) {
        return hash;
    }
    sqlite3_result_error(context, "SHA-256 is not available", -1);
    return std::nullopt;
}

std::string_view view(const void* bytes, sqlite3_value* value) {
    if (bytes == nullptr) return "";
    return {static_cast<const char*>(bytes), static_cast<std::size_t>(sqlite3_value_bytes(value))};
}

// SQLite has no SHA-256, and the mark keeps the hash of a message's body.
void sagaz_sha256(sqlite3_context* context, int /*count*/, sqlite3_value** values) {
    const auto hash = sha256(context, view(sqlite3_value_blob(values[0]), values[0]));
    if (!hash) return;
    sqlite3_result_blob(context, hash->data(), static_cast<int>(hash->size()), SQLITE_TRANSIENT);
}

std::optional<Id> uuid_in(std::string_view text) {
    constexpr std::size_t kSize = 36;
    if (text.size() != kSize) return std::nullopt;  // Seen without the cost of a throw.
    try {
        return Id::parse(text);
    } catch (const Error&) {
        return std::nullopt;
    }
}

// A UUID is itself; anything else becomes a UUIDv8 (RFC 9562, 5.8) of its SHA-256: what
// inbox_event_id gives in PostgreSQL.
void sagaz_event_id(sqlite3_context* context, int /*count*/, sqlite3_value** values) try {
    const std::string_view text = view(sqlite3_value_text(values[0]), values[0]);
    auto id = uuid_in(text);
    if (!id) {
        const auto hash = sha256(context, text);
        if (!hash) return;
        id.emplace();
        std::ranges::transform(hash->begin(), hash->begin() + id->bytes.size(), id->bytes.begin(),
                               [](unsigned char byte) { return std::byte{byte}; });
        id->bytes[6] = (id->bytes[6] & std::byte{0x0f}) | std::byte{0x80};
        id->bytes[8] = (id->bytes[8] & std::byte{0x3f}) | std::byte{0x80};
    }
    const std::string written = id->text();
    sqlite3_result_text(context, written.data(), static_cast<int>(written.size()),
                        SQLITE_TRANSIENT);
} catch (const std::bad_alloc&) {
    sqlite3_result_error_nomem(context);
}

void register_functions(sqlite3* connection) {
    const auto add = [&](const char* name, auto* function) {
        const int result =
            sqlite3_create_function_v2(connection, name, 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC,
                                       nullptr, function, nullptr, nullptr, nullptr);
        if (result != SQLITE_OK) throw error_of(result, connection);
    };
    add("sagaz_sha256", sagaz_sha256);
    add("sagaz_event_id", sagaz_event_id);
}

// ------------------------------------------------------------------------------- values, both ways

// Values stay where they are: the caller's event outlives the statement's run.
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

struct Reset {
    void operator()(sqlite3_stmt* statement) const noexcept {
        sqlite3_reset(statement);  // Says again what the last step said.
        sqlite3_clear_bindings(statement);
    }
};

}  // namespace

void check_in_transaction(sqlite3* connection) {
    if (sqlite3_get_autocommit(connection) == 0) return;
    throw Error(ErrorKind::invalid, "no_transaction", "no transaction is open on the connection",
                "BEGIN IMMEDIATE first: an event belongs to the transaction of what it tells");
}

// Neither statement is to be kept prepared: SQLite reads the levels while it prepares.
void check_durable(sqlite3* connection, Synchronous accepted) {
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

// Not registered beforehand: that would leave a trace where none is needed, and to register a
// function again expires every prepared statement of the connection, the caller's own too, and is
// refused while one of them runs.
StatementHandle prepare_with_functions(sqlite3* connection, const std::string& sql) {
    try {
        return prepare(connection, sql);
    } catch (const Error&) {
        const std::string_view seen = sqlite3_errmsg(connection);
        if (!seen.starts_with(kMissingFunction)) throw;
    }
    register_functions(connection);
    return prepare(connection, sql);
}

Rows run(sqlite3_stmt* statement, const std::vector<Parameter>& parameters) {
    const std::unique_ptr<sqlite3_stmt, Reset> reset(statement);
    for (std::size_t n = 0; n < parameters.size(); ++n) {
        bind(statement, static_cast<int>(n) + 1, parameters[n]);
    }
    Rows rows;
    int result = SQLITE_OK;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        auto& row = rows.emplace_back();
        for (int column = 0; column < sqlite3_column_count(statement); ++column) {
            row.push_back(value_at(statement, column));
        }
    }
    if (result == SQLITE_DONE) return rows;
    sqlite3* connection = sqlite3_db_handle(statement);
    throw error_of(sqlite3_extended_errcode(connection), connection);
}

Rows KeptStatements::execute(sqlite3* connection, const Statement& statement) {
    auto kept = by_text_.find(statement.sql);
    if (kept == by_text_.end()) {
        auto prepared = prepare_with_functions(connection, statement.sql);
        if (statement.sql.size() > kKeptTextMax) return run(prepared.get(), statement.parameters);
        if (by_text_.size() == kKeptMax) by_text_.clear();
        kept = by_text_.emplace(statement.sql, std::move(prepared)).first;
    }
    return run(kept->second.get(), statement.parameters);
}

}  // namespace sagaz::inline v0::sqlite
