// The steps of the PostgreSQL functions as statements. SQLite has one writer and the transaction is
// begun IMMEDIATE, so nothing can come between two of them: a look may come before the insert.
//
// The connection has two functions, which its adapter registers, since SQLite has no hash of its
// own: sagaz_sha256(bytes), and sagaz_event_id(id), which gives what inbox_event_id gives in
// PostgreSQL. Both are deterministic, so a statement calls each once.
// The tables are those of the main file: what is attached commits apart from it.
#include "inbox/script.hpp"

#include <string>

namespace sagaz::inline v0::inbox {
namespace {

constexpr const char* kMarked = R"(EXISTS (SELECT 1 FROM main.@schema@_consumer_inbox i
    WHERE i.consumer_name = ?1 AND i.event_id = sagaz_event_id(?2)))";

constexpr const char* kMarkedOtherwise = R"(EXISTS (SELECT 1 FROM main.@schema@_consumer_inbox i
    WHERE i.consumer_name = ?1 AND i.event_id = sagaz_event_id(?2)
      AND i.payload_hash <> sagaz_sha256(?5)))";

// An id_conflict is in nobody's way.
constexpr const char* kEventParked = R"(EXISTS (SELECT 1 FROM main.@schema@_parked p
    WHERE p.direction = 'inbox' AND p.destination = 'default' AND p.consumer_name = ?1
      AND p.event_id = sagaz_event_id(?2) AND p.reason <> 'id_conflict'))";

constexpr const char* kKeyParked = R"((?9 = 'park_key' AND ?6 IS NOT NULL AND EXISTS (
    SELECT 1 FROM main.@schema@_parked p
    WHERE p.direction = 'inbox' AND p.destination = 'default' AND p.consumer_name = ?1
      AND p.slot IS NULL AND p.topic = ?3 AND p.key = ?6 AND p.reason <> 'id_conflict')))";

constexpr const char* kThisAttempt = "a.consumer_name = ?1 AND a.event_id = sagaz_event_id(?2)";

// Once for each reason and body. The values are expressions.
std::string park(const std::string& reason, const std::string& detail, const std::string& attempts,
                 const std::string& from_where) {
    return "INSERT INTO main.@schema@_parked (direction, destination, consumer_name, event_id, "
           "state, "
           "reason, detail, attempts, original_id, topic, key, event_type, content_type, headers, "
           "payload) SELECT 'inbox', 'default', ?1, sagaz_event_id(?2), CASE WHEN " +
           reason + " = 'key_parked' THEN 'waiting' ELSE 'dead' END, " + reason + ", " + detail +
           ", " + attempts + ", nullif(?2, sagaz_event_id(?2)), ?3, ?6, ?4, ?8, ?7, ?5 " +
           from_where +
           " AND NOT EXISTS (SELECT 1 FROM main.@schema@_parked p WHERE p.direction = 'inbox' AND "
           "p.destination = 'default' AND p.consumer_name = ?1 AND "
           "p.event_id = sagaz_event_id(?2) AND p.reason = " +
           reason + " AND p.payload IS ?5)";
}

// The messages of `direction` inbox of a consumer; `p` is the table's name there.
std::string of_consumer(const std::string& p) {
    return p + ".direction = 'inbox' AND " + p + ".destination = 'default' AND " + p +
           ".consumer_name = ?1 AND " + p + ".reason <> 'id_conflict'";
}

std::string same_key(const std::string& one, const std::string& other) {
    return of_consumer(one) + " AND " + one + ".slot IS NULL AND " + one + ".topic = " + other +
           ".topic AND " + one + ".key = " + other + ".key";
}

