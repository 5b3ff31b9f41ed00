-- sagaz 0003: giving back the space of what is delivered.
--
-- Why this loses nothing. A segment is emptied only when no row of it is undelivered by the *stored*
-- newest cursor of any (destination, slot) that has rows there: what a relay remembers is ahead of
-- it, and dies with the relay. That is judged under ACCESS EXCLUSIVE of the one leaf, by a snapshot
-- taken after the lock was granted: a transaction with uncommitted rows there holds the lock
-- against us, prepared or not, and PostgreSQL ends a transaction's visibility before its locks, so
-- whoever has let go of it is in the snapshot. What is parked was copied by the very statement that
-- stored the cursor that passes it. A cursor counts only what had committed before its own record
-- in the log, and the log survives a crash as a prefix: a truncation that survived has the cursor
-- that it rests on.
--
-- Why nobody waits. The lock is asked for with NOWAIT, so nothing queues behind an attempt, and it
-- is asked for only when everything else says yes. It is held for the second look, the truncation
-- and one write to this server's disk (`synchronous_commit` is local: no standby is waited for).
-- All of it is one call, so it spans no round trip. The only wait under the lock is for somebody
-- with a lock on the leaf's TOAST table or indexes alone (a vacuum of that table): a short
-- lock_timeout ends it. A leaf that cannot be had now is left for later.

-- The leaves had no autovacuum, since rows leave by truncation. Rows deleted by age, or by
-- publishers where a segment lasts for weeks, need one in the end: it comes for dead rows in bulk
-- and for nothing else, and does not lock the leaf to shorten the file. No column changes.
DO $migration$
DECLARE
    few_reasons constant text := 'autovacuum_enabled = on, autovacuum_vacuum_threshold = 25000, '
        'autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_insert_threshold = -1, '
        'vacuum_truncate = off';
BEGIN
    FOR n IN 0..15 LOOP
        EXECUTE format('ALTER TABLE @schema@.outbox_%s SET (%s, autovacuum_analyze_threshold = '
                       '2147483647, toast.%s)',
                       lpad(n::text, 2, '0'), few_reasons, replace(few_reasons, ', ', ', toast.'));
    END LOOP;
END
$migration$;

-- The newest cursor of each destination for each slot that has rows in a leaf. usable is false for
-- one that is not there, was stored in another cluster, or is ahead of this one.
CREATE FUNCTION @schema@.segment_cursors(leaf name) RETURNS TABLE (
    slot smallint, usable boolean, done pg_snapshot, target pg_snapshot, "position" bigint,
    last_id bigint)
LANGUAGE plpgsql VOLATILE
AS $function$
BEGIN
    RETURN QUERY EXECUTE pg_catalog.format($sql$
WITH RECURSIVE present (slot) AS (
    (SELECT o.slot FROM @schema@.%1$I o ORDER BY o.slot, o.id LIMIT 1)
    UNION ALL
    SELECT f.slot FROM present p
    CROSS JOIN LATERAL (SELECT o.slot FROM @schema@.%1$I o WHERE o.slot > p.slot
                        ORDER BY o.slot, o.id LIMIT 1) f
)
SELECT p.slot,
       coalesce(c.system_identifier = k.system_identifier
                AND pg_catalog.pg_snapshot_xmax(c.done) <= now.xmax
                AND pg_catalog.pg_snapshot_xmax(c.target) <= now.xmax
                AND c.position <= q.last_value AND c.last_id <= q.last_value, false),
       c.done, c.target, c.position, c.last_id
FROM present p
CROSS JOIN @schema@.destination d
CROSS JOIN pg_catalog.pg_control_system() k
CROSS JOIN @schema@.outbox_id q
CROSS JOIN (SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) AS xmax) now
LEFT JOIN LATERAL (SELECT * FROM @schema@.cursor c  -- The range: see the view backlog in 0001.
                   WHERE (c.destination, c.slot, c.n) <= (d.name, p.slot, 9223372036854775807)
                   ORDER BY c.destination DESC, c.slot DESC, c.n DESC LIMIT 1) c
    ON c.destination = d.name AND c.slot = p.slot
$sql$, leaf);
END
$function$;

