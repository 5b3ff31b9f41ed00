-- Part of the work is given up at a savepoint, part is kept. Three events commit of five.
\set account random_zipfian(1, 1000, 1.05)
\set amount random(1, 100)
BEGIN;
SELECT emit(:account, 'orders', 'OrderPlaced', :amount);
SAVEPOINT tried;
SELECT emit(:account, 'orders', 'DiscountGiven', 5), emit(:account, 'payments', 'DiscountBooked', 5);
ROLLBACK TO SAVEPOINT tried;
SAVEPOINT kept;
UPDATE account SET balance = balance - :amount WHERE id = :account;
SELECT emit(:account, 'orders', 'OrderPaid', :amount);
RELEASE SAVEPOINT kept;
SELECT emit(:account, 'payments', 'PaymentMade', :amount);
COMMIT;
