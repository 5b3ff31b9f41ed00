-- Thinks better of it. Three events that nobody may ever see.
\set account random_zipfian(1, 1000, 1.05)
BEGIN;
UPDATE account SET balance = balance - 1 WHERE id = :account;
SELECT emit(:account, 'orders', 'OrderPlaced', 1), emit(:account, 'payments', 'PaymentMade', 1);
SELECT emit_keyless('orders', 'TransferSeen');
ROLLBACK;
