-- sagaz 0006: what an optimistic publisher asks before it sends, and how it settles what it sent.
--
-- WHY WHAT IS READY IS NEXT OF ITS KEY. All of an answer is seen in one snapshot S: the functions
-- are STABLE, so whatever they call sees what the statement that calls them sees. A row that is
-- visible in S was committed; its elders, the earlier events of its key, were committed before,
-- since the caller's row lock orders the two transactions and PostgreSQL ends a transaction's
-- visibility before its locks. So each elder is visible in S too, unless it has left the log:
--   - a publisher removed it, or marked it (held_until is -infinity: a relay delivered it while it
--     was held): the destination accepted it;
--   - a relay's stored cursor has passed it: accepted, or in `parked`, by the very statement that
--     stored the cursor, so S sees both or neither; and out of `parked` it went when it was accepted
--     or an operator discarded it.
-- A row is `ready`, then, when no elder of it is visible, undelivered by the newest stored cursor,
-- or parked. What a relay has in hand beyond its stored cursor does not count: it may have failed.
-- Where a topic is null the template's stands for it, which SQL does not work out: null is taken
-- for any topic. That costs a wait and never the order. A cursor in doubt (migration 0004) tells
-- nothing; then all is `late`.
--
-- WHERE UNDELIVERED ROWS ARE, without reading what is delivered and without a look at every segment:
-- a plan over the whole ring locks all of it, and truncation, which waits for nobody, would starve.
-- A row is undelivered only if `done` does not see its transaction. Those are at or above done's
-- xmax, or listed in it as running and finished since; the index (slot, xid, id) leads to both. The
-- leaf of the asked row is searched for them. An aborted one has no rows, so nothing waits for it.
--
-- Undelivered rows in lower segments are ruled out by the cursors themselves. done_ceiling is above
-- every transaction id given out when last_id had been given out (core/window.hpp): so *a
-- transaction at or above a stored done_ceiling has no row at or below that last_id*. Let B be the
-- segment's first id and `clear` the done_ceiling of a cursor of this incarnation whose last_id is
-- not below B - 1; an older one, of some seconds ago, serves as well and is lower. Transactions at
-- or above `clear` lie in this segment or above it. What is left are transactions below `clear` that
-- `done` does not see and that have finished since: those that ran when even the older cursor was
-- stored. They are rare: after a long transaction, and for a moment after a slot's cursor came into
-- a new segment. Only then the whole ring is asked, and only for them.
--
-- The leaf of the asked row cannot be truncated between two looks, since the first one locks it, and
-- a row that is found was there. A look at the whole ring is another matter: a truncation is seen by
-- every snapshot, also by those from before it. An elder that S shows undelivered may be parked,
-- passed, and its segment emptied before the ring is locked, and would be found nowhere. A segment
-- that was emptied since S has another file than S says: then the answer is `behind`.
--
-- THE GATE is read after S was taken, so the commit record of all that S shows lies below it.
--
-- WHAT IT COSTS. One row of the index for each transaction that `done` lists, and the undelivered
-- rows of the slot; of more than 1,000 nothing is said: `behind`. Rows that publishers sent are dead
-- and soon skipped in the index. All events that are asked for share one statement, since making its
-- plan ready takes longer than an event does: about 0.3 ms, and 15 us for each. The CTEs are
-- MATERIALIZED, or a verdict would be worked out at each place that names it. An asked row is among
-- the undelivered ones itself; so only where there are two of its key an elder is looked for. One function a leaf,
-- since a session keeps the plans of a PL/pgSQL function, and a plan names its table; through a
-- pooler each server session has its own.
--
-- WHY SETTLING TAKES NOTHING FROM ANYBODY. A row is removed by (slot, id, event_id) together, so no
-- other event goes, whatever places were given out again since.
--   * The relay finds a held row gone and goes on; for its cursor, for truncation, the backlog and
--     the doubt about a cursor a row that is not there is not undelivered.
--   * Outbox::resolve never calls a removed event aborted: its ticket was given to a publisher, is
--     empty since, and `unknown`. Other events of its transaction stand there, or were given too.
--   * A re-base holds SHARE ROW EXCLUSIVE on the log: settling waits, and gives up after a second; or
--     it comes first. An event that has moved is not found at its place: it is repeated.
--   * Leaves are locked in ascending order, which is the order of a re-base, so neither waits for the
--     other in a ring. Segments that are not named are not locked.
--   * Where the schema has a second destination nothing may be removed: it has not had the event.
--   * It does not wait for the disk. A crash that takes it back brings the event again: it is
--     repeated. No later event of its key can have gone before: that was told `ready` where S showed
--     the removal, whose commit record lies below the gate.
-- The end of a hold is a moment in the past: neither null (never held) nor -infinity (delivered).

