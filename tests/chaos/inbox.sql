-- The bank that consumers of the inbox move money in. Nothing here is unique but accounts: a second
-- effect of a message must be seen, not refused.
CREATE TABLE account (
    id      integer PRIMARY KEY,
    balance bigint NOT NULL DEFAULT 1000
) WITH (fillfactor = 50);
INSERT INTO account (id) SELECT generate_series(1, 1000);

CREATE TABLE effect (
    event_id text    NOT NULL,
    debit    integer NOT NULL,
    credit   integer NOT NULL,
    amount   integer NOT NULL
);

-- What the feed holds: each message once.
CREATE TABLE truth (
    event_id text    PRIMARY KEY,
    debit    integer NOT NULL,
    credit   integer NOT NULL,
    amount   integer NOT NULL,
    poison   boolean NOT NULL
);

-- What became of each message. Of a parked one only the reasons that mean "no effect" count: the
-- feed never uses an id twice.
CREATE VIEW account_of AS
SELECT t.event_id, t.poison, coalesce(e.effects, 0) AS effects, coalesce(p.parkings, 0) AS parkings,
       coalesce(m.marks, 0) AS marks
FROM truth t
LEFT JOIN (SELECT event_id, count(*) AS effects FROM effect GROUP BY 1) e USING (event_id)
LEFT JOIN (SELECT coalesce(original_id, event_id::text) AS event_id, count(*) AS parkings
           FROM sagaz.parked WHERE direction = 'inbox' GROUP BY 1) p USING (event_id)
LEFT JOIN (SELECT coalesce(original_id, event_id::text) AS event_id, count(*) AS marks
           FROM sagaz.consumer_inbox WHERE consumer_name = 'bank' GROUP BY 1) m USING (event_id);

-- One row: every number but the first must be 0.
CREATE VIEW damage AS
SELECT (SELECT count(*) FROM truth) AS messages,
       (SELECT count(*) FROM account_of WHERE effects > 1) AS doubled,
       (SELECT count(*) FROM account_of WHERE effects = 0 AND parkings = 0) AS lost,
       (SELECT count(*) FROM account_of WHERE effects > 0 AND parkings > 0) AS parked_with_effect,
       (SELECT count(*) FROM account_of WHERE effects > 0 AND poison) AS effects_of_failures,
       (SELECT count(*) FROM account_of WHERE parkings > 1) AS parked_twice,
       (SELECT count(*) FROM account_of WHERE marks <> effects) AS marks_without_effect,
       (SELECT count(*) FROM effect e WHERE NOT EXISTS
           (SELECT 1 FROM truth t WHERE (t.event_id, t.debit, t.credit, t.amount)
                                    = (e.event_id, e.debit, e.credit, e.amount))) AS foreign_effects,
       (SELECT abs(sum(balance) - 1000 * count(*)) FROM account) AS money_made_or_lost,
       (SELECT count(*) FROM account a WHERE a.balance <> 1000
           + (SELECT coalesce(sum(amount), 0) FROM effect e WHERE e.credit = a.id)
           - (SELECT coalesce(sum(amount), 0) FROM effect e WHERE e.debit = a.id)) AS wrong_balances;
