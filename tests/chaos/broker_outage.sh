#!/usr/bin/env bash
# Kafka is gone for a minute under load: nothing is parked, `sagaz status` says since when and what
# is wrong, and the relay goes on by itself within five seconds of Kafka's return.
#
# OUTAGE (60) seconds, RATE (200) transactions a second, LEASE (2s), SEED; SAGAZ.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

OUTAGE=${OUTAGE:-60}
RATE=${RATE:-200}

parked() { sql "SELECT count(*) FROM sagaz.parked"; }
field() { python3 -c 'import json, sys
value = json.load(open(sys.argv[1]))
for name in sys.argv[2].split("."): value = value.get(name, "") if isinstance(value, dict) else ""
print(value)' "$work/status.json" "$1"; }

# status_says_down ELAPSED_MS: down, why, since when, and one sentence.
status_says_down() {
    local elapsed=$1 down_for
    "$SAGAZ" status --store "$pg_url" --json >"$work/status.json" 2>"$work/status.err" ||
        die "status failed: $(tail -3 "$work/status.err")"
    down_for=$(field destination.down_for_ms)
    note "status after $((elapsed / 1000)) s" \
        "$(field destination.state) for $down_for ms: $(field destination.down_reason)"
    note "its sentence" "$(field diagnosis)"
    [ "$(field destination.state)" = down ] || die "status does not say that Kafka is down"
    [ -n "$(field destination.down_reason)" ] || die "status does not say why"
    [ -n "$(field diagnosis)" ] || die "status has no sentence on what is wrong"
    [ "$down_for" -gt $((elapsed - 15000)) ] && [ "$down_for" -lt $((elapsed + 5000)) ] ||
        die "status says down for $down_for ms, it is $elapsed ms"
}

chaos_begin broker-outage
pg_start
kafka_start $TOPICS
bank_create
relay_start main
wait_for 30 "the relay owns every slot" all_slots_owned
relay=${relay_pids[main]}
bank_run "$pg_url" -c 8 -j 2 -R "$RATE" -T $((OUTAGE + 40)) >"$work/pgbench.log" 2>&1 &
pgbench=$!
chaos_children+=("$pgbench")
flowing() { [ "$(topics_size)" -gt 1000 ]; }
wait_for 60 "events arrive" flowing
kafka_kill
gone=$(now_ms)
say "== Kafka is gone for $OUTAGE s"
sleep $((OUTAGE - 5))
status_says_down $(($(now_ms) - gone))
[ "$(parked)" = 0 ] || die "events were parked during the outage"
while [ "$(now_ms)" -lt $((gone + OUTAGE * 1000)) ]; do sleep 0.1; done
note "backlog at the end" "$(pending) events"
[ "$(pending)" -gt 0 ] || die "no backlog: there was no outage"
kafka_restart
back=$(now_ms)
size=$(topics_size)
flows_again() { [ "$(topics_size)" -gt "$size" ]; }
wait_for 60 "events arrive again" flows_again
recovered=$(($(now_ms) - back))
note "events again after" "$recovered ms"
[ "${relay_pids[main]}" = "$relay" ] && relay_lives main || die "the relay ended, see its log"
wait "$pgbench" || die "pgbench failed: $(tail -3 "$work/pgbench.log")"
wait_until_drained 120 main
"$SAGAZ" status --store "$pg_url" --json >"$work/status.json"
note "status afterwards" "$(field destination.state)"
[ "$(field destination.state)" = up ] || die "status still says $(field destination.state)"
relay_stop main
[ "$(parked)" = 0 ] || die "events were parked"
require_variety
judge 1  # the outage
[ "$recovered" -le 5000 ] || die "recovery took $recovered ms"
chaos_end
