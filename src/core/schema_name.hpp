#pragma once

#include "core/replaced.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

namespace sagaz::inline v0::core {

inline constexpr std::size_t kSchemaNameMax = 48;  // Leaves room for "_publisher" within 63.

/// The one rule for the only name that goes into the text of statements: lower-case letters, digits
/// and underscores, not beginning with a digit or "pg_", with room for role suffixes. Throws
/// `invalid` (`schema_name`). Inline, since every library that writes SQL calls it.
inline void check_schema_name(std::string_view schema) {
    const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; };
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    const bool good =
        !schema.empty() && schema.size() <= kSchemaNameMax && is_letter(schema.front()) &&
        !schema.starts_with("pg_") &&
        std::ranges::all_of(schema, [&](char c) { return is_letter(c) || is_digit(c); });
    if (good) return;
    throw Error(ErrorKind::invalid, "schema_name", "not a schema name that sagaz can use",
                "give lower-case letters, digits and underscores, at most 48, such as sagaz");
}

/// `text` with every "@schema@" replaced by the checked name.
inline std::string with_schema(std::string_view text, std::string_view schema) {
    check_schema_name(schema);
    return replaced(text, "@schema@", schema);
}

}  // namespace sagaz::inline v0::core