// What inbox_replay and inbox_replay_failed of migration 0007 do.
void add_replay(Script& script) {
    const std::string now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";
    const std::string parked = "main.@schema@_parked";
    script.due =
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM main.@schema@_consumer_inbox i WHERE "
        "i.consumer_name = ?1 AND i.event_id = p.event_id) THEN 'duplicate' ELSE 'processed' END, "
        "coalesce(p.original_id, p.event_id), p.topic, p.event_type, lower(hex(p.payload)), p.key, "
        "p.headers, p.content_type, p.position FROM " +
        parked + " p WHERE " + of_consumer("p") +
        " AND p.state = 'waiting' AND p.next_attempt_at <= " + now +
        " AND (?2 = 'park_event' OR p.key IS NULL OR NOT EXISTS (SELECT 1 FROM " + parked +
        " q WHERE " + same_key("q", "p") +
        " AND q.position < p.position)) ORDER BY p.next_attempt_at, p.position LIMIT 1";
    const std::string taken = of_consumer("f") + " AND f.position = CAST(?2 AS INTEGER)";
    script.take = {
        "INSERT INTO main.@schema@_consumer_inbox (event_id, consumer_name, original_id, "
        "source_topic, event_type, payload_hash, payload) SELECT f.event_id, ?1, f.original_id, "
        "coalesce(f.topic, ''), f.event_type, sagaz_sha256(coalesce(f.payload, x'')), CASE WHEN ?3 "
        "= 'true' THEN coalesce(f.payload, x'') END FROM " +
            parked + " f WHERE " + taken + " ON CONFLICT DO NOTHING",
        "UPDATE " + parked + " AS n SET next_attempt_at = " + now + " WHERE " + of_consumer("n") +
            " AND n.state = 'waiting' AND n.next_attempt_at IS NULL AND n.position = (SELECT "
            "min(q.position) FROM " +
            parked + " f JOIN " + parked + " q ON " + same_key("q", "f") +
            " AND q.position > f.position WHERE " + taken + ")",
        "DELETE FROM main.@schema@_inbox_attempt AS a WHERE a.consumer_name = ?1 AND a.event_id = "
        "(SELECT f.event_id FROM " +
            parked + " f WHERE " + taken + ")",
        "DELETE FROM " + parked + " AS f WHERE " + taken};
    const std::string refused = of_consumer("p") + " AND p.event_id = sagaz_event_id(?2)";
    const std::string is_last = "p.attempts + 1 >= CAST(?4 AS INTEGER)";
    script.refuse = {
        "UPDATE " + parked +
            " AS p SET attempts = p.attempts + 1, detail = ?3, state = CASE WHEN " + is_last +
            " THEN 'dead' ELSE 'waiting' END, reason = CASE WHEN " + is_last +
            " THEN 'max_attempts' ELSE p.reason END, next_attempt_at = CASE WHEN NOT " + is_last +
            " THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now', min(CAST(?6 AS INTEGER), CAST(?5 AS "
            "INTEGER) * (1 << min(p.attempts, 30))) / 1000.0 || ' seconds') END WHERE " +
            refused + " AND p.state = 'waiting'",
        "SELECT CASE WHEN changes() = 0 THEN CASE WHEN EXISTS (SELECT 1 FROM "
        "main.@schema@_consumer_inbox i WHERE i.consumer_name = ?1 AND i.event_id = "
        "sagaz_event_id(?2)) THEN 'duplicate' ELSE 'in_progress' END WHEN (SELECT p.state FROM " +
            parked + " p WHERE " + refused +
            " ORDER BY p.position DESC LIMIT 1) = 'dead' THEN 'parked' ELSE 'retry_later' END, "
            "coalesce((SELECT p.attempts FROM " +
            parked + " p WHERE " + refused + " ORDER BY p.position DESC LIMIT 1), 0)"};
}

}  // namespace

Script sqlite_script() {
    const std::string marked = kMarked;
    const std::string marked_otherwise = kMarkedOtherwise;
    const std::string event_parked = kEventParked;
    const std::string key_parked = kKeyParked;
    const std::string this_attempt = kThisAttempt;
    Script script;
    script.mark = {
        park("'id_conflict'", "'the same id came with another body'", "0",
             "WHERE " + marked_otherwise),
        park("'key_parked'", "'an earlier message of its key is parked'", "0",
             "WHERE " + key_parked + " AND NOT " + marked + " AND NOT " + event_parked),
        "DELETE FROM main.@schema@_inbox_attempt AS a WHERE " + this_attempt + " AND NOT " +
            event_parked + " AND NOT " + key_parked,
        "INSERT INTO main.@schema@_consumer_inbox (event_id, consumer_name, original_id, "
        "source_topic, "
        "event_type, payload_hash, payload) SELECT sagaz_event_id(?2), ?1, "
        "nullif(?2, sagaz_event_id(?2)), ?3, ?4, sagaz_sha256(?5), CASE WHEN ?10 = 'true' THEN ?5 "
        "END WHERE NOT " +
            event_parked + " AND NOT " + key_parked + " ON CONFLICT DO NOTHING",
        // Of the insert just before: a SELECT changes nothing.
        "SELECT CASE WHEN changes() = 1 THEN 'processed' WHEN " + marked_otherwise +
            " THEN 'parked' WHEN " + marked + " THEN 'duplicate' ELSE 'parked' END"};
    script.count = {
        "INSERT INTO main.@schema@_inbox_attempt (consumer_name, event_id, attempts, last_cause) "
        "SELECT ?1, sagaz_event_id(?2), CAST(?11 AS INTEGER), ?9 WHERE NOT " +
            marked + " AND NOT " + event_parked +
            " ON CONFLICT (consumer_name, event_id) DO UPDATE SET attempts = attempts + "
            "excluded.attempts, last_cause = excluded.last_cause, last_at = excluded.last_at",
        park("'max_attempts'", "?9", "a.attempts",
             "FROM main.@schema@_inbox_attempt a WHERE " + this_attempt +
                 " AND a.attempts >= CAST(?10 AS INTEGER)"),
        "DELETE FROM main.@schema@_inbox_attempt AS a WHERE " + this_attempt +
            " AND a.attempts >= CAST(?10 AS INTEGER)",
        "SELECT CASE WHEN " + marked + " THEN 'duplicate' WHEN " + event_parked +
            " THEN 'parked' ELSE 'retry_later' END, coalesce((SELECT a.attempts FROM "
            "main.@schema@_inbox_attempt a WHERE " +
            this_attempt + "), 0)"};
    script.park = {park("?9", "?10", "0", "WHERE true"), "SELECT 1"};
    script.reason = {
        "SELECT p.reason FROM main.@schema@_parked p WHERE p.direction = 'inbox' AND "
        "p.destination = 'default' AND p.consumer_name = ?1 AND "
        "p.event_id = sagaz_event_id(?2) ORDER BY p.position DESC LIMIT 1"};
    script.duration = {
        "UPDATE main.@schema@_consumer_inbox SET processing_duration_ms = CAST(?3 AS REAL) "
        "WHERE consumer_name = ?1 AND event_id = sagaz_event_id(?2)"};
    add_replay(script);
    return script;
}

}  // namespace sagaz::inline v0::inbox
