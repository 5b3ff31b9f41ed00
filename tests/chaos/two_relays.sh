#!/usr/bin/env bash
# Two relays at once: each slot has one owner at a time and no epoch has two; when one is killed
# the other has every slot within the lease and two seconds; order holds throughout.
#
# EVENTS (60000), CLIENTS (8), LEASE (2s), SEED; SAGAZ names the executable.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

EVENTS=${EVENTS:-60000}
CLIENTS=${CLIENTS:-8}
lease_ms=$((${LEASE%s} * 1000))

# The database itself writes the history of ownership and of stored cursors, so that nothing
# between two looks is missed.
record_ownership() {
    psql -Xq -v ON_ERROR_STOP=1 "$pg_url" <<'SQL'
CREATE TABLE slot_history (at bigserial, slot smallint, owner uuid, epoch bigint);
CREATE TABLE cursor_history (at bigserial, slot smallint, epoch bigint, n bigint);
CREATE FUNCTION record_slot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO slot_history (slot, owner, epoch) VALUES (new.slot, new.owner, new.epoch);
    RETURN NULL;
END $$;
CREATE FUNCTION record_cursor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO cursor_history (slot, epoch, n) VALUES (new.slot, new.epoch, new.n);
    RETURN NULL;
END $$;
CREATE TRIGGER record AFTER UPDATE ON sagaz.slot FOR EACH ROW EXECUTE FUNCTION record_slot();
CREATE TRIGGER record AFTER INSERT ON sagaz.cursor FOR EACH ROW EXECUTE FUNCTION record_cursor();
SQL
}

# Counts what must not be: an epoch with two owners, an epoch or a cursor that goes back.
ownership_faults() {
    sql "SELECT (SELECT count(*) FROM (SELECT FROM slot_history WHERE owner IS NOT NULL
                  GROUP BY slot, epoch HAVING count(DISTINCT owner) > 1) a)
              + (SELECT count(*) FROM (SELECT epoch < lag(epoch) OVER w AS back
                  FROM slot_history WINDOW w AS (PARTITION BY slot ORDER BY at)) b WHERE back)
              + (SELECT count(*) FROM (SELECT epoch < lag(epoch) OVER w
                                           OR n <= lag(n) OVER w AS back
                  FROM cursor_history WINDOW w AS (PARTITION BY slot ORDER BY at)) c
                 WHERE back)"
}

chaos_begin two-relays
pg_start
kafka_start $TOPICS
bank_create
record_ownership
relay_start one
wait_for 30 "the first relay owns every slot" all_slots_owned
one=$(sql "SELECT DISTINCT owner FROM sagaz.slot")
[ "$(wc -l <<<"$one")" = 1 ] || die "one relay has two identities"
relay_start two
transactions=$((EVENTS * 100 / 412 / CLIENTS + 1))
start_load -t "$transactions"
under_way() { [ "$(events_tried)" -gt $((EVENTS / 3)) ]; }
wait_for 120 "the load is under way" under_way
note "owners before the kill" "$(owners | tr '\n' ' ')"
relay_lives two || die "the second relay ended, see its log"
from=$(now_ms)
relay_kill one
taken_over() {
    all_slots_owned && [ "$(slots_owned_by "$one")" = 0 ]
}
wait_for 60 "the other relay has every slot" taken_over
took=$(($(now_ms) - from))
note "taken over after" "$took ms (lease $lease_ms ms)"
finish_load
wait_until_drained 120 two
relay_stop two
note "ownership changes" "$(sql 'SELECT count(*) FROM slot_history')"
note "stored cursors" "$(sql 'SELECT count(*) FROM cursor_history')"
[ "$(sql 'SELECT count(*) FROM slot_history')" -gt 0 ] || die "no ownership was recorded"
[ "$(ownership_faults)" = 0 ] || die "an epoch had two owners, or went back"
require_variety
judge 1  # the kill
[ "$took" -le $((lease_ms + 2000)) ] || die "the take-over took $took ms"
chaos_end
