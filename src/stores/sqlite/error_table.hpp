#pragma once

#include <sagaz/error.hpp>

#include <span>
#include <string_view>

struct sqlite3;

/// What SQLite's result codes mean to a caller: the one place that says so.
namespace sagaz::inline v0::sqlite {

struct Meaning {
    int native{};  ///< An extended result code, or a primary one for all others of its family.
    std::string_view
        words{};  ///< Of the message, where the code alone does not tell; may be empty.
    ErrorKind kind{};
    std::string_view code{};
    std::string_view hint{};
};

/// The first match counts: words before none, extended codes before their family.
std::span<const Meaning> result_table();

/// The row for an extended result code and its message.
const Meaning& meaning_of(int extended, std::string_view message);

/// The error behind the last failed call on `connection`. The message is SQLite's, which names
/// tables, columns and files and never a value.
Error error_of(int extended, sqlite3* connection);

}  // namespace sagaz::inline v0::sqlite
