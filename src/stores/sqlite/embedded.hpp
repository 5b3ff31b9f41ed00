#pragma once

#include <string_view>

/// The SQL files of migrations/sqlite, compiled in by embed_sql.cmake.
namespace sagaz::inline v0::sqlite {

extern const std::string_view k_sql_log;

}  // namespace sagaz::inline v0::sqlite
