#pragma once

#include "core/migration.hpp"

#include <sagaz/export.hpp>

#include <string>
#include <string_view>
#include <vector>

/// The schema's versions, compiled in. Each is applied in one transaction that begins as the
/// writer, so two `sagaz migrate` at once do the work once, and a crash leaves a whole version or
/// nothing of it.
namespace sagaz::inline v0::sqlite {

using core::Migration;
using core::MigrationStatus;
using core::with_schema;

/// What this build knows, oldest first.
SAGAZ_EXPORT const std::vector<Migration>& migrations();

/// The newest version this build knows.
SAGAZ_EXPORT int newest_version();

/// Plain SQL for the sqlite3 shell (with -bail) or any migration tool that takes a file from
/// version `from` to `to` and records it. Throws `invalid` (`version_range`).
SAGAZ_EXPORT std::string migration_script(std::string_view schema, int from, int to);

/// Throws `invalid` (`database_missing`) when there is no file.
SAGAZ_EXPORT MigrationStatus migration_status(const std::string& path, std::string_view schema);

/// Makes the file where there is none, puts it into WAL mode, brings the schema up, and returns
/// the versions applied now. Idempotent. Throws `invalid` (`schema_too_new`).
SAGAZ_EXPORT std::vector<int> migrate(const std::string& path, std::string_view schema);

/// Sets one of `topic_template`, `source`, `on_refused` and writes an audit row; every running
/// relay takes it over. Throws `invalid` with code `setting_unknown`, `setting_value`, or
/// `setting_fixed` while events wait that it would send differently. `slot_count` is 1 for good.
SAGAZ_EXPORT void set_setting(const std::string& path, std::string_view schema,
                              std::string_view key, std::string_view value);

}  // namespace sagaz::inline v0::sqlite
