#pragma once

#include "core/migration.hpp"

#include <sagaz/event.hpp>
#include <sagaz/export.hpp>

#include <string>
#include <string_view>
#include <vector>

/// The schema's versions, compiled in. Each is applied in one transaction under an advisory lock
/// that ends with it, so two `sagaz migrate` at once do the work once, and a crash leaves a whole
/// version or nothing of it.
namespace sagaz::inline v0::postgres {

using core::check_schema_name;
using core::Migration;
using core::MigrationStatus;
using core::with_schema;

/// Throws `invalid` (`database_encoding`) for a `server_encoding` that cannot carry every text.
void check_encoding(std::string_view encoding);

/// What this build knows, oldest first.
SAGAZ_EXPORT const std::vector<Migration>& migrations();

/// The newest version this build knows.
SAGAZ_EXPORT int newest_version();

/// Plain SQL for psql or any migration tool that takes a schema from version `from` to `to` and
/// records it. Throws `invalid` (`version_range`) for versions that are not there.
SAGAZ_EXPORT std::string migration_script(std::string_view schema, int from, int to,
                                          bool with_roles);

/// `deadline`: of the connection, and of each statement.
SAGAZ_EXPORT MigrationStatus migration_status(const std::string& url, std::string_view schema,
                                              Milliseconds deadline = Milliseconds{15'000});

/// Brings the schema up and returns the versions applied now. Idempotent. Throws `invalid`
/// (`schema_too_new`; `permission_denied`, with what to grant).
SAGAZ_EXPORT std::vector<int> migrate(const std::string& url, std::string_view schema,
                                      bool with_roles);

/// Re-bases the log of a restored database: see migration 0004. Waits as long as it takes, and for
/// transactions that have appended up to ten seconds. Returns what it did, as JSON.
SAGAZ_EXPORT std::string rebase(const std::string& url, std::string_view schema);

/// Sets one of `slot_count`, `topic_template`, `source`, `on_refused` and writes an audit row.
/// Throws `invalid` with code `setting_unknown`, `setting_value`, or `setting_fixed` when rows
/// exist that the change would move to another slot or send from another source.
SAGAZ_EXPORT void set_setting(const std::string& url, std::string_view schema, std::string_view key,
                              std::string_view value);

}  // namespace sagaz::inline v0::postgres
