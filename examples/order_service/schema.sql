-- The service's own tables. Run it as the owner of the database, after "sagaz migrate".
BEGIN;

CREATE SCHEMA shop;

-- What each customer owes.
CREATE TABLE shop.account (
    customer text PRIMARY KEY,
    balance_cents bigint NOT NULL
);

CREATE TABLE shop.orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer text NOT NULL,
    idempotency_key text NOT NULL,
    amount_cents bigint NOT NULL CHECK (amount_cents > 0),
    paid_cents bigint NOT NULL DEFAULT 0,
    placed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (customer, idempotency_key)  -- makes a repeated POST find the first one's order
);

-- The accounts agree with the orders while this is empty.
CREATE VIEW shop.disagreement AS
SELECT customer, coalesce(balance_cents, 0) AS balance_cents, coalesce(owed_cents, 0) AS owed_cents
FROM shop.account
FULL JOIN (SELECT customer, sum(amount_cents - paid_cents) AS owed_cents
           FROM shop.orders GROUP BY customer) AS owed USING (customer)
WHERE coalesce(balance_cents, 0) <> coalesce(owed_cents, 0);

-- The service's login: its own tables, and of sagaz what appending, sending and the inbox need.
CREATE ROLE order_service LOGIN;
GRANT USAGE ON SCHEMA shop TO order_service;
GRANT SELECT, INSERT, UPDATE ON shop.account, shop.orders TO order_service;
GRANT sagaz_publisher, sagaz_consumer TO order_service;

-- No statement waits for ever. Set for the login, so that it holds behind a pooler too.
ALTER ROLE order_service SET statement_timeout = '5s';
ALTER ROLE order_service SET lock_timeout = '2s';
ALTER ROLE order_service SET idle_in_transaction_session_timeout = '10s';

COMMIT;
