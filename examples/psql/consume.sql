-- One message of the topic "payments": :id, :order, :cents. Prints what became of it.
BEGIN;

SELECT outcome, outcome = 'processed' AS is_new
FROM sagaz.inbox_mark('billing', :'id', 'payments', 'PaymentReceived',
                      json_build_object('order_id', :order, 'amount_cents', :cents)::text,
                      key => :'order') AS outcome \gset

\if :is_new
    INSERT INTO paid (order_id, amount_cents) VALUES (:order, :cents);
\endif

COMMIT;
\echo :outcome
