-- sagaz 0007: the inbox by time, and parked messages handled again (further down). Partitions are made
-- ahead and dropped whole; what has no time, or the time of no partition, is swept by consumed_at.
--
-- A UUIDv7 begins with the milliseconds at which it was made, so a range of ids is a range of time,
-- and the key (consumer_name, event_id) is unique across partitions. Where a mark lies:
--   consumer_inbox_YYYYMMDD   ids of the days from that one on (UTC);
--   consumer_inbox_low, _high ids below and above every UUIDv7 of the years 2020 to 2099: of random
--                             ids and of hashed text ids, 99 in 100;
--   consumer_inbox_default    the rest: older than the oldest partition, or ahead of the newest.
-- The two are there since PostgreSQL reads all of the default partition, under a lock that stops
-- every consumer, when it makes another partition: with them the default is small.
--
-- Why no mark goes before its time. A partition is dropped when all of its ids are older than the
-- retention, and not even then a mark in it that was set later than that (a consumer that was away, a
-- producer whose clock is behind, an id without a time that lies there by chance) or whose message is
-- also parked (without the mark the parked body would be a new message of that id). Those few move to
-- the default in the same transaction; where they are many, the partition stays until they are few.
-- They are looked for under a lock that keeps writers of that partition out until it is gone.
--
-- Why a consumer hardly waits. The lock on the whole table is asked for only for the moment of the
-- change, with a patience of the caller's (behind whoever waits for it everybody waits), and one
-- call changes one thing. What is not had now is tried again later: partitions are made a week
-- ahead, and dropping one is never urgent. Where there is none, marks lie in the default and nothing
-- is lost but the ease of dropping.

