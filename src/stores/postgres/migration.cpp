#include "stores/postgres/migration.hpp"

#include "stores/postgres/connection.hpp"
#include "stores/postgres/embedded.hpp"
#include "stores/postgres/lock_tries.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

namespace sagaz::inline v0::postgres {
namespace {

constexpr Connection::Deadlines kDeadlines{Milliseconds{10'000}, Milliseconds{120'000}};

// Names in the text are never looked up elsewhere, whatever the caller's search_path is. The lock
// ends with the transaction, so it works through a pooler and cannot be left behind. For it another
// migration is waited for; `begin` adds that nothing else is waited for long.
constexpr std::string_view kBegin = R"(BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL search_path = pg_catalog;
SET LOCAL client_min_messages = warning;
SELECT pg_advisory_xact_lock(hashtextextended('sagaz migrate @schema@', 0));
)";

constexpr std::string_view kCreateSchema = R"(DO $sagaz$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = '@schema@') THEN
        CREATE SCHEMA @schema@;
    END IF;
END
$sagaz$;
)";

constexpr std::string_view kCheckBefore = R"(DO $sagaz$
BEGIN
    IF (SELECT coalesce(max(version), 0) FROM @schema@.schema_version) <> {} THEN
        RAISE EXCEPTION 'schema @schema@ is not at version {}';
    END IF;
END
$sagaz$;
)";

constexpr std::string_view kRecord =
    "INSERT INTO @schema@.schema_version (version, name, compatible_from) VALUES ({}, '{}', {});\n";

constexpr std::string_view kFindTable =
    "SELECT to_regclass(format('%I.schema_version', $1::text)) IS NOT NULL";

constexpr std::string_view kReadVersions =
    "SELECT version, name, compatible_from, applied_at::text FROM @schema@.schema_version "
    "ORDER BY version";

std::string begin(std::string_view schema) {
    return with_schema(kBegin, schema).append(kShortWait);
}

// The statements of one version, without the transaction around them.
std::string steps_of(const Migration& migration) {
    std::string sql;
    if (migration.version == 1) {
        sql += kCreateSchema;
    } else {
        sql +=
            fmt::format(fmt::runtime(kCheckBefore), migration.version - 1, migration.version - 1);
    }
    sql += migration.sql;
    sql += '\n';
    sql += fmt::format(fmt::runtime(kRecord), migration.version, migration.name,
                       migration.compatible_from);
    return sql;
}

// $1 schema: what lets the login do what it was refused.
constexpr std::string_view kWhoMay = R"(
SELECT CASE
    WHEN n.nspname IS NULL THEN
        pg_catalog.format('run as an administrator: GRANT CREATE ON DATABASE %I TO %I;',
                          current_database(), current_user)
    WHEN NOT pg_catalog.pg_has_role(current_user, n.nspowner, 'USAGE') THEN
        pg_catalog.format('run it with the login %I, which owns the schema %I',
                          pg_catalog.pg_get_userbyid(n.nspowner), n.nspname)
    ELSE
        pg_catalog.format('run as an administrator: ALTER ROLE %I CREATEROLE; or use --no-roles '
                          'and grant by hand what "sagaz migrate --print" shows', current_user)
    END
FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1)";

std::string value_of(const Result& result, int row, int column) {
    return PQgetvalue(result.get(), row, column);
}

MigrationStatus read_status(Connection& connection, std::string_view schema) {
    MigrationStatus status;
    status.newest = newest_version();
    const auto found = connection.execute(std::string(kFindTable), Parameters{}.text(schema));
    if (value_of(found, 0, 0) != "t") return status;
    const auto rows = connection.execute(with_schema(kReadVersions, schema));
    for (int n = 0; n < PQntuples(rows.get()); ++n) {
        status.applied.push_back({std::atoi(value_of(rows, n, 0).c_str()), value_of(rows, n, 1),
                                  std::atoi(value_of(rows, n, 2).c_str()), value_of(rows, n, 3)});
        status.version = std::max(status.version, status.applied.back().version);
    }
    return status;
}

