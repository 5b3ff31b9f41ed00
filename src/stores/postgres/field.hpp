#pragma once

#include "core/assert.hpp"

#include <sagaz/id.hpp>

#include <libpq-fe.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

/// The fields of a result in text format, by row and column.
namespace sagaz::inline v0::postgres {

inline std::string_view text_at(const PGresult* result, int row, int column) {
    return {PQgetvalue(result, row, column),
            static_cast<std::size_t>(PQgetlength(result, row, column))};
}

inline bool is_null(const PGresult* result, int row, int column) {
    return PQgetisnull(result, row, column) != 0;
}

inline bool is_true(const PGresult* result, int row, int column) {
    return text_at(result, row, column) == "t";
}

template <class Number>
Number number_at(const PGresult* result, int row, int column) {
    const std::string_view text = text_at(result, row, column);
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    SAGAZ_ASSERT(error == std::errc{} && end == text.data() + text.size());
    return value;
}

inline std::optional<Id> id_at(const PGresult* result, int row, int column) {
    if (is_null(result, row, column)) return std::nullopt;
    return Id::parse(text_at(result, row, column));
}

/// For an array parameter, which takes 64 bits.
inline std::int64_t wide(std::int16_t value) { return value; }

}  // namespace sagaz::inline v0::postgres
