// `events` reads the log as it lies there. Every query asks slot by slot, so that the two indexes
// of the log serve it and a big backlog costs nothing; `show` by event id is the exception, since
// nothing is indexed by it.
//
// `tail` goes by snapshots, as a relay does: each round takes a snapshot and shows the rows that
// are visible in it and were not in the one before. Going by "id > last" would miss a late commit.
#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"
#include "app/table.hpp"
#include "app/units.hpp"
#include "stores/postgres/connection.hpp"
#include "stores/postgres/migration.hpp"

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
    "o.aggregate_type, o.aggregate_id, o.saga_id, o.xid";
// Where they stand in a row; the last two only when the payload was asked for.
constexpr int kId = 0;
constexpr int kEventId = 1;
constexpr int kSlot = 2;
constexpr int kCreatedAt = 3;
constexpr int kTopic = 4;
constexpr int kKey = 5;
constexpr int kType = 6;
constexpr int kXid = 11;
constexpr int kHeaders = 12;
constexpr int kPayload = 13;

std::optional<std::string> cell(const postgres::Result& result, int row, int column) {
    if (PQgetisnull(result.get(), row, column) != 0) {
        return std::nullopt;
    }
    return PQgetvalue(result.get(), row, column);
}

// Only what was asked for: the reader role may see all but the payload and the headers.
std::string columns(bool payload) {
    return std::string{kColumns} + (payload ? ", o.headers, encode(o.payload, 'hex')" : "");
}

std::string conditions(const EventFilter& filter, postgres::Parameters& parameters) {
    std::string text;
    const auto equal = [&](const char* column, const std::string& value) {
        parameters.text(value);
        text += std::string{" and o."} + column + " = $" + std::to_string(parameters.size());
    };
    if (!filter.topic.empty()) equal("topic", filter.topic);
    if (filter.key) equal("key", *filter.key);
    if (!filter.event_type.empty()) equal("event_type", filter.event_type);
    return text;
}

std::string unhex(const std::string& hex) {
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    std::string bytes;
    for (std::size_t n = 0; n + 1 < hex.size(); n += 2) {
        bytes += static_cast<char>(digit(hex[n]) * 16 + digit(hex[n + 1]));
    }
    return bytes;
}

Json to_json(const postgres::Result& result, int row, bool payload) {
    const auto value = [&](int column) {
        const auto text = cell(result, row, column);
        return text ? Json(*text) : Json(nullptr);
    };
    Json object{{"schema", 1}, {"event_id", *cell(result, row, kEventId)}};
    object["position"] = std::stoll(*cell(result, row, kId));
    object["slot"] = std::stoi(*cell(result, row, kSlot));
    object["transaction"] = *cell(result, row, kXid);
    object["created_at"] = *cell(result, row, kCreatedAt);
    constexpr std::array kNames{"topic",          "key",          "event_type", "content_type",
                                "aggregate_type", "aggregate_id", "saga_id"};
    for (std::size_t n = 0; n < kNames.size(); ++n) {
        object[kNames[n]] = value(kTopic + static_cast<int>(n));
    }
    if (payload) {
        const auto headers = cell(result, row, kHeaders);
        object["headers"] = headers ? Json::parse(*headers) : Json(nullptr);
        const auto hex = *cell(result, row, kPayload);
        const auto bytes = unhex(hex);
        try {
            object["payload"] = bytes;
            static_cast<void>(object["payload"].dump());  // throws for what is not UTF-8
        } catch (const Json::exception&) {
            object.erase("payload");
            object["payload_hex"] = hex;
        }
    }
    return object;
}

