-- sagaz 0001: the log, its readers' memory, the inbox and what operators need. Complete and final:
-- a later migration may add a function or an index, never change a table.
--
-- "@schema@" is replaced by the configured schema, a checked plain identifier. Everything is
-- written with its schema, so that nothing here depends on a caller's search_path.

CREATE TABLE @schema@.schema_version (
    version         integer PRIMARY KEY,
    name            text NOT NULL,
    compatible_from integer NOT NULL,  -- the oldest version whose relays may still run
    applied_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Everything that shapes bytes or order lives here, so that two processes cannot disagree.
CREATE TABLE @schema@.setting (
    key   text PRIMARY KEY,
    value text NOT NULL
);
INSERT INTO @schema@.setting (key, value) VALUES
    ('slot_count', '16'),
    ('topic_template', 'events.{event_type}'),
    ('source', '/sagaz/' || current_database()),
    ('envelope', 'cloudevents-binary'),
    ('on_refused', 'park_key');

-- ---------------------------------------------------------------------------- the log (outbox)

CREATE SEQUENCE @schema@.outbox_id AS bigint CACHE 1;

-- UUIDv7 (RFC 9562, 5.7): 48 bits of milliseconds, then version, variant and random bits.
CREATE FUNCTION @schema@.uuid_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN encode(
    set_bit(set_bit(
        overlay(uuid_send(gen_random_uuid())
                PLACING substring(int8send((date_part('epoch', clock_timestamp()) * 1000)::bigint) FROM 3)
                FROM 1 FOR 6),
        52, 1), 53, 1),
    'hex')::uuid;

-- The slot of an event: by its key, so that a key has one owner; an event without a key has no
-- order and is spread by its id. The count is written into the body by "sagaz migrate --set
-- slot_count=N", which is refused once there are rows. These hash functions also place rows in
-- hash partitions, so PostgreSQL keeps them the same from version to version.
CREATE FUNCTION @schema@.slot_of(key text, event_id uuid) RETURNS smallint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((coalesce(hashtextextended(key, 0), uuid_hash_extended(event_id, 0))
         & 9223372036854775807) % 16)::smallint;

-- Whether an event is within the limits: what is parked must fit the index parked_key, and what is
-- read must fit in memory. Null where nothing is over one and a column is null.
CREATE FUNCTION @schema@.fits(
    topic text, key text, event_type text, content_type text, aggregate_type text,
    aggregate_id text, saga_id text, headers jsonb, payload bytea) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN octet_length(payload) <= 16777216
    AND octet_length(topic) <= 249
    AND greatest(octet_length(key), octet_length(aggregate_id)) <= 2000
    AND greatest(octet_length(event_type), octet_length(content_type),
                 octet_length(aggregate_type), octet_length(saga_id)) <= 255
    AND (headers IS NULL OR (jsonb_typeof(headers) IN ('object', 'array')
                             AND octet_length(headers::text) <= 131072));

-- A ring of sixteen permanent segments of 2^18 ids. No DDL at run time: an absent relay can never
-- make a business insert fail.
--
-- xid stands before id, so its default is evaluated first: a row's transaction id was given out
-- before its id. The late-row lookup rests on that (see core/window.hpp).
CREATE TABLE @schema@.outbox (
    xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),
    id             bigint      NOT NULL DEFAULT nextval('@schema@.outbox_id'),
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    held_until     timestamptz,
    event_id       uuid        NOT NULL DEFAULT @schema@.uuid_v7(),
    slot           smallint    NOT NULL,
    topic          text        COLLATE "C",
    key            text        COLLATE "C",
    event_type     text        NOT NULL COLLATE "C",
    content_type   text        NOT NULL DEFAULT 'application/json' COLLATE "C",
    aggregate_type text,
    aggregate_id   text,
    saga_id        text,
    headers        jsonb,
    payload        bytea       NOT NULL
) PARTITION BY LIST (((id >> 18) % 16));

-- What a publication by publish_via_partition_root says of the leaves' rows.
ALTER TABLE @schema@.outbox REPLICA IDENTITY FULL;

