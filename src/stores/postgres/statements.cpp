// The store's SQL.
//
// Why a remembered incarnation makes what is remembered safe. A snapshot counts transactions as
// finished because they were finished in the server's memory. After a crash those whose commit
// record had not reached the disk are gone and their ids are given out again, so the snapshot
// would count rows as delivered that were never read. The row of `incarnation` is unlogged: crash
// recovery and promotion empty it, and whoever attaches next writes a new token. Every statement
// carries the token it knows, checked in the statement's own snapshot; none that reads or changes
// state does anything under another. A cursor that was stored *within its incarnation* and
// survived the crash is sound: its own commit record was written after those of all transactions
// it counts (they were visible when its snapshot was taken), and the log survives as a prefix, so
// they survived too. Nor can a row of a later transaction be mistaken for a counted one: the
// storing transaction's own id is not below the xmax of its snapshots, and recovery gives out only
// higher ones. Hence the cursor, and only the cursor, may be used by the next incarnation.
//
// The identifier of the cluster is compared as well since a dump carries the token along.
//
// Functions are named with their schema: in a schema of the role's search_path that others may
// write to, a function with these very argument types would be preferred to a polymorphic one.
// (unnest of several arrays is syntax, which means the one of pg_catalog and may not name it.)
#include "stores/postgres/statements.hpp"

#include "core/replaced.hpp"
#include "stores/postgres/migration.hpp"

#include <fmt/format.h>

namespace sagaz::inline v0::postgres {
namespace {

constexpr std::string_view kGuard = R"(guard AS MATERIALIZED (
    SELECT FROM @schema@.incarnation i
    WHERE i.token = $1::uuid
      AND i.system_identifier = (SELECT c.system_identifier FROM pg_catalog.pg_control_system() c)
      AND NOT pg_catalog.pg_is_in_recovery()
))";

// ------------------------------------------------------------------------------------- attaching

constexpr std::string_view kReady =
    "SELECT pg_catalog.pg_is_in_recovery(), "
    "pg_catalog.to_regclass('@schema@.schema_version') IS NOT NULL, "
    "pg_catalog.current_setting('server_encoding')";

constexpr std::string_view kVersions =
    "SELECT version, compatible_from FROM @schema@.schema_version ORDER BY version DESC LIMIT 1";

constexpr std::string_view kAttach = "SELECT @schema@.attach()";

// $2 relay, $3 destination, $4 label, $5 version
constexpr std::string_view kIntroduce = R"(WITH guard, introduced AS (
    INSERT INTO @schema@.relay AS r (id, destination, label, version)
    SELECT $2::uuid, $3::text, $4::text, $5::text FROM guard
    ON CONFLICT (id) DO UPDATE
        SET beat = r.beat + 1, beat_at = pg_catalog.clock_timestamp(), label = excluded.label,
            version = excluded.version
)
SELECT s.key, s.value FROM guard LEFT JOIN @schema@.setting s ON true)";

// ------------------------------------------------------------------------------------- ownership

// $2 relay, $3 destination, $4 label, $5 version, $6 published, $7 down reason, $8 down for ms.
// Three kinds of rows: 0 a window, as kOpenWindow has it; 1 slots; 2 relays, the ones that beat
// last if there were more than anybody runs.
//
// The window may be stored as done although the statement writes. Its snapshot is the statement's
// own, taken before the statement has a transaction id; so whatever id it is given is not below the
// snapshot's xmax and never counts as seen, and the statement writes nothing into the log anyway.
// The beat takes its row from the window: so sequence and next transaction id have been read, in
// this order, before there is an id of its own, which age() would count from instead.
constexpr std::string_view kObserve = R"(WITH guard, opening AS MATERIALIZED (
    SELECT {opening}
), beaten AS (
    INSERT INTO @schema@.relay AS r (id, destination, label, version, report)
    SELECT $2::uuid, $3::text, $4::text, $5::text,
           pg_catalog.jsonb_build_object('published', $6::bigint, 'down_reason', $7::text,
                              'down_for_ms', $8::bigint)
    FROM opening
    ON CONFLICT (id) DO UPDATE
        SET beat = r.beat + 1, beat_at = pg_catalog.clock_timestamp(), report = excluded.report
)
SELECT o.target, o.last_position, o.next_age, o.gate, o.flushed, 0 AS kind, NULL::int2 AS slot,
       NULL::int8, NULL::uuid, NULL::int8
