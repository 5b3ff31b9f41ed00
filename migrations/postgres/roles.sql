-- Roles and grants for the newest schema. Idempotent: "sagaz migrate" runs it after the migrations
-- unless --no-roles is given. Group roles without login; an existing one is taken as it is.

DO $roles$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['producer', 'publisher', 'relay', 'consumer', 'reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '@schema@_' || name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', '@schema@_' || name);
        END IF;
    END LOOP;
END
$roles$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA @schema@ FROM PUBLIC;
GRANT USAGE ON SCHEMA @schema@ TO @schema@_producer, @schema@_publisher, @schema@_relay, @schema@_consumer, @schema@_reader;

-- Producer: the user's columns only. It cannot choose id, xid, slot or a hold; it can read back
-- what identifies its rows, so that RETURNING works.
GRANT INSERT (event_id, topic, key, event_type, content_type, payload, headers, aggregate_type,
              aggregate_id, saga_id) ON @schema@.outbox TO @schema@_producer;
GRANT SELECT (event_id, id, xid, slot, created_at) ON @schema@.outbox TO @schema@_producer;
GRANT SELECT ON @schema@.incarnation TO @schema@_producer;
GRANT USAGE ON SEQUENCE @schema@.outbox_id TO @schema@_producer;
GRANT INSERT, SELECT ON @schema@.outbox_json TO @schema@_producer;
GRANT EXECUTE ON FUNCTION
    @schema@.uuid_v7(), @schema@.slot_of(text, uuid),
    @schema@.fits(text, text, text, text, text, text, text, jsonb, bytea),
    @schema@.outbox_json_insert(),
    @schema@.append(text, text, text, bytea, jsonb, text, uuid, text, text, text),
    @schema@.append(text, text, text, text, jsonb, text, uuid, text, text, text),
    @schema@.append(text, text, text, json, jsonb, text, uuid, text, text, text),
    @schema@.append(text, text, text, jsonb, jsonb, text, uuid, text, text, text),
    @schema@.append_ticket(uuid, text, text, text, text, bytea, text, text, text, jsonb, bigint),
    @schema@.resolve(uuid, uuid[], bigint[], xid8[], smallint[])
TO @schema@_producer;

-- Publisher: a producer that may take a hold, and confirm and settle what it holds.
GRANT @schema@_producer TO @schema@_publisher;
GRANT INSERT (held_until) ON @schema@.outbox TO @schema@_publisher;
GRANT SELECT ON @schema@.setting, @schema@.schema_version TO @schema@_publisher;
GRANT EXECUTE ON FUNCTION @schema@.publisher_token(text) TO @schema@_publisher;
DO $roles$
BEGIN
    FOR n IN 0..15 LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION '
                       '@schema@.confirm_%1$s(uuid, text, bigint, smallint[], bigint[], uuid[], '
                       'bigint[], uuid[]), @schema@.settle_%1$s(uuid, text, smallint[], bigint[], '
                       'uuid[], smallint[], bigint[], uuid[]) TO @schema@_publisher',
                       lpad(n::text, 2, '0'));
    END LOOP;
END
$roles$;

-- Relay: reads the log, owns slots, stores cursors, parks, empties what is delivered, and marks held
-- rows that it sent.
DO $roles$
BEGIN
    FOR n IN 0..15 LOOP
        EXECUTE format('GRANT SELECT, DELETE, TRUNCATE, UPDATE (held_until) ON @schema@.outbox_%s TO @schema@_relay', lpad(n::text, 2, '0'));
    END LOOP;
