#pragma once

#include <sagaz/transaction.hpp>

#include <libpq-fe.h>

#include <string>
#include <vector>

namespace sagaz::inline v0::postgres {

/// What libpq wants of a statement's parameters: for each a pointer, a length and a format; text
/// must end with a zero. Views binary ones, so it lives no longer than they do.
struct Values {
    explicit Values(const std::vector<Parameter>& parameters) {
        copies.reserve(parameters.size());
        for (const auto& parameter : parameters) {
            const bool is_text = !parameter.binary;
            const char* pointer = parameter.bytes.empty() ? "" : parameter.bytes.data();
            if (is_text) pointer = copies.emplace_back(parameter.bytes).c_str();
            pointers.push_back(parameter.null ? nullptr : pointer);
            lengths.push_back(static_cast<int>(parameter.bytes.size()));
            formats.push_back(is_text ? 0 : 1);
        }
    }
    int count() const { return static_cast<int>(pointers.size()); }

    std::vector<std::string> copies;
    std::vector<const char*> pointers;
    std::vector<int> lengths;
    std::vector<int> formats;
};

inline bool is_done(const PGresult* result) {
    const auto status = PQresultStatus(result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

inline Rows rows_in(const PGresult* result) {
    Rows rows(static_cast<std::size_t>(PQntuples(result)));
    for (std::size_t r = 0; r < rows.size(); ++r) {
        for (int c = 0; c < PQnfields(result); ++c) {
            const int row = static_cast<int>(r);
            if (PQgetisnull(result, row, c) != 0) {
                rows[r].emplace_back(std::nullopt);
            } else {
                rows[r].emplace_back(PQgetvalue(result, row, c));
            }
        }
    }
    return rows;
}

}  // namespace sagaz::inline v0::postgres
