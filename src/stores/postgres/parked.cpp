// The events that were taken off the log, and the statements that bring them back.
//
// Only the owner of a slot parks, counts and un-parks, each in one statement that holds the slot's
// row FOR SHARE in its epoch, so a stale owner changes nothing. Operators replay and discard beside
// it, a row at a time under the row's own lock: whoever comes second finds the row changed or gone
// and does nothing to it, since an attempt is counted only onto the number it was made from.
#include "stores/postgres/parked.hpp"

#include "core/replaced.hpp"
#include "stores/postgres/field.hpp"
#include "stores/postgres/postgres_store.hpp"

namespace sagaz::inline v0::postgres {
namespace {

// $2 destination; $3 slots, $4 topics, $5 keys, $6 types, $7 rows of each; $8 slots of those alone,
// $9 whether with a key. By the index parked_key, and by parked_due for those alone: so a queue of
// any length behind a key, and any number of dead ones, cost nothing. The gate is read after the
// snapshot was taken, so all that the snapshot shows was written before it.
constexpr std::string_view kLook = R"(WITH guard, looked AS (
    SELECT v.place, m.*
    FROM guard
    CROSS JOIN unnest($3::int2[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY
        v (slot, topic, key, event_type, place)
    CROSS JOIN LATERAL (
        SELECT u.*
        FROM ((SELECT {columns} FROM @schema@.parked p
               WHERE p.direction = 'outbox' AND p.destination = $2::text AND p.consumer_name = ''
                 AND p.slot = v.slot AND p.topic = v.topic AND p.key = v.key
                 AND (v.topic <> '' OR p.event_type = v.event_type)
               ORDER BY p.position LIMIT (SELECT $7::int8))
              UNION ALL
              (SELECT {columns} FROM @schema@.parked p
               WHERE p.direction = 'outbox' AND p.destination = $2::text AND p.consumer_name = ''
                 AND p.slot = v.slot AND p.topic IS NULL AND p.key = v.key AND v.topic = ''
                 AND p.event_type = v.event_type
               ORDER BY p.position LIMIT (SELECT $7::int8))) u
        ORDER BY u.position LIMIT (SELECT $7::int8)) m
    UNION ALL
    SELECT 0, m.*
    FROM guard
    CROSS JOIN unnest($8::int2[]) s (slot)
    CROSS JOIN LATERAL (
        SELECT u.*
        FROM ((SELECT {columns} FROM @schema@.parked p
               WHERE p.direction = 'outbox' AND p.state = 'waiting' AND p.destination = $2::text
                 AND p.slot = s.slot AND p.next_attempt_at IS NOT NULL
                 AND ($9::bool OR p.key IS NULL)
               ORDER BY p.next_attempt_at, p.position LIMIT 100)
              UNION ALL
              (SELECT {columns} FROM @schema@.parked p
               WHERE p.direction = 'outbox' AND p.state = 'waiting' AND p.destination = $2::text
                 AND p.slot = s.slot AND p.next_attempt_at IS NULL AND $9::bool
               ORDER BY p.position LIMIT 100)) u
        ORDER BY u.due_ms, u.position LIMIT 100) m
)
SELECT pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_lsn,
       pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_lsn,
       l.place, l.slot, l.position, l.event_id, l.is_dead, l.attempts, l.due_ms, l.bytes
FROM guard LEFT JOIN looked l ON true
ORDER BY l.place, CASE WHEN l.place = 0 THEN l.due_ms END, l.position)";

constexpr std::string_view kLookColumns = R"(p.slot, p.position, p.event_id,
               p.state = 'dead' AS is_dead, p.attempts,
               coalesce(greatest(0, ceil(1000 * extract(
                   epoch FROM p.next_attempt_at - pg_catalog.clock_timestamp()))), 0)::int8
                   AS due_ms,
               coalesce(pg_catalog.octet_length(p.payload), 0) AS bytes)";

// $2 destination, $3 slots, $4 positions, $5 event ids. In the columns of a read of the log, with
// its first row.
constexpr std::string_view kRead = R"(WITH guard
SELECT (-1)::int2, NULL::bool, NULL::xid8, 0::int8, NULL::uuid, NULL::timestamptz, NULL::text,
       NULL::text, NULL::text, NULL::text, NULL::bytea, NULL::jsonb, NULL::text
FROM guard
UNION ALL
SELECT r.*
FROM (SELECT p.slot, false, coalesce(p.xid, '0'), p.position, p.event_id,
             coalesce(p.created_at, p.parked_at), p.topic, p.key, p.event_type, p.content_type,
             coalesce(p.payload, ''), p.headers, p.aggregate_id
      FROM guard
      CROSS JOIN unnest($3::int2[], $4::int8[], $5::uuid[]) WITH ORDINALITY
          v (slot, position, event_id, place)
      JOIN @schema@.parked p
        ON p.direction = 'outbox' AND p.destination = $2::text AND p.consumer_name = ''
       AND p.position = v.position AND p.event_id = v.event_id AND p.slot = v.slot
      ORDER BY v.place) r)";

