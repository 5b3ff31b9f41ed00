-- sagaz 0002: the inbox as functions, for C++ and for any language that speaks SQL. No table changes.
--
-- A mark is inserted first, in the transaction of the effects, and the key (consumer_name, event_id)
-- is unique. So of two that handle one event at once the second waits in the INSERT until the first
-- has committed (then it is a duplicate) or rolled back (then it goes on); there is no look before
-- the insert that could be overtaken. The functions run with their caller's rights and name every
-- object with its schema.
--
-- All but three: `parked` holds the relay's events too, so a consumer has no right on it, and what
-- it needs there runs with the owner's rights: inbox_park, inbox_obstacle, inbox_parked_as. Each
-- touches rows of direction 'inbox' only, calls nothing of the caller's, and has a path that ends
-- with pg_temp: where it is not named it comes first, for types and tables, so a caller's
-- pg_temp.uuid would be ours, and its CHECK would run with our rights. No policies for rows instead:
-- at those a pg_dump of the whole database ends with an error, unless its login may bypass them.
--
-- One word comes back. processed: the mark is set, go on and commit. duplicate: somebody did it.
-- parked: it stands in @schema@.parked; commit, and acknowledge. All three are settled once the
-- transaction has committed.

-- To find a parked message by its id (parked_key finds it by its key), and to park it once for each
-- reason and body, in any isolation level.
CREATE UNIQUE INDEX parked_event
ON @schema@.parked (destination, consumer_name, event_id, reason, sha256(coalesce(payload, '')))
WHERE direction = 'inbox';

-- A UUID is itself. Anything else becomes a UUIDv8 (RFC 9562, 5.8) of its SHA-256, the same
-- everywhere and for ever; the text as it came is kept in original_id. In PL/pgSQL, whose plans last
-- as long as a session: an SQL function would be planned in each transaction. It names the schema of
-- all that it uses: an id must not depend on anybody's search_path.
CREATE FUNCTION @schema@.inbox_event_id(id text) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $function$
BEGIN
    IF $1 OPERATOR(pg_catalog.~) '^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$' THEN
        RETURN $1::pg_catalog.uuid;
    END IF;
    RETURN (SELECT pg_catalog.encode(
                pg_catalog.set_byte(
                    pg_catalog.set_byte(
                        d.hash, 6, pg_catalog.get_byte(d.hash, 6)
                                   OPERATOR(pg_catalog.&) 15 OPERATOR(pg_catalog.|) 128),
                    8, pg_catalog.get_byte(d.hash, 8)
                       OPERATOR(pg_catalog.&) 63 OPERATOR(pg_catalog.|) 128),
                'hex')::pg_catalog.uuid
            FROM (SELECT substring(pg_catalog.sha256(pg_catalog.convert_to($1, 'UTF8'))
                                   FROM 1 FOR 16) AS hash) d);
END
$function$;

