#include "stores/sqlite/migration.hpp"

#include "stores/sqlite/database.hpp"
#include "stores/sqlite/embedded.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace sagaz::inline v0::sqlite {
namespace {

constexpr Milliseconds kBusyTimeout{30'000};

constexpr std::string_view kRecord =
    "INSERT INTO @schema@_schema_version (version, name, compatible_from) "
    "VALUES ({}, '{}', {});\n";

constexpr std::string_view kFindTable =
    "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '@schema@_schema_version'";

constexpr std::string_view kReadVersions =
    "SELECT version, name, compatible_from, applied_at FROM @schema@_schema_version "
    "ORDER BY version";

std::string steps_of(const Migration& migration) {
    return migration.sql + "\n" +
           fmt::format(fmt::runtime(kRecord), migration.version, migration.name,
                       migration.compatible_from);
}

MigrationStatus read_status(Database& database, std::string_view schema) {
    MigrationStatus status;
    status.newest = newest_version();
    if (!database.query(with_schema(kFindTable, schema)).step()) return status;
    auto rows = database.query(with_schema(kReadVersions, schema));
    while (rows.step()) {
        status.applied.push_back({static_cast<int>(rows.number_at(0)), std::string(rows.text_at(1)),
                                  static_cast<int>(rows.number_at(2)),
                                  std::string(rows.text_at(3))});
        status.version = status.applied.back().version;
    }
    return status;
}

// Applies the next version, if there is one, and returns it. Looks for it as the one writer, so of
// two that run at once the second finds nothing left.
int apply_next(Database& database, std::string_view schema) {
    Scope scope(database, Scope::Kind::write);
    const int version = read_status(database, schema).version;
    const auto& all = migrations();
    const auto next = std::ranges::find(all, version + 1, &Migration::version);
    if (next == all.end()) return 0;
    database.run_script(with_schema(steps_of(*next), schema));
    scope.commit();
    return next->version;
}

}  // namespace

const std::vector<Migration>& migrations() {
    static const std::vector<Migration> all{{1, "log", 1, std::string(k_sql_log)}};
    return all;
}

int newest_version() { return migrations().back().version; }

std::string migration_script(std::string_view schema, int from, int to) {
    core::check_schema_name(schema);
    core::check_version_range(from, to, newest_version());
    std::string script = fmt::format(
        "-- sagaz: tables {}_* from version {} to {}; run it with sqlite3 -bail\n"
        "PRAGMA journal_mode = WAL;\n",
        schema, from, to);
    for (const auto& migration : migrations()) {
        if (migration.version <= from || migration.version > to) continue;
        script += "BEGIN IMMEDIATE;\n" + with_schema(steps_of(migration), schema) + "COMMIT;\n";
    }
    return script;
}

MigrationStatus migration_status(const std::string& path, std::string_view schema) {
    core::check_schema_name(schema);
    Database database(path, Access::look, kBusyTimeout);
    return read_status(database, schema);
}

std::vector<int> migrate(const std::string& path, std::string_view schema) {
    core::check_schema_name(schema);
    Database database(path, Access::create, kBusyTimeout);
    const auto status = read_status(database, schema);
    if (status.is_too_new()) throw core::schema_too_new(schema, status.version, status.newest);
    std::vector<int> applied;
    while (const int version = apply_next(database, schema)) applied.push_back(version);
    return applied;
}

}  // namespace sagaz::inline v0::sqlite
