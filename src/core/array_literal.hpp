#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sagaz::inline v0::core {

/// Adds an item to the literal of a PostgreSQL array, quoted whatever is in it; none: NULL. The
/// literal begins as "{", and whoever has added all ends it by "}".
inline void add_to_array(std::string& literal, std::optional<std::string_view> item) {
    if (literal.size() > 1) literal += ',';
    if (!item) {
        literal += "NULL";
        return;
    }
    literal += '"';
    for (const char c : *item) {
        if (c == '"' || c == '\\') literal += '\\';
        literal += c;
    }
    literal += '"';
}

}  // namespace sagaz::inline v0::core
