#include "stores/postgres/connection.hpp"
#include "stores/postgres/error_table.hpp"

#include <sagaz/error.hpp>
#include <sagaz/postgres.hpp>

#include <libpq-fe.h>

#include <string>
#include <vector>

namespace sagaz::inline v0::postgres {
namespace {

void check_state(const PGconn* connection) {
    if (PQpipelineStatus(connection) != PQ_PIPELINE_OFF) {
        throw Error(ErrorKind::invalid, "pipeline_mode", "the connection is in pipeline mode",
                    "leave it first, or run Outbox::append_statement yourself");
    }
    switch (PQtransactionStatus(connection)) {
        case PQTRANS_INTRANS: return;
        case PQTRANS_INERROR:
            throw Error(ErrorKind::invalid, "transaction_failed",
                        "an earlier statement of the transaction failed", "roll it back");
        default:
            throw Error(ErrorKind::invalid, "no_transaction",
                        "no transaction is open on the connection",
                        "BEGIN first: an event belongs to the transaction of what it tells");
    }
}

// What libpq wants: a pointer, a length and a format for each value; text must end with a zero.
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

    std::vector<std::string> copies;
    std::vector<const char*> pointers;
    std::vector<int> lengths;
    std::vector<int> formats;
};

}  // namespace

LibpqTransaction::LibpqTransaction(pg_conn* connection) : connection_(connection) {}

Rows LibpqTransaction::execute(const Statement& statement) {
    check_state(connection_);
    const Values values(statement.parameters);
    const Result result(PQexecParams(
        connection_, statement.sql.c_str(), static_cast<int>(values.pointers.size()), nullptr,
        values.pointers.data(), values.lengths.data(), values.formats.data(), 0));
    const auto status = PQresultStatus(result.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        throw error_of(result.get(), connection_);
    }
    Rows rows(static_cast<std::size_t>(PQntuples(result.get())));
    for (std::size_t r = 0; r < rows.size(); ++r) {
        for (int c = 0; c < PQnfields(result.get()); ++c) {
            const int row = static_cast<int>(r);
            if (PQgetisnull(result.get(), row, c) != 0) {
                rows[r].emplace_back(std::nullopt);
            } else {
                rows[r].emplace_back(PQgetvalue(result.get(), row, c));
            }
        }
    }
    return rows;
}

}  // namespace sagaz::inline v0::postgres
