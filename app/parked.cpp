// `parked ls|show|replay|discard`. The reader role sees all but payload and headers.
#include "app/parked.hpp"

#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"
#include "app/json_text.hpp"
#include "app/row.hpp"
#include "app/table.hpp"
#include "app/units.hpp"

#include <sagaz/error.hpp>
#include <sagaz/id.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <ostream>

namespace sagaz::inline v0::app {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::size_t kLimitMax = 100'000;

constexpr std::array kNames{"direction",     "event_id",        "position",     "slot",
                            "state",         "reason",          "detail",       "attempts",
                            "parked_at",     "next_attempt_at", "created_at",   "topic",
                            "key",           "event_type",      "content_type", "aggregate_id",
                            "consumer_name", "headers"};
constexpr std::size_t kWithoutPayload = kNames.size() - 1;
enum : std::size_t {
    direction,
    event_id,
    position,
    slot,
    state,
    reason,
    detail,
    attempts,
    parked_at,
    next_attempt_at,
    created_at,
    topic,
    key,
    event_type
};

Rows find(StoreSession& session, const ParkedListOptions& options) {
    std::string columns;
    for (std::size_t n = 0; n < kWithoutPayload; ++n) {
        columns += (n > 0 ? ", p." : "p.") + std::string{kNames[n]};
    }
    if (options.payload) {
        columns += session.is_sqlite() ? ", p.headers, lower(hex(p.payload))"
                                       : ", p.headers, encode(p.payload, 'hex')";
    }
    std::vector<std::string> values;
    const auto where = ParkedCondition{options.filter}.sql(session, values);
    return session.run("select " + columns + " from @schema@.parked p where 1 = 1" + where +
                           " order by p.direction desc, p.position, p.event_id limit " +
                           std::to_string(std::min(options.limit, kLimitMax)),
                       values);
}

Json to_json(const Row& row, bool payload) {
    Json object{{"schema", 1}};
    for (std::size_t n = 0; n < kWithoutPayload; ++n) {
        const bool is_number = n == position || n == slot || n == attempts;
        object[kNames[n]] = !row[n] ? Json() : is_number ? Json(whole(row, n)) : Json(*row[n]);
    }
    if (!payload) return object;
    const auto& headers = row[kWithoutPayload];
    object["headers"] = headers ? Json::parse(*headers) : Json();
    put_payload(object, text(row, kWithoutPayload + 1));
    return object;
}

Purpose purpose_of(const ParkedListOptions& options) {
    return options.payload ? Purpose::look_at_payloads : Purpose::look;
}

void check_id(const ParkedFilter& filter) {
    if (!filter.id.empty()) static_cast<void>(Id::parse(filter.id));
}

Error not_parked(const std::string& id) {
    return {ErrorKind::invalid, "parked_not_found", "\"" + id + "\" is not parked",
            "see sagaz parked ls; it may have been delivered meanwhile"};
}

const char* things(const ParkedChangeOptions& options) {
    return options.filter.consumer ? " messages" : " events";
}

// What a command that changes nothing tells of it, or one that did.
int report(const ParkedTally& tally, const ParkedChangeOptions& options, Console& console) {
    const bool dry_run = options.mode == ChangeMode::dry_run;
    const std::string verb = options.discard ? "discard" : "replay";
    const std::string word = (dry_run ? "would_" : "") + verb + (dry_run ? "" : "ed");
    if (options.json) {
        Json object{{"schema", 1}, {"dry_run", dry_run}};
        object[options.discard || dry_run ? word : "replayed"] = tally.changed;
        if (!options.discard) object["already_waiting"] = tally.unchanged;
        if (!options.discard && !dry_run) object["behind_dead"] = tally.blocked;
        object["inbox_messages_left"] = tally.messages;
        console.out() << line_of(object) << '\n';
        return kOk;
    }
    console.out() << (dry_run ? "would " + verb + ' ' : verb + "ed ") << grouped(tally.changed)
                  << things(options) << '\n';
    if (!options.discard && tally.unchanged > 0) {
        console.say(grouped(tally.unchanged) + " wait already: they go in the order of their key");
    }
    if (tally.blocked > 0) {
        console.say(grouped(tally.blocked) +
                    " stand behind a dead event of their key: replay or discard that one too");
    }
    if (tally.messages > 0) {
        console.say(grouped(tally.messages) +
                    " messages of an inbox are left: name their consumer with --consumer");
    }
    return kOk;
}

void refuse_what_is_not_there(const ParkedTally& tally, const ParkedChangeOptions& options) {
    if (tally.changed + tally.unchanged > 0) return;
    if (tally.messages > 0) {
        throw Error{
            ErrorKind::invalid, "parked_inbox",
            "only messages of an inbox are parked there, none of them an event of the log",
            "name their consumer: add --consumer NAME, of those that sagaz inbox status shows"};
    }
    if (options.filter.id.empty()) return;
    throw not_parked(options.filter.id);
}

}  // namespace

int run_parked_list(const ParkedListOptions& options, Console& console) {
    StoreSession session{options.store, purpose_of(options)};
    const auto found = find(session, options);
    if (options.json) {
        for (const auto& row : found)
            console.out() << line_of(to_json(row, options.payload)) << '\n';
        return kOk;
    }
    std::vector<std::vector<std::string>> rows{
        {"DIRECTION", "EVENT ID", "STATE", "REASON", "ATTEMPTS", "PARKED", "TOPIC", "KEY", "TYPE"}};
    if (options.payload) rows[0].emplace_back("PAYLOAD");
    for (const auto& row : found) {
        rows.push_back({text(row, direction), text(row, event_id), text(row, state),
                        text(row, reason), text(row, attempts), text(row, parked_at),
                        row[topic].value_or("-"), row[key].value_or("-"), text(row, event_type)});
        if (options.payload) {
            rows.back().push_back(unhex(text(row, kWithoutPayload + 1)).substr(0, 200));
        }
    }
    if (!found.empty()) write_table(console.out(), rows);
    if (found.empty()) console.say("nothing is parked there");
    return kOk;
}

int run_parked_show(const ParkedListOptions& options, Console& console) {
    check_id(options.filter);
    StoreSession session{options.store, purpose_of(options)};
    const auto found = find(session, options);
    if (found.empty()) throw not_parked(options.filter.id);
    for (const auto& row : found) {
        const auto object = to_json(row, options.payload);
        if (options.json) {
            console.out() << line_of(object) << '\n';
        } else {
            write_members(console.out(), object);
        }
    }
    return kOk;
}

int run_parked_change(const ParkedChangeOptions& options, Console& console) {
    check_id(options.filter);
    const bool must_ask = options.mode == ChangeMode::ask;
    if (must_ask && !console.can_ask()) {
        refuse("confirmation_missing", "neither --yes nor --dry-run, and no terminal to ask on",
               "add --dry-run to see how many there are, then --yes");
    }
    StoreSession session{options.store, Purpose::change_parked};
    const ParkedCondition condition{options.filter};
    auto tally = look_at_parked(session, condition);
    if (options.discard) {
        tally.changed += tally.unchanged;
        tally.unchanged = 0;
    }
    refuse_what_is_not_there(tally, options);
    if (options.mode == ChangeMode::dry_run) return report(tally, options, console);
    const std::string what = options.discard ? "discard" : "replay";
    if (must_ask && !console.ask(what + ' ' + grouped(tally.changed) + things(options) + "?")) {
        console.say("nothing is changed");
        return kOk;
    }
    tally = options.discard ? discard_parked(session, condition)
                            : replay_parked(session, condition, options.rate);
    return report(tally, options, console);
}

}  // namespace sagaz::inline v0::app
