#include "app/store.hpp"

#include "app/commands.hpp"
#include "app/errors.hpp"
#include "app/url.hpp"
#include "stores/postgres/connection.hpp"
#include "stores/postgres/migration.hpp"
#include "stores/sqlite/database.hpp"
#include "stores/sqlite/migration.hpp"

#include <sagaz/postgres.hpp>
#include <sagaz/sqlite.hpp>

#include <algorithm>
#include <utility>

namespace sagaz::inline v0::app {
namespace {

constexpr Milliseconds kConnectMax{5'000};
constexpr Milliseconds kServerSooner{500};  // so that its words arrive before we stop listening

std::string bytea(std::string_view bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text = "\\x";
    text.reserve(2 + 2 * bytes.size());
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        text += kDigits[byte >> 4U];
        text += kDigits[byte & 15U];
    }
    return text;
}

postgres::Parameters parameters_of(const Statement& statement) {
    postgres::Parameters parameters;
    for (const auto& parameter : statement.parameters) {
        if (parameter.null) {
            parameters.null();
        } else if (parameter.binary) {
            parameters.text(bytea(parameter.bytes));
        } else {
            parameters.text(parameter.bytes);
        }
    }
    return parameters;
}

Rows rows_of(const postgres::Result& result) {
    Rows rows(static_cast<std::size_t>(PQntuples(result.get())));
    for (int row = 0; row < PQntuples(result.get()); ++row) {
        auto& values = rows[static_cast<std::size_t>(row)];
        for (int column = 0; column < PQnfields(result.get()); ++column) {
            if (PQgetisnull(result.get(), row, column) != 0) {
                values.emplace_back();
            } else {
                values.emplace_back(PQgetvalue(result.get(), row, column));
            }
        }
    }
    return rows;
}

Rows rows_of(sqlite::Query& query) {
    Rows rows;
    while (query.step()) {
        auto& values = rows.emplace_back();
        for (int column = 0; column < query.columns(); ++column) {
            values.push_back(query.is_null(column)
                                 ? std::nullopt
                                 : std::optional(std::string(query.text_at(column))));
        }
    }
    return rows;
}

// The tables of SQLite have the schema's name as a prefix.
std::string prefixed(std::string_view sql) {
    constexpr std::string_view kSchema = "@schema@.";
    std::string text(sql);
    for (auto at = text.find(kSchema); at != std::string::npos; at = text.find(kSchema, at)) {
        text[at + kSchema.size() - 1] = '_';
    }
    return text;
}

std::string name_in(const std::vector<core::Migration>& all, int version) {
    const auto found = std::ranges::find(all, version, &core::Migration::version);
    return found == all.end() ? std::string{} : found->name;
}

std::vector<std::string> grants_for(Purpose purpose, const std::string& schema) {
    switch (purpose) {
        case Purpose::look: return {schema + "_reader"};
        case Purpose::look_at_payloads:
            return {schema + "_reader", "SELECT ON " + schema + ".outbox, " + schema + ".parked"};
        case Purpose::append: return {schema + "_producer"};
        case Purpose::consume: return {schema + "_consumer"};
        case Purpose::change_parked: return {schema + "_relay"};
        case Purpose::clean_inbox:
            return {schema + "_reader", "DELETE ON " + schema + ".consumer_inbox",
                    "INSERT ON " + schema + ".audit",
                    "EXECUTE ON FUNCTION " + schema +
                        ".inbox_keep(interval, interval, bigint, bigint)"};
    }
    return {};
}

}  // namespace

std::unique_ptr<Store> open_store(const StoreTarget& target) {
    using postgres::Durability;
    if (const auto path = sqlite_path(target.url)) {
        if (target.waits_for_standby) {
            refuse("config_value", "store.durability is standby, and the store a SQLite file",
                   "leave it local: a file has no standby");
        }
        return sqlite::open(*path, {.schema = target.schema});
    }
    return postgres::open(target.url, {.schema = target.schema,
                                       .current_url = target.current_url,
                                       .durability = target.waits_for_standby ? Durability::standby
                                                                              : Durability::local});
}

struct StoreSession::State {
    std::string schema;
    Milliseconds deadline{};
    std::unique_ptr<postgres::Connection> postgres{};
    std::unique_ptr<sqlite::Database> sqlite{};
    std::unique_ptr<sqlite::SqliteUnitOfWork> sqlite_unit{};
    bool in_transaction{};