FROM opening o
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, 1, s.slot, s.epoch, s.owner, coalesce(r.beat, -1)
FROM opening
JOIN @schema@.slot s ON s.destination = $3::text
LEFT JOIN @schema@.relay r ON r.id = s.owner
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, 2, NULL, NULL, r.id, r.beat
FROM opening
CROSS JOIN LATERAL (SELECT r.id, r.beat FROM @schema@.relay r WHERE r.destination = $3::text
                    ORDER BY r.beat_at DESC LIMIT 1000) r
ORDER BY kind, slot)";

// $2 relay, $3 destination, $4 slots, $5 epochs, $6 owners, $7 beats. A relay's own slots, which it
// has forgotten after a crash of the database, are taken whatever its beat: its look shows the one
// from before the look beat.
constexpr std::string_view kAcquire = R"(WITH guard, free AS (
    SELECT s.slot
    FROM guard
    CROSS JOIN unnest($4::int2[], $5::int8[], $6::uuid[], $7::int8[]) v (slot, epoch, owner, beat)
    JOIN @schema@.slot s ON s.slot = v.slot
    WHERE s.destination = $3::text AND s.epoch = v.epoch AND s.owner IS NOT DISTINCT FROM v.owner
      AND (s.owner = $2::uuid
           OR coalesce((SELECT r.beat FROM @schema@.relay r WHERE r.id = s.owner), -1) = v.beat)
    FOR UPDATE OF s SKIP LOCKED
), taken AS (
    UPDATE @schema@.slot s SET owner = $2::uuid, epoch = s.epoch + 1, barred = 0
    FROM free f WHERE s.destination = $3::text AND s.slot = f.slot
    RETURNING s.slot, s.epoch
)
SELECT t.slot, t.epoch FROM guard LEFT JOIN taken t ON true ORDER BY t.slot)";

// $2 destination, $3 slots. Why a cursor that is in doubt means nothing here: migration 0004. Why
// the newest one is looked for by a range: the view backlog, migration 0001.
constexpr std::string_view kLoadCursors = R"(WITH guard
SELECT w.slot, c.n, c.done, c.target, coalesce(c.done_ceiling, '0'),
       coalesce(c.target_ceiling, '0'), c.position, c.last_id,
       pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_lsn,
       @schema@.cursor_doubt($2::text, w.slot)
FROM guard
CROSS JOIN pg_catalog.unnest($3::int2[]) w (slot)
LEFT JOIN LATERAL (SELECT * FROM @schema@.cursor c
                   WHERE (c.destination, c.slot, c.n) <= ($2::text, w.slot, 9223372036854775807)
                   ORDER BY c.destination DESC, c.slot DESC, c.n DESC LIMIT 1) c
    ON c.destination = $2::text AND c.slot = w.slot)";

constexpr std::string_view kLoadStopped = R"(WITH guard
SELECT p.slot, p.topic, p.key, p.event_type
FROM guard
LEFT JOIN (SELECT DISTINCT p.slot, coalesce(p.topic, '') AS topic, p.key,
                  CASE WHEN coalesce(p.topic, '') = '' THEN p.event_type ELSE '' END AS event_type
           FROM @schema@.parked p
           WHERE p.direction = 'outbox' AND p.destination = $2::text AND p.consumer_name = ''
             AND p.slot = ANY ($3::int2[]) AND p.key IS NOT NULL) p ON true)";

// $2 relay, $3 destination, $4 slots, $5 epochs
constexpr std::string_view kRelease = R"(WITH guard, released AS (
    UPDATE @schema@.slot s SET owner = NULL
    FROM guard, unnest($4::int2[], $5::int8[]) v (slot, epoch)
    WHERE s.destination = $3::text AND s.slot = v.slot AND s.owner = $2::uuid
      AND s.epoch = v.epoch
)
SELECT FROM guard)";

// $2 relay, $3 destination. Whatever its epoch: nobody else makes this relay an owner.
constexpr std::string_view kLeave = R"(WITH guard, released AS (
    UPDATE @schema@.slot s SET owner = NULL
    FROM guard WHERE s.destination = $3::text AND s.owner = $2::uuid
), gone AS (
    DELETE FROM @schema@.relay r USING guard WHERE r.id = $2::uuid
)
SELECT FROM guard)";