-- Gives an event its slot, whatever the INSERT says of it, and refuses one that is over a limit: the
-- error names the column, and the limit as if it were a constraint.
--
-- A trigger, since a generated column and CHECK constraints are read from the catalog, planned and
-- made ready anew by every statement: with them an INSERT took three times the instructions
-- (bench/insert_instructions.sh). A session keeps the plans of a PL/pgSQL function. Their expressions
-- are SQL functions, which were bound to pg_catalog when they were made, whatever search_path a
-- caller has.
CREATE FUNCTION @schema@.outbox_admit() RETURNS trigger
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
    refused record;
BEGIN
    IF @schema@.fits(new.topic, new.key, new.event_type, new.content_type, new.aggregate_type,
                     new.aggregate_id, new.saga_id, new.headers, new.payload) IS NOT FALSE THEN
        new.slot := @schema@.slot_of(new.key, new.event_id);
        RETURN new;
    END IF;
    SELECT l.* INTO refused
    FROM (VALUES ('outbox_payload_max', 'payload', pg_catalog.octet_length(new.payload), 16777216),
                 ('outbox_key_max', 'key', pg_catalog.octet_length(new.key), 2000),
                 ('outbox_text_max', 'topic', pg_catalog.octet_length(new.topic), 249),
                 ('outbox_text_max', 'event_type', pg_catalog.octet_length(new.event_type), 255),
                 ('outbox_text_max', 'content_type', pg_catalog.octet_length(new.content_type), 255),
                 ('outbox_text_max', 'aggregate_type',
                  pg_catalog.octet_length(new.aggregate_type), 255),
                 ('outbox_text_max', 'aggregate_id', pg_catalog.octet_length(new.aggregate_id), 2000),
                 ('outbox_text_max', 'saga_id', pg_catalog.octet_length(new.saga_id), 255),
                 ('outbox_text_max', 'headers', pg_catalog.octet_length(new.headers::text), 131072)
         ) l (limit_name, column_name, bytes, most)
    WHERE l.bytes OPERATOR(pg_catalog.>) l.most LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', SCHEMA = '@schema@', TABLE = 'outbox',
            COLUMN = refused.column_name, CONSTRAINT = refused.limit_name,
            MESSAGE = pg_catalog.format('%s: %s has %s bytes, the limit is %s', refused.limit_name,
                                        refused.column_name, refused.bytes, refused.most);
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'check_violation', SCHEMA = '@schema@', TABLE = 'outbox',
        COLUMN = 'headers', CONSTRAINT = 'outbox_headers',
        MESSAGE = 'outbox_headers: headers is neither an object nor an array',
        HINT = 'Give {"name": "value"}, or [["name", "value"], ...] to repeat a name.';
END
$function$;
CREATE TRIGGER outbox_admit BEFORE INSERT ON @schema@.outbox
FOR EACH ROW EXECUTE FUNCTION @schema@.outbox_admit();

CREATE INDEX outbox_slot_id ON @schema@.outbox (slot, id);
CREATE INDEX outbox_slot_xid_id ON @schema@.outbox (slot, xid, id);

-- Leaves: REPLICA IDENTITY FULL costs nothing without logical decoding, and keeps our DELETE
-- working under somebody's FOR ALL TABLES publication. No autovacuum: rows leave by truncation,
-- and a vacuum would stand in its way; freezing is forced when it is due. Rows that come by logical
-- replication get their slot here too.
DO $migration$
BEGIN
    FOR n IN 0..15 LOOP
        EXECUTE format('CREATE TABLE @schema@.outbox_%s PARTITION OF @schema@.outbox FOR VALUES IN (%s) '
                       'WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off)',
                       lpad(n::text, 2, '0'), n);
        EXECUTE format('ALTER TABLE @schema@.outbox_%s REPLICA IDENTITY FULL', lpad(n::text, 2, '0'));
        EXECUTE format('ALTER TABLE @schema@.outbox_%s ENABLE ALWAYS TRIGGER outbox_admit',
                       lpad(n::text, 2, '0'));
    END LOOP;
END
$migration$;

-- What has left each segment for good, so that "not found" is never taken for "never was".
CREATE TABLE @schema@.segment (
    segment      smallint PRIMARY KEY,
    removed_upto bigint   NOT NULL DEFAULT 0,  -- no row with a higher id was ever truncated or aged out
    truncations  bigint   NOT NULL DEFAULT 0,
    truncated_at timestamptz
);
INSERT INTO @schema@.segment (segment) SELECT generate_series(0, 15);

