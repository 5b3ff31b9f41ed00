// Keeping the consumers' marks: one call of inbox_keep(), see migration 0007.
//
// It goes out as one message of the simple protocol, like reclaim() (postgres_reclaim.cpp) and for
// the same reason: a message that was cut in two on its way would leave the inbox locked for as
// long as the other half takes.
#include "core/replaced.hpp"
#include "stores/postgres/field.hpp"
#include "stores/postgres/postgres_store.hpp"

#include <nlohmann/json.hpp>

#include <charconv>
#include <string>
#include <string_view>
#include <utility>

namespace sagaz::inline v0::postgres {
namespace {

// {retention} and {patience} in milliseconds. In the select list, as kReclaim.
constexpr std::string_view kKeepInbox = R"(SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
WITH guard
SELECT (k.kept).made, (k.kept).dropped, (k.kept).removed, (k.kept).swept, (k.kept).next_place,
       (k.kept).blocked
FROM (SELECT @schema@.inbox_keep(interval '{retention} ms', interval '{patience} ms', {bytes_max},
                                 {place}) AS kept
      FROM guard OFFSET 0) k)";

// Reading so much under a lock takes a second or two, in which the relay does nothing else.
constexpr std::int64_t kBytesMax = std::int64_t{512} << 20;

std::int64_t place_of(std::string_view text) {
    std::int64_t place = 0;
    std::from_chars(text.data(), text.data() + text.size(), place);
    return place;  // what is not a place is the start
}

std::int64_t sum_of(std::string_view marks_by_consumer) {
    std::int64_t sum = 0;
    if (marks_by_consumer.empty()) return sum;
    for (const auto& marks : nlohmann::json::parse(marks_by_consumer)) {
        sum += marks.get<std::int64_t>();
    }
    return sum;
}

}  // namespace

InboxKept PostgresStore::keep_inbox(const InboxLimits& limits) {
    const std::pair<std::string_view, std::string> values[] = {
        {"$1", "'" + incarnation_.text() + "'"},
        {"{retention}", std::to_string(limits.retention.count())},
        {"{patience}", std::to_string(limits.patience.count())},
        {"{bytes_max}", std::to_string(kBytesMax)},
        {"{place}", std::to_string(place_of(limits.place))}};
    std::string sql = guarded_statement(kKeepInbox, options_.schema);
    for (const auto& [name, value] : values) sql = core::replaced(sql, name, value);
    const Result row = answer_to([&] { return connection_.run_script(sql); });
    InboxKept kept;
    kept.made = text_at(row.get(), 0, 0);
    kept.dropped = text_at(row.get(), 0, 1);
    kept.removed = sum_of(text_at(row.get(), 0, 2)) + number_at<std::int64_t>(row.get(), 0, 3);
    kept.blocked = is_true(row.get(), 0, 5);
    const auto place = number_at<std::int64_t>(row.get(), 0, 4);
    if (place != 0) kept.place = std::to_string(place);
    return kept;
}

}  // namespace sagaz::inline v0::postgres