// Applies the next version, if there is one, and returns it. Looks for it under the lock, so of
// two that run at once the second finds nothing left.
int apply_next(Connection& connection, std::string_view schema) {
    connection.run_script(begin(schema));
    const int version = read_status(connection, schema).version;
    const auto& all = migrations();
    const auto next = std::ranges::find_if(
        all, [&](const Migration& migration) { return migration.version == version + 1; });
    if (next == all.end()) {
        connection.run_script("ROLLBACK");
        return 0;
    }
    connection.run_script(with_schema(steps_of(*next), schema));
    connection.run_script("COMMIT");
    return next->version;
}

void apply_roles(Connection& connection, std::string_view schema) {
    connection.run_script(begin(schema));
    connection.run_script(with_schema(k_sql_roles, schema));
    connection.run_script("COMMIT");
}

std::vector<int> bring_up(Connection& connection, std::string_view schema, bool with_roles) {
    const auto status = read_status(connection, schema);
    if (status.is_too_new()) throw core::schema_too_new(schema, status.version, status.newest);
    std::vector<int> applied;
    int version = 0;
    do {
        with_lock_tries(connection, schema, [&] { version = apply_next(connection, schema); });
        if (version > 0) applied.push_back(version);
    } while (version > 0);
    if (with_roles) {
        with_lock_tries(connection, schema, [&] { apply_roles(connection, schema); });
    }
    return applied;
}

}  // namespace

const std::vector<Migration>& migrations() {
    static const std::vector<Migration> all{
        {1, "log", 1, std::string(k_sql_log)},
        {2, "inbox", 1, std::string(k_sql_inbox)},
        {3, "reclaim", 1, std::string(k_sql_reclaim)},
        {4, "restore", 1, std::string(k_sql_restore)},
        {5, "parked", 1, std::string(k_sql_parked)},
        {6, "optimistic", 1, std::string(k_sql_optimistic)},
        {7, "inbox_upkeep", 1, std::string(k_sql_inbox_upkeep)}};
    return all;
}

int newest_version() { return migrations().back().version; }

void check_encoding(std::string_view encoding) {
    if (encoding == "UTF8") return;
    throw Error(ErrorKind::invalid, "database_encoding",
                fmt::format("the database's encoding is {}", encoding),
                "use a database made with ENCODING 'UTF8': in another, one text that does not "
                "convert would stop the relay for good");
}

std::string migration_script(std::string_view schema, int from, int to, bool with_roles) {
    check_schema_name(schema);
    core::check_version_range(from, to, newest_version());
    std::string script =
        fmt::format("-- sagaz: schema {} from version {} to {}\n", schema, from, to);
    for (const auto& migration : migrations()) {
        if (migration.version <= from || migration.version > to) continue;
        script += begin(schema);
        script += with_schema(steps_of(migration), schema);
        script += "COMMIT;\n\n";
    }
    if (with_roles && to == newest_version()) {  // They name what the newest one has.
        script += begin(schema) + with_schema(k_sql_roles, schema) + "COMMIT;\n";
    }
    return script;
}

MigrationStatus migration_status(const std::string& url, std::string_view schema,
                                 Milliseconds deadline) {
    check_schema_name(schema);
    Connection connection(url, {.connect = deadline, .statement = deadline});
    connection.needs({std::string(schema) + "_reader"});
    return read_status(connection, schema);
}

std::vector<int> migrate(const std::string& url, std::string_view schema, bool with_roles) {
    check_schema_name(schema);
    Connection connection(url, kDeadlines);
    check_encoding(value_of(connection.execute("SHOW server_encoding"), 0, 0));
    try {
        return bring_up(connection, schema, with_roles);
    } catch (const Error& error) {
        if (error.code() != "permission_denied") throw;
        connection.drop();  // rolls back
        const auto who = connection.execute(std::string(kWhoMay), Parameters{}.text(schema));
        throw Error(error.kind(), std::string(error.code()), error.what(), value_of(who, 0, 0));
    }
}

}  // namespace sagaz::inline v0::postgres
