// `events` reads the log as it lies there. Every query asks slot by slot, so that the two indexes
// of the log serve it and a big backlog costs nothing; `show` by event id is the exception, since
// nothing is indexed by it.
//
// `tail` goes by snapshots, as a relay does: each round takes a snapshot and shows the rows that
// are visible in it and were not in the one before. Going by "id > last" would miss a late commit.
#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"
#include "app/json_text.hpp"
#include "app/store.hpp"
#include "app/table.hpp"
#include "app/units.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <ostream>
#include <thread>

namespace sagaz::inline v0::app {
namespace {

using Json = nlohmann::ordered_json;
constexpr auto kTailEvery = std::chrono::milliseconds{500};
constexpr std::size_t kLimitMax = 100'000;

constexpr const char* kColumns =
    "o.id, o.event_id, o.slot, o.created_at, o.topic, o.key, o.event_type, o.content_type, "
    "o.aggregate_type, o.aggregate_id, o.saga_id, ";
// Where they stand in a row; the last two only when the payload was asked for.
constexpr std::size_t kId = 0;
constexpr std::size_t kEventId = 1;
constexpr std::size_t kSlot = 2;
constexpr std::size_t kCreatedAt = 3;
constexpr std::size_t kTopic = 4;
constexpr std::size_t kKey = 5;
constexpr std::size_t kType = 6;
constexpr std::size_t kXid = 11;
constexpr std::size_t kHeaders = 12;
constexpr std::size_t kPayload = 13;

using Values = std::vector<std::optional<std::string>>;

std::string conditions(const EventFilter& filter, std::vector<std::string>& values) {
    std::string text;
    const auto equal = [&](const char* column, const std::string& value) {
        values.push_back(value);
        text += std::string{" and o."} + column + " = $" + std::to_string(values.size());
    };
    if (!filter.topic.empty()) equal("topic", filter.topic);
    if (filter.key) equal("key", *filter.key);
    if (!filter.event_type.empty()) equal("event_type", filter.event_type);
    return text;
}

Json to_json(const Values& row, bool payload) {
    const auto value = [&](std::size_t column) {
        return row[column] ? Json(*row[column]) : Json(nullptr);
    };
    Json object{{"schema", 1}, {"event_id", *row[kEventId]}};
    object["position"] = std::stoll(*row[kId]);
    object["slot"] = std::stoi(*row[kSlot]);
    object["transaction"] = *row[kXid];
    object["created_at"] = *row[kCreatedAt];
    constexpr std::array kNames{"topic",          "key",          "event_type", "content_type",
                                "aggregate_type", "aggregate_id", "saga_id"};
    for (std::size_t n = 0; n < kNames.size(); ++n) {
        object[kNames[n]] = value(kTopic + n);
    }
    if (payload) {
        const auto& headers = row[kHeaders];
        object["headers"] = headers ? Json::parse(*headers) : Json(nullptr);
        put_payload(object, *row[kPayload]);
    }
    return object;
}

void write(const Rows& events, const EventsListOptions& options, bool with_head, Console& console) {
    if (options.json) {
        for (const auto& event : events) {
            console.out() << line_of(to_json(event, options.payload)) << '\n';
        }
        console.out() << std::flush;
        return;
    }
    std::vector<std::vector<std::string>> rows;
    if (with_head) {
        rows.push_back({"POSITION", "EVENT ID", "APPENDED", "TOPIC", "KEY", "TYPE"});
        if (options.payload) rows[0].emplace_back("PAYLOAD");
    }
    for (const auto& event : events) {
        rows.push_back({*event[kId], *event[kEventId], *event[kCreatedAt],
                        event[kTopic].value_or("-"), event[kKey].value_or("-"), *event[kType]});
        if (options.payload) rows.back().push_back(unhex(*event[kPayload]).substr(0, 200));
    }
    if (!events.empty()) {
        write_table(console.out(), rows);
        console.out() << std::flush;
    }
}

class Log {
public:
    Log(const StoreTarget& store, bool payload)
        : session_{store, payload ? Purpose::look_at_payloads : Purpose::look} {}

