#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

/// Text for people: aligned columns, numbers with separators.
namespace sagaz::inline v0::app {

/// Writes rows in aligned columns; the first row is the head. Control characters are replaced, so
/// that a key cannot drive a terminal.
void write_table(std::ostream& out, const std::vector<std::vector<std::string>>& rows);

/// "1,234,567".
std::string grouped(std::int64_t number);

/// `text` with control characters replaced by '?'.
std::string plain(const std::string& text);

}  // namespace sagaz::inline v0::app