// ------------------------------------------------------------------------------------ the window
//
// The shape of the reads leaves the planner no choice; the tables have no statistics, and nothing
// may depend on any. Left alone it takes the rows of a slot for few, fewer than the limit, and
// collects them all by a bitmap and sorts them, for each batch anew: 374 ms instead of 8 for 5,000
// rows (measured). So
//  - the lower bound is a row comparison, which counts as a third of the rows, where a pair of
//    plain bounds counts as a two-hundredth; and a visibility test seems to leave out nothing;
//  - the limit is a subquery: a limit that is not known counts as a tenth of the rows, and a tenth
//    of the rows in the order of an index is cheaper than any sort of all of them;
//  - late looks bound xid as a range, never by equality, so that it stays a needed sort key which
//    only (slot, xid, id) serves. They bound id at the top outside of the limit: inside, the scan
//    would go on to the last row of the transaction, since a row comparison ends one by its first
//    column alone.
// plans_pgtest.cpp counts the pages.

// The snapshot is the statement's own, so what comes after it is read after it: the sequence in
// the inner query, and only then the next transaction id, so that whoever takes an id at or below
// last_value has a transaction id below the ceiling. age() counts from the next transaction id
// without taking one; '3' is the first normal id.
constexpr std::string_view kOpening = R"(pg_catalog.pg_current_snapshot() AS target,
           q.last_position, pg_catalog.age('3'::xid) AS next_age,
           pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS gate,
           pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_lsn AS flushed
    FROM guard
    CROSS JOIN (SELECT CASE WHEN i.is_called THEN i.last_value ELSE i.last_value - 1 END
                       AS last_position
                FROM @schema@.outbox_id i OFFSET 0) q)";

constexpr std::string_view kOpenWindow = "WITH guard SELECT {opening}";

// $2 slots, $3 after, $4 upto, $5 range_min, $6 range_end; $7 slots and $8 transactions, in pairs.
//
// The walk goes from one transaction id to the next without reading the rows between.
constexpr std::string_view kFindLate = R"(WITH RECURSIVE guard, query AS MATERIALIZED (
    SELECT * FROM unnest($2::int2[], $3::int8[], $4::int8[], $5::xid8[], $6::xid8[])
        q (slot, after, upto, range_min, range_end)
), walk AS (
    SELECT q.slot, q.range_end, f.xid
    FROM guard
    CROSS JOIN query q
    CROSS JOIN LATERAL (SELECT o.xid FROM @schema@.{table} o
                        WHERE o.slot = q.slot AND (o.xid, o.id) >= (q.range_min, 0)
                          AND o.xid < q.range_end
                        ORDER BY o.xid, o.id LIMIT 1) f
    UNION ALL
    SELECT w.slot, w.range_end, f.xid
    FROM walk w
    CROSS JOIN LATERAL (SELECT o.xid FROM @schema@.{table} o
                        WHERE o.slot = w.slot AND (o.xid, o.id) > (w.xid, {last_id})
                          AND o.xid < w.range_end
                        ORDER BY o.xid, o.id LIMIT 1) f
), candidate AS MATERIALIZED (
    SELECT w.slot, w.xid FROM walk w
    UNION
    SELECT l.slot, l.xid FROM unnest($7::int2[], $8::xid8[]) l (slot, xid)
), late AS (
    SELECT c.slot, c.xid
    FROM guard
    CROSS JOIN query q
    JOIN candidate c ON c.slot = q.slot
    CROSS JOIN LATERAL (SELECT o.id FROM @schema@.{table} o
                        WHERE o.slot = c.slot AND (o.xid, o.id) > (c.xid, q.after)
                          AND o.xid <= c.xid
                        ORDER BY o.xid, o.id LIMIT 1) f
    WHERE f.id <= q.upto
)
SELECT l.slot, l.xid FROM guard LEFT JOIN late l ON true)";

// ------------------------------------------------------------------------------------- the rows

