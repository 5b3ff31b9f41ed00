#include "stores/sqlite/caller_statements.hpp"

#include <sagaz/sqlite.hpp>

namespace sagaz::inline v0::sqlite {

SqliteTransaction::SqliteTransaction(sqlite3* connection, Synchronous accepted)
    : connection_(connection), accepted_(accepted) {}

// The object may see several transactions of the connection, each under another level.
Rows SqliteTransaction::execute(const Statement& statement) {
    check_in_transaction(connection_);
    check_durable(connection_, accepted_);
    return run(prepare_with_functions(connection_, statement.sql).get(), statement.parameters);
}

}  // namespace sagaz::inline v0::sqlite
