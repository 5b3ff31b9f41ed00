// Keeping the consumers' marks: a piece of the key a call is looked at, and what in it was set
// before the retention began is removed in a small transaction of ours. Partitions there are none.
// A mark whose message is also parked stays: without it the parked body would be a new message of
// that id.
#include "stores/sqlite/impatience.hpp"
#include "stores/sqlite/sqlite_store.hpp"

#include <sagaz/error.hpp>

namespace sagaz::inline v0::sqlite {
namespace {

// A place is the key of the last mark that was looked at; no id holds this character.
constexpr char kBetween = '\x1f';

// ?1 consumer and ?2 event id of the place: the key of the thousandth mark behind it.
constexpr std::string_view kPieceEnd =
    "SELECT i.consumer_name, i.event_id FROM @schema@_consumer_inbox i "
    "WHERE (i.consumer_name, i.event_id) > (?1, ?2) "
    "ORDER BY i.consumer_name, i.event_id LIMIT 1 OFFSET 999";

// ?3 and ?4: where it ends; null, at the end of the table. ?5: the retention in milliseconds.
constexpr std::string_view kPast =
    " FROM @schema@_consumer_inbox AS i WHERE (i.consumer_name, i.event_id) > (?1, ?2) "
    "AND (?3 IS NULL OR (i.consumer_name, i.event_id) <= (?3, ?4)) "
    "AND julianday(i.consumed_at) < julianday('now') - ?5 / 86400000.0 "
    "AND NOT EXISTS (SELECT 1 FROM @schema@_parked p WHERE p.direction = 'inbox' "
    "AND p.destination = 'default' AND p.consumer_name = i.consumer_name "
    "AND p.event_id = i.event_id)";

}  // namespace

InboxKept SqliteStore::keep_inbox(const InboxLimits& limits) {
    const auto cut = limits.place.rfind(kBetween);
    const bool is_start = cut == std::string::npos;
    const std::string consumer = is_start ? "" : limits.place.substr(0, cut);
    const std::string event = is_start ? "" : limits.place.substr(cut + 1);
    InboxKept kept;
    std::optional<std::pair<std::string, std::string>> end;
    const auto bind = [&](Database& database, const char* verb) {
        auto query = database.query(
            finished_statement(std::string(verb) + std::string(kPast), options_.schema));
        query.text(consumer).text(event);
        if (end) {
            query.text(end->first).text(end->second);
        } else {
            query.null().null();
        }
        query.number(limits.retention.count());
        return query;
    };
    bool found = false;
    read([&](Database& database) {
        auto query = database.query(finished_statement(kPieceEnd, options_.schema));
        query.text(consumer).text(event);
        if (query.step()) end.emplace(query.text_at(0), query.text_at(1));
        found = bind(database, "SELECT 1").step();
    });
    if (end) kept.place = end->first + kBetween + end->second;
    if (!found) return kept;
    const Impatience impatience(database_, options_.busy_timeout);
    try {
        write([&](Database& database) {
            bind(database, "DELETE").run();
            kept.removed = database.changes();
        });
    } catch (const Error& error) {
        if (error.code() != "busy") throw;
        kept.blocked = true;
    }
    return kept;
}

}  // namespace sagaz::inline v0::sqlite