// The payload of a row larger than $2 stays out and reads as null, which a payload never is, and
// its headers with it: so the bytes of a batch are bounded without counting them up row by row. The
// first row tells the flush position.
constexpr std::string_view kColumns = R"(o.slot,
               o.held_until > pg_catalog.clock_timestamp(), o.xid, o.id, o.event_id, o.created_at,
               o.topic, o.key, o.event_type, o.content_type,
               CASE WHEN {size} <= $2::int4 THEN o.payload END,
               CASE WHEN {size} <= $2::int4 THEN o.headers END, o.aggregate_id)";

// What a row takes in memory, about. Headers that are stored small are not unpacked to be measured:
// up to here they cannot be much larger than they are stored.
constexpr std::string_view kSize = R"(pg_catalog.octet_length(o.payload)
                    + CASE WHEN pg_catalog.pg_column_size(o.headers) > 256
                           THEN pg_catalog.octet_length(o.headers::text) ELSE 0 END)";

constexpr std::string_view kHead = R"(WITH guard
SELECT (-1)::int2, NULL::bool, NULL::xid8,
       (pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::int8,
       NULL::uuid, NULL::timestamptz, NULL::text, NULL::text, NULL::text, NULL::text,
       NULL::bytea, NULL::jsonb, NULL::text
FROM guard
UNION ALL
)";

// $3 rows a slot, $4 slots, $5 done, $6 target, $7 after, $8 upto. One leaf by its name: a plan
// over all segments would lock them all, and starve their truncation.
constexpr std::string_view kRead = R"(SELECT f.*
FROM guard
CROSS JOIN unnest($4::int2[], $5::pg_snapshot[], $6::pg_snapshot[], $7::int8[], $8::int8[])
    r (slot, done, target, after, upto)
CROSS JOIN LATERAL (
        SELECT {columns}
        FROM @schema@.{table} o
        WHERE o.slot = r.slot AND (o.id, o.xid) > (r.after, {last_xid}) AND o.id <= r.upto
          AND nullif(pg_catalog.pg_visible_in_snapshot(o.xid, r.target), false) IS NOT NULL
          AND nullif(pg_catalog.pg_visible_in_snapshot(o.xid, r.done), true) IS NOT NULL
        ORDER BY o.id FETCH FIRST (SELECT $3::int8) ROWS WITH TIES) f)";

// As kRead; $9 slots and $10 transactions, in pairs. Merged by id, since two late transactions
// may have touched one key.
constexpr std::string_view kReadLate = R"(SELECT f.*
FROM guard
CROSS JOIN unnest($4::int2[], $5::pg_snapshot[], $6::pg_snapshot[], $7::int8[], $8::int8[])
    r (slot, done, target, after, upto)
CROSS JOIN LATERAL (
    SELECT m.*
    FROM unnest($9::int2[], $10::xid8[]) l (slot, xid)
    CROSS JOIN LATERAL (
        SELECT {columns}
        FROM @schema@.{table} o
        WHERE o.slot = l.slot AND (o.xid, o.id) > (l.xid, r.after) AND o.xid <= l.xid
          AND nullif(pg_catalog.pg_visible_in_snapshot(o.xid, r.target), false) IS NOT NULL
          AND nullif(pg_catalog.pg_visible_in_snapshot(o.xid, r.done), true) IS NOT NULL
        ORDER BY o.xid, o.id FETCH FIRST (SELECT $3::int8) ROWS WITH TIES) m
    WHERE l.slot = r.slot AND m.id <= r.upto
    ORDER BY m.id FETCH FIRST (SELECT $3::int8) ROWS WITH TIES) f)";

// $2 slots, $3 after, $4 upto: the next row of each slot, whoever may see it.
constexpr std::string_view kNextPosition = R"(WITH guard
SELECT r.slot, (SELECT o.id FROM @schema@.outbox o
                WHERE o.slot = r.slot AND (o.id, o.xid) > (r.after, {last_xid})
                  AND o.id <= r.upto
                ORDER BY o.id LIMIT 1)
FROM guard CROSS JOIN unnest($2::int2[], $3::int8[], $4::int8[]) r (slot, after, upto))";

constexpr std::string_view kFlushed =
    "WITH guard SELECT pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_lsn FROM guard";

// Writes a record and waits for the disk with the commit, whatever the role's synchronous_commit.
constexpr std::string_view kFlush =
    "WITH guard SELECT pg_catalog.set_config('synchronous_commit', 'local', true), "
    "pg_catalog.pg_logical_emit_message(true, 'sagaz', '') FROM guard";

