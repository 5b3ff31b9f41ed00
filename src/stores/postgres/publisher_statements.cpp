#include "stores/postgres/publisher_statements.hpp"

#include "stores/postgres/migration.hpp"

#include <fmt/format.h>

namespace sagaz::inline v0::postgres {
namespace {

// In one snapshot: who changes a setting renews the token, so bytes shaped by these settings are
// the relay's for as long as the token is the same.
constexpr std::string_view kAttach = R"(
SELECT t.token, s.key, s.value
FROM (SELECT @schema@.publisher_token($1::text) AS token OFFSET 0) t
LEFT JOIN @schema@.setting s ON true)";

// An array of slots, one of ids and one of event ids.
std::string rows_at(int first) {
    return fmt::format("${}::int2[], ${}::int8[], ${}::uuid[]", first, first + 1, first + 2);
}

}  // namespace

PublisherStatements::PublisherStatements(std::string_view schema)
    : schema_(with_schema("@schema@", schema)), attach_(with_schema(kAttach, schema)) {}

std::string PublisherStatements::confirm(const std::vector<std::size_t>& leaves) const {
    std::string sql;
    int next = 6;
    for (const std::size_t leaf : leaves) {
        if (!sql.empty()) sql += " UNION ALL ";
        sql += fmt::format(
            "SELECT * FROM {}.confirm_{:02}($1::uuid, $2::text, $3::int8, {}, $4::int8[], "
            "$5::uuid[])",
            schema_, leaf, rows_at(next));
        next += 3;
    }
    return sql;
}

std::string PublisherStatements::settle(const std::vector<std::size_t>& leaves) const {
    std::string sql;
    int next = 3;
    for (const std::size_t leaf : leaves) {
        sql += sql.empty() ? "SELECT " : " AND ";
        sql += fmt::format("{}.settle_{:02}($1::uuid, $2::text, {}, {})", schema_, leaf,
                           rows_at(next), rows_at(next + 3));
        next += 6;
    }
    return sql;
}

}  // namespace sagaz::inline v0::postgres
