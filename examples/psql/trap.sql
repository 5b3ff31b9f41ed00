-- What must not be done, and the two ways to do it. Rolled back: nothing of it is published. Only the
-- owner of the schema may look at payloads as this does.
BEGIN;

INSERT INTO sagaz.outbox (topic, key, event_type, payload)  -- WRONG: a string for a bytea
VALUES ('orders', 'a literal:   ', 'OrderPlaced', '{"note": "keep in C:\\cellar"}');

INSERT INTO sagaz.outbox (topic, key, event_type, payload)
VALUES ('orders', 'convert_to:  ', 'OrderPlaced',
        convert_to('{"note": "keep in C:\\cellar"}', 'UTF8'));

SELECT sagaz.append('orders', 'append:      ', 'OrderPlaced', '{"note": "keep in C:\\cellar"}');

SELECT key || ' ' || convert_from(payload, 'UTF8') FROM sagaz.outbox
WHERE key LIKE '%:%' ORDER BY id;

ROLLBACK;
