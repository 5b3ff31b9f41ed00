#!/usr/bin/env bash
# Business transactions of pgbench travel to Kafka while a relay runs; what arrived is compared
# with a truth written in the same transactions.
#
#   realrun.sh             nothing is broken meanwhile
#   realrun.sh --faults    relays are killed and frozen past their lease, Kafka is killed
#
# EVENTS (200000), CLIENTS (16), LEASE (2s), BATCH_MAX (5000), SEED; FAULTS=1 is the same as
# --faults, which takes KILLS (20), FREEZES (3), KAFKA_KILLS (3). SAGAZ names the executable,
# KEEP=1 keeps the folder.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

EVENTS=${EVENTS:-200000}
CLIENTS=${CLIENTS:-16}
FAULTS=${FAULTS:-0}
[ "${1:-}" != --faults ] || FAULTS=1
KILLS=${KILLS:-20} FREEZES=${FREEZES:-3} KAFKA_KILLS=${KAFKA_KILLS:-3}

# Of 100 transactions 70 commit five events, 15 three, 10 three; so 425 a hundred, less 3 % care.
transactions=$((EVENTS * 100 / 412 / CLIENTS + 1))

# The faults in an order of the seed's, each named once for each time it happens.
fault_list() {
    {
        for ((n = 0; n < KILLS; ++n)); do echo kill; done
        for ((n = 0; n < FREEZES; ++n)); do echo freeze; done
        for ((n = 0; n < KAFKA_KILLS; ++n)); do echo kafka; done
    } | shuf --random-source=<(yes "$SEED")
}

fault_kill() {
    relay_lives main || die "the relay had ended by itself, see its log"
    relay_kill main
    relay_start main
}

# Frozen until another relay has every slot, then woken: it must notice that it is the stale one.
fault_freeze() {
    local frozen=${relay_pids[main]} before
    before=$(sql "SELECT max(epoch) FROM sagaz.slot")
    kill -STOP "$frozen"
    relay_start other
    taken_over() {
        [ "$(sql "SELECT count(*) FROM sagaz.slot WHERE owner IS NOT NULL AND epoch > $before")" = \
            "$(sql 'SELECT count(*) FROM sagaz.slot')" ]
    }
    wait_for 30 "another relay has the frozen one's slots" taken_over
    kill -CONT "$frozen"
    sleep 1  # the woken one sends whatever it had in hand
    relay_lives main || die "the woken relay ended, see its log"
    relay_stop other
}

fault_kafka() {
    kafka_kill
    sleep 1  # the relay must notice and wait, not give up
    kafka_restart
}

# A fault falls due when the producers have come one step further and the relay has delivered
# something since the last one, so that each falls into the load and hits work in hand.
run_faults() {
    local faults step=0 fault total size=0
    mapfile -t faults < <(fault_list)
    total=$((${#faults[@]} + 2))
    fault_is_due() {
        keep_load_going
        [ "$(events_tried)" -ge $((EVENTS * step / total)) ] && [ "$(pending)" -gt 0 ] &&
            [ "$(topics_size)" -gt $((size + 100)) ]
    }
    for fault in "${faults[@]}"; do
        step=$((step + 1))
        wait_for 120 "events arrive again, for fault $step" fault_is_due
        say "   fault $step of ${#faults[@]}: $fault, $(pending) events pending"
        "fault_$fault"
        size=$(topics_size)
    done
}

# The load may end before the faults do; then it goes on until they are done.
keep_load_going() {
    if [ "$extra_load" = 0 ] && ! is_child "$pgbench"; then
        finish_load
        start_load -T 3600
        extra_load=1
    fi
    is_child "$pgbench" || die "pgbench ended: $(tail -3 "$work/pgbench.log")"
}

chaos_begin "realrun$([ "$FAULTS" = 0 ] || echo -faults)"
pg_start
kafka_start $TOPICS
bank_create
relay_start main
wait_for 30 "the relay owns every slot" all_slots_owned
say "== $CLIENTS clients, $transactions transactions each"
from=$(now_ms)
extra_load=0
start_load -t "$transactions"
[ "$FAULTS" = 0 ] || run_faults
if [ "$extra_load" = 0 ]; then finish_load; else end_child "$pgbench"; fi
produced=$(now_ms)
wait_until_drained $((120 + EVENTS / 2000)) main
drained=$(now_ms)
relay_stop main

committed=$(events_committed)
note "seed" "$SEED"
require_variety
pace() { echo "$(($1 / 1000)) s, $((committed * 1000 / ($1 + 1))) events/s"; }
note "produced in" "$(pace $((produced - from)))"
note "delivered in" "$(pace $((drained - from)))"
relay_costs "$committed"
if [ "$FAULTS" != 0 ]; then
    note "faults" \
        "$KILLS relays killed, $FREEZES frozen past the lease, Kafka killed $KAFKA_KILLS times"
fi
[ "$committed" -ge "$EVENTS" ] || die "only $committed events of $EVENTS: the workload is too short"
[ "$(sql 'SELECT count(*) FROM sagaz.parked')" = 0 ] || die "events were parked"
if [ "$FAULTS" = 0 ]; then judge; else judge $((KILLS + FREEZES + KAFKA_KILLS)); fi
chaos_end
