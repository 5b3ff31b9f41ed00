#pragma once

#include "core/schema_name.hpp"

#include <sagaz/error.hpp>

#include <string>
#include <string_view>
#include <vector>

/// What every store's schema has in common: versions, and how far a database has come.
namespace sagaz::inline v0::core {

struct Migration {
    int version{};
    std::string name{};
    int compatible_from{};  ///< The oldest version whose relays may run beside it.
    std::string sql{};      ///< With "@schema@" where the schema or the prefix belongs.
};

struct MigrationStatus {
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
    /// What was applied last does not let this build work beside it.
    bool is_too_new() const { return !applied.empty() && applied.back().compatible_from > newest; }
};

inline Error schema_too_new(std::string_view schema, int version, int newest) {
    return {ErrorKind::invalid, "schema_too_new",
            "schema " + std::string(schema) + " has version " + std::to_string(version) +
                ", this program knows " + std::to_string(newest),
            "update sagaz, the executable or the library in your program, to one that knows "
            "version " +
                std::to_string(version)};
}

/// Throws `invalid` (`version_range`) unless 0 <= from <= to <= newest.
inline void check_version_range(int from, int to, int newest) {
    if (from >= 0 && to <= newest && from <= to) return;
    throw Error(ErrorKind::invalid, "version_range",
                "no migration from version " + std::to_string(from) + " to " + std::to_string(to),
                "versions go from 0 (nothing) to " + std::to_string(newest));
}

}  // namespace sagaz::inline v0::core
