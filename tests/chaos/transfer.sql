-- Money moves between two accounts, locked in the order of their numbers. Five events.
\set one random_zipfian(1, 1000, 1.05)
\set two random(1, 1000)
\set low least(:one, :two)
\set high greatest(:one, :two)
\set amount random(1, 100)
BEGIN;
UPDATE account SET balance = balance - :amount WHERE id = :low;
UPDATE account SET balance = balance + :amount WHERE id = :high;
INSERT INTO movement (debit, credit, amount) VALUES (:low, :high, :amount);
SELECT emit(:low, 'orders', 'MoneyTaken', :amount), emit(:high, 'orders', 'MoneyGiven', :amount);
SELECT emit(:low, 'payments', 'PaymentMade', :amount), emit(:low, 'payments', 'PaymentBooked', 0);
SELECT emit_keyless('payments', 'TransferSeen');
COMMIT;