-- Refuses what identifies nothing.
CREATE FUNCTION @schema@.inbox_check(consumer_name text, event_id text) RETURNS void
LANGUAGE plpgsql STABLE
AS $function$
BEGIN
    IF coalesce($1, '') = '' OR coalesce($2, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'consumer_name or event_id is empty',
            HINT = 'Name the consumer, and give the id that the message carries.';
    END IF;
END
$function$;

-- What is settled is acknowledged and never comes again, so its commit has to be on disk before:
-- one with synchronous_commit off can be lost in a crash with the mark and the effects.
CREATE FUNCTION @schema@.inbox_wait_for_disk() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $function$
BEGIN
    IF pg_catalog.current_setting('synchronous_commit') = 'off' THEN
        PERFORM pg_catalog.set_config('synchronous_commit', 'on', true);
    END IF;
END
$function$;

-- Parks a message, once for each reason and body: of two that do it at once the second waits. The
-- payload is kept: after the acknowledgement there is no other copy. One that is parked behind another
-- of its key waits for whoever takes that one out (0007).
CREATE FUNCTION @schema@.inbox_park(
    consumer_name text, event_id text, reason text, detail text, attempts integer,
    source_topic text, event_type text, payload bytea, key text, headers jsonb, content_type text)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    id   pg_catalog.uuid := @schema@.inbox_event_id($2);
    mine bigint;
BEGIN
    PERFORM @schema@.inbox_wait_for_disk();
    INSERT INTO @schema@.parked (direction, destination, consumer_name, event_id, state, reason,
                                 detail, attempts, original_id, topic, key, event_type,
                                 content_type, headers, payload)
    VALUES ('inbox', 'default', $1, id, CASE WHEN $3 = 'key_parked' THEN 'waiting' ELSE 'dead' END,
            $3, $4, $5, nullif($2, id::pg_catalog.text), $6, $9, coalesce($7, ''),
            coalesce($11, 'application/json'), $10, $8)
    ON CONFLICT DO NOTHING
    RETURNING position INTO mine;
    IF mine IS NULL OR $3 <> 'key_parked' THEN
        RETURN;
    END IF;
    PERFORM FROM @schema@.parked p
    WHERE p.direction = 'inbox' AND p.destination = 'default' AND p.consumer_name = $1
      AND p.slot IS NULL AND p.topic = $6 AND p.key = $9 AND p.position < mine
      AND p.reason <> 'id_conflict'
    ORDER BY p.position LIMIT 1 FOR KEY SHARE;
    IF NOT FOUND THEN
        UPDATE @schema@.parked p SET next_attempt_at = clock_timestamp()
        WHERE p.direction = 'inbox' AND p.destination = 'default' AND p.consumer_name = $1
          AND p.position = mine;
    END IF;
END
$function$;

-- Why the message may not be handled now: 'event' when it is parked itself, 'key' when an earlier
-- one of its key is, null when nothing is in its way. An id_conflict is in nobody's way: the event
-- of that id took effect, and a forged repeat must not stop a key.
CREATE FUNCTION @schema@.inbox_obstacle(
    consumer_name text, event_id uuid, source_topic text, key text, on_failure text)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (SELECT CASE
        WHEN EXISTS (SELECT FROM @schema@.parked p
                     WHERE p.direction = 'inbox' AND p.destination = 'default'
                       AND p.consumer_name = $1 AND p.event_id = $2 AND p.reason <> 'id_conflict')
            THEN 'event'
        WHEN $4 IS NOT NULL AND $5 = 'park_key'
             AND EXISTS (SELECT FROM @schema@.parked p
                         WHERE p.direction = 'inbox' AND p.destination = 'default'
                           AND p.consumer_name = $1 AND p.slot IS NULL AND p.topic = $3
                           AND p.key = $4 AND p.reason <> 'id_conflict')
            THEN 'key' END);
END
$function$;

-- The reason that a message was parked for, the last one of several; null when it is not parked.
CREATE FUNCTION @schema@.inbox_parked_as(consumer_name text, event_id text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (SELECT p.reason FROM @schema@.parked p
            WHERE p.direction = 'inbox' AND p.destination = 'default' AND p.consumer_name = $1
              AND p.event_id = @schema@.inbox_event_id($2)
            ORDER BY p.position DESC LIMIT 1);
END
$function$;

-- Marks a message in the caller's transaction. on_failure: park_key or park_event. lock_timeout:
-- how long to wait for another transaction that handles the same message, such as '5000ms'; past it
-- the statement fails with lock_not_available (55P03). Null: as the session has it.
CREATE FUNCTION @schema@.inbox_mark(
    consumer_name text, event_id text, source_topic text, event_type text, payload bytea,
    key text DEFAULT NULL, headers jsonb DEFAULT NULL, content_type text DEFAULT NULL,
    on_failure text DEFAULT 'park_key', keep_payload boolean DEFAULT false,
    lock_timeout text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $function$
#variable_conflict use_column
DECLARE
    id         uuid;
    hash       bytea;
    patience   text;
    ignored    text;
    found_hash bytea;
    obstacle   text;
    outcome    text;
BEGIN
    -- What is called for every message is short: asked here, called where it has something to say.
    IF coalesce($1, '') = '' OR coalesce($2, '') = '' THEN
        PERFORM @schema@.inbox_check($1, $2);
    END IF;
    IF coalesce($9, '') NOT IN ('park_key', 'park_event') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'on_failure is neither park_key nor park_event',
            HINT = 'Leave it out for park_key.';
    END IF;
    IF $11 IS NOT NULL THEN
        patience := pg_catalog.current_setting('lock_timeout');
        -- Assigned, not performed: so it takes no query of its own.
        ignored := pg_catalog.set_config('lock_timeout', $11, true);
    END IF;

    id := @schema@.inbox_event_id($2);
    hash := pg_catalog.sha256(coalesce($5, ''));
    obstacle := @schema@.inbox_obstacle($1, id, $3, $6, $9);
    IF obstacle IS NULL THEN
        IF pg_catalog.current_setting('synchronous_commit') = 'off' THEN
            PERFORM @schema@.inbox_wait_for_disk();
        END IF;
        INSERT INTO @schema@.consumer_inbox (event_id, consumer_name, original_id, source_topic,
                                             event_type, payload_hash, payload)
        VALUES (id, $1, nullif($2, id::text), coalesce($3, ''), coalesce($4, ''), hash,
                CASE WHEN $10 THEN coalesce($5, '') END)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            -- While we waited, the other may have failed for the last time and parked it. It counts
            -- under the lock of its row in inbox_attempt, so first wait for that, then look. (The
            -- first attempt of all has no row yet: at max_attempts 1 a message may be parked by one
            -- and processed by another at once, and its replay is then a duplicate.)
            DELETE FROM @schema@.inbox_attempt a WHERE a.consumer_name = $1 AND a.event_id = id;
            IF @schema@.inbox_obstacle($1, id, $3, $6, $9) IS NOT NULL THEN
                RAISE EXCEPTION USING ERRCODE = 'serialization_failure',
                    MESSAGE = 'the message was parked meanwhile',
                    HINT = 'Run the whole transaction again.';
            END IF;
            outcome := 'processed';
        END IF;
    END IF;

    IF outcome IS NULL THEN
        -- Where commits wait for a standby: what we find may be of one that did not wait to the end,
        -- and a transaction that writes nothing would wait for nobody.
        IF pg_catalog.current_setting('synchronous_standby_names') <> '' THEN
            PERFORM pg_catalog.pg_logical_emit_message(true, '@schema@', '');
        END IF;
        SELECT i.payload_hash INTO found_hash FROM @schema@.consumer_inbox i
        WHERE i.consumer_name = $1 AND i.event_id = id;
        IF found_hash = hash THEN
            outcome := 'duplicate';
        ELSIF found_hash IS NOT NULL THEN
            PERFORM @schema@.inbox_park($1, $2, 'id_conflict', 'the same id came with another body',
                                        0, $3, $4, $5, $6, $7, $8);
            outcome := 'parked';
        ELSIF obstacle IS NULL THEN
            outcome := 'in_progress';  -- cleaned up at this very moment: look again
        ELSE
            IF obstacle = 'key' THEN
                PERFORM @schema@.inbox_park($1, $2, 'key_parked',
                                            'an earlier message of its key is parked', 0, $3, $4,
                                            $5, $6, $7, $8);
            END IF;
            outcome := 'parked';
        END IF;
    END IF;
    IF $11 IS NOT NULL THEN
        ignored := pg_catalog.set_config('lock_timeout', patience, true);
    END IF;
    RETURN outcome;
END
$function$;

CREATE FUNCTION @schema@.inbox_mark(
    consumer_name text, event_id text, source_topic text, event_type text, payload text,
    key text DEFAULT NULL, headers jsonb DEFAULT NULL, content_type text DEFAULT NULL,
    on_failure text DEFAULT 'park_key', keep_payload boolean DEFAULT false,
    lock_timeout text DEFAULT NULL) RETURNS text
LANGUAGE sql VOLATILE
RETURN @schema@.inbox_mark($1, $2, $3, $4, convert_to($5, 'UTF8'), $6, $7, $8, $9, $10, $11);

-- Refuses the commit of a transaction in which marks are set ahead of their handlers.
CREATE FUNCTION @schema@.inbox_unfinished() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $function$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'invalid_transaction_termination',
        MESSAGE = 'not every message of the batch is handled',
        HINT = 'Take COMMIT out of the handler: the inbox commits.';
END
$function$;

-- Marks several messages in the caller's transaction, in their order and each as inbox_mark does:
-- an outcome for each, up to the first that is in_progress. Of those behind it nothing is marked,
-- since one of its key must not be.
--
-- A mark whose handler has not run yet must not be committed: its message would be lost. So the
-- transaction has a cursor from now on that COMMIT, whoever says it, would have to keep, by running
-- its query; that fails. Whoever has handled them all says CLOSE sagaz_batch and commits.
CREATE FUNCTION @schema@.inbox_mark_all(
    consumer_name text, event_ids text[], source_topics text[], event_types text[],
    payloads bytea[], keys text[], headers jsonb[], content_types text[],
    on_failure text DEFAULT 'park_key', keep_payload boolean DEFAULT false,
    lock_timeout text DEFAULT NULL) RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
    outcome text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_cursors c WHERE c.name = 'sagaz_batch') THEN
        EXECUTE 'DECLARE sagaz_batch NO SCROLL CURSOR WITH HOLD FOR '
                'SELECT @schema@.inbox_unfinished()';
    END IF;
    FOR n IN 1 .. coalesce(pg_catalog.array_length($2, 1), 0) LOOP
        outcome := @schema@.inbox_mark($1, $2[n], $3[n], $4[n], $5[n], $6[n], $7[n], $8[n], $9, $10,
                                       $11);
        RETURN NEXT outcome;
        EXIT WHEN outcome = 'in_progress';
    END LOOP;
END
$function$;

-- Counts attempts, apart from the mark: in a transaction of its own, after the rollback. `counted`
-- is how many to add; at max_attempts the message is parked. lock_timeout: as in inbox_mark; another
-- that handles the message right now holds the row of its attempts.
CREATE FUNCTION @schema@.inbox_count(
    consumer_name text, event_id text, cause text, max_attempts integer, counted integer,
    source_topic text, event_type text, payload bytea, key text, headers jsonb, content_type text,
    lock_timeout text DEFAULT NULL, OUT outcome text, OUT attempts integer)
LANGUAGE plpgsql VOLATILE
AS $function$
#variable_conflict use_column
DECLARE
    id uuid := @schema@.inbox_event_id($2);
    n  integer;
BEGIN
    PERFORM @schema@.inbox_check($1, $2);
    IF coalesce($4, 0) < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'max_attempts is not at least 1',
            HINT = 'Leave it out for 10.';
    END IF;
    IF $12 IS NOT NULL THEN
        PERFORM pg_catalog.set_config('lock_timeout', $12, true);
    END IF;
    attempts := 0;
    outcome := CASE
        WHEN EXISTS (SELECT FROM @schema@.consumer_inbox i
                     WHERE i.consumer_name = $1 AND i.event_id = id) THEN 'duplicate'
        WHEN @schema@.inbox_obstacle($1, id, $6, NULL, 'park_event') IS NOT NULL THEN 'parked'
        END;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    INSERT INTO @schema@.inbox_attempt AS a (consumer_name, event_id, attempts, last_cause)
    VALUES ($1, id, $5, left(coalesce($3, ''), 1000))
    ON CONFLICT (consumer_name, event_id) DO UPDATE
        SET attempts = a.attempts + excluded.attempts, last_cause = excluded.last_cause,
            last_at = clock_timestamp()
    RETURNING a.attempts INTO n;
    attempts := n;
    -- We may have waited for one that handled it meanwhile.
    IF EXISTS (SELECT FROM @schema@.consumer_inbox i
               WHERE i.consumer_name = $1 AND i.event_id = id) THEN
        DELETE FROM @schema@.inbox_attempt a WHERE a.consumer_name = $1 AND a.event_id = id;
        outcome := 'duplicate';
        RETURN;
    END IF;
    IF n < $4 THEN
        outcome := 'retry_later';
        RETURN;
    END IF;
    PERFORM @schema@.inbox_park($1, $2, 'max_attempts', left(coalesce($3, ''), 1000), n, $6, $7, $8,
                                $9, $10, $11);
    DELETE FROM @schema@.inbox_attempt a WHERE a.consumer_name = $1 AND a.event_id = id;
    outcome := 'parked';
END
$function$;

-- After the caller's rollback: counts an attempt. retry_later: let the message come again. parked:
-- acknowledge it; give payload, topic and key, or there is nothing to replay. duplicate: somebody
-- else did it meanwhile.
CREATE FUNCTION @schema@.inbox_failed(
    consumer_name text, event_id text, cause text, max_attempts integer DEFAULT 10,
    source_topic text DEFAULT NULL, event_type text DEFAULT NULL, payload bytea DEFAULT NULL,
    key text DEFAULT NULL, headers jsonb DEFAULT NULL, content_type text DEFAULT NULL) RETURNS text
LANGUAGE sql VOLATILE
RETURN (SELECT c.outcome FROM @schema@.inbox_count($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $10) c);
