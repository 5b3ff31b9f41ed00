-- Stays open: its ids are low and its commit is late. Three events.
\set account random(1, 1000)
\set pause random(20, 200)
BEGIN;
SELECT emit_keyless('orders', 'ReviewBegun');
SELECT emit(:account, 'orders', 'ReviewOpened', 0);
SELECT pg_sleep(:pause / 1000.0);
SELECT emit(:account, 'orders', 'ReviewClosed', 0);
COMMIT;