-- Whether all of a leaf is delivered, and its newest row (null: there is none).
--
-- A row is undelivered when it is not visible in target, or not visible in done and past position.
-- Each way to be that is one probe of an index, whatever the segment holds: a transaction that
-- target lists as running, one at or above its xmax, an id above all that were delivered and,
-- while late rows are being delivered (position is below last_id), what done had not seen above
-- position. None but the last walks rows, and that one only late ones.
CREATE FUNCTION @schema@.segment_state(
    leaf name, OUT is_delivered boolean, OUT newest_id bigint, OUT newest_at timestamptz)
LANGUAGE plpgsql VOLATILE
AS $function$
BEGIN
    EXECUTE pg_catalog.format($sql$
WITH newest AS MATERIALIZED (
    SELECT c.*, greatest(c.position, c.last_id) AS high FROM @schema@.segment_cursors(%1$L) c
)
SELECT coalesce(pg_catalog.bool_and(n.usable AND u.found IS NULL), true),
       pg_catalog.max(m.id), pg_catalog.max(m.created_at)
FROM newest n
LEFT JOIN LATERAL (SELECT o.id, o.created_at FROM @schema@.%1$I o WHERE o.slot = n.slot
                   ORDER BY o.id DESC LIMIT 1) m ON true
LEFT JOIN LATERAL (
    (SELECT 1 AS found FROM @schema@.%1$I o
     WHERE o.slot = n.slot AND o.id > n.high ORDER BY o.id LIMIT 1)
    UNION ALL
    (SELECT 1 FROM @schema@.%1$I o
     WHERE o.slot = n.slot AND (o.xid, o.id) >= (pg_catalog.pg_snapshot_xmax(n.target), 0)
     ORDER BY o.xid, o.id LIMIT 1)
    UNION ALL
    (SELECT 1 FROM pg_catalog.pg_snapshot_xip(n.target) x (xid)
     CROSS JOIN LATERAL (SELECT FROM @schema@.%1$I o
                         WHERE o.slot = n.slot AND (o.xid, o.id) >= (x.xid, 0) AND o.xid <= x.xid
                         ORDER BY o.xid, o.id LIMIT 1) o LIMIT 1)
    UNION ALL
    (SELECT 1 FROM pg_catalog.pg_snapshot_xip(n.done) x (xid)
     CROSS JOIN LATERAL (SELECT FROM @schema@.%1$I o
                         WHERE o.slot = n.slot AND (o.xid, o.id) > (x.xid, n.position)
                           AND o.xid <= x.xid
                         ORDER BY o.xid, o.id LIMIT 1) o LIMIT 1)
    UNION ALL
    (SELECT 1 FROM @schema@.%1$I o
     WHERE n.position < n.last_id AND o.slot = n.slot
       AND (o.xid, o.id) >= (pg_catalog.pg_snapshot_xmax(n.done), 0) AND o.id > n.position
     ORDER BY o.xid, o.id LIMIT 1)
    LIMIT 1) u ON true
$sql$, leaf) INTO is_delivered, newest_id, newest_at;
END
$function$;