    // The newest events, or those after a position: by position, oldest first.
    Rows list(const EventsListOptions& options) {
        std::vector<std::string> values{std::to_string(options.filter.after)};
        const auto where = conditions(options.filter, values);
        const auto limit = std::to_string(std::min(options.filter.limit, kLimitMax));
        const std::string order = options.filter.after > 0 ? "asc" : "desc";
        const auto newest = "select " + columns(options.payload) +
                            " from @schema@.outbox o where o.id > $1" + where + " order by o.id " +
                            order + " limit " + limit;
        if (session_.is_sqlite()) {
            return session_.run("select * from (" + newest + ") o order by o.id", values);
        }
        return session_.run("select " + columns_again(options.payload) +
                                " from (select o.* from @schema@.slot s "
                                "cross join lateral (select " +
                                columns(options.payload) +
                                " from @schema@.outbox o "
                                "where o.slot = s.slot and o.id > $1" +
                                where + " order by o.id " + order + " limit " + limit +
                                ") o where s.destination = 'default' order by o.id " + order +
                                " limit " + limit + ") o order by o.id",
                            values);
    }

    // SQLite: the last id given out, since nothing commits late there.
    std::string snapshot() {
        return *session_
                    .run(session_.is_sqlite()
                             ? "select coalesce((select s.seq from sqlite_sequence s "
                               "where s.name = '@schema@_outbox'), 0)"
                             : "select pg_current_snapshot()::text")
                    .at(0)
                    .at(0);
    }

    // What became visible between two snapshots.
    Rows between(const std::string& before, const std::string& now,
                 const EventsListOptions& options) {
        std::vector<std::string> values{before, now};
        const auto where = conditions(options.filter, values);
        if (session_.is_sqlite()) {
            return session_.run("select " + columns(options.payload) +
                                    " from @schema@.outbox o where o.id > $1 and o.id <= $2" +
                                    where + " order by o.id",
                                values);
        }
        return session_.run("select " + columns_again(options.payload) +
                                " from @schema@.slot s cross join lateral (select " +
                                columns(options.payload) +
                                " from @schema@.outbox o where o.slot = s.slot "
                                "and o.xid >= pg_snapshot_xmin($1::pg_snapshot) "
                                "and not pg_visible_in_snapshot(o.xid, $1::pg_snapshot) "
                                "and pg_visible_in_snapshot(o.xid, $2::pg_snapshot)" +
                                where + ") o where s.destination = 'default' order by o.id",
                            values);
    }

    Rows find(const EventsShowOptions& options) {
        const auto select = "select " + columns(options.payload) + " from ";
        if (const auto position = parse_count(options.id)) {
            return session_.run(select +
                                    "@schema@.slot s join @schema@.outbox o on o.slot = s.slot "
                                    "and o.id = $1 where s.destination = 'default'",
                                {std::to_string(*position)});
        }
        const std::string id = session_.is_sqlite() ? "$1" : "$1::uuid";
        return session_.run(select + "@schema@.outbox o where o.event_id = " + id + " limit 1",
                            {Id::parse(options.id).text()});
    }

private:
    // Only what was asked for: the reader role may see all but the payload and the headers. A row
    // of SQLite has no transaction but its position.
    std::string columns(bool payload) const {
        if (session_.is_sqlite()) {
            return std::string{kColumns} + "o.id as xid" +
                   (payload ? ", o.headers, lower(hex(o.payload))" : "");
        }
        return std::string{kColumns} + "o.xid" +
               (payload ? ", o.headers, encode(o.payload, 'hex')" : "");
    }

    // PostgreSQL: the same columns of the inner query, by their names there.
    static std::string columns_again(bool payload) {
        return std::string{kColumns} + "o.xid" + (payload ? ", o.headers, o.encode" : "");
    }

    StoreSession session_;
};

}  // namespace

int run_events_list(const EventsListOptions& options, Console& console) {
    Log log{options.store, options.payload};
    auto seen = options.follow ? log.snapshot() : std::string{};
    write(log.list(options), options, true, console);
    while (options.follow) {  // until SIGINT ends the process
        std::this_thread::sleep_for(kTailEvery);
        const auto now = log.snapshot();
        write(log.between(seen, now, options), options, false, console);
        if (!console.out()) {
            return kFailed;
        }
        seen = now;
    }
    return kOk;
}

int run_events_show(const EventsShowOptions& options, Console& console) {
    Log log{options.store, options.payload};
    const auto found = log.find(options);
    if (found.empty()) {
        throw Error{ErrorKind::invalid, "event_not_found",
                    "\"" + options.id + "\" is not in the log",
                    "it may have been delivered and cleaned away, or parked: see sagaz status"};
    }
    const auto object = to_json(found[0], options.payload);
    if (options.json) {
        console.out() << line_of(object) << '\n';
        return kOk;
    }
    write_members(console.out(), object);
    return kOk;
}

}  // namespace sagaz::inline v0::app