// $2 relay, $3 destination, $4 slot, $5 epoch; of the accepted ones $6 positions, $7 event ids; of
// the refused $8 positions, $9 event ids, $10 attempts, $11 dead, $12 retry in ms, $13 reasons,
// $14 details. FOR SHARE: see the statement that stores cursors.
constexpr std::string_view kSettle = R"(WITH guard, owned AS (
    SELECT s.slot
    FROM guard
    CROSS JOIN @schema@.slot s
    WHERE s.destination = $3::text AND s.slot = $4::int2 AND s.owner = $2::uuid
      AND s.epoch = $5::int8
    FOR SHARE OF s
), gone AS (
    DELETE FROM @schema@.parked p
    USING owned o, unnest($6::int8[], $7::uuid[]) v (position, event_id)
    WHERE p.direction = 'outbox' AND p.destination = $3::text AND p.consumer_name = ''
      AND p.position = v.position AND p.event_id = v.event_id AND p.slot = o.slot
), counted AS (
    UPDATE @schema@.parked p
    SET attempts = v.attempts, state = CASE WHEN v.dead THEN 'dead' ELSE 'waiting' END,
        reason = v.reason, detail = v.detail,
        next_attempt_at = CASE WHEN NOT v.dead THEN pg_catalog.clock_timestamp()
                                                    + v.retry_ms * interval '1 millisecond' END
    FROM owned o, unnest($8::int8[], $9::uuid[], $10::int4[], $11::bool[], $12::int8[],
                         $13::text[], $14::text[])
        v (position, event_id, attempts, dead, retry_ms, reason, detail)
    WHERE p.direction = 'outbox' AND p.destination = $3::text AND p.consumer_name = ''
      AND p.position = v.position AND p.event_id = v.event_id AND p.slot = o.slot
      AND p.state = 'waiting' AND p.attempts = v.attempts - 1
)
SELECT o.slot FROM guard LEFT JOIN owned o ON true)";

// Where the columns of `kLook` stand.
namespace look {
enum : int { gate, flushed, place, slot, position, event_id, is_dead, attempts, due_ms, bytes };
}  // namespace look

ParkedEvent event_of(const PGresult* rows, int n) {
    ParkedEvent event;
    event.row = {number_at<std::int16_t>(rows, n, look::slot),
                 number_at<std::int64_t>(rows, n, look::position),
                 Id::parse(text_at(rows, n, look::event_id))};
    event.dead = is_true(rows, n, look::is_dead);
    event.attempts = number_at<std::int32_t>(rows, n, look::attempts);
    event.due_in = Milliseconds{number_at<std::int64_t>(rows, n, look::due_ms)};
    event.bytes = number_at<std::size_t>(rows, n, look::bytes);
    return event;
}

std::optional<std::string> word(bool value) { return value ? "t" : "f"; }

}  // namespace

ParkedStatements::ParkedStatements(std::string_view schema)
    : look(guarded_statement(core::replaced(kLook, "{columns}", kLookColumns), schema)),
      read(guarded_statement(kRead, schema)),
      settle(guarded_statement(kSettle, schema)) {}

ParkedLook PostgresStore::look_at_parked(const ParkedQuery& query) {
    Parameters parameters = guarded();
    parameters.text(options_.destination)
        .array(query.keys, [](const StoppedKey& key) { return wide(key.slot); })
        .array(query.keys, [](const StoppedKey& key) { return std::optional{key.topic}; })
        .array(query.keys, [](const StoppedKey& key) { return std::optional{key.key}; })
        .array(query.keys, [](const StoppedKey& key) { return std::optional{key.event_type}; })
        .number(static_cast<std::int64_t>(query.rows_max))
        .array(query.alone, wide)
        .text(query.alone_with_key ? "t" : "f");
    const Result rows = run(parked_.look, parameters);
    ParkedLook found;
    found.gate = number_at<std::uint64_t>(rows.get(), 0, look::gate);
    found.flushed = durability_.safe(number_at<std::uint64_t>(rows.get(), 0, look::flushed));
    for (int n = 0; n < PQntuples(rows.get()); ++n) {
        if (is_null(rows.get(), n, look::place)) continue;
        const auto place = number_at<std::size_t>(rows.get(), n, look::place);
        auto& list = place == 0 ? found.alone : found.of_keys;
        list.push_back(event_of(rows.get(), n));
        if (place > 0) list.back().key = place - 1;
    }
    return found;
}

std::unique_ptr<Batch> PostgresStore::read_parked(std::span<const RowRef> rows) {
    auto batch = std::make_unique<ResultBatch>();
    Parameters parameters = guarded();
    parameters.text(options_.destination)
        .array(rows, [](const RowRef& row) { return wide(row.slot); })
        .array(rows, [](const RowRef& row) { return row.position; })
        .array(rows, [](const RowRef& row) { return std::optional{row.event_id.text()}; });
    batch->take(connection_.execute(parked_.read, parameters, Format::binary));
    return batch;
}

bool PostgresStore::settle_parked(const OwnedSlot& slot, std::span<const ParkedOutcome> outcomes) {
    std::vector<const ParkedOutcome*> accepted;
    std::vector<const ParkedOutcome*> refused;
    for (const ParkedOutcome& outcome : outcomes) {
        (outcome.accepted ? accepted : refused).push_back(&outcome);
    }
    const auto position = [](const ParkedOutcome* outcome) { return outcome->row.position; };
    const auto id = [](const ParkedOutcome* outcome) {
        return std::optional{outcome->row.event_id.text()};
    };
    Parameters parameters = identified();
    parameters.number(slot.slot)
        .number(slot.epoch)
        .array(accepted, position)
        .array(accepted, id)
        .array(refused, position)
        .array(refused, id)
        .array(refused, [](const ParkedOutcome* one) { return std::int64_t{one->attempts}; })
        .array(refused, [](const ParkedOutcome* one) { return word(one->dead); })
        .array(refused,
               [](const ParkedOutcome* one) { return std::int64_t{one->retry_in.count()}; })
        .array(refused, [](const ParkedOutcome* one) { return std::optional{one->reason}; })
        .array(refused, [](const ParkedOutcome* one) { return std::optional{one->detail}; });
    const Result row = run(parked_.settle, parameters);
    return !is_null(row.get(), 0, 0);
}

}  // namespace sagaz::inline v0::postgres
