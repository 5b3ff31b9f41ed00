-- sagaz 0001 for SQLite: the tables of PostgreSQL's 0001 with a prefix. Complete and final: a later
-- migration may add an index, a view or a trigger, never change a table.
--
-- "@schema@" is replaced by the configured prefix, a checked plain identifier. Times are UTC text
-- in the form of ISO 8601 with milliseconds, which sorts, and which SQLite's functions read. Ids
-- are UUIDs in lower case.

CREATE TABLE @schema@_schema_version (
    version         INTEGER NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL,
    compatible_from INTEGER NOT NULL,  -- the oldest version whose relays may still run
    applied_at      TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

-- Everything that shapes bytes or order lives here, so that two processes cannot disagree. The
-- source is named after the file where its name can stand in a URI.
CREATE TABLE @schema@_setting (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO @schema@_setting (key, value) VALUES
    ('slot_count', '1'),
    ('topic_template', 'events.{event_type}'),
    ('envelope', 'cloudevents-binary'),
    ('on_refused', 'park_key');
INSERT INTO @schema@_setting (key, value)
SELECT 'source', '/sagaz/' || CASE WHEN f.name = '' OR f.name GLOB '*[^A-Za-z0-9._-]*' THEN 'sqlite'
                                   ELSE f.name END
FROM (SELECT replace(d.file, rtrim(d.file, replace(d.file, '/', '')), '') AS name
      FROM pragma_database_list d WHERE d.name = 'main') f;

-- ---------------------------------------------------------------------------- the log (outbox)

-- A new UUIDv7 (RFC 9562, 5.7): 48 bits of milliseconds, then version, variant and random bits.
-- The default of outbox.event_id below is the same expression, since a default takes no subquery.
CREATE VIEW @schema@_uuid_v7 AS
SELECT printf('%08x-%04x-7%03x-%04x-%04x%08x',
              CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) >> 16,
              CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) & 65535,
              random() & 4095, 32768 | (random() & 16383),
              random() & 65535, random() & 4294967295) AS id;

-- One writer at a time, so the order of ids is the order of commits: a row's id stands for its
-- transaction as well (there is no column xid), and nothing ever commits late.
--
-- AUTOINCREMENT: without it the id of a deleted last row is given out again, below a cursor that
-- has passed it, and the new event is never sent.
--
-- One slot: two relays could not write at once anyhow, and SQLite has no hash of a key to share
-- slots by. A second relay stands by.
--
-- The payload is text or bytes as it was given; anything else is refused.
CREATE TABLE @schema@_outbox (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at     TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    held_until     TEXT,
    event_id       TEXT    NOT NULL DEFAULT (
        printf('%08x-%04x-7%03x-%04x-%04x%08x',
               CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) >> 16,
               CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) & 65535,
               random() & 4095, 32768 | (random() & 16383),
               random() & 65535, random() & 4294967295)),
    slot           INTEGER NOT NULL GENERATED ALWAYS AS (0) VIRTUAL,
    topic          TEXT,
    key            TEXT,
    event_type     TEXT    NOT NULL,
    content_type   TEXT    NOT NULL DEFAULT 'application/json',
    aggregate_type TEXT,
    aggregate_id   TEXT,
    saga_id        TEXT,
    headers        TEXT,
    payload        ANY     NOT NULL,
    CONSTRAINT @schema@_outbox_event_id CHECK (
        event_id LIKE '________-____-____-____-____________'
        AND length(replace(event_id, '-', '')) = 32 AND event_id NOT GLOB '*[^0-9a-f-]*'),
    CONSTRAINT @schema@_outbox_headers CHECK (
        headers IS NULL OR (json_valid(headers) AND json_type(headers) IN ('object', 'array'))),
    CONSTRAINT @schema@_outbox_payload CHECK (
        typeof(payload) IN ('text', 'blob') AND length(CAST(payload AS BLOB)) <= 16777216),
    -- What is parked must fit an index, and what is read must fit in memory.
    CONSTRAINT @schema@_outbox_text_max CHECK (
        length(CAST(coalesce(key, '') AS BLOB)) <= 2000
        AND length(CAST(coalesce(topic, '') AS BLOB)) <= 249
        AND length(CAST(event_type AS BLOB)) BETWEEN 1 AND 255
        AND length(CAST(content_type AS BLOB)) <= 255
        AND length(CAST(coalesce(aggregate_type, '') AS BLOB)) <= 255
        AND length(CAST(coalesce(aggregate_id, '') AS BLOB)) <= 2000
        AND length(CAST(coalesce(saga_id, '') AS BLOB)) <= 255
        AND length(CAST(coalesce(headers, '') AS BLOB)) <= 131072)
) STRICT;

