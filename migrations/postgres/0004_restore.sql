-- sagaz 0004: what a database is asked after it was restored, and after a commit whose answer was
-- lost.
--
-- THE RE-BASE. A cursor says by snapshots what was delivered, and a snapshot means something only
-- where its transaction ids were given out. In a new cluster (dump and restore, logical copy,
-- pg_upgrade), or where the ids went back (pg_resetwal, files put back), later rows take ids that an
-- old snapshot counts as finished, and would never be sent. So the log is moved to the ids of this
-- cluster once, by one call:
--
--   D is taken; the slots are locked; inserts are locked out; what is not proved delivered moves to
--   new ids and the call's own transaction; every cursor becomes "delivered up to D and up to B",
--   where B is above every id there ever was.
--
-- What the old cursor still proves. Its snapshots and the column xid of a row that came along are
-- of one world, so comparing them is arithmetic and needs no server. A row of *this* world is
-- another matter: its xid may lie below the old ones. The two are told apart by position: the
-- sequence went on above everything that came along (a dump carries it, files hold it), so a row at
-- or below a cursor's high id is of the old world. Where the sequence is behind (a logical copy
-- does not carry it, a setval was wrong) only a row above everything it has given out is proved
-- old; the others may be of either world and move too. As a second line a row counts as delivered
-- only if it was made before its cursor was stored. Whatever is in doubt moves: that repeats an
-- event, and nothing here may lose one.
--
-- Why nothing is lost. D is taken in READ COMMITTED before the transaction has an id: the call
-- refuses otherwise, since pg_current_snapshot() never lists the caller's own id, and a D with it
-- below its xmax would count the moved rows as delivered. So the mover's id is not visible in D,
-- nor is any row that was not committed when D was taken. A row is
--   - visible in D: then it was committed before, and the statement that moves, whose own snapshot
--     is younger, sees it and moves it unless it is proved delivered;
--   - not visible in D, committed before the lock was granted: the same statement sees it too;
--   - inserted after the lock: it has an id above B, and a transaction that D does not see: a window
--     after D delivers it like any row.
-- There is no fourth kind: an INSERT holds its lock on the log before it takes an id of the
-- sequence, so when SHARE ROW EXCLUSIVE is granted nobody has taken an id at or below B and not
-- committed or rolled back. Hence there are no late rows below B either, ever. Delivered rows that
-- stay behind (retention) get a transaction that every snapshot sees, or their foreign ids would
-- be met again as late ones when this cluster's counter comes by.
--
-- Why order holds. Rows move in the order of their ids, all to ids above B, so a later insert comes
-- after them; parked events keep their positions, all at or below B, so they stay before the rest of
-- their key. Where the sequence is behind and there is a row at or below what it has given out, ids of
-- two worlds overlap, and rows move by created_at.
--
-- Why relays may call it by themselves, many at once. An advisory lock lets one in; the others are
-- told to try again, attach anew and find sound cursors. The slots' rows are locked before the
-- cursors are read, which waits for a cursor being stored; each epoch is raised, so a statement that
-- was sent before, by an owner that still believes in the old snapshots, stores nothing; and a new
-- token makes every relay forget and read anew. A call that dies anywhere changes nothing: the
-- sequence, which no rollback sets back, is set last.

