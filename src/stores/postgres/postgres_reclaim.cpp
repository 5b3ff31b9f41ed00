// Giving back the space of what is delivered: one call of reclaim(), see migration 0003.
//
// It goes out as one message of the simple protocol, its few values written into the text. By the
// extended one a transaction lasts until the server has the Sync behind the statement, so a message
// cut in two on its way would leave a segment locked for as long as the other half takes.
#include "core/replaced.hpp"
#include "stores/postgres/field.hpp"
#include "stores/postgres/postgres_store.hpp"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

namespace sagaz::inline v0::postgres {

Reclaimed PostgresStore::reclaim(const ReclaimLimits& limits) {
    const std::pair<std::string_view, std::string> values[] = {
        {"$1", fmt::format("'{}'", incarnation_.text())},
        {"{retention}", std::to_string(limits.retention.count())},
        {"{age}", std::to_string(limits.age.count())},
        {"{rows_max}", std::to_string(limits.rows_max)}};
    std::string sql = statements_.reclaim;
    for (const auto& [place, value] : values) sql = core::replaced(sql, place, value);
    const Result row = answer_to([&] { return connection_.run_script(sql); });
    Reclaimed reclaimed;
    reclaimed.truncations = number_at<decltype(reclaimed.truncations)>(row.get(), 0, 0);
    reclaimed.deleted = number_at<decltype(reclaimed.deleted)>(row.get(), 0, 1);
    reclaimed.blocked = is_true(row.get(), 0, 2);
    reclaimed.has_more = is_true(row.get(), 0, 3);
    return reclaimed;
}

}  // namespace sagaz::inline v0::postgres