// The same, waiting for a synchronous standby as commits do, which then has all that was written up
// to the position; false where commits wait for none.
constexpr std::string_view kFlushStandby =
    "WITH guard SELECT pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_lsn, "
    "pg_catalog.set_config('synchronous_commit', 'on', true), "
    "CASE WHEN pg_catalog.current_setting('synchronous_standby_names') <> '' "
    "THEN pg_catalog.pg_logical_emit_message(true, 'sagaz', '') END IS NOT NULL FROM guard";

// --------------------------------------------------------------------------------------- storing

// $2 relay, $3 destination, $4 slots, $5 epochs, $6 n, $7 done, $8 target, $9 position,
// $10 last_id, $11 done_ceiling, $12 target_ceiling.
//
// FOR SHARE makes a takeover in progress wait for us, or us for it; without it a takeover that
// commits meanwhile would go unnoticed. A statement that we gave up on may still be carried out,
// even after a newer one: it has a lower n, since the core never uses one twice, so it is not the
// newest row and counts for nothing. A target of the future was remembered from files that were
// put back under us with their token; then the slot is not ours any more either.
constexpr std::string_view kStore = R"(WITH guard, owned AS (
    SELECT s.slot, s.epoch
    FROM guard
    CROSS JOIN unnest($4::int2[], $5::int8[], $6::int8[], $8::pg_snapshot[])
        v (slot, epoch, n, target)
    JOIN @schema@.slot s ON s.slot = v.slot
    WHERE s.destination = $3::text AND s.owner = $2::uuid AND s.epoch = v.epoch
      AND s.barred < v.n
      AND pg_catalog.pg_snapshot_xmax(v.target)
          <= pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
    FOR SHARE OF s
), stored AS (
    INSERT INTO @schema@.cursor (destination, slot, n, epoch, done, target, position, last_id,
                                 done_ceiling, target_ceiling, incarnation, system_identifier)
    SELECT $3::text, o.slot, m.n, o.epoch, m.done, m.target, m.position, m.last_id,
           nullif(m.done_ceiling, '0'), nullif(m.target_ceiling, '0'), $1::uuid, k.system_identifier
    FROM owned o
    JOIN unnest($4::int2[], $6::int8[], $7::pg_snapshot[], $8::pg_snapshot[], $9::int8[],
                $10::int8[], $11::xid8[], $12::xid8[])
        m (slot, n, done, target, position, last_id, done_ceiling, target_ceiling)
        ON m.slot = o.slot
    CROSS JOIN pg_catalog.pg_control_system() k
    RETURNING slot, n
){parked}
SELECT s.slot FROM guard LEFT JOIN stored s ON true)";

// $13 slots, $14 positions, $15 event ids, $16 reasons, $17 details. Only with the cursor that
// passes the event, so a stale owner parks nothing, and nothing falls in between. A statement that
// was given up and comes late parks nothing either: what it would park may have been parked by the
// next one, and sent or discarded since. (One that had begun by then does not see the next one's
// cursor, so it is barred first: postgres_given_up.cpp.) What stands behind another one is tried
// once that is gone, so it has no time of its own and no attempt.
constexpr std::string_view kPark = R"(, parked AS (
    INSERT INTO @schema@.parked (direction, destination, position, event_id, slot, xid, reason,
        detail, attempts, next_attempt_at, created_at, topic, key, event_type, content_type,
        aggregate_type, aggregate_id, saga_id, headers, payload)
    SELECT 'outbox', $3::text, o.id, o.event_id, o.slot, o.xid, p.reason, p.detail,
           CASE WHEN p.reason = 'behind_parked' THEN 0 ELSE 1 END,
           CASE WHEN p.reason <> 'behind_parked' THEN pg_catalog.clock_timestamp() END,
           o.created_at, o.topic, o.key, o.event_type, o.content_type,
           o.aggregate_type, o.aggregate_id, o.saga_id, o.headers, o.payload
    FROM stored s
    JOIN unnest($13::int2[], $14::int8[], $15::uuid[], $16::text[], $17::text[])
        p (slot, position, event_id, reason, detail) ON p.slot = s.slot
    CROSS JOIN LATERAL (SELECT * FROM @schema@.outbox o
                        WHERE o.slot = p.slot AND o.id = p.position AND o.event_id = p.event_id
                        LIMIT 1) o
    WHERE NOT EXISTS (SELECT FROM @schema@.cursor c
                      WHERE c.destination = $3::text AND c.slot = s.slot AND c.n >= s.n)
    ON CONFLICT DO NOTHING
))";