-- -------------------------------------------------------------------- destinations and ownership

CREATE TABLE @schema@.destination (
    name       text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO @schema@.destination (name) VALUES ('default');

-- Changes only with ownership, and when its owner bars what it gave up. An epoch is never used twice.
CREATE TABLE @schema@.slot (
    destination text     NOT NULL REFERENCES @schema@.destination (name),
    slot        smallint NOT NULL,
    owner       uuid,
    epoch       bigint   NOT NULL DEFAULT 0,
    barred      bigint   NOT NULL DEFAULT 0,  -- up to this n no cursor of the epoch is stored any more
    PRIMARY KEY (destination, slot)
) WITH (fillfactor = 50);
INSERT INTO @schema@.slot (destination, slot) SELECT 'default', generate_series(0, 15);

-- One heartbeat row a relay: a counter, not a time, since challengers measure by their own clock.
CREATE TABLE @schema@.relay (
    id         uuid PRIMARY KEY,
    beat       bigint NOT NULL DEFAULT 0,
    destination text  NOT NULL DEFAULT 'default',
    label      text   NOT NULL DEFAULT '',
    version    text   NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at    timestamptz NOT NULL DEFAULT clock_timestamp(),  -- for people, never for a decision
    report     jsonb  NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50);

-- Insert-only: the newest row of a slot (highest n) counts, old ones are deleted in bulk.
-- Delivered are the rows visible in done, and of those visible in target the ones with
-- id <= position. last_id is the highest id delivered up to done; the ceilings are above every
-- transaction id given out when done and target were taken (null: not known). The cluster's
-- identifier tells a cursor that came along with a dump, whose xids mean nothing here.
CREATE TABLE @schema@.cursor (
    destination    text        NOT NULL,
    slot           smallint    NOT NULL,
    n              bigint      NOT NULL,
    epoch          bigint      NOT NULL,
    done           pg_snapshot NOT NULL,
    target         pg_snapshot NOT NULL,
    position       bigint      NOT NULL,
    last_id        bigint      NOT NULL,
    done_ceiling   xid8,
    target_ceiling xid8,
    incarnation    uuid,
    system_identifier bigint   NOT NULL,
    stored_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (destination, slot, n)
);
INSERT INTO @schema@.cursor (destination, slot, n, epoch, done, target, position, last_id,
                             system_identifier)
SELECT 'default', s, 0, 0, '1:1:', '1:1:', 0, 0, c.system_identifier
FROM generate_series(0, 15) s, pg_control_system() c;

-- The database's memory: emptied by crash recovery and by promotion, since it is unlogged. The
-- system identifier tells a copy made by dump, pg_upgrade or logical replication.
CREATE UNLOGGED TABLE @schema@.incarnation (
    one               boolean PRIMARY KEY DEFAULT true CHECK (one),
    token             uuid    NOT NULL,
    system_identifier bigint  NOT NULL
);

-- Returns the token, writing a new one first where there is none or a foreign one.
CREATE FUNCTION @schema@.attach() RETURNS uuid
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
    identifier bigint := (SELECT c.system_identifier FROM pg_catalog.pg_control_system() c);
    found_token uuid;
BEGIN
    SELECT i.token INTO found_token FROM @schema@.incarnation i WHERE i.system_identifier = identifier;
    IF found_token IS NOT NULL THEN
        RETURN found_token;
    END IF;
    INSERT INTO @schema@.incarnation AS i (token, system_identifier)
    VALUES (pg_catalog.gen_random_uuid(), identifier)
    ON CONFLICT (one) DO UPDATE
        SET token = excluded.token, system_identifier = excluded.system_identifier
        WHERE i.system_identifier <> excluded.system_identifier;
    SELECT i.token INTO STRICT found_token FROM @schema@.incarnation i;
    RETURN found_token;
END
$function$;

-- ------------------------------------------------------------------------ events taken off the log

-- waiting: will be tried again. dead: needs a person. position orders a key: the outbox id of an
-- event, or the order of arrival of an inbox message.
CREATE SEQUENCE @schema@.parked_position AS bigint CACHE 1;
CREATE TABLE @schema@.parked (
    direction       text        NOT NULL CHECK (direction IN ('outbox', 'inbox')),
    destination     text        NOT NULL,
    consumer_name   text        NOT NULL DEFAULT '',
    position        bigint      NOT NULL DEFAULT nextval('@schema@.parked_position'),
    event_id        uuid        NOT NULL,
    slot            smallint,
    xid             xid8,
    state           text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'dead')),
    reason          text        NOT NULL,
    detail          text        NOT NULL DEFAULT '',
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    parked_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at      timestamptz,
    original_id     text,
    topic           text        COLLATE "C",
    key             text        COLLATE "C",
    event_type      text        NOT NULL COLLATE "C",
    content_type    text        NOT NULL COLLATE "C",
    aggregate_type  text,
    aggregate_id    text,
    saga_id         text,
    headers         jsonb,
    payload         bytea,
    PRIMARY KEY (direction, destination, consumer_name, position, event_id)
);
CREATE INDEX parked_key ON @schema@.parked (direction, destination, consumer_name, slot, topic, key, position);

