-- A small bank: business tables with row locks, and a truth that is written in the same
-- transactions as the events. Order numbers are taken under the row lock of the event's key.
CREATE TABLE account (
    id          integer PRIMARY KEY,
    balance     bigint NOT NULL DEFAULT 1000,
    event_count bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
INSERT INTO account (id) SELECT generate_series(1, 1000);

CREATE TABLE movement (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    debit  integer NOT NULL,
    credit integer NOT NULL,
    amount bigint NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE truth (
    event_id     uuid NOT NULL,
    key          text,
    order_number bigint NOT NULL,
    topic        text NOT NULL,
    event_type   text NOT NULL,
    payload_md5  text NOT NULL,
    headers      jsonb
);

-- A sequence takes no part in transactions: it counts what was tried, rolled back or not.
CREATE SEQUENCE attempt CACHE 1;

-- One event of an account, appended under the account's row lock.
CREATE FUNCTION emit(account_id integer, topic text, event_type text, amount bigint) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    number  bigint;
    body    text;
    new_id  uuid;
    tried   bigint := nextval('attempt');
    own     jsonb := CASE WHEN tried % 7 = 0 THEN jsonb_build_object('tried', tried::text) END;
BEGIN
    UPDATE account a SET event_count = event_count + 1 WHERE a.id = account_id
    RETURNING a.event_count INTO STRICT number;
    body := json_build_object('account', account_id, 'number', number, 'amount', amount,
                              'note', E'caf\u00e9 \\ "quoted" ' || repeat('x', (tried % 150)::int));
    new_id := sagaz.append(topic, account_id::text, event_type, body, own);
    INSERT INTO truth VALUES (new_id, account_id::text, number, topic, event_type, md5(body), own);
    RETURN new_id;
END
$$;

-- One event without a key: it has no order.
CREATE FUNCTION emit_keyless(topic text, event_type text) RETURNS uuid
LANGUAGE plpgsql AS $$
DECLARE
    tried  bigint := nextval('attempt');
    body   text := json_build_object('tried', tried);
    new_id uuid;
BEGIN
    new_id := sagaz.append(topic, NULL, event_type, body);
    INSERT INTO truth VALUES (new_id, NULL, 0, topic, event_type, md5(body));
    RETURN new_id;
END
$$;