-- Below every UUIDv7 of that time, above those of an earlier one.
CREATE FUNCTION @schema@.inbox_first_id("time" timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (lpad(to_hex(floor(extract(epoch FROM $1) * 1000)::bigint), 12, '0')
        || repeat('0', 20))::uuid;

CREATE FUNCTION @schema@.inbox_id_time(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN to_timestamp(('x' || substr(replace($1::text, '-', ''), 1, 12))::bit(48)::bigint / 1000.0);

-- The partitions of a time, the oldest first.
CREATE FUNCTION @schema@.inbox_partitions()
RETURNS TABLE (name name, begins timestamptz, ends timestamptz)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT c.relname, @schema@.inbox_id_time(b.bounds[1]::uuid),
           @schema@.inbox_id_time(b.bounds[2]::uuid)
    FROM pg_catalog.pg_inherits i
    JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL (SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                            'FROM \(''([0-9a-f-]{36})''\) TO \(''([0-9a-f-]{36})''\)')
                               AS bounds) b
    WHERE i.inhparent = '@schema@.consumer_inbox'::regclass AND b.bounds IS NOT NULL
    ORDER BY 2;
END;

-- Makes a partition for the ids from first_id on and below end_id; null: without a bound. Marks of
-- that range move there from the default. The lock comes first, so none comes in between.
CREATE FUNCTION @schema@.inbox_add_partition(name name, first_id uuid, end_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $function$
BEGIN
    LOCK TABLE ONLY @schema@.consumer_inbox, ONLY @schema@.consumer_inbox_default
        IN ACCESS EXCLUSIVE MODE;
    EXECUTE pg_catalog.format(
        'CREATE TABLE @schema@.%I (LIKE @schema@.consumer_inbox INCLUDING DEFAULTS)', $1);
    EXECUTE pg_catalog.format(
        'WITH moved AS (DELETE FROM ONLY @schema@.consumer_inbox_default i '
        'WHERE ($1 IS NULL OR i.event_id >= $1) AND ($2 IS NULL OR i.event_id < $2) RETURNING i.*) '
        'INSERT INTO @schema@.%I SELECT * FROM moved', $1) USING first_id, end_id;
    EXECUTE pg_catalog.format('ALTER TABLE @schema@.%I ADD PRIMARY KEY (consumer_name, event_id)',
                              $1);
    EXECUTE pg_catalog.format(
        'ALTER TABLE @schema@.consumer_inbox ATTACH PARTITION @schema@.%I FOR VALUES FROM (%s) TO '
        '(%s)', $1, coalesce(pg_catalog.quote_literal(first_id), 'MINVALUE'),
        coalesce(pg_catalog.quote_literal(end_id), 'MAXVALUE'));
END
$function$;
SELECT @schema@.inbox_add_partition('consumer_inbox_low', NULL,
                                    @schema@.inbox_first_id('2020-01-01 00:00:00Z'));
SELECT @schema@.inbox_add_partition('consumer_inbox_high',
                                    @schema@.inbox_first_id('2100-01-01 00:00:00Z'), NULL);

-- Makes the next partition, if one is due; returns its name. Days that have begun are left to the
-- default, so that hardly a mark ever has to move. A partition is of a day, or of as many days as
-- leave about thirty of them.
CREATE FUNCTION @schema@.inbox_make_partition(retention interval, bytes_max bigint) RETURNS name
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
    days    integer     := greatest(1, ceil(extract(epoch FROM $1) / 2592000));
    today   timestamptz := date_trunc('day', pg_catalog.clock_timestamp(), 'UTC');
    begins  timestamptz;
    made    name;
BEGIN
    SELECT greatest(pg_catalog.max(p.ends), today + interval '24 hours') INTO begins
    FROM @schema@.inbox_partitions() p;
    -- The default is read under a lock: past bytes_max that would take too long.
    IF begins > today + interval '168 hours'
       OR pg_catalog.pg_relation_size('@schema@.consumer_inbox_default') > $2 THEN
        RETURN NULL;
    END IF;
    made := 'consumer_inbox_' || pg_catalog.to_char(begins AT TIME ZONE 'UTC', 'YYYYMMDD');
    PERFORM @schema@.inbox_add_partition(
        made, @schema@.inbox_first_id(begins),
        @schema@.inbox_first_id(begins + days * interval '24 hours'));
    RETURN made;
END
$function$;

-- Drops a partition whose ids are all older than `before`. Returns how many marks went, by
-- consumer; null: it stays, since more than a few of its marks are younger.
CREATE FUNCTION @schema@.inbox_drop_partition(name name, before timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
    kept_max constant integer := 1000;
    kept    tid[];
    removed jsonb;
BEGIN
    EXECUTE pg_catalog.format('LOCK TABLE ONLY @schema@.%I IN SHARE ROW EXCLUSIVE MODE', $1);
    EXECUTE pg_catalog.format($sql$
SELECT pg_catalog.array_agg(k.ctid) FROM (
    SELECT i.ctid FROM ONLY @schema@.%1$I i
    WHERE i.consumed_at >= $1
       OR (i.consumer_name, i.event_id) IN (
              SELECT q.consumer_name, q.event_id FROM @schema@.parked q
              WHERE q.direction = 'inbox' AND q.destination = 'default')
    LIMIT $2) k
$sql$, $1) INTO kept USING before, kept_max + 1;
    IF pg_catalog.cardinality(kept) > kept_max THEN
        RETURN NULL;
    END IF;
    EXECUTE pg_catalog.format($sql$
SELECT coalesce(pg_catalog.jsonb_object_agg(c.consumer_name, c.marks), '{}')
FROM (SELECT i.consumer_name, pg_catalog.count(*) AS marks FROM ONLY @schema@.%1$I i
      WHERE NOT (i.ctid = ANY (coalesce($1, '{}'))) GROUP BY i.consumer_name) c
$sql$, $1) INTO removed USING kept;
    LOCK TABLE ONLY @schema@.consumer_inbox, ONLY @schema@.consumer_inbox_default
        IN ACCESS EXCLUSIVE MODE;
    EXECUTE pg_catalog.format('ALTER TABLE @schema@.consumer_inbox DETACH PARTITION @schema@.%I', $1);
    IF kept IS NOT NULL THEN
        EXECUTE pg_catalog.format('INSERT INTO @schema@.consumer_inbox SELECT i.* FROM @schema@.%I i '
                                  'WHERE i.ctid = ANY ($1)', $1) USING kept;
    END IF;
    EXECUTE pg_catalog.format('DROP TABLE @schema@.%I', $1);
    INSERT INTO @schema@.audit (action, detail)
    VALUES ('inbox_partition', pg_catalog.jsonb_build_object(
        'dropped', $1, 'before', before, 'removed', removed,
        'kept', coalesce(pg_catalog.cardinality(kept), 0)));
    RETURN removed;
END
$function$;

-- Removes the marks set before `before` from one piece of what is no partition of a time: of 128
-- blocks from `place` on. Returns the next place; 0: all of it is done.
CREATE FUNCTION @schema@.inbox_sweep(place bigint, before timestamptz,
                                     OUT removed bigint, OUT next_place bigint)
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
    piece constant bigint := 128;
    parts constant name[] := '{consumer_inbox_default,consumer_inbox_low,consumer_inbox_high}';
    part  integer := ($1 >> 32)::integer;
    block bigint  := $1 & 4294967295;
    size  bigint;
BEGIN
    removed := 0;
    next_place := 0;
    IF part NOT BETWEEN 0 AND 2 THEN
        RETURN;
    END IF;
    size := pg_catalog.pg_relation_size(pg_catalog.format('@schema@.%I', parts[part + 1]))
            / pg_catalog.current_setting('block_size')::bigint;
    IF block < size THEN
        PERFORM pg_catalog.set_config(g.name, 'off', true)
        FROM (VALUES ('enable_seqscan'), ('jit')) g (name);  -- only these blocks, whatever is known
        -- A scalar question for each, and not a join: that would read all that is parked each time.
        EXECUTE pg_catalog.format($sql$
DELETE FROM ONLY @schema@.%I i
WHERE i.ctid >= $1 AND i.ctid < $2 AND i.consumed_at < $3
  AND (SELECT pg_catalog.count(*) FROM @schema@.parked q
       WHERE q.direction = 'inbox' AND q.destination = 'default'
         AND q.consumer_name = i.consumer_name AND q.event_id = i.event_id) = 0
$sql$, parts[part + 1])
        USING pg_catalog.format('(%s,0)', block)::tid,
              pg_catalog.format('(%s,0)', block + piece)::tid, before;
        GET DIAGNOSTICS removed = ROW_COUNT;
    END IF;
    IF block + piece < size THEN
        next_place := (part::bigint << 32) + block + piece;
    ELSIF part < 2 THEN
        next_place := (part + 1)::bigint << 32;
    END IF;
END
$function$;

-- Keeps the inbox in shape, one thing a call: makes a partition, or drops one, or else sweeps a piece
-- of the rest from `place` on (0: from the start, which is also when partitions are looked at; null:
-- partitions alone).
-- patience: how long to wait for a lock, and thus how long others may have to wait behind. What is
-- larger than bytes_max is not read under a lock; null: it is, however large. blocked: somebody holds
-- what was to be changed. The caller may not choose what goes, only from which age on.
CREATE FUNCTION @schema@.inbox_keep(
    retention interval, patience interval, bytes_max bigint, place bigint,
    OUT made name, OUT dropped name, OUT removed jsonb, OUT swept bigint, OUT next_place bigint,
    OUT blocked boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    before timestamptz := clock_timestamp() - retention;
    most   bigint := coalesce(bytes_max, 9223372036854775807);
    old    record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = 'the inbox is kept under READ COMMITTED only',
            HINT = 'A snapshot from before the lock does not see who committed meanwhile.';
    END IF;
    IF coalesce(retention, interval '0') < interval '1 hour' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the retention of marks is less than an hour',
            HINT = 'Keep them for longer than the longest time after which a message comes again.';
    END IF;
    swept := 0;
    next_place := 0;
    blocked := false;
    PERFORM set_config('lock_timeout', ceil(extract(epoch FROM patience) * 1000)::text || 'ms', true);
    -- Whoever else keeps the inbox has this row; there is nothing to wait for.
    PERFORM FROM @schema@.destination d WHERE d.name = 'default' FOR NO KEY UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF coalesce(place, 0) = 0 THEN
        IF EXISTS (SELECT FROM @schema@.consumer_inbox) THEN
            BEGIN
                made := @schema@.inbox_make_partition(retention, most);
            EXCEPTION
                WHEN lock_not_available THEN blocked := true;
            END;
        END IF;
        IF made IS NOT NULL THEN
            RETURN;
        END IF;
        -- Any, and few, where time is short: looking at one that has to stay takes a while.
        FOR old IN SELECT p.name FROM @schema@.inbox_partitions() p
                   WHERE p.ends < before AND pg_relation_size(format('@schema@.%I', p.name)) <= most
                   ORDER BY random() LIMIT CASE WHEN bytes_max IS NOT NULL THEN 2 END LOOP
            BEGIN
                removed := @schema@.inbox_drop_partition(old.name, before);
                IF removed IS NULL THEN
                    RAISE EXCEPTION USING ERRCODE = 'SG006';  -- gives the lock back
                END IF;
                dropped := old.name;
                RETURN;
            EXCEPTION
                WHEN lock_not_available THEN blocked := true;
                WHEN SQLSTATE 'SG006' THEN NULL;
            END;
            EXIT WHEN blocked;
        END LOOP;
    END IF;
    IF place IS NULL THEN
        RETURN;
    END IF;
    BEGIN
        SELECT s.removed, s.next_place INTO swept, next_place
        FROM @schema@.inbox_sweep(place, before) s;
    EXCEPTION
        WHEN lock_not_available THEN blocked := true;
    END;
END
$function$;

-- By default everybody may call a function, and this one has its owner's rights.
REVOKE ALL ON FUNCTION @schema@.inbox_keep(interval, interval, bigint, bigint) FROM PUBLIC;

-- --------------------------------------------------------------- parked messages, handled again
--
-- `sagaz parked replay` makes a parked message due (waiting, with next_attempt_at); the consumer then
-- takes it up by inbox_replay: out of `parked`, its mark and its effects in one transaction, so exactly
-- once as ever. Of a key only the first may be taken, and whoever takes or removes it makes the next
-- one due; so a key comes back in its order by itself. A message that comes meanwhile is parked behind:
-- it must not be left there with nobody in front who would make it due. So inbox_park (0002) waits for
-- whoever is taking the first one out, and makes it due itself when there is none left.

CREATE INDEX parked_inbox_due ON @schema@.parked (consumer_name, next_attempt_at, position)
WHERE direction = 'inbox' AND state = 'waiting' AND next_attempt_at IS NOT NULL;

-- Takes the next message that is due out of `parked` and marks it, in the caller's transaction.
-- outcome: null, nothing is due; processed, handle it and commit; duplicate, it took effect long ago:
-- commit. on_failure as for inbox_mark: under park_event no message stands in another's way.
CREATE FUNCTION @schema@.inbox_replay(
    consumer_name text, on_failure text DEFAULT 'park_key', keep_payload boolean DEFAULT false,
    OUT outcome text, OUT event_id text, OUT source_topic text, OUT event_type text,
    OUT payload bytea, OUT key text, OUT headers jsonb, OUT content_type text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    found_row record;
BEGIN
    SELECT p.* INTO found_row FROM @schema@.parked p
    WHERE p.direction = 'inbox' AND p.destination = 'default' AND p.consumer_name = $1
      AND p.state = 'waiting' AND p.next_attempt_at <= clock_timestamp()
      AND p.reason <> 'id_conflict'
      AND ($2 = 'park_event' OR p.key IS NULL OR NOT EXISTS (
               SELECT FROM @schema@.parked q
               WHERE q.direction = 'inbox' AND q.destination = 'default' AND q.consumer_name = $1
                 AND q.slot IS NULL AND q.topic = p.topic AND q.key = p.key
                 AND q.position < p.position AND q.reason <> 'id_conflict'))
    ORDER BY p.next_attempt_at, p.position LIMIT 1
    FOR UPDATE OF p SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM @schema@.inbox_wait_for_disk();
    DELETE FROM @schema@.parked p
    WHERE p.direction = 'inbox' AND p.destination = 'default' AND p.consumer_name = $1
      AND p.position = found_row.position AND p.event_id = found_row.event_id;
    UPDATE @schema@.parked n SET next_attempt_at = clock_timestamp()
    WHERE n.direction = 'inbox' AND n.destination = 'default' AND n.consumer_name = $1
      AND n.state = 'waiting' AND n.next_attempt_at IS NULL
      AND n.position = (SELECT q.position FROM @schema@.parked q
                        WHERE q.direction = 'inbox' AND q.destination = 'default'
                          AND q.consumer_name = $1 AND q.slot IS NULL
                          AND q.topic = found_row.topic AND q.key = found_row.key
                          AND q.position > found_row.position AND q.reason <> 'id_conflict'
                        ORDER BY q.position LIMIT 1);
    INSERT INTO @schema@.consumer_inbox (event_id, consumer_name, original_id, source_topic,
                                         event_type, payload_hash, payload)
    VALUES (found_row.event_id, $1, found_row.original_id, coalesce(found_row.topic, ''),
            found_row.event_type, sha256(coalesce(found_row.payload, '')),
            CASE WHEN $3 THEN coalesce(found_row.payload, '') END)
    ON CONFLICT DO NOTHING;
    outcome := CASE WHEN FOUND THEN 'processed' ELSE 'duplicate' END;
    -- It may have failed before it was parked behind another.
    DELETE FROM @schema@.inbox_attempt a
    WHERE a.consumer_name = $1 AND a.event_id = found_row.event_id;
    event_id := coalesce(found_row.original_id, found_row.event_id::pg_catalog.text);
    source_topic := found_row.topic;
    event_type := found_row.event_type;
    payload := found_row.payload;
    key := found_row.key;
    headers := found_row.headers;
    content_type := found_row.content_type;
END
$function$;

-- After the caller's rollback: counts an attempt of a message that inbox_replay had taken.
-- retry_later: it is due again after a while, twice as long each time. parked: it was the last
-- attempt. duplicate or in_progress: somebody else has it.
CREATE FUNCTION @schema@.inbox_replay_failed(
    consumer_name text, event_id text, cause text, max_attempts integer DEFAULT 10,
    retry_initial interval DEFAULT '1 second', retry_max interval DEFAULT '1 minute',
    OUT outcome text, OUT attempts integer)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    id      pg_catalog.uuid := @schema@.inbox_event_id($2);
    is_dead boolean;
    n       integer;
BEGIN
    PERFORM @schema@.inbox_check($1, $2);
    UPDATE @schema@.parked p
    SET attempts = p.attempts + 1, detail = left(coalesce($3, ''), 1000),
        state = CASE WHEN p.attempts + 1 >= $4 THEN 'dead' ELSE 'waiting' END,
        reason = CASE WHEN p.attempts + 1 >= $4 THEN 'max_attempts' ELSE p.reason END,
        next_attempt_at = CASE WHEN p.attempts + 1 < $4 THEN
            clock_timestamp() + least($6, $5 * power(2, least(p.attempts, 30))) END
    WHERE p.direction = 'inbox' AND p.destination = 'default' AND p.consumer_name = $1
      AND p.event_id = id AND p.state = 'waiting' AND p.reason <> 'id_conflict'
    RETURNING p.state = 'dead', p.attempts INTO is_dead, n;
    attempts := coalesce(n, 0);
    IF is_dead IS NOT NULL THEN
        outcome := CASE WHEN is_dead THEN 'parked' ELSE 'retry_later' END;
    ELSIF EXISTS (SELECT FROM @schema@.consumer_inbox i
                  WHERE i.consumer_name = $1 AND i.event_id = id) THEN
        outcome := 'duplicate';
    ELSE
        outcome := 'in_progress';
    END IF;
END
$function$;
