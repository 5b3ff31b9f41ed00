#pragma once

#include <string_view>

/// The SQL files of migrations/postgres, compiled in by embed_sql.cmake.
namespace sagaz::inline v0::postgres {

extern const std::string_view k_sql_log;
extern const std::string_view k_sql_inbox;
extern const std::string_view k_sql_reclaim;
extern const std::string_view k_sql_restore;
extern const std::string_view k_sql_parked;
extern const std::string_view k_sql_optimistic;
extern const std::string_view k_sql_roles;

}  // namespace sagaz::inline v0::postgres
