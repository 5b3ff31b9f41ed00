// Replaying and discarding parked events beside running relays. Each is one transaction, which
// changes rows under their own locks and writes its audit. In PostgreSQL it is one statement too: a
// relay that settles such a row waits for the lock, and a command that is frozen between two
// statements, or whose network is gone, would keep it for hours. A relay that is trying one of them
// at the same moment counts its attempt only onto the number that it saw, so whichever comes second
// changes nothing; and it asks for the first event of a key anew after every attempt, so it sees
// what was discarded. The transaction waits for the disk whatever the login's synchronous_commit:
// a discarded event that came back after a crash would be sent behind later ones of its key.
#include "app/json_text.hpp"
#include "app/parked.hpp"
#include "app/row.hpp"

#include <sagaz/error.hpp>
#include <sagaz/id.hpp>

#include <nlohmann/json.hpp>

namespace sagaz::inline v0::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kEvents = "p.direction = 'outbox' and p.destination = 'default'";
// Dead, or on its way through its attempts: what a replay changes. So a second one changes nothing.
constexpr const char* kReplayable = "(p.state = 'dead' or p.attempts > 0)";

/// Runs `body` as one transaction. Throws what it throws, after a rollback.
template <class Body>
void in_transaction(StoreSession& session, Body body) {
    session.begin();
    try {
        body();
    } catch (...) {
        session.rollback();
        throw;
    }
    session.commit();
}

std::int64_t count(StoreSession& session, const std::string& where,
                   const std::vector<std::string>& values) {
    return whole(session.run("select count(*) from @schema@.parked p where " + where, values).at(0),
                 0);
}

void write_audit(StoreSession& session, const std::string& action, const Json& detail) {
    session.run("insert into @schema@.audit (action, detail) values ($1, $2)",
                {action, line_of(detail)});
}

// Runs `change` in PostgreSQL with the rows for the audit that `audit` makes of what it returns, in
// one statement; returns how many it changed.
std::int64_t changed_by(StoreSession& session, const std::string& change, const std::string& audit,
                        const std::vector<std::string>& values) {
    const auto rows = session.run_change(
        "with disk as materialized (select set_config('synchronous_commit', 'local', true)), "
        "changed as (" +
            change + "), audited as (insert into @schema@.audit (action, detail) " + audit +
            ") select (select count(*) from changed) from disk",
        values,
        "run it again: what it has done is not done twice, and sagaz parked ls shows what is left");
    return whole(rows.at(0), 0);
}

// Until when each may wait: so many a second, in the order of their positions.
std::string due_of(const StoreSession& session, std::int64_t rate) {
    const std::string second = std::to_string(rate);
    if (session.is_sqlite()) {
        return rate == 0 ? "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"
                         : "strftime('%Y-%m-%dT%H:%M:%fZ', julianday('now') + (n.n - 1.0) / " +
                               second + " / 86400.0)";
    }
    return rate == 0 ? "clock_timestamp()"
                     : "clock_timestamp() + (n.n - 1) * interval '1 second' / " + second;
}

}  // namespace

ParkedTally look_at_parked(StoreSession& session, const ParkedCondition& condition) {
    std::vector<std::string> values;
    const auto where = condition.sql(session, values);
    ParkedTally tally;
    tally.messages = count(session, "p.direction = 'inbox'" + where, values);
    const auto events = kEvents + where;
    const auto all = count(session, events, values);
    tally.changed = count(session, events + " and " + kReplayable, values);
    tally.unchanged = all - tally.changed;
    return tally;
}

ParkedTally replay_parked(StoreSession& session, const ParkedCondition& condition,
                          std::int64_t rate) {
    ParkedTally tally = look_at_parked(session, condition);
    std::vector<std::string> values;
    const auto where = std::string{kEvents} + condition.sql(session, values);
    const auto update =
        "update @schema@.parked as p set state = 'waiting', attempts = 0, next_attempt_at = " +
        due_of(session, rate) +
        " from (select p.position, p.event_id, "
        "row_number() over (order by p.position) as n from @schema@.parked p where " +
        where + " and " + kReplayable +
        ") n where p.position = n.position and p.event_id = n.event_id and " + kEvents +
        " and p.consumer_name = '' and " + kReplayable + " returning 1";
    const Json filter = Json::parse(condition.json());
    const auto detail = [&](std::int64_t replayed) {
        return Json{
            {"filter", filter}, {"replayed", replayed}, {"rate", rate == 0 ? Json() : Json(rate)}};
    };
    if (session.is_sqlite()) {
        in_transaction(session, [&] {
            tally.changed = static_cast<std::int64_t>(session.run(update, values).size());
            if (tally.changed > 0) write_audit(session, "parked_replay", detail(tally.changed));
        });
    } else {
        values.push_back(line_of(detail(0)));
        tally.changed =
            changed_by(session, update,
                       "select 'parked_replay', $" + std::to_string(values.size()) +
                           "::jsonb || jsonb_build_object('replayed', count(*)) from changed "
                           "having count(*) > 0",
                       values);
    }
    values.clear();
    tally.blocked =
        count(session,
              kEvents + condition.sql(session, values) +
                  " and p.state = 'waiting' and p.key is not null and exists (select 1 "
                  "from @schema@.parked d where d.direction = 'outbox' "
                  "and d.destination = p.destination and d.consumer_name = p.consumer_name "
                  "and d.slot = p.slot and d.key = p.key and d.position < p.position "
                  "and coalesce(d.topic, d.event_type) = coalesce(p.topic, p.event_type) "
                  "and d.state = 'dead') "
                  "and exists (select 1 from @schema@.setting s where s.key = 'on_refused' "
                  "and s.value = 'park_key')",
              values);
    return tally;
}

