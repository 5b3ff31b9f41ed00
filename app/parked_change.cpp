// Replaying and discarding parked events beside running relays, and the parked messages of an inbox
// beside its consumers. Each is one transaction, which
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
#include "core/replaced.hpp"

#include <sagaz/error.hpp>
#include <sagaz/id.hpp>

#include <nlohmann/json.hpp>

namespace sagaz::inline v0::app {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kEvents = "p.direction = 'outbox' and p.destination = 'default'";
constexpr const char* kMessages = "p.direction = 'inbox' and p.destination = 'default'";
// Dead, or on its way through its attempts.
constexpr const char* kTried = "(p.state = 'dead' or p.attempts > 0)";

// Makes due what is first of its key once others are gone: by itself the consumer does so when it
// takes one. In PostgreSQL they go in the same statement, which still sees them: {is_left} says of
// the position of `q` or `n` that it is not one of them.
constexpr const char* kFreeKeys =
    "update @schema@.parked as n set next_attempt_at = {now} where n.direction = 'inbox' "
    "and n.destination = 'default' and n.consumer_name = {consumer} and n.state = 'waiting' "
    "and n.next_attempt_at is null and n.reason <> 'id_conflict' and n.position {is_left} "
    "and not exists (select 1 from @schema@.parked q where q.direction = 'inbox' "
    "and q.destination = 'default' and q.consumer_name = n.consumer_name and q.slot is null "
    "and q.topic = n.topic and q.key = n.key and q.position < n.position "
    "and q.reason <> 'id_conflict' and q.position {is_left})";

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
// one statement, and with what `more` does; returns how many it changed.
std::int64_t changed_by(StoreSession& session, const std::string& change, const std::string& audit,
                        const std::vector<std::string>& values, const std::string& more = {}) {
    const auto rows = session.run_change(
        "with disk as materialized (select set_config('synchronous_commit', 'local', true)), "
        "changed as (" +
            change + "), audited as (insert into @schema@.audit (action, detail) " + audit + ')' +
            (more.empty() ? "" : ", further as (" + more + ')') +
            " select (select count(*) from changed) from disk",
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

std::string free_keys(const StoreSession& session, const std::string& consumer,
                      const std::string& is_left) {
    std::string sql = core::replaced(kFreeKeys, "{now}", due_of(session, 0));
    sql = core::replaced(sql, "{consumer}", consumer);
    return core::replaced(sql, "{is_left}", is_left);
}

}  // namespace

ParkedTally look_at_parked(StoreSession& session, const ParkedCondition& condition) {
    std::vector<std::string> values;
    const auto where = condition.sql(session, values);
    ParkedTally tally;
    if (!condition.consumer()) {
        tally.messages = count(session, "p.direction = 'inbox'" + where, values);
    }
    const auto all = count(session, condition.changeable() + where, values);
    tally.changed = count(session, condition.replayable() + where, values);
    tally.unchanged = all - tally.changed;
    return tally;
}

ParkedTally replay_parked(StoreSession& session, const ParkedCondition& condition,
                          std::int64_t rate) {
    ParkedTally tally = look_at_parked(session, condition);
    std::vector<std::string> values;
    const auto where = condition.replayable() + condition.sql(session, values);
    const auto update =
        "update @schema@.parked as p set state = 'waiting', attempts = 0, next_attempt_at = " +
        due_of(session, rate) +
        " from (select p.position, p.event_id, p.consumer_name, "
        "row_number() over (order by p.position) as n from @schema@.parked p where " +
        where +
        ") n where p.position = n.position and p.event_id = n.event_id "
        "and p.consumer_name = n.consumer_name and " +
        condition.replayable() + " returning 1";
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
    if (condition.consumer()) return tally;
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
    const auto remove = "delete from @schema@.parked as p where " + condition.changeable() +
                        condition.sql(session, values) +
                        " returning event_id, position, slot, topic, key, event_type, reason, "
                        "state, attempts";
    // One row an event: what is gone from the log and from here must still be found by its id.
    if (!session.is_sqlite()) {
        values.push_back(condition.json());
        const auto audit =
            "select 'parked_discard', to_jsonb(c) || jsonb_build_object('filter', $" +
            std::to_string(values.size()) + "::jsonb) from changed c order by c.position";
        std::string more;
        if (condition.consumer()) {
            values.push_back(*condition.consumer());
            more = free_keys(session, "$" + std::to_string(values.size()),
                             "not in (select c.position from changed c)");
        }
        tally.changed = changed_by(session, remove, audit, values, more);
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
        if (condition.consumer()) {
            session.run(free_keys(session, "$1", "is not null"), {*condition.consumer()});
        }
    });
    return tally;
}

std::string ParkedCondition::changeable() const { return filter_.consumer ? kMessages : kEvents; }

std::string ParkedCondition::replayable() const {
    // Another body under the same id never gets better.
    return changeable() + " and " + kTried +
           (filter_.consumer ? " and p.reason <> 'id_conflict'" : "");
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
    if (filter_.consumer) equal("consumer_name", *filter_.consumer);
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
    if (filter_.consumer) object["consumer_name"] = *filter_.consumer;
    if (filter_.older_than) object["older_than_ms"] = filter_.older_than->count();
    if (filter_.younger_than) object["younger_than_ms"] = filter_.younger_than->count();
    return line_of(object);
}

}  // namespace sagaz::inline v0::app
