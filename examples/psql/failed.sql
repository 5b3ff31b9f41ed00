-- After the rollback of consume.sql, in a transaction of its own. Topic, key and payload are kept for
-- a message that is parked, or there would be nothing to replay. No payload in the cause: it is shown.
SELECT sagaz.inbox_failed('billing', :'id', 'the amount is not positive', max_attempts => 2,
                          source_topic => 'payments', event_type => 'PaymentReceived',
                          payload => convert_to(json_build_object('order_id', :order,
                              'amount_cents', :cents)::text, 'UTF8'),
                          key => :'order');
