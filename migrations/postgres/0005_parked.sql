-- sagaz 0005: finding what is to be tried again.

-- The events that wait for a time of their own. What stands behind another event of its key has
-- none, so a long queue behind one event costs nothing here.
CREATE INDEX parked_due ON @schema@.parked (destination, slot, next_attempt_at, position)
WHERE direction = 'outbox' AND state = 'waiting';