-- Why the newest cursor of a slot cannot be trusted here; null when it can.
--   cluster:  it was stored in another cluster
--   ahead:    its snapshots are of the future, or count a row above all that was delivered
--   sequence: the sequence will give out ids again that are taken, or has: a row at an id that was
--             passed has a transaction of later (its id is taken before the row's: core/window.hpp)
-- The looks at the log are by (slot, id): one row each, and the last hundred at or below the high
-- id, among which are those that were given out again last.
CREATE FUNCTION @schema@.cursor_doubt(destination text, slot smallint) RETURNS text
LANGUAGE sql STABLE
RETURN (
    SELECT CASE
        WHEN c.system_identifier <> k.system_identifier THEN 'cluster'
        WHEN greatest(pg_snapshot_xmax(c.done), pg_snapshot_xmax(c.target))
             > pg_snapshot_xmax(pg_current_snapshot()) THEN 'ahead'
        WHEN pg_visible_in_snapshot(lowest.xid, c.done) OR pg_visible_in_snapshot(newest.xid, c.done)
            THEN 'ahead'
        WHEN greatest(c.position, c.last_id, newest.id)
             > CASE WHEN q.is_called THEN q.last_value ELSE 0 END THEN 'sequence'
        WHEN passed.xid >= c.target_ceiling THEN 'sequence'
        END
    FROM (SELECT * FROM @schema@.cursor c  -- The range: see the view backlog in 0001.
          WHERE (c.destination, c.slot, c.n) <= ($1, $2, 9223372036854775807)
          ORDER BY c.destination DESC, c.slot DESC, c.n DESC LIMIT 1) c
    CROSS JOIN pg_control_system() k
    CROSS JOIN @schema@.outbox_id q
    LEFT JOIN LATERAL (SELECT o.xid, o.id FROM @schema@.outbox o
                       WHERE o.slot = $2 AND (o.id, o.xid)
                             > (greatest(c.position, c.last_id), '18446744073709551615'::xid8)
                       ORDER BY o.id LIMIT 1) lowest ON true
    LEFT JOIN LATERAL (SELECT o.xid, o.id FROM @schema@.outbox o
                       WHERE o.slot = $2 AND (o.id, o.xid)
                             > (greatest(c.position, c.last_id), '18446744073709551615'::xid8)
                       ORDER BY o.id DESC LIMIT 1) newest ON true
    LEFT JOIN LATERAL (SELECT p.xid
                       FROM (SELECT o.xid FROM @schema@.outbox o
                             WHERE o.slot = $2 AND greatest(c.position, c.last_id) > 0
                               AND (o.id, o.xid)
                                   <= (greatest(c.position, c.last_id), '18446744073709551615'::xid8)
                             ORDER BY o.id DESC LIMIT 100) p
                       ORDER BY p.xid DESC LIMIT 1) passed ON true
    WHERE c.destination = $1 AND c.slot = $2
);

-- The path of these functions ends with pg_temp: where it is not named it comes first, for types and
-- tables, so a caller's pg_temp.uuid would be ours, and its CHECK would run with our rights.

-- Refuses what must not be re-based: a copy that still receives rows of the old world, and one
-- whose keys lead to other slots than where they were delivered from.
CREATE FUNCTION @schema@.rebase_check() RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    subscription text;
    modulus      text := substring(
        pg_catalog.pg_get_functiondef('@schema@.slot_of(text, uuid)'::regprocedure)
        FROM '% \(?([0-9]+)');
    slot_count   text := (SELECT s.value FROM @schema@.setting s WHERE s.key = 'slot_count');
BEGIN
    IF pg_catalog.current_setting('transaction_isolation') <> 'read committed'
       OR pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'SG003',
            MESSAGE = 'rebase is not the first statement of a READ COMMITTED transaction',
            HINT = 'Run it alone, outside of a transaction.';
    END IF;
    SELECT s.subname INTO subscription
    FROM pg_catalog.pg_subscription_rel r
    JOIN pg_catalog.pg_subscription s ON s.oid = r.srsubid
    JOIN pg_catalog.pg_class c ON c.oid = r.srrelid
    WHERE s.subenabled AND c.relnamespace = '@schema@'::regnamespace AND c.relname LIKE 'outbox%'
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SG001',
            MESSAGE = pg_catalog.format('subscription %s still brings rows of the log',
                                        subscription),
            HINT = 'Stop the old producers, let it catch up, then ALTER SUBSCRIPTION ... DISABLE.';
    END IF;
    IF modulus IS DISTINCT FROM slot_count THEN
        RAISE EXCEPTION USING ERRCODE = 'SG002',
            MESSAGE = pg_catalog.format('slot_of() counts %s slots and the setting says %s',
                                        coalesce(modulus, '?'), coalesce(slot_count, '?')),
            HINT = 'Make the schema of a copy by pg_dump --schema-only, not by a migration.';
    END IF;
END
$function$;

-- Moves what the old cursors do not prove delivered out of the log or one leaf of it, from ids in
-- (low, high], and inserts it anew with the ids behind `base`. `given`: the sequence has given out
-- ids up to there in a world where it is behind; null where it is not. Returns how many rows moved,
-- and how many of them were delivered after all if they are of the old world.
CREATE FUNCTION @schema@.rebase_move(
    leaf text, low bigint, high bigint, given bigint, base bigint, OUT moved bigint,
    OUT doubtful bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    EXECUTE pg_catalog.format($move$
        WITH newest AS MATERIALIZED (
            SELECT DISTINCT ON (c.destination, c.slot) c.slot, c.done, c.target, c.position,
                   c.last_id, c.stored_at
            FROM @schema@.cursor c ORDER BY c.destination, c.slot, c.n DESC
        ), gone AS (
            DELETE FROM @schema@.%I o
            USING newest c
            WHERE c.slot = o.slot AND o.id > $1 AND o.id <= $2
              AND ($3 IS NOT NULL AND o.id <= $3
                   OR o.created_at > c.stored_at
                   OR NOT (o.id <= c.last_id AND pg_catalog.pg_visible_in_snapshot(o.xid, c.done)
                           OR o.id <= c.position
                              AND pg_catalog.pg_visible_in_snapshot(o.xid, c.target)))
            RETURNING o.id, o.created_at, o.held_until, o.event_id, o.topic, o.key, o.event_type,
                      o.content_type, o.aggregate_type, o.aggregate_id, o.saga_id, o.headers,
                      o.payload,
                      o.id <= c.last_id AND pg_catalog.pg_visible_in_snapshot(o.xid, c.done)
                      OR o.id <= c.position
                         AND pg_catalog.pg_visible_in_snapshot(o.xid, c.target) AS doubtful
        ), moved AS (
            INSERT INTO @schema@.outbox (id, created_at, held_until, event_id, topic, key, event_type,
                                         content_type, aggregate_type, aggregate_id, saga_id,
                                         headers, payload)
            SELECT $4 + pg_catalog.row_number() OVER (
                       ORDER BY CASE WHEN (SELECT min(a.id) FROM gone a) <= $3
                                     THEN g.created_at END, g.id),
                   g.created_at, g.held_until, g.event_id, g.topic, g.key, g.event_type,
                   g.content_type, g.aggregate_type, g.aggregate_id, g.saga_id, g.headers, g.payload
            FROM gone g
        )
        SELECT count(*), count(*) FILTER (WHERE g.doubtful) FROM gone g
    $move$, leaf) INTO moved, doubtful USING low, high, given, base;
END
$function$;

-- Re-bases the log when a cursor is in doubt, or whenever `forced`. Returns what it did, as it
-- stands in the audit, or null when there was nothing to do. SECURITY DEFINER: a relay may not
-- write to the log.
CREATE FUNCTION @schema@.rebase(forced boolean DEFAULT false) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    d          pg_catalog.pg_snapshot;
    began      timestamptz := pg_catalog.clock_timestamp();
    identifier bigint := (SELECT c.system_identifier FROM pg_catalog.pg_control_system() c);
    doubts     jsonb;
    old_world  bigint;
    given      bigint;   -- the highest id that the sequence has given out
    base       bigint;   -- above every id there ever was
    n          bigint;
    part       record;
    total      bigint := 0;
    repeats    bigint := 0;
    report     jsonb;
BEGIN
    PERFORM @schema@.rebase_check();
    d := pg_catalog.pg_current_snapshot();
    IF NOT pg_catalog.pg_try_advisory_xact_lock(
            pg_catalog.hashtextextended('rebase of the log in @schema@', 0)) THEN
        RAISE EXCEPTION USING ERRCODE = 'SG004', MESSAGE = 'the log is being re-based already';
    END IF;
    -- Whoever waits for the log makes every insert wait behind him: not for long. The caller tries
    -- again.
    PERFORM pg_catalog.set_config('lock_timeout', '1s', true);
    PERFORM pg_catalog.set_config('synchronous_commit', 'local', true);
    PERFORM FROM @schema@.slot s ORDER BY s.destination, s.slot FOR UPDATE;

    SELECT pg_catalog.jsonb_object_agg(w.why, w.slots), min(w.old_world) INTO doubts, old_world
    FROM (SELECT @schema@.cursor_doubt(s.destination, s.slot) AS why, count(*) AS slots,
                 min((SELECT c.system_identifier FROM @schema@.cursor c
                      WHERE c.destination = s.destination AND c.slot = s.slot
                      ORDER BY c.n DESC LIMIT 1)) AS old_world
          FROM @schema@.slot s GROUP BY 1) w
    WHERE w.why IS NOT NULL;
    IF doubts IS NULL AND NOT forced THEN
        RETURN NULL;
    END IF;

    LOCK TABLE @schema@.outbox IN SHARE ROW EXCLUSIVE MODE;
    PERFORM pg_catalog.set_config('lock_timeout', '0', true);
    SELECT CASE WHEN q.is_called THEN q.last_value ELSE 0 END INTO given FROM @schema@.outbox_id q;
    SELECT greatest(given, max(m.id)) INTO base
    FROM (SELECT max(o.id) AS id FROM @schema@.outbox o
          UNION ALL SELECT max(greatest(c.position, c.last_id)) FROM @schema@.cursor c
          UNION ALL SELECT max(p.position) FROM @schema@.parked p WHERE p.direction = 'outbox'
          UNION ALL SELECT max(s.removed_upto) FROM @schema@.segment s) m;
    -- What else a logical copy does not carry.
    PERFORM pg_catalog.setval('@schema@.parked_position', greatest(max(p.position), q.last_value))
    FROM @schema@.parked_position q LEFT JOIN @schema@.parked p ON p.direction = 'inbox'
    GROUP BY q.last_value HAVING max(p.position) > q.last_value;
    PERFORM pg_catalog.setval(pg_catalog.pg_get_serial_sequence('@schema@.audit', 'id'), max(a.id))
    FROM @schema@.audit a HAVING max(a.id) IS NOT NULL;

    IF given < base THEN
        SELECT * INTO part FROM @schema@.rebase_move('outbox', 0, base, given, base);
        total := part.moved;
        repeats := part.doubtful;
    ELSE
        -- A segment's width of ids at a time, by its leaf's name, so that no statement has to keep
        -- or to sort more than that. Of those that have rows: the sequence may have jumped far. (And
        -- n is a bigint: the variable of a FOR over numbers is an integer, whose << wraps at 2^31.)
        FOREACH n IN ARRAY ARRAY(SELECT DISTINCT o.id >> 18 FROM @schema@.outbox o ORDER BY 1) LOOP
            SELECT * INTO part FROM @schema@.rebase_move(
                'outbox_' || pg_catalog.lpad((n % 16)::text, 2, '0'), (n << 18) - 1,
                least(((n + 1) << 18) - 1, base), NULL, base + total);
            total := total + part.moved;
            repeats := repeats + part.doubtful;
        END LOOP;
    END IF;
    UPDATE @schema@.outbox o SET xid = '3'
    WHERE o.id <= base AND o.xid >= pg_catalog.pg_snapshot_xmin(d);

    INSERT INTO @schema@.incarnation AS i (token, system_identifier)
    VALUES (pg_catalog.gen_random_uuid(), identifier)
    ON CONFLICT (one) DO UPDATE
        SET token = excluded.token, system_identifier = excluded.system_identifier;
    UPDATE @schema@.slot s SET owner = NULL, epoch = s.epoch + 1;
    INSERT INTO @schema@.cursor (destination, slot, n, epoch, done, target, position, last_id,
                                 done_ceiling, target_ceiling, incarnation, system_identifier)
    SELECT s.destination, s.slot, c.n + 1, s.epoch, d, d, base, base,
           pg_catalog.pg_current_xact_id(), pg_catalog.pg_current_xact_id(), i.token, identifier
    FROM @schema@.slot s
    CROSS JOIN @schema@.incarnation i
    CROSS JOIN LATERAL (SELECT max(c.n) AS n FROM @schema@.cursor c
                        WHERE c.destination = s.destination AND c.slot = s.slot) c;

    report := pg_catalog.jsonb_build_object(
        'why', coalesce(doubts, '{}'), 'forced', forced, 'moved', total,
        'moved_in_doubt', repeats, 'base', base, 'sequence_was', given,
        'system_identifier', identifier::text, 'old_system_identifier', old_world::text,
        'seconds', pg_catalog.round(extract(epoch FROM pg_catalog.clock_timestamp() - began), 3));
    INSERT INTO @schema@.audit (action, detail) VALUES ('rebase', report);
    -- Last of all, since no rollback takes it back: where the sequence is behind, that tells the next
    -- call, if this one dies, which ids may be of either world.
    IF base + total > 0 THEN
        PERFORM pg_catalog.setval('@schema@.outbox_id', base + total);
    END IF;
    RETURN report;
END
$function$;

-- A COMMIT WHOSE ANSWER WAS LOST. What became of the transaction that appended these events:
--
--   committed  one of the events stands in the log or among the parked, by its event id. Never by
--              its place alone: after a failover places and transaction ids are given out again.
--   aborted    none does; the database's memory is the one in which they were appended; their
--              transaction was over before the look, so it cannot commit any more; and nothing has
--              left the segment of any of them from its place upwards, so it would stand there.
--   wait       their transaction runs: a COMMIT may be on its way, or wait for a standby.
--   lost       the database's memory was lost since, or was not known then: a crash, a failover, a
--              restore. Its evidence went with it.
--   unknown    it is over, and its place in the log has been emptied since.
--
-- Why it is asked in this order, each in a snapshot of its own (hence VOLATILE): is the transaction
-- over; do the events stand there; is the memory still the same; has their place been emptied.
--   * Over before the look: what a later snapshot finds over may have committed after the look.
--   * The memory after the look: a re-base moves events, and renews the token with it.
--   * What was emptied last of all. A truncation is seen by every snapshot, also by those from before
--     it, for which the segment is empty and the mark of what left it is old. Whoever meets it in the
--     look has waited for its lock, so its mark was committed before the next snapshot.
-- In a transaction that keeps one snapshot the last cannot be told: there nothing is called aborted.
--
-- A change of settings renews the token although nothing was forgotten; the audit keeps which token
-- took the place of which, so such a ticket is still answered. After a re-base an event may stand at
-- another place of its slot, so where the memory is another one the whole slot is searched.
--
-- SECURITY DEFINER: a producer may read neither what is parked nor what was removed.
CREATE FUNCTION @schema@.resolve(
    incarnation uuid, event_ids uuid[], ids bigint[], xids xid8[], slots smallint[]) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    is_over     boolean;
    same_memory boolean;
BEGIN
    -- Its own rows it would see, committed or not.
    IF pg_catalog.pg_current_xact_id_if_assigned() = ANY ($4) THEN
        RETURN 'wait';
    END IF;
    SELECT pg_catalog.bool_and(pg_catalog.pg_visible_in_snapshot(
               t.xid, pg_catalog.pg_current_snapshot())) INTO is_over
    FROM pg_catalog.unnest($4) t (xid);
    IF EXISTS (SELECT FROM unnest($2, $3, $5) t (event_id, id, slot)
               CROSS JOIN LATERAL (SELECT FROM @schema@.outbox o
                                   WHERE o.slot = t.slot AND o.id = t.id
                                     AND o.event_id = t.event_id LIMIT 1) o)
       OR EXISTS (SELECT FROM unnest($2, $3) t (event_id, id)
                  CROSS JOIN @schema@.destination d
                  CROSS JOIN LATERAL (SELECT FROM @schema@.parked p
                                      WHERE p.direction = 'outbox' AND p.destination = d.name
                                        AND p.consumer_name = '' AND p.position = t.id
                                        AND p.event_id = t.event_id LIMIT 1) p) THEN
        RETURN 'committed';
    END IF;
    WITH RECURSIVE known AS (
        SELECT $1 AS token
        UNION
        SELECT (a.detail ->> 'new_incarnation')::uuid
        FROM known k
        JOIN @schema@.audit a ON a.action = 'set'
         AND (a.detail ->> 'old_incarnation')::uuid = k.token
    )
    SELECT EXISTS (SELECT FROM known k
                   JOIN @schema@.incarnation i ON i.token = k.token
                   JOIN pg_catalog.pg_control_system() c
                     ON c.system_identifier = i.system_identifier) INTO same_memory;
    IF NOT same_memory THEN
        IF EXISTS (SELECT FROM @schema@.outbox o
                   WHERE o.slot = ANY ($5) AND o.event_id = ANY ($2))
           OR EXISTS (SELECT FROM @schema@.parked p
                      WHERE p.direction = 'outbox' AND p.event_id = ANY ($2)) THEN
            RETURN 'committed';
        END IF;
        RETURN 'lost';
    END IF;
    IF is_over IS NOT TRUE THEN
        RETURN 'wait';
    END IF;
    IF pg_catalog.current_setting('transaction_isolation') <> 'read committed'
       OR EXISTS (SELECT FROM pg_catalog.unnest($3) t (id)
                  LEFT JOIN @schema@.segment s ON s.segment = ((t.id >> 18) % 16)
                  WHERE s.removed_upto IS NULL OR s.removed_upto >= t.id) THEN
        RETURN 'unknown';
    END IF;
    RETURN 'aborted';
END
$function$;

-- They run with their owner's rights, so they are nobody's until roles.sql gives them.
REVOKE ALL ON FUNCTION @schema@.rebase(boolean), @schema@.rebase_check(),
    @schema@.rebase_move(text, bigint, bigint, bigint, bigint),
    @schema@.cursor_doubt(text, smallint),
    @schema@.resolve(uuid, uuid[], bigint[], xid8[], smallint[]) FROM PUBLIC;