END
$roles$;
GRANT SELECT, DELETE ON @schema@.outbox TO @schema@_relay;
GRANT SELECT ON SEQUENCE @schema@.outbox_id TO @schema@_relay;
GRANT SELECT, UPDATE ON @schema@.slot, @schema@.segment TO @schema@_relay;
GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.relay TO @schema@_relay;
GRANT SELECT, INSERT, DELETE ON @schema@.cursor TO @schema@_relay;
GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.parked TO @schema@_relay;
GRANT SELECT, INSERT, UPDATE ON @schema@.incarnation TO @schema@_relay;
GRANT SELECT ON @schema@.setting, @schema@.destination, @schema@.schema_version, @schema@.backlog TO @schema@_relay;
GRANT USAGE ON SEQUENCE @schema@.parked_position TO @schema@_relay;
GRANT INSERT ON @schema@.audit TO @schema@_relay;
GRANT EXECUTE ON FUNCTION
    @schema@.attach(),
    @schema@.segment_cursors(name),
    @schema@.segment_state(name),
    @schema@.delete_aged(smallint, name, timestamptz, integer),
    @schema@.reclaim(interval, interval, integer),
    @schema@.rebase(boolean),
    @schema@.cursor_doubt(text, smallint),
    @schema@.inbox_keep(interval, interval, bigint, bigint)
TO @schema@_relay;

-- Consumer: the inbox and nothing of the log. On `parked`, which holds both, it has no right: three of
-- the functions reach its own rows there with their owner's. It sets marks, and neither removes one
-- nor makes it another's: of a mark it may change how long the handler took. Through the table alone,
-- whose rights count for all of its partitions.
REVOKE ALL ON @schema@.consumer_inbox, @schema@.consumer_inbox_default FROM @schema@_consumer;
GRANT SELECT, INSERT, UPDATE (processing_duration_ms) ON @schema@.consumer_inbox TO @schema@_consumer;
GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.inbox_attempt TO @schema@_consumer;
GRANT SELECT ON @schema@.setting, @schema@.schema_version TO @schema@_consumer;
GRANT EXECUTE ON FUNCTION
    @schema@.inbox_event_id(text),
    @schema@.inbox_check(text, text),
    @schema@.inbox_wait_for_disk(),
    @schema@.inbox_obstacle(text, uuid, text, text, text),
    @schema@.inbox_parked_as(text, text),
    @schema@.inbox_park(text, text, text, text, integer, text, text, bytea, text, jsonb, text),
    @schema@.inbox_mark(text, text, text, text, bytea, text, jsonb, text, text, boolean, text),
    @schema@.inbox_mark(text, text, text, text, text, text, jsonb, text, text, boolean, text),
    @schema@.inbox_unfinished(),
    @schema@.inbox_mark_all(text, text[], text[], text[], bytea[], text[], jsonb[], text[], text, boolean, text),
    @schema@.inbox_count(text, text, text, integer, integer, text, text, bytea, text, jsonb, text, text),
    @schema@.inbox_failed(text, text, text, integer, text, text, bytea, text, jsonb, text),
    @schema@.inbox_replay(text, text, boolean),
    @schema@.inbox_replay_failed(text, text, text, integer, interval, interval)
TO @schema@_consumer;

-- Reader: sees everything but payloads.
GRANT SELECT (xid, id, created_at, held_until, event_id, slot, topic, key, event_type, content_type,
              aggregate_type, aggregate_id, saga_id) ON @schema@.outbox TO @schema@_reader;
GRANT SELECT (direction, destination, consumer_name, position, event_id, slot, xid, state, reason, detail,
              attempts, next_attempt_at, parked_at, created_at, original_id, topic, key, event_type,
              content_type, aggregate_type, aggregate_id, saga_id) ON @schema@.parked TO @schema@_reader;
GRANT SELECT (event_id, consumed_at, processing_duration_ms, consumer_name, original_id, source_topic,
              event_type, payload_hash) ON @schema@.consumer_inbox TO @schema@_reader;
GRANT SELECT ON @schema@.backlog, @schema@.slot, @schema@.segment, @schema@.relay, @schema@.cursor, @schema@.setting,
    @schema@.destination, @schema@.schema_version, @schema@.incarnation, @schema@.audit,
    @schema@.inbox_attempt TO @schema@_reader;
GRANT SELECT ON SEQUENCE @schema@.outbox_id TO @schema@_reader;
GRANT EXECUTE ON FUNCTION @schema@.cursor_doubt(text, smallint), @schema@.inbox_first_id(timestamptz),
    @schema@.inbox_id_time(uuid), @schema@.inbox_partitions() TO @schema@_reader;
