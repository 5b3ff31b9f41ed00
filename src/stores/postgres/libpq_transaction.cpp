#include "stores/postgres/connection.hpp"
#include "stores/postgres/error_table.hpp"
#include "stores/postgres/libpq_statement.hpp"

#include <sagaz/error.hpp>
#include <sagaz/postgres.hpp>

#include <libpq-fe.h>

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

}  // namespace

LibpqTransaction::LibpqTransaction(pg_conn* connection) : connection_(connection) {}

Rows LibpqTransaction::execute(const Statement& statement) {
    check_state(connection_);
    const Values values(statement.parameters);
    const Result result(PQexecParams(connection_, statement.sql.c_str(), values.count(), nullptr,
                                     values.pointers.data(), values.lengths.data(),
                                     values.formats.data(), 0));
    if (!is_done(result.get())) throw error_of(result.get(), connection_);
    return rows_in(result.get());
}

}  // namespace sagaz::inline v0::postgres