// $2 slots, $3 positions, $4 event ids. A row that was marked as delivered reads as null.
constexpr std::string_view kLookAt = R"(WITH guard
SELECT o.is_held
FROM guard
CROSS JOIN unnest($2::int2[], $3::int8[], $4::uuid[]) WITH ORDINALITY
    r (slot, id, event_id, place)
LEFT JOIN LATERAL (SELECT coalesce(o.held_until > pg_catalog.clock_timestamp(), false) AS is_held
                   FROM @schema@.{table} o
                   WHERE o.slot = r.slot AND o.id = r.id AND o.event_id = r.event_id
                     AND o.held_until IS DISTINCT FROM '-infinity'
                   LIMIT 1) o ON true
ORDER BY r.place)";

// As kLookAt. By ctid, so that no plan can walk the leaf; and what somebody else has locked is left
// out, since a mark is worth no wait.
constexpr std::string_view kMarkDelivered = R"(WITH guard, sent AS MATERIALIZED (
    SELECT o.tid
    FROM guard
    CROSS JOIN unnest($2::int2[], $3::int8[], $4::uuid[]) r (slot, id, event_id)
    CROSS JOIN LATERAL (SELECT o.ctid AS tid FROM @schema@.{table} o
                        WHERE o.slot = r.slot AND o.id = r.id AND o.event_id = r.event_id
                          AND o.held_until > '-infinity'
                        LIMIT 1 FOR UPDATE SKIP LOCKED) o
), marked AS (
    UPDATE @schema@.{table} o SET held_until = '-infinity'
    WHERE o.ctid = ANY (ARRAY(SELECT s.tid FROM sent s))
)
SELECT FROM guard)";

// ---------------------------------------------------------------------------------------- tidying

// $2 relay, $3 destination, $4 slots, $5 epochs, $6 n below which nothing is left to delete.
// Without that a transaction that holds its snapshot for long makes this slow: what was deleted
// under it stays in the index, and each look from the beginning would walk over all of it. So does
// one for the newest three when the table's statistics tell of few rows: it is bounded too. Returns
// the new ones.
constexpr std::string_view kTidy = R"(WITH guard, bound AS MATERIALIZED (
    SELECT s.slot, v.tidied, k.n
    FROM guard
    CROSS JOIN unnest($4::int2[], $5::int8[], $6::int8[]) v (slot, epoch, tidied)
    JOIN @schema@.slot s ON s.slot = v.slot
    CROSS JOIN LATERAL (SELECT k.n FROM @schema@.cursor k
                        WHERE k.destination = s.destination AND k.slot = s.slot
                          AND k.n >= v.tidied
                        ORDER BY k.n DESC OFFSET 2 LIMIT 1) k
    WHERE s.destination = $3::text AND s.owner = $2::uuid AND s.epoch = v.epoch
), old_cursors AS (
    DELETE FROM @schema@.cursor c
    USING bound b
    WHERE c.destination = $3::text AND c.slot = b.slot AND c.n >= b.tidied AND c.n < b.n
), dead_relays AS (
    DELETE FROM @schema@.relay r
    USING guard
    WHERE r.beat_at < pg_catalog.clock_timestamp() - interval '1 day' AND r.id <> $2::uuid
      AND NOT EXISTS (SELECT FROM @schema@.slot s WHERE s.owner = r.id)
)
SELECT b.slot, b.n FROM guard LEFT JOIN bound b ON true)";

// ---------------------------------------------------------------------------------- measuring

// $2 destination. What is parked is counted as far as a person would care. Any one database of the
// server, a template too, stops them all when its ids have run out.
constexpr std::string_view kMeasure = R"(WITH guard
SELECT b.pending_events, b.oldest_pending_age_seconds,
       (SELECT pg_catalog.count(*) FROM (SELECT FROM @schema@.parked p
                              WHERE p.direction = 'outbox' AND p.destination = $2::text
                                AND p.state = 'waiting' LIMIT 100000) w),
       (SELECT pg_catalog.count(*) FROM (SELECT FROM @schema@.parked p
                              WHERE p.direction = 'outbox' AND p.destination = $2::text
                                AND p.state = 'dead' LIMIT 100000) d),
       (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint,
       (SELECT pg_catalog.max(greatest(pg_catalog.age(w.datfrozenxid),
                                       pg_catalog.mxid_age(w.datminmxid)))
        FROM pg_catalog.pg_database w)
FROM guard CROSS JOIN @schema@.backlog b)";