ParkedTally discard_parked(StoreSession& session, const ParkedCondition& condition) {
    ParkedTally tally = look_at_parked(session, condition);
    tally.unchanged = 0;
    std::vector<std::string> values;
    const auto remove = "delete from @schema@.parked as p where " + std::string{kEvents} +
                        condition.sql(session, values) +
                        " returning event_id, position, slot, topic, key, event_type, reason, "
                        "state, attempts";
    // One row an event: what is gone from the log and from here must still be found by its id.
    if (!session.is_sqlite()) {
        values.push_back(condition.json());
        tally.changed = changed_by(session, remove,
                                   "select 'parked_discard', to_jsonb(c) || "
                                   "jsonb_build_object('filter', $" +
                                       std::to_string(values.size()) +
                                       "::jsonb) from changed c order by c.position",
                                   values);
        return tally;
    }
    in_transaction(session, [&] {
        const auto gone = session.run(remove, values);
        tally.changed = static_cast<std::int64_t>(gone.size());
        for (const auto& row : gone) {
            const auto value = [&](std::size_t n) { return row[n] ? Json(*row[n]) : Json(); };
            write_audit(session, "parked_discard",
                        {{"event_id", value(0)},
                         {"position", whole(row, 1)},
                         {"slot", whole(row, 2)},
                         {"topic", value(3)},
                         {"key", value(4)},
                         {"event_type", value(5)},
                         {"reason", value(6)},
                         {"state", value(7)},
                         {"attempts", whole(row, 8)},
                         {"filter", Json::parse(condition.json())}});
        }
    });
    return tally;
}

std::string ParkedCondition::sql(const StoreSession& session,
                                 std::vector<std::string>& values) const {
    std::string text;
    const auto value = [&](const std::string& bytes) {
        values.push_back(bytes);
        return "$" + std::to_string(values.size());
    };
    const auto equal = [&](const char* column, const std::string& bytes) {
        text += std::string{" and p."} + column + " = " + value(bytes);
    };
    if (!filter_.id.empty()) {
        text += " and p.event_id = " + value(Id::parse(filter_.id).text()) +
                (session.is_sqlite() ? "" : "::uuid");
    }
    if (filter_.topic) text += " and coalesce(p.topic, '') = " + value(*filter_.topic);
    if (filter_.key) equal("key", *filter_.key);
    if (!filter_.event_type.empty()) equal("event_type", filter_.event_type);
    if (!filter_.reason.empty()) equal("reason", filter_.reason);
    if (!filter_.state.empty()) equal("state", filter_.state);
    if (!filter_.direction.empty()) equal("direction", filter_.direction);
    const auto aged = [&](const char* sign, std::chrono::milliseconds age) {
        const auto seconds = std::to_string(static_cast<double>(age.count()) / 1000);
        text += session.is_sqlite() ? std::string{" and julianday(p.parked_at) "} + sign +
                                          " julianday('now') - " + seconds + " / 86400.0"
                                    : std::string{" and p.parked_at "} + sign +
                                          " clock_timestamp() - interval '1 second' * " + seconds;
    };
    if (filter_.older_than) aged("<=", *filter_.older_than);
    if (filter_.younger_than) aged(">", *filter_.younger_than);
    return text;
}

std::string ParkedCondition::json() const {
    Json object = Json::object();
    if (!filter_.id.empty()) object["event_id"] = filter_.id;
    if (filter_.topic) object["topic"] = *filter_.topic;
    if (filter_.key) object["key"] = *filter_.key;
    if (!filter_.event_type.empty()) object["event_type"] = filter_.event_type;
    if (!filter_.reason.empty()) object["reason"] = filter_.reason;
    if (!filter_.state.empty()) object["state"] = filter_.state;
    if (filter_.older_than) object["older_than_ms"] = filter_.older_than->count();
    if (filter_.younger_than) object["younger_than_ms"] = filter_.younger_than->count();
    return line_of(object);
}

}  // namespace sagaz::inline v0::app