CREATE TABLE @schema@.audit (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor  text  NOT NULL DEFAULT session_user,
    action text  NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);

-- ------------------------------------------------------------------------------------- the inbox

-- UUIDv7 ids carry their time, so ranges of event_id are ranges of time: uniqueness holds across
-- partitions, and retention is a partition dropped. The default takes what has no such time.
CREATE TABLE @schema@.consumer_inbox (
    event_id               uuid        NOT NULL,
    consumed_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    processing_duration_ms double precision,
    consumer_name          text        NOT NULL COLLATE "C",
    original_id            text,
    source_topic           text        NOT NULL DEFAULT '',
    event_type             text        NOT NULL DEFAULT '',
    payload_hash           bytea       NOT NULL,
    payload                bytea,
    PRIMARY KEY (consumer_name, event_id)
) PARTITION BY RANGE (event_id);
CREATE TABLE @schema@.consumer_inbox_default PARTITION OF @schema@.consumer_inbox DEFAULT;

-- Counted apart from the mark, whose transaction rolls back with the handler.
CREATE TABLE @schema@.inbox_attempt (
    consumer_name text        NOT NULL COLLATE "C",
    event_id      uuid        NOT NULL,
    attempts      integer     NOT NULL DEFAULT 1,
    last_cause    text        NOT NULL DEFAULT '',
    last_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (consumer_name, event_id)
);

-- ------------------------------------------------------------------ the ways in from any language

