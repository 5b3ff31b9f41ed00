#!/usr/bin/env bash
# A rolling update as Kubernetes does it with one surplus pod and none missing: a new relay is
# started, answers /readyz, and then an old one gets SIGTERM, until all three are new; the load goes
# on meanwhile. Nothing is lost, out of order or repeated, and each stop fits the grace period. Says
# how long a key stood still at most though an event of it was there.
#
# RATE (800) transactions a second, CLIENTS (8), ROUNDS (3) updates of all three, EVENTS (20000)
# before, between and after them, LEASE (10s, the default), SEED; SAGAZ names the executable.
# WORST (1): then two stops at the worst moment, Kafka and PostgreSQL not answering, must fit too.
LEASE=${LEASE:-10s}
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

RATE=${RATE:-800} CLIENTS=${CLIENTS:-8} ROUNDS=${ROUNDS:-3} EVENTS=${EVENTS:-20000}
WORST=${WORST:-1}
grace_ms=30000  # terminationGracePeriodSeconds of k8s/outbox-worker.yaml
replicas=3

names=()
started=0
address_of() { sed -n 's/.*admin_listening.*\(127\.0\.0\.1:[0-9]*\).*/\1/p' "$work/relay-$1.log"; }
is_ready() {
    local code
    code=$(curl -s -o "$work/readyz" -w '%{http_code}' "http://$(address_of "$1")/readyz") || true
    [ "$code" = 200 ]
}
join() {
    started=$((started + 1))
    relay_start "r$started"
    wait_for 60 "relay r$started is ready" is_ready "r$started"
    names+=("r$started")
}

# SIGTERM to the oldest; it must end well by itself before the kubelet would kill it.
longest_stop_ms=0
stop_ms=0
stop_oldest() {
    local from
    from=$(now_ms)
    relay_stop "${names[0]}"
    stop_ms=$(($(now_ms) - from))
    [ $stop_ms -le $grace_ms ] || die "relay ${names[0]} took $stop_ms ms to stop"
    [ $stop_ms -le $longest_stop_ms ] || longest_stop_ms=$stop_ms
    names=("${names[@]:1}")
}

# so_many_more N: until the producers are N events further.
so_many_more() {
    local goal
    goal=$(($(events_tried) + $1))
    further() {
        is_child "$pgbench" || die "pgbench ended: $(tail -3 "$work/pgbench.log")"
        [ "$(events_tried)" -ge "$goal" ]
    }
    wait_for 300 "$1 more events are tried" further
}

update() {
    local from=$(($(now_ms))) n
    for ((n = 0; n < replicas; ++n)); do
        join
        stop_oldest
    done
    updates+=("$from" "$(now_ms)")
    say "   update of all $replicas took $(($(now_ms) - from)) ms"
}

# What must fit the grace too: SIGTERM while the load goes on and nothing answers.
stop_while_frozen() {
    local what=$1 pids
    shift
    pids=("$@")
    kill -STOP "${pids[@]}"
    sleep 2  # what was under way is in flight now
    stop_oldest
    kill -CONT "${pids[@]}"
    note "stopped while $what is frozen in" "$stop_ms ms"
    join
}

worst_stops() {
    local server
    start_load -T 3600 -R "$RATE"
    so_many_more "$EVENTS"
    stop_while_frozen Kafka "$kafka_pid"
    so_many_more "$EVENTS"
    mapfile -t server < <(pgrep -P "$pg_pid")
    stop_while_frozen PostgreSQL "$pg_pid" "${server[@]}"
    so_many_more "$EVENTS"
    end_child "$pgbench"
}

finish() {
    wait_until_drained 120 "${names[0]}"
    while [ ${#names[@]} -gt 0 ]; do stop_oldest; done
}

chaos_begin rolling-update
pg_start
KAFKA_MORE='log.message.timestamp.type=LogAppendTime'
kafka_start $TOPICS
bank_create
for ((n = 0; n < replicas; ++n)); do join; done
wait_for 60 "the relays own every slot" all_slots_owned
start_load -T 3600 -R "$RATE"
so_many_more "$EVENTS"
updates=()
for ((round = 0; round < ROUNDS; ++round)); do
    update
    so_many_more "$EVENTS"
done
end_child "$pgbench"
finish
note "seed" "$SEED"
note "relays replaced under load" "$((ROUNDS * replicas)) at $RATE transactions/s"
note "longest stop" "$longest_stop_ms ms, the grace is $grace_ms ms"
require_variety
[ "$(sql 'SELECT count(*) FROM sagaz.parked')" = 0 ] || die "events were parked"
[ "$(sql 'SELECT count(*) FROM sagaz.relay')" = 0 ] || die "relays that stopped are still listed"
judge  # Without a fault: 0 repeats.
python3 "$chaos_here/longest_gap.py" "$work/history.jsonl" "${updates[@]}" >"$work/gaps" ||
    die "the gaps were not measured"
while IFS=$'\t' read -r what value; do note "$what" "$value"; done <"$work/gaps"
if [ "$WORST" != 0 ]; then
    for ((n = 0; n < replicas; ++n)); do join; done
    worst_stops
    finish
    judge 2  # Each frozen server is a fault.
fi
chaos_end