-- The memory that a publisher may rely on; null where no relay has attached yet, or a cursor is in
-- doubt. Refuses any destination but the only one.
CREATE FUNCTION @schema@.publisher_token(destination text) RETURNS uuid
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    found_token uuid := (SELECT i.token FROM @schema@.incarnation i
                         JOIN pg_catalog.pg_control_system() c
                           ON c.system_identifier = i.system_identifier);
BEGIN
    IF (SELECT pg_catalog.bool_and(d.name = $1) FROM @schema@.destination d) IS NOT TRUE THEN
        RAISE EXCEPTION USING ERRCODE = 'SG006',
            MESSAGE = pg_catalog.format('%s is not the only destination of this schema', $1),
            HINT = 'Switch optimistic sending off: what one of several has accepted must stay.';
    END IF;
    IF found_token IS NULL
       OR EXISTS (SELECT FROM @schema@.slot s
                  WHERE @schema@.cursor_doubt(s.destination, s.slot) IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    RETURN found_token;
END
$function$;

-- Whether the memory is still the one that a publisher knows; null: none.
CREATE FUNCTION @schema@.publisher_may(token uuid, destination text) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    is_same boolean;
    is_only boolean;
BEGIN
    SELECT EXISTS (SELECT FROM @schema@.incarnation i
                   JOIN pg_catalog.pg_control_system() c
                     ON c.system_identifier = i.system_identifier
                   WHERE i.token = $1 AND NOT pg_catalog.pg_is_in_recovery()),
           (SELECT pg_catalog.bool_and(d.name = $2) FROM @schema@.destination d)
    INTO is_same, is_only;
    IF $1 IS NULL OR is_only IS NOT TRUE THEN
        RETURN @schema@.publisher_token($2) IS NOT DISTINCT FROM $1;
    END IF;
    RETURN is_same;
END
$function$;

-- Whether an event of the key is parked that stops it. By the index parked_key; for a null topic one
-- look for each topic that has something parked.
CREATE FUNCTION @schema@.key_is_parked(destination text, slot smallint, topic text, key text)
RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
BEGIN
    IF EXISTS (SELECT FROM @schema@.setting s
               WHERE s.key = 'on_refused' AND s.value = 'park_event') THEN
        RETURN false;
    END IF;
    IF EXISTS (SELECT FROM @schema@.parked p
               WHERE p.direction = 'outbox' AND p.destination = $1 AND p.consumer_name = ''
                 AND p.slot = $2 AND p.topic IS NULL AND p.key = $4) THEN
        RETURN true;
    END IF;
    IF $3 IS NOT NULL THEN
        RETURN EXISTS (SELECT FROM @schema@.parked p
                       WHERE p.direction = 'outbox' AND p.destination = $1
                         AND p.consumer_name = '' AND p.slot = $2 AND p.topic = $3
                         AND p.key = $4);
    END IF;
    RETURN EXISTS (
        WITH RECURSIVE topics (topic) AS (
            (SELECT p.topic FROM @schema@.parked p
             WHERE p.direction = 'outbox' AND p.destination = $1 AND p.consumer_name = ''
               AND p.slot = $2 AND p.topic IS NOT NULL
             ORDER BY p.topic LIMIT 1)
            UNION ALL
            SELECT n.topic FROM topics t
            CROSS JOIN LATERAL (SELECT p.topic FROM @schema@.parked p
                                WHERE p.direction = 'outbox' AND p.destination = $1
                                  AND p.consumer_name = '' AND p.slot = $2 AND p.topic > t.topic
                                ORDER BY p.topic LIMIT 1) n
        )
        SELECT FROM topics t
        CROSS JOIN LATERAL (SELECT FROM @schema@.parked p
                            WHERE p.direction = 'outbox' AND p.destination = $1
                              AND p.consumer_name = '' AND p.slot = $2 AND p.topic = t.topic
                              AND p.key = $4 LIMIT 1) k);
END
$function$;

-- Whether an undelivered elder lies below `below`, the first id of a segment, among transactions
-- below `clear` (null: all). Locks the whole ring for the rest of the statement.
CREATE FUNCTION @schema@.has_elder_below(
    slot smallint, topic text, key text, below bigint, clear xid8,
    done pg_snapshot, target pg_snapshot, "position" bigint,
    acknowledged bigint[], acknowledged_events uuid[]) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
DECLARE
    now_seen pg_snapshot := pg_catalog.pg_current_snapshot();
    found    bigint;
    elders   bigint;
BEGIN
    SELECT pg_catalog.count(*),
           pg_catalog.count(*) FILTER (
               WHERE u.id < $4 AND u.key = $3 AND (u.topic = $2) IS NOT FALSE
                 AND NOT (pg_catalog.pg_visible_in_snapshot(u.xid, $7) AND u.id <= $8)
                 AND u.held_until IS DISTINCT FROM '-infinity'
                 AND (u.id, u.event_id) NOT IN (SELECT k.id, k.event_id
                                                FROM unnest($9, $10) k (id, event_id)))
    INTO found, elders
    FROM ((SELECT o.xid, o.id, o.event_id, o.topic, o.key, o.held_until FROM @schema@.outbox o
           WHERE o.slot = $1 AND (o.xid, o.id) >= (pg_catalog.pg_snapshot_xmax($6), 0)
             AND o.xid < coalesce($5, '18446744073709551615')
           ORDER BY o.xid, o.id LIMIT (SELECT 2001))
          UNION ALL
          (SELECT l.* FROM pg_catalog.pg_snapshot_xip($6) x (xid)
           CROSS JOIN LATERAL (SELECT o.xid, o.id, o.event_id, o.topic, o.key, o.held_until
                               FROM @schema@.outbox o
                               WHERE o.slot = $1 AND (o.xid, o.id) >= (x.xid, 0)
                                 AND o.xid <= x.xid
                               ORDER BY o.xid, o.id LIMIT (SELECT 2001)) l
           WHERE (x.xid < $5) IS NOT FALSE
             AND pg_catalog.pg_visible_in_snapshot(x.xid, now_seen)
           LIMIT (SELECT 2001))) u;
    RETURN elders > 0 OR found > 2000
        OR EXISTS (SELECT FROM pg_catalog.pg_inherits i
                   JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
                   WHERE i.inhparent = '@schema@.outbox'::regclass
                     AND pg_catalog.pg_relation_filenode(c.oid) <> c.relfilenode);
END
$function$;

-- One answer for each event asked for, in their order; no row where the memory is not `token`'s.
-- verdict: 0 ready, 1 behind, 2 late, 3 not committed. A row that is not ready has slot -1 and
-- nothing else but the positions of the WAL. Of one answer's payloads 16 MiB are told at most, or
-- one; for the others there is another time. All asked events are of this leaf.
DO $migration$
BEGIN
    FOR n IN 0..15 LOOP
        EXECUTE replace($confirm$
CREATE FUNCTION @schema@.confirm_{leaf}(
    token uuid, destination text, margin_ms bigint, slots smallint[], ids bigint[], event_ids uuid[],
    acknowledged bigint[], acknowledged_events uuid[])
RETURNS TABLE (slot smallint, is_held boolean, xid xid8, id bigint, event_id uuid,
               created_at timestamptz, topic text, key text, event_type text, content_type text,
               payload bytea, headers jsonb, aggregate_id text,
               verdict smallint, gate bigint, flushed bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
    now_seen    pg_snapshot := pg_catalog.pg_current_snapshot();
    written     bigint := pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_lsn;
    held_beyond timestamptz :=
        pg_catalog.clock_timestamp() + margin_ms * interval '1 millisecond';
BEGIN
    RETURN QUERY
    WITH asked AS MATERIALIZED (
        SELECT a.slot, a.id, a.event_id, a.place, a.id >> 18 AS segment
        FROM unnest($4, $5, $6) WITH ORDINALITY a (slot, id, event_id, place)
        WHERE (SELECT EXISTS (SELECT FROM @schema@.incarnation i
                              JOIN pg_catalog.pg_control_system() c
                                ON c.system_identifier = i.system_identifier
                              WHERE i.token = $1)
                      AND NOT pg_catalog.pg_is_in_recovery()
                      AND (SELECT pg_catalog.bool_and(d.name = $2) FROM @schema@.destination d))
    ), stored AS MATERIALIZED (
        SELECT part.slot, part.segment, c.done, c.target, c.position, q.last_value AS last_given,
               e.done_ceiling AS clear,
               part.segment > 0
               AND (e.done_ceiling IS NULL
                    OR pg_catalog.pg_snapshot_xmax(c.done) < e.done_ceiling
                    OR EXISTS (SELECT FROM pg_catalog.pg_snapshot_xip(c.done) x (xid)
                               WHERE x.xid < e.done_ceiling
                                 AND pg_catalog.pg_visible_in_snapshot(x.xid, now_seen)))
                   AS may_lie_below,
               EXISTS (SELECT FROM @schema@.parked p
                       WHERE p.direction = 'outbox' AND p.destination = $2
                         AND p.consumer_name = '' AND p.slot = part.slot) AS has_parked
        FROM (SELECT DISTINCT a.slot, a.segment FROM asked a) part
        CROSS JOIN LATERAL (SELECT * FROM @schema@.cursor c
                            WHERE c.destination = $2 AND c.slot = part.slot
                            ORDER BY c.n DESC LIMIT 1) c
        JOIN @schema@.incarnation i
          ON i.token = $1 AND i.system_identifier = c.system_identifier
        CROSS JOIN @schema@.outbox_id q
        LEFT JOIN LATERAL (SELECT r.done_ceiling
                           FROM (SELECT c.n, c.done_ceiling, c.last_id, c.incarnation
                                 FROM @schema@.cursor c
                                 WHERE c.destination = $2 AND c.slot = part.slot
                                 ORDER BY c.n DESC LIMIT 8) r
                           WHERE r.last_id >= (part.segment << 18) - 1 AND r.incarnation = $1
                             AND r.done_ceiling IS NOT NULL
                           ORDER BY r.n LIMIT 1) e ON true
        WHERE pg_catalog.pg_snapshot_xmax(c.done) <= pg_catalog.pg_snapshot_xmax(now_seen)
          AND pg_catalog.pg_snapshot_xmax(c.target) <= pg_catalog.pg_snapshot_xmax(now_seen)
          AND greatest(c.position, c.last_id) <= q.last_value
    ), unseen AS MATERIALIZED (
        SELECT s.slot, s.segment, u.id, u.event_id, u.topic, u.key, u.id > s.last_given AS is_beyond,
               u.held_until IS DISTINCT FROM '-infinity'
               AND NOT (pg_catalog.pg_visible_in_snapshot(u.xid, s.target) AND u.id <= s.position)
               AND (u.id, u.event_id) NOT IN (SELECT k.id, k.event_id
                                              FROM unnest($7, $8) k (id, event_id))
                   AS is_undelivered
        FROM stored s
        CROSS JOIN LATERAL (
            (SELECT o.xid, o.id, o.event_id, o.topic, o.key, o.held_until
             FROM @schema@.outbox_{leaf} o
             WHERE o.slot = s.slot AND (o.xid, o.id) >= (pg_catalog.pg_snapshot_xmax(s.done), 0)
             ORDER BY o.xid, o.id LIMIT (SELECT 1001))
            UNION ALL
            (SELECT l.*
             FROM pg_catalog.pg_snapshot_xip(s.done) x (xid)
             CROSS JOIN LATERAL (SELECT o.xid, o.id, o.event_id, o.topic, o.key, o.held_until
                                 FROM @schema@.outbox_{leaf} o
                                 WHERE o.slot = s.slot AND (o.xid, o.id) >= (x.xid, 0)
                                   AND o.xid <= x.xid
                                 ORDER BY o.xid, o.id LIMIT (SELECT 1001)) l
             WHERE pg_catalog.pg_visible_in_snapshot(x.xid, now_seen)
             LIMIT (SELECT 1001))) u
    ), judged AS MATERIALIZED (
        SELECT a.slot, a.id, a.event_id, a.place, o.bytes, CASE
            WHEN o.id IS NULL THEN 3
            WHEN s.slot IS NULL OR o.held_until IS NULL OR o.held_until <= held_beyond
                 OR pg_catalog.pg_visible_in_snapshot(o.xid, s.done)
                 OR (pg_catalog.pg_visible_in_snapshot(o.xid, s.target) AND o.id <= s.position)
                THEN 2
            WHEN o.key IS NULL THEN 0
            WHEN (a.slot, a.segment) IN (
                     SELECT u.slot, u.segment FROM unseen u GROUP BY u.slot, u.segment
                     HAVING pg_catalog.count(*) > 1000 OR pg_catalog.bool_or(u.is_beyond)) THEN 1
            WHEN (a.slot, a.segment, o.key) IN (
                     SELECT u.slot, u.segment, u.key FROM unseen u WHERE u.key IS NOT NULL
                     GROUP BY u.slot, u.segment, u.key HAVING pg_catalog.count(*) > 1)
                 AND EXISTS (SELECT FROM unseen u
                             WHERE u.id < o.id AND u.key = o.key AND u.is_undelivered
                               AND (u.topic = o.topic) IS NOT FALSE
                               AND u.slot = a.slot AND u.segment = a.segment) THEN 1
            WHEN s.has_parked AND @schema@.key_is_parked($2, a.slot, o.topic, o.key) THEN 1
            WHEN s.may_lie_below
                 AND @schema@.has_elder_below(
                         a.slot, o.topic, o.key, a.segment << 18, s.clear, s.done, s.target,
                         s.position, $7, $8) THEN 1
            ELSE 0 END AS verdict
        FROM asked a
        LEFT JOIN stored s ON s.slot = a.slot AND s.segment = a.segment
        LEFT JOIN LATERAL (SELECT o.xid, o.id, o.topic, o.key, o.held_until,
                                  pg_catalog.octet_length(o.payload) AS bytes
                           FROM @schema@.outbox_{leaf} o
                           WHERE o.slot = a.slot AND o.id = a.id AND o.event_id = a.event_id
                           LIMIT 1) o ON true
    ), told AS MATERIALIZED (
        SELECT j.slot, j.id, j.event_id, j.place, CASE
            WHEN j.verdict = 0
                 AND pg_catalog.sum(j.bytes) FILTER (WHERE j.verdict = 0) OVER (ORDER BY j.place)
                     > greatest(j.bytes, 16777216) THEN 1
            ELSE j.verdict END::smallint AS verdict
        FROM judged j
    )
    SELECT coalesce(o.slot, -1::smallint), o.slot IS NOT NULL, o.xid, coalesce(o.id, 0), o.event_id,
           o.created_at, o.topic, o.key, o.event_type, o.content_type, o.payload, o.headers,
           o.aggregate_id, t.verdict, written,
           (pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint
    FROM told t
    LEFT JOIN LATERAL (SELECT * FROM @schema@.outbox_{leaf} o
                       WHERE t.verdict = 0 AND o.slot = t.slot AND o.id = t.id
                         AND o.event_id = t.event_id LIMIT 1) o ON true
    ORDER BY t.place;
    IF FOUND OR NOT @schema@.publisher_may(token, destination) THEN
        RETURN;
    END IF;
    -- No relay has attached yet.
    RETURN QUERY
    SELECT -1::smallint, false, NULL::xid8, 0::bigint, NULL::uuid, NULL::timestamptz, NULL, NULL,
           NULL, NULL, NULL::bytea, NULL::jsonb, NULL, 2::smallint, written,
           (pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint
    FROM unnest($5);
END
$function$
$confirm$, '{leaf}', lpad(n::text, 2, '0'));

        EXECUTE replace($settle$
CREATE FUNCTION @schema@.settle_{leaf}(
    token uuid, destination text, slots smallint[], ids bigint[], event_ids uuid[],
    left_slots smallint[], left_ids bigint[], left_event_ids uuid[]) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET lock_timeout = '1s'
AS $function$
BEGIN
    IF NOT @schema@.publisher_may($1, $2) THEN
        RETURN false;
    END IF;
    PERFORM pg_catalog.set_config('synchronous_commit', 'off', true);
    DELETE FROM @schema@.outbox_{leaf} o
    USING unnest($3, $4, $5) a (slot, id, event_id)
    WHERE o.slot = a.slot AND o.id = a.id AND o.event_id = a.event_id;
    UPDATE @schema@.outbox_{leaf} o SET held_until = 'epoch'
    FROM unnest($6, $7, $8) l (slot, id, event_id)
    WHERE o.slot = l.slot AND o.id = l.id AND o.event_id = l.event_id
      AND o.held_until > pg_catalog.clock_timestamp();
    RETURN true;
END
$function$
$settle$, '{leaf}', lpad(n::text, 2, '0'));
    END LOOP;
END
$migration$;

-- They run with their owner's rights, so they are nobody's until roles.sql gives them.
DO $migration$
BEGIN
    REVOKE ALL ON FUNCTION @schema@.publisher_token(text), @schema@.publisher_may(uuid, text),
        @schema@.key_is_parked(text, smallint, text, text),
        @schema@.has_elder_below(smallint, text, text, bigint, xid8, pg_snapshot, pg_snapshot,
                                 bigint, bigint[], uuid[]) FROM PUBLIC;
    FOR n IN 0..15 LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION '
                       '@schema@.confirm_%1$s(uuid, text, bigint, smallint[], bigint[], uuid[], '
                       'bigint[], uuid[]), @schema@.settle_%1$s(uuid, text, smallint[], bigint[], '
                       'uuid[], smallint[], bigint[], uuid[]) FROM PUBLIC', lpad(n::text, 2, '0'));
    END LOOP;
END
$migration$;