    // A new connection knows nothing of the transaction that the lost one had open.
    postgres::Connection& server() const {
        if (in_transaction && !postgres->is_connected()) {
            throw Error{ErrorKind::unavailable, "connection_lost",
                        "the connection was lost within a transaction", "try again"};
        }
        return *postgres;
    }
};

StoreSession::StoreSession(const StoreTarget& target, Purpose purpose, Milliseconds deadline)
    : state_(new State{target.schema, deadline}) {
    core::check_schema_name(target.schema);
    if (const auto path = sqlite_path(target.url)) {
        state_->sqlite = std::make_unique<sqlite::Database>(*path, sqlite::Access::look, deadline);
        state_->sqlite_unit = std::make_unique<sqlite::SqliteUnitOfWork>(state_->sqlite->raw());
        return;
    }
    state_->postgres = std::make_unique<postgres::Connection>(
        target.url, postgres::Connection::Deadlines{.connect = std::min(deadline, kConnectMax),
                                                    .statement = deadline});
    state_->postgres->needs(grants_for(purpose, target.schema));
}

StoreSession::~StoreSession() { rollback(); }

Dialect StoreSession::dialect() const noexcept {
    return state_->sqlite ? Dialect::sqlite : Dialect::postgres;
}

Rows StoreSession::execute(const Statement& statement) {
    if (state_->sqlite) return state_->sqlite_unit->execute(statement);
    return rows_of(state_->server().execute(statement.sql, parameters_of(statement)));
}

Rows StoreSession::run(std::string_view sql, const std::vector<std::string>& values) {
    if (state_->sqlite) {
        auto query = state_->sqlite->query(core::with_schema(prefixed(sql), state_->schema));
        for (const auto& value : values) query.text(value);
        return rows_of(query);
    }
    postgres::Parameters parameters;
    for (const auto& value : values) parameters.text(value);
    return rows_of(state_->server().execute(core::with_schema(sql, state_->schema), parameters));
}

// In one message, hence one transaction: the settings end with it. Compiling what runs once took
// the server seconds, where a look took some milliseconds.
Rows StoreSession::look(std::string_view sql) {
    if (state_->sqlite) return run(sql);
    const auto most = std::max(state_->deadline - kServerSooner, kServerSooner);
    return run_script("SELECT pg_catalog.set_config('statement_timeout', '" +
                      std::to_string(most.count()) +
                      "', true), pg_catalog.set_config('jit', 'off', true); " + std::string{sql});
}

int StoreSession::backend_pid() const {
    return state_->postgres ? state_->postgres->backend_pid() : 0;
}

Rows StoreSession::run_change(std::string_view sql, const std::vector<std::string>& values,
                              const std::string& hint) {
    auto& server = state_->server();
    // Connect before, so that a failure to do so is not taken for a lost answer.
    if (!server.is_connected()) server.execute("SELECT 1");
    const bool was_connected = server.is_connected();
    try {
        return run(sql, values);
    } catch (const Error& error) {
        if (!was_connected || server.is_connected()) throw;  // the server has answered
        throw Error{ErrorKind::in_doubt, "commit_in_doubt",
                    std::string{"the answer was lost: "} + error.what(), hint};
    }
}

Rows StoreSession::run_script(std::string_view sql) {
    return rows_of(state_->server().run_script(core::with_schema(sql, state_->schema)));
}

void StoreSession::begin() {
    if (state_->sqlite) return state_->sqlite_unit->begin();
    state_->postgres->execute("BEGIN");
    state_->in_transaction = true;
}

void StoreSession::commit() {
    if (state_->sqlite) return state_->sqlite_unit->commit();
    auto& server = state_->server();
    try {
        const auto result = server.execute("COMMIT");
        state_->in_transaction = false;
        if (std::string_view{PQcmdStatus(result.get())} == "COMMIT") return;
    } catch (const Error& error) {
        if (server.is_connected()) throw;
        throw Error{ErrorKind::in_doubt, "commit_in_doubt",
                    std::string{"the answer to COMMIT was lost: "} + error.what(),
                    "look whether it is there before you do it again"};
    }
    throw Error{ErrorKind::invalid, "transaction_failed",
                "the server answered COMMIT by a rollback",
                "a statement of the transaction failed before; see what it said"};
}

void StoreSession::rollback() noexcept {
    if (state_->sqlite) return state_->sqlite_unit->rollback();
    if (!std::exchange(state_->in_transaction, false) || !state_->postgres->is_connected()) return;
    try {
        state_->postgres->execute("ROLLBACK");
    } catch (const std::exception&) {
        state_->postgres->drop();  // the server rolls back what its client leaves behind
    }
}

void StoreSession::command(std::string_view sql) {
    if (state_->sqlite) return state_->sqlite_unit->command(sql);
    state_->server().execute(std::string{sql});
}

// ------------------------------------------------------------------------------------- the schema

core::MigrationStatus schema_status(const StoreTarget& target, Milliseconds deadline) {
    if (const auto path = sqlite_path(target.url)) {
        return sqlite::migration_status(*path, target.schema);
    }
    return postgres::migration_status(target.url, target.schema, deadline);
}

int newest_version(const StoreTarget& target) {
    return sqlite_path(target.url) ? sqlite::newest_version() : postgres::newest_version();
}

std::string name_of_version(const StoreTarget& target, int version) {
    return sqlite_path(target.url) ? name_in(sqlite::migrations(), version)
                                   : name_in(postgres::migrations(), version);
}

std::string schema_script(const StoreTarget& target, int from, int to, bool with_roles) {
    if (sqlite_path(target.url)) return sqlite::migration_script(target.schema, from, to);
    return postgres::migration_script(target.schema, from, to, with_roles);
}

std::vector<int> migrate_schema(const StoreTarget& target, bool with_roles) {
    if (const auto path = sqlite_path(target.url)) return sqlite::migrate(*path, target.schema);
    return postgres::migrate(target.url, target.schema, with_roles);
}

std::string rebase_log(const StoreTarget& target) {
    if (sqlite_path(target.url)) {
        throw Error{ErrorKind::invalid, "store_scheme", "SQLite needs no re-base",
                    "start the relay: it finds out by itself that the file was put back"};
    }
    return postgres::rebase(target.url, target.schema);
}

void change_setting(const StoreTarget& target, std::string_view key, std::string_view value) {
    if (const auto path = sqlite_path(target.url)) {
        sqlite::set_setting(*path, target.schema, key, value);
    } else {
        postgres::set_setting(target.url, target.schema, key, value);
    }
}

}  // namespace sagaz::inline v0::app
