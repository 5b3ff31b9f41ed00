// Giving back the space of what is delivered: one call of reclaim(), see migration 0003.
//
// It goes out as one message of the simple protocol, its few values written into the text. By the
// extended one a transaction lasts until the server has the Sync behind the statement, so a message
// cut in two on its way would leave a segment locked for as long as the other half takes.
#include "stores/postgres/postgres_store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace sagaz::inline v0::postgres {
namespace {

void put(std::string& text, std::string_view place, const std::string& value) {
    for (auto at = text.find(place); at != std::string::npos; at = text.find(place, at)) {
        text.replace(at, place.size(), value);
        at += value.size();
    }
}

}  // namespace

Reclaimed PostgresStore::reclaim(const ReclaimLimits& limits) {
    std::string sql = statements_.reclaim;
    put(sql, "$1", fmt::format("'{}'", incarnation_.text()));
    put(sql, "{retention}", std::to_string(limits.retention.count()));
    put(sql, "{age}", std::to_string(limits.age.count()));
    put(sql, "{rows_max}", std::to_string(limits.rows_max));
    const Result row = answer_to([&] { return connection_.run_script(sql); });
    const auto field = [&](int column) { return std::string(PQgetvalue(row.get(), 0, column)); };
    Reclaimed reclaimed;
    reclaimed.truncations = std::stoi(field(0));
    reclaimed.deleted = std::stoll(field(1));
    reclaimed.blocked = field(2) == "t";
    reclaimed.has_more = field(3) == "t";
    return reclaimed;
}

}  // namespace sagaz::inline v0::postgres