std::string line_of(const Json& object) {
    return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void write(const postgres::Result& result, const EventsListOptions& options, bool with_head,
           Console& console) {
    if (options.json) {
        for (int row = 0; row < PQntuples(result.get()); ++row) {
            console.out() << line_of(to_json(result, row, options.payload)) << '\n';
        }
        console.out() << std::flush;
        return;
    }
    std::vector<std::vector<std::string>> rows;
    if (with_head) {
        rows.push_back({"POSITION", "EVENT ID", "APPENDED", "TOPIC", "KEY", "TYPE"});
        if (options.payload) rows[0].emplace_back("PAYLOAD");
    }
    for (int row = 0; row < PQntuples(result.get()); ++row) {
        rows.push_back({*cell(result, row, kId), *cell(result, row, kEventId),
                        *cell(result, row, kCreatedAt), cell(result, row, kTopic).value_or("-"),
                        cell(result, row, kKey).value_or("-"), *cell(result, row, kType)});
        if (options.payload)
            rows.back().push_back(unhex(*cell(result, row, kPayload)).substr(0, 200));
    }
    if (PQntuples(result.get()) > 0) {
        write_table(console.out(), rows);
        console.out() << std::flush;
    }
}

class Log {
public:
    explicit Log(const StoreTarget& store) : connection_{store.url, {}}, schema_{store.schema} {
        postgres::check_schema_name(schema_);
    }

    // The newest events, or those after a position: by position, oldest first.
    postgres::Result list(const EventsListOptions& options) {
        postgres::Parameters parameters;
        parameters.number(options.filter.after);
        const auto where = conditions(options.filter, parameters);
        const auto limit = std::to_string(std::min(options.filter.limit, kLimitMax));
        const std::string order = options.filter.after > 0 ? "asc" : "desc";
        return run("select " + columns_again(options.payload) +
                       " from (select o.* from @schema@.slot s "
                       "cross join lateral (select " +
                       columns(options.payload) +
                       " from @schema@.outbox o "
                       "where o.slot = s.slot and o.id > $1" +
                       where + " order by o.id " + order + " limit " + limit +
                       ") o where s.destination = 'default' order by o.id " + order + " limit " +
                       limit + ") o order by o.id",
                   parameters);
    }

    std::string snapshot() { return *cell(run("select pg_current_snapshot()::text", {}), 0, 0); }

    // What became visible between two snapshots.
    postgres::Result between(const std::string& before, const std::string& now,
                             const EventsListOptions& options) {
        postgres::Parameters parameters;
        parameters.text(before).text(now);
        const auto where = conditions(options.filter, parameters);
        return run("select " + columns_again(options.payload) +
                       " from @schema@.slot s cross join lateral (select " +
                       columns(options.payload) +
                       " from @schema@.outbox o where o.slot = s.slot "
                       "and o.xid >= pg_snapshot_xmin($1::pg_snapshot) "
                       "and not pg_visible_in_snapshot(o.xid, $1::pg_snapshot) "
                       "and pg_visible_in_snapshot(o.xid, $2::pg_snapshot)" +
                       where + ") o where s.destination = 'default' order by o.id",
                   parameters);
    }

    postgres::Result find(const EventsShowOptions& options) {
        postgres::Parameters parameters;
        if (const auto position = parse_count(options.id)) {
            parameters.number(static_cast<std::int64_t>(*position));
            return run("select " + columns(options.payload) +
                           " from @schema@.slot s join @schema@.outbox o "
                           "on o.slot = s.slot and o.id = $1 where s.destination = 'default'",
                       parameters);
        }
        parameters.text(Id::parse(options.id).text());
        return run("select " + columns(options.payload) +
                       " from @schema@.outbox o where o.event_id = $1::uuid limit 1",
                   parameters);
    }

private:
    // The same columns of the inner query, by their names there.
    static std::string columns_again(bool payload) {
        return std::string{kColumns} + (payload ? ", o.headers, o.encode" : "");
    }

    postgres::Result run(const std::string& sql, const postgres::Parameters& parameters) {
        return connection_.execute(postgres::with_schema(sql, schema_), parameters);
    }

    postgres::Connection connection_;
    std::string schema_;
};

}  // namespace

int run_events_list(const EventsListOptions& options, Console& console) {
    Log log{options.store};
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
    Log log{options.store};
    const auto result = log.find(options);
    if (PQntuples(result.get()) == 0) {
        throw Error{ErrorKind::invalid, "event_not_found",
                    "\"" + options.id + "\" is not in the log",
                    "it may have been delivered and cleaned away, or parked: see sagaz status"};
    }
    const auto object = to_json(result, 0, options.payload);
    if (options.json) {
        console.out() << line_of(object) << '\n';
        return kOk;
    }
    for (const auto& [name, value] : object.items()) {
        if (name != "schema" && !value.is_null()) {
            console.out() << name << ": "
                          << plain(value.is_string() ? value.get<std::string>() : line_of(value))
                          << '\n';
        }
    }
    return kOk;
}

}  // namespace sagaz::inline v0::app
