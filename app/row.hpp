#pragma once

#include <sagaz/transaction.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>

/// A row that a statement returned holds each value as text; SQL NULL reads as "" and 0.
namespace sagaz::inline v0::app {

using Row = Rows::value_type;

inline std::string text(const Row& row, std::size_t column) { return row[column].value_or(""); }

inline std::int64_t whole(const Row& row, std::size_t column) {
    return std::strtoll(text(row, column).c_str(), nullptr, 10);
}

inline double real(const Row& row, std::size_t column) {
    return std::strtod(text(row, column).c_str(), nullptr);
}

}  // namespace sagaz::inline v0::app