-- Appends one event to the caller's transaction and returns its id. One function a payload type,
-- since a JSON string literal read as bytea would lose its backslashes.
CREATE FUNCTION @schema@.append(
    topic text, key text, event_type text, payload bytea, headers jsonb DEFAULT NULL,
    content_type text DEFAULT NULL, event_id uuid DEFAULT NULL, aggregate_type text DEFAULT NULL,
    aggregate_id text DEFAULT NULL, saga_id text DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
    new_id uuid := coalesce($7, @schema@.uuid_v7());
BEGIN
    IF $3 IS NULL OR $3 = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'event_type is empty',
            HINT = 'Give the event a type: @schema@.append(topic, key, event_type, payload).';
    END IF;
    IF $4 IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'payload is null',
            HINT = 'Give an empty payload as '''' when the event has no body.';
    END IF;
    IF pg_catalog.jsonb_typeof($5) NOT IN ('object', 'array') THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'headers is neither an object nor an array',
            HINT = 'Give {"name": "value"}, or [["name", "value"], ...] to repeat a name.';
    END IF;
    INSERT INTO @schema@.outbox (event_id, topic, key, event_type, content_type, payload, headers,
                                 aggregate_type, aggregate_id, saga_id)
    VALUES (new_id, nullif($1, ''), $2, $3, coalesce($6, 'application/json'), $4, $5, $8, $9, $10);
    RETURN new_id;
END
$function$;

CREATE FUNCTION @schema@.append(
    topic text, key text, event_type text, payload text, headers jsonb DEFAULT NULL,
    content_type text DEFAULT NULL, event_id uuid DEFAULT NULL, aggregate_type text DEFAULT NULL,
    aggregate_id text DEFAULT NULL, saga_id text DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE
RETURN @schema@.append($1, $2, $3, convert_to($4, 'UTF8'), $5, $6, $7, $8, $9, $10);

CREATE FUNCTION @schema@.append(
    topic text, key text, event_type text, payload json, headers jsonb DEFAULT NULL,
    content_type text DEFAULT NULL, event_id uuid DEFAULT NULL, aggregate_type text DEFAULT NULL,
    aggregate_id text DEFAULT NULL, saga_id text DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE
RETURN @schema@.append($1, $2, $3, convert_to($4::text, 'UTF8'), $5, $6, $7, $8, $9, $10);

CREATE FUNCTION @schema@.append(
    topic text, key text, event_type text, payload jsonb, headers jsonb DEFAULT NULL,
    content_type text DEFAULT NULL, event_id uuid DEFAULT NULL, aggregate_type text DEFAULT NULL,
    aggregate_id text DEFAULT NULL, saga_id text DEFAULT NULL) RETURNS uuid
LANGUAGE sql VOLATILE
RETURN @schema@.append($1, $2, $3, convert_to($4::text, 'UTF8'), $5, $6, $7, $8, $9, $10);

-- Appends one event and returns what a ticket is made of (sagaz::Outbox). A function, since a session
-- keeps its plan: of the INSERT as a statement of its own more than half the time goes to reading and
-- planning it. Without hold_ms it needs no right to the column.
CREATE FUNCTION @schema@.append_ticket(
    event_id uuid, topic text, key text, event_type text, content_type text, payload bytea,
    aggregate_type text, aggregate_id text, saga_id text, headers jsonb,
    hold_ms bigint DEFAULT NULL,
    OUT new_event_id uuid, OUT id bigint, OUT xid text, OUT slot smallint, OUT incarnation uuid)
LANGUAGE plpgsql VOLATILE
AS $function$
#variable_conflict use_column
BEGIN
    IF $11 IS NULL THEN
        INSERT INTO @schema@.outbox AS o (event_id, topic, key, event_type, content_type, payload,
                                          aggregate_type, aggregate_id, saga_id, headers)
        VALUES (coalesce($1, @schema@.uuid_v7()), $2, $3, $4, $5, $6, $7, $8, $9, $10)
        RETURNING o.event_id, o.id, o.xid::text, o.slot, (SELECT i.token FROM @schema@.incarnation i)
        INTO new_event_id, id, xid, slot, incarnation;
    ELSE
        -- Not `now()`, which is the transaction's begin.
        INSERT INTO @schema@.outbox AS o (event_id, topic, key, event_type, content_type, payload,
                                          aggregate_type, aggregate_id, saga_id, headers, held_until)
        VALUES (coalesce($1, @schema@.uuid_v7()), $2, $3, $4, $5, $6, $7, $8, $9, $10,
                pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $11 / 1000.0))
        RETURNING o.event_id, o.id, o.xid::text, o.slot, (SELECT i.token FROM @schema@.incarnation i)
        INTO new_event_id, id, xid, slot, incarnation;
    END IF;
END
$function$;

-- For ORMs: the same table with a JSON payload. Write-only; reading it returns nothing.
CREATE VIEW @schema@.outbox_json AS
SELECT o.event_id, o.topic::text AS topic, o.key::text AS key, o.event_type::text AS event_type,
       o.content_type::text AS content_type, NULL::jsonb AS payload, o.headers,
       o.aggregate_type, o.aggregate_id, o.saga_id
FROM @schema@.outbox o
WHERE false;

CREATE FUNCTION @schema@.outbox_json_insert() RETURNS trigger
LANGUAGE plpgsql VOLATILE
AS $function$
BEGIN
    new.event_id := @schema@.append(new.topic, new.key, new.event_type, new.payload, new.headers,
                                    new.content_type, new.event_id, new.aggregate_type,
                                    new.aggregate_id, new.saga_id);
    RETURN new;
END
$function$;
CREATE TRIGGER outbox_json_insert INSTEAD OF INSERT ON @schema@.outbox_json
FOR EACH ROW EXECUTE FUNCTION @schema@.outbox_json_insert();

-- ------------------------------------------------------------------------------------ the backlog

-- What is committed and not yet delivered, for autoscalers and monitors. Exact up to 10,000; past
-- that an estimate by distance in ids, since counting would cost more the worse things are. Rows
-- that a relay has in hand still count until their cursor is stored.
--
-- Past a slot's high id everything is pending; at or below it only what its snapshots had not seen.
-- A limit that is a subquery keeps the planner from collecting and sorting a whole backlog.
-- A slot's newest cursor is the first one below the end of its range: by equality alone, where the
-- table's statistics tell of few rows, the planner would collect and sort the range, with all that
-- was deleted under a snapshot that somebody holds (200 ms after 40,000 stores).
CREATE VIEW @schema@.backlog AS
WITH newest AS MATERIALIZED (
    SELECT s.slot, c.done, c.target, c.done_ceiling, c.target_ceiling, c.position, c.last_id,
           greatest(c.position, c.last_id) AS high
    FROM @schema@.slot s
    CROSS JOIN LATERAL (SELECT * FROM @schema@.cursor c
                        WHERE (c.destination, c.slot, c.n)
                              <= (s.destination, s.slot, 9223372036854775807)
                        ORDER BY c.destination DESC, c.slot DESC, c.n DESC LIMIT 1) c
    WHERE s.destination = 'default' AND c.destination = s.destination AND c.slot = s.slot
), ahead AS (
    SELECT count(*) AS events
    FROM (SELECT FROM newest n
          CROSS JOIN LATERAL (SELECT FROM @schema@.outbox o
                              WHERE o.slot = n.slot
                                AND (o.id, o.xid) > (n.high, '18446744073709551615'::xid8)
                              ORDER BY o.id LIMIT (SELECT 10001)) m
          LIMIT 10001) p
), first AS (
    SELECT min(m.created_at) AS oldest
    FROM newest n
    CROSS JOIN LATERAL (SELECT o.created_at FROM @schema@.outbox o
                        WHERE o.slot = n.slot
                          AND (o.id, o.xid) > (n.high, '18446744073709551615'::xid8)
                        ORDER BY o.id LIMIT 1) m
), late AS (
    SELECT count(DISTINCT (p.slot, p.id)) AS events, min(p.created_at) AS oldest
    FROM (SELECT n.slot, l.id, l.created_at
          FROM newest n
          CROSS JOIN LATERAL (
              SELECT t.xid AS low, (t.xid::text::numeric + 1)::text::xid8 AS high
              FROM pg_snapshot_xip(n.target) t (xid)
              UNION
              SELECT pg_snapshot_xmax(n.target),
                     coalesce(n.target_ceiling, pg_snapshot_xmax(n.target))
              UNION
              SELECT d.xid, (d.xid::text::numeric + 1)::text::xid8
              FROM pg_snapshot_xip(n.done) d (xid) WHERE n.position < n.last_id
              UNION
              SELECT pg_snapshot_xmax(n.done),
                     coalesce(n.done_ceiling, pg_snapshot_xmax(n.target))
              WHERE n.position < n.last_id) x
          CROSS JOIN LATERAL (SELECT o.id, o.created_at FROM @schema@.outbox o
                              WHERE o.slot = n.slot AND (o.xid, o.id) >= (x.low, 0)
                                AND o.xid < x.high AND o.id <= n.high
                                AND NOT pg_visible_in_snapshot(o.xid, n.done)
                                AND NOT (pg_visible_in_snapshot(o.xid, n.target)
                                         AND o.id <= n.position)
                              ORDER BY o.xid, o.id LIMIT (SELECT 10001)) l
          LIMIT 10001) p
), counted AS (
    SELECT a.events + l.events AS events, least(f.oldest, l.oldest) AS oldest
    FROM ahead a, first f, late l
)
SELECT CASE WHEN c.events <= 10000 THEN c.events
            ELSE greatest(c.events, (SELECT sum(s.last_value - n.high) / count(*)
                                     FROM newest n, @schema@.outbox_id s)::bigint)
       END AS pending_events,
       coalesce(greatest(extract(epoch FROM clock_timestamp() - c.oldest), 0), 0)::double precision
           AS oldest_pending_age_seconds,
       c.events > 10000 AS is_estimate
FROM counted c;
