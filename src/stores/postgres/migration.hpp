#pragma once

#include <sagaz/export.hpp>

#include <string>
#include <string_view>
#include <vector>

/// The schema's versions, compiled in. Each is applied in one transaction under an advisory lock
/// that ends with it, so two `sagaz migrate` at once do the work once, and a crash leaves a whole
/// version or nothing of it.
namespace sagaz::inline v0::postgres {

/// Throws `invalid` (`database_encoding`) for a `server_encoding` that cannot carry every text.
void check_encoding(std::string_view encoding);

struct SAGAZ_EXPORT Migration {
    int version{};
    std::string name{};
    int compatible_from{};  ///< The oldest version whose relays may run beside it.
    std::string sql{};      ///< With "@schema@" where the schema's name belongs.
};

/// What this build knows, oldest first.
SAGAZ_EXPORT const std::vector<Migration>& migrations();

/// The newest version this build knows.
SAGAZ_EXPORT int newest_version();

/// Throws `invalid` (`schema_name`) unless `schema` is lower-case letters, digits and underscores,
/// does not begin with a digit or "pg_", and leaves room for role suffixes (at most 48 bytes).
/// Only such a name ever gets into the text of a statement.
SAGAZ_EXPORT void check_schema_name(std::string_view schema);

/// `text` with every "@schema@" replaced by the checked name.
SAGAZ_EXPORT std::string with_schema(std::string_view text, std::string_view schema);

/// Plain SQL for psql or any migration tool that takes a schema from version `from` to `to` and
/// records it. Throws `invalid` (`version_range`) for versions that are not there.
SAGAZ_EXPORT std::string migration_script(std::string_view schema, int from, int to,
                                          bool with_roles);

struct SAGAZ_EXPORT MigrationStatus {
    struct Applied {
        int version{};
        std::string name{};
        int compatible_from{};
        std::string applied_at{};
    };
    int version{};  ///< Newest version in the database; 0: no schema yet.
    int newest{};   ///< Newest version of this build.
    std::vector<Applied> applied{};

    bool is_behind() const { return version < newest; }
};

SAGAZ_EXPORT MigrationStatus migration_status(const std::string& url, std::string_view schema);

/// Brings the schema up and returns the versions applied now. Idempotent.
SAGAZ_EXPORT std::vector<int> migrate(const std::string& url, std::string_view schema,
                                      bool with_roles);

/// Sets one of `slot_count`, `topic_template`, `source`, `on_refused` and writes an audit row.
/// Throws `invalid` with code `setting_unknown`, `setting_value`, or `setting_fixed` when rows
/// exist that the change would move to another slot or send from another source.
SAGAZ_EXPORT void set_setting(const std::string& url, std::string_view schema, std::string_view key,
                              std::string_view value);

}  // namespace sagaz::inline v0::postgres