// ------------------------------------------------------------------------------------- reclaiming

// {retention} and {age} in milliseconds, {rows_max}. In the select list, which is worked out for a
// row of the guard only; the planner may take a function in FROM first. What makes it safe is
// argued in migration 0003.
constexpr std::string_view kReclaim = R"(SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
WITH guard
SELECT (r.reclaimed).truncated, (r.reclaimed).deleted, (r.reclaimed).blocked,
       (r.reclaimed).has_more
FROM (SELECT @schema@.reclaim(interval '{retention} ms', interval '{age} ms', {rows_max})
          AS reclaimed
      FROM guard OFFSET 0) r)";

// ---------------------------------------------------------------------------------------- building

using core::replaced;

constexpr std::string_view kLastTransaction = "'18446744073709551615'::xid8";
constexpr std::string_view kLastId = "9223372036854775807";

// Puts the guard in, where a statement has "WITH guard" or "WITH RECURSIVE guard", and the schema.
std::string finished(std::string_view text, std::string_view schema) {
    std::string sql(text);
    for (const std::string_view opening : {"WITH guard", "WITH RECURSIVE guard"}) {
        const auto at = sql.find(opening);
        if (at == std::string::npos) continue;
        const auto name = opening.size() - std::string_view("guard").size();
        sql.replace(at + name, std::string_view("guard").size(), kGuard);
        break;
    }
    sql = replaced(sql, "{opening}", kOpening);
    sql = replaced(sql, "{last_xid}", kLastTransaction);
    sql = replaced(sql, "{last_id}", kLastId);
    return with_schema(sql, schema);
}

std::string on_leaf(std::string_view text, std::size_t leaf) {
    const std::string table = leaf == kWholeRing ? "outbox" : fmt::format("outbox_{:02}", leaf);
    return replaced(text, "{table}", table);
}

}  // namespace

std::string guarded_statement(std::string_view text, std::string_view schema) {
    return finished(text, schema);
}

Statements::Statements(std::string_view schema)
    : ready(finished(kReady, schema)),
      versions(finished(kVersions, schema)),
      attach(finished(kAttach, schema)),
      introduce(finished(kIntroduce, schema)),
      observe(finished(kObserve, schema)),
      acquire(finished(kAcquire, schema)),
      load_cursors(finished(kLoadCursors, schema)),
      load_stopped(finished(kLoadStopped, schema)),
      open_window(finished(kOpenWindow, schema)),
      next_position(finished(kNextPosition, schema)),
      flushed(finished(kFlushed, schema)),
      flush(finished(kFlush, schema)),
      flush_standby(finished(kFlushStandby, schema)),
      store(finished(replaced(kStore, "{parked}", ""), schema)),
      store_and_park(finished(replaced(kStore, "{parked}", kPark), schema)),
      release(finished(kRelease, schema)),
      leave(finished(kLeave, schema)),
      tidy(finished(kTidy, schema)),
      measure(finished(kMeasure, schema)),
      reclaim(finished(kReclaim, schema)) {
    const auto rows = [&](std::string_view text) {
        const auto sql = replaced(text, "{columns}", kColumns);
        return finished(std::string(kHead) + replaced(sql, "{size}", kSize), schema);
    };
    for (std::size_t leaf = 0; leaf < kSegments; ++leaf) {
        read[leaf] = rows(on_leaf(kRead, leaf));
        look_at[leaf] = finished(on_leaf(kLookAt, leaf), schema);
        mark_delivered[leaf] = finished(on_leaf(kMarkDelivered, leaf), schema);
    }
    for (std::size_t leaf = 0; leaf <= kWholeRing; ++leaf) {
        find_late[leaf] = finished(on_leaf(kFindLate, leaf), schema);
        read_late[leaf] = rows(on_leaf(kReadLate, leaf));
    }
}

}  // namespace sagaz::inline v0::postgres