-- An id that the caller chose may lie below a cursor that has passed it. Within a statement
-- sqlite_sequence still holds what was given out before it, which each new id is above.
CREATE TRIGGER @schema@_outbox_id_is_new AFTER INSERT ON @schema@_outbox
WHEN NEW.id <= coalesce((SELECT s.seq FROM sqlite_sequence s WHERE s.name = '@schema@_outbox'), 0)
BEGIN
    SELECT RAISE(ABORT, '@schema@_outbox: leave the id to the database');
END;

-- -------------------------------------------------------------------- destinations and ownership

CREATE TABLE @schema@_destination (
    name       TEXT NOT NULL PRIMARY KEY,
    created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT, WITHOUT ROWID;
INSERT INTO @schema@_destination (name) VALUES ('default');

-- Changes only with ownership. An epoch is never used twice.
CREATE TABLE @schema@_slot (
    destination TEXT    NOT NULL,
    slot        INTEGER NOT NULL,
    owner       TEXT,
    epoch       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (destination, slot)
) STRICT, WITHOUT ROWID;
INSERT INTO @schema@_slot (destination, slot) VALUES ('default', 0);

-- One heartbeat row a relay: a counter, not a time, since challengers measure by their own clock.
-- Each commit of a relay adds one to its own beat, so the relay knows by it whether the file is
-- still the one that it wrote last.
CREATE TABLE @schema@_relay (
    id          TEXT    NOT NULL PRIMARY KEY,
    beat        INTEGER NOT NULL DEFAULT 0,
    destination TEXT    NOT NULL DEFAULT 'default',
    label       TEXT    NOT NULL DEFAULT '',
    version     TEXT    NOT NULL DEFAULT '',
    started_at  TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    -- For people, never for a decision.
    beat_at     TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    report      TEXT    NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;

-- Insert-only: the newest row of a slot (highest n) counts. The snapshots are of the port's form
-- (PostgreSQL's); here they never list a transaction as running.
CREATE TABLE @schema@_cursor (
    destination    TEXT    NOT NULL,
    slot           INTEGER NOT NULL,
    n              INTEGER NOT NULL,
    epoch          INTEGER NOT NULL,
    done           TEXT    NOT NULL,
    target         TEXT    NOT NULL,
    position       INTEGER NOT NULL,
    last_id        INTEGER NOT NULL,
    done_ceiling   INTEGER,
    target_ceiling INTEGER,
    incarnation    TEXT,
    stored_at      TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (destination, slot, n)
) STRICT, WITHOUT ROWID;
INSERT INTO @schema@_cursor (destination, slot, n, epoch, done, target, position, last_id)
VALUES ('default', 0, 0, 0, '1:1:', '1:1:', 0, 0);

-- Which file this is: a copy has another inode, and whoever attaches to it first gives it another
-- token. Null until then.
CREATE TABLE @schema@_incarnation (
    one    INTEGER NOT NULL PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    token  TEXT    NOT NULL,
    device INTEGER,
    inode  INTEGER
) STRICT;
INSERT INTO @schema@_incarnation (token) SELECT v.id FROM @schema@_uuid_v7 v;

-- ------------------------------------------------------------------------ events taken off the log

-- waiting: will be tried again. dead: needs a person. position orders a key: the outbox id of an
-- event, or the order of arrival of an inbox message, which gets it here when it is not given.
CREATE TABLE @schema@_parked (
    arrival         INTEGER PRIMARY KEY AUTOINCREMENT,
    direction       TEXT    NOT NULL CHECK (direction IN ('outbox', 'inbox')),
    destination     TEXT    NOT NULL,
    consumer_name   TEXT    NOT NULL DEFAULT '',
    position        INTEGER NOT NULL DEFAULT 0,
    event_id        TEXT    NOT NULL,
    slot            INTEGER,
    state           TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'dead')),
    reason          TEXT    NOT NULL,
    detail          TEXT    NOT NULL DEFAULT '',
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TEXT,
    parked_at       TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    created_at      TEXT,
    original_id     TEXT,
    topic           TEXT,
    key             TEXT,
    event_type      TEXT    NOT NULL,
    content_type    TEXT    NOT NULL,
    aggregate_type  TEXT,
    aggregate_id    TEXT,
    saga_id         TEXT,
    headers         TEXT,
    payload         ANY,
    UNIQUE (direction, destination, consumer_name, position, event_id)
) STRICT;
CREATE INDEX @schema@_parked_key
    ON @schema@_parked (direction, destination, consumer_name, slot, topic, key, position);
CREATE TRIGGER @schema@_parked_arrives AFTER INSERT ON @schema@_parked
WHEN NEW.direction = 'inbox' AND NEW.position = 0
BEGIN
    UPDATE @schema@_parked SET position = arrival WHERE arrival = NEW.arrival;
END;

CREATE TABLE @schema@_audit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    actor  TEXT NOT NULL DEFAULT '',
    action TEXT NOT NULL,
    detail TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(detail))
) STRICT;

