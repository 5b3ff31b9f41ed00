-- Two orders, each with its event, in one transaction: both are told of, or neither happened.
BEGIN;

-- By the function. The payload may be text, json, jsonb or bytea; the cast says which.
WITH placed AS (
    INSERT INTO orders (note) VALUES ('keep in C:\cellar') RETURNING id, note
)
SELECT sagaz.append('orders', id::text, 'OrderPlaced',
                    json_build_object('order_id', id, 'note', note))
FROM placed;

-- By the view, for who can only INSERT: object-relational mappers.
WITH placed AS (
    INSERT INTO orders (note) VALUES ('gift') RETURNING id, note
)
INSERT INTO sagaz.outbox_json (topic, key, event_type, payload)
SELECT 'orders', id::text, 'OrderPlaced', jsonb_build_object('order_id', id, 'note', note)
FROM placed;

COMMIT;
