#pragma once

#include "stores/postgres/connection.hpp"
#include "stores/postgres/statements.hpp"

#include <sagaz/error.hpp>

#include <functional>
#include <string_view>

/// What the stores of a relay and of a publisher have in common: they attach to a schema that they
/// know, and act within one incarnation.
namespace sagaz::inline v0::postgres {

/// `unavailable`: the database's memory is another one than the store knows.
Error incarnation_changed();

/// Throws unless `connection` leads to a primary that has the schema in a version of ours.
void check_schema(Connection& connection, const Statements& statements, std::string_view schema);

/// The answer of one guarded statement. Throws `incarnation_changed` when it has no row. A conflict
/// with somebody else is `unavailable` here: it is met by trying again.
Result answer_to(const std::function<Result()>& ask);

}  // namespace sagaz::inline v0::postgres