-- ------------------------------------------------------------------------------------- the inbox

CREATE TABLE @schema@_consumer_inbox (
    event_id               TEXT NOT NULL,
    consumed_at            TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    processing_duration_ms REAL,
    consumer_name          TEXT NOT NULL,
    original_id            TEXT,
    source_topic           TEXT NOT NULL DEFAULT '',
    event_type             TEXT NOT NULL DEFAULT '',
    payload_hash           BLOB NOT NULL,
    payload                BLOB,
    PRIMARY KEY (consumer_name, event_id)
) STRICT, WITHOUT ROWID;

-- Counted apart from the mark, whose transaction rolls back with the handler.
CREATE TABLE @schema@_inbox_attempt (
    consumer_name TEXT    NOT NULL,
    event_id      TEXT    NOT NULL,
    attempts      INTEGER NOT NULL DEFAULT 1,
    last_cause    TEXT    NOT NULL DEFAULT '',
    last_at       TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (consumer_name, event_id)
) STRICT, WITHOUT ROWID;

-- ------------------------------------------------------------------------------------ the backlog

-- What is committed and not yet delivered. Exact up to 10,000; past that an estimate by distance
-- in ids. Rows that a relay has in hand still count until their cursor is stored.
CREATE VIEW @schema@_backlog AS
WITH newest AS (
    SELECT max(c.position, c.last_id) AS high
    FROM @schema@_cursor c WHERE c.destination = 'default' AND c.slot = 0
    ORDER BY c.n DESC LIMIT 1
), ahead AS (
    SELECT count(*) AS events
    FROM (SELECT 1 FROM @schema@_outbox o
          WHERE o.id > (SELECT n.high FROM newest n) ORDER BY o.id LIMIT 10001)
), oldest AS (
    SELECT o.created_at FROM @schema@_outbox o
    WHERE o.id > (SELECT n.high FROM newest n) ORDER BY o.id LIMIT 1
)
SELECT CASE WHEN a.events <= 10000 THEN a.events
            ELSE max(a.events, (SELECT s.seq FROM sqlite_sequence s
                                WHERE s.name = '@schema@_outbox') - n.high)
       END AS pending_events,
       coalesce(max((julianday('now') - (SELECT julianday(o.created_at) FROM oldest o)) * 86400.0,
                    0.0), 0.0) AS oldest_pending_age_seconds,
       a.events > 10000 AS is_estimate
FROM ahead a, newest n;