-- Deletes delivered rows appended before `before`, at most `rows_max` of each slot, from the
-- lowest id on. Returns how many.
CREATE FUNCTION @schema@.delete_aged(segment smallint, leaf name, before timestamptz,
                                     rows_max integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
    deleted integer;
    highest bigint;
BEGIN
    EXECUTE pg_catalog.format($sql$
WITH newest AS MATERIALIZED (
    SELECT * FROM @schema@.segment_cursors(%1$L)
), aged AS MATERIALIZED (
    SELECT f.tid
    FROM (SELECT DISTINCT n.slot FROM newest n) s
    CROSS JOIN LATERAL (SELECT o.ctid AS tid, o.id, o.xid, o.created_at FROM @schema@.%1$I o
                        WHERE o.slot = s.slot ORDER BY o.id LIMIT (SELECT $2)) f
    WHERE f.created_at < $1
      AND (SELECT pg_catalog.bool_and(
                      n.usable AND (pg_catalog.pg_visible_in_snapshot(f.xid, n.done)
                                    OR (pg_catalog.pg_visible_in_snapshot(f.xid, n.target)
                                        AND f.id <= n.position)))
           FROM newest n WHERE n.slot = s.slot)
), gone AS (
    DELETE FROM @schema@.%1$I o WHERE o.ctid = ANY (ARRAY(SELECT a.tid FROM aged a))
    RETURNING o.id
)
SELECT pg_catalog.count(*), pg_catalog.max(g.id) FROM gone g
$sql$, leaf) INTO deleted, highest USING before, rows_max;
    IF deleted > 0 THEN
        UPDATE @schema@.segment s SET removed_upto = greatest(s.removed_upto, highest)
        WHERE s.segment = delete_aged.segment;
    END IF;
    RETURN deleted;
END
$function$;

-- Empties one delivered segment, or deletes one batch by age; the oldest segment first. What is
-- younger than `retention` is kept. The segment that is being written is emptied only when it has
-- had no row for max(retention, age), and at most once in that time; its rows go by that age.
-- blocked: a segment could be emptied but for somebody who has a lock on it.
CREATE FUNCTION @schema@.reclaim(
    retention interval, age interval, rows_max integer,
    OUT truncated integer, OUT deleted integer, OUT blocked boolean, OUT has_more boolean)
LANGUAGE plpgsql VOLATILE
AS $function$
#variable_conflict use_variable
DECLARE
    written smallint;
    leaf name;
    before timestamptz;
    state record;
    mine smallint;
BEGIN
    IF pg_catalog.current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = 'the log is reclaimed under READ COMMITTED only',
            HINT = 'A snapshot from before the lock does not see who committed meanwhile.';
    END IF;
    PERFORM pg_catalog.set_config(s.name, s.value, true)
    FROM (VALUES ('synchronous_commit', 'local'), ('lock_timeout', '50ms'), ('jit', 'off'),
                 ('enable_seqscan', 'off'), ('enable_bitmapscan', 'off')) s (name, value);
    truncated := 0;
    deleted := 0;
    blocked := false;
    SELECT (q.last_value >> 18) % 16 INTO written FROM @schema@.outbox_id q;
    FOR n IN 1..16 LOOP
        mine := NULL;
        leaf := 'outbox_' || pg_catalog.lpad(((written + n) % 16)::text, 2, '0');
        before := pg_catalog.clock_timestamp()
                  - CASE WHEN n = 16 THEN greatest(retention, age) ELSE retention END;
        BEGIN
            EXECUTE pg_catalog.format('LOCK TABLE ONLY @schema@.%I IN ACCESS SHARE MODE NOWAIT', leaf);
            CONTINUE WHEN pg_catalog.pg_relation_size(pg_catalog.format('@schema@.%I', leaf)) = 0;
            state := @schema@.segment_state(leaf);
            IF state.is_delivered AND coalesce(state.newest_at < before, true) THEN
                -- Whoever else reclaims has this row; there is nothing to wait for.
                SELECT s.segment INTO mine FROM @schema@.segment s
                WHERE s.segment = (written + n) % 16
                  AND (n < 16 OR coalesce(s.truncated_at < before, true))
                FOR UPDATE SKIP LOCKED;
            END IF;
            IF mine IS NOT NULL THEN
                EXECUTE pg_catalog.format(
                    'LOCK TABLE ONLY @schema@.%I IN ACCESS EXCLUSIVE MODE NOWAIT', leaf);
                state := @schema@.segment_state(leaf);
                IF NOT state.is_delivered OR state.newest_at >= before THEN
                    RAISE EXCEPTION USING ERRCODE = 'SG005';  -- gives the lock back
                END IF;
                EXECUTE pg_catalog.format('TRUNCATE ONLY @schema@.%I', leaf);
                UPDATE @schema@.segment s
                SET removed_upto = greatest(s.removed_upto, state.newest_id),
                    truncations = s.truncations + 1,
                    truncated_at = pg_catalog.clock_timestamp()
                WHERE s.segment = mine;
                truncated := 1;
            ELSIF n = 16 THEN
                deleted := @schema@.delete_aged(written, leaf, before, rows_max);
            END IF;
        EXCEPTION
            WHEN lock_not_available THEN blocked := true;
            WHEN SQLSTATE 'SG005' THEN NULL;
        END;
        EXIT WHEN truncated > 0;
    END LOOP;
    has_more := truncated > 0 OR deleted > 0;
END
$function$;
