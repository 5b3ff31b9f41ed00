#pragma once

#include "stores/sqlite/database.hpp"

#include <sagaz/sqlite.hpp>
#include <sagaz/transaction.hpp>

#include <string>
#include <unordered_map>

/// Statements of a `Transaction` on the caller's own connection.
namespace sagaz::inline v0::sqlite {

/// Throws `invalid` (`no_transaction`).
void check_in_transaction(sqlite3* connection);

/// Throws `invalid` (`journal_unsafe`, `synchronous_off`, `synchronous_normal`): what a crash could
/// take back or ruin. SQLite changes no level inside a transaction, so once for each is enough.
void check_durable(sqlite3* connection, Synchronous accepted);

/// Prepares a statement that may use the inbox's functions: registers them where they are missing.
StatementHandle prepare_with_functions(sqlite3* connection, const std::string& sql);

/// Binds the values, steps to the end and resets, so that nothing stays open or bound.
Rows run(sqlite3_stmt* statement, const std::vector<Parameter>& parameters);

/// Statements that stay prepared, by their text: as many as an inbox and a handler repeat.
class KeptStatements {
public:
    Rows execute(sqlite3* connection, const Statement& statement);

private:
    std::unordered_map<std::string, StatementHandle> by_text_;
};

}  // namespace sagaz::inline v0::sqlite
