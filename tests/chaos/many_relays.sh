#!/usr/bin/env bash
# Four relays share the slots: first in calm, growing from one to four and shrinking again, which
# must repeat nothing; then under random kill -9 and freezes past the lease. Nothing is lost and
# no key is out of order; what repeats does so around kills and freezes, and is counted.
#
# EVENTS (200000) in all, CLIENTS (8), LEASE (2s), KILLS (8), FREEZES (4), SEED; SAGAZ names the
# executable. CALM_LEASE (30s): so long that no busy machine makes a relay look dead in the calm.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

EVENTS=${EVENTS:-200000}
CLIENTS=${CLIENTS:-8}
KILLS=${KILLS:-8} FREEZES=${FREEZES:-4}
CALM_LEASE=${CALM_LEASE:-30s}
rough_lease=$LEASE

names=()
started=0
join() {
    started=$((started + 1))
    names+=("r$started")
    relay_start "r$started"
}
# Slots of each live relay, most first: "4 4 4 4".
spread() {
    sql "SELECT coalesce(string_agg(n::text, ' ' ORDER BY n DESC), '')
         FROM (SELECT count(*) AS n FROM sagaz.slot WHERE owner IS NOT NULL GROUP BY owner) s"
}
is_spread() { [ "$(spread)" = "$1" ] && all_slots_owned; }
even_spread() {
    case $1 in 1) echo 16 ;; 2) echo 8 8 ;; 3) echo 6 5 5 ;; 4) echo 4 4 4 4 ;; esac
}
curve() { echo "$(($(now_ms) - began)) ms: ${#names[@]} relays, slots $(spread)" >>"$work/curve"; }
wait_until_spread() {
    local want
    want=$(even_spread ${#names[@]})
    spread_and_noted() { curve; is_spread "$want"; }
    wait_for 60 "the slots are spread $want" spread_and_noted
}

calm_phase() {
    local name
    LEASE=$CALM_LEASE
    join
    wait_until_spread
    start_load -t $((EVENTS * 100 / 412 / CLIENTS / 2 + 1)) -R "${RATE:-1500}"
    for name in 2 3 4; do
        join
        wait_until_spread
    done
    for name in 1 2 3; do
        relay_stop "${names[0]}"
        names=("${names[@]:1}")
        wait_until_spread
    done
    finish_load
    wait_until_drained 120 "${names[0]}"
    relay_stop "${names[0]}"
    names=()
    note "slots per relay over time" ""
    # Each distinct state once, with the moment it was first seen.
    awk '{ state = $0; sub(/^[^:]*:/, "", state) }
         state != last { print "   " $0; last = state }' \
        "$work/curve" | tee -a "$work/summary" >&2
    note "ownership changes in calm" "$(sql 'SELECT sum(epoch) FROM sagaz.slot')"
    judge  # Without a fault: 0 repeats.
    rm -f "$work"/{kcat,history}.jsonl
}

any() { echo "${names[$((RANDOM % ${#names[@]}))]}"; }
drop() {
    local name kept=()
    for name in "${names[@]}"; do [ "$name" = "$1" ] || kept+=("$name"); done
    names=("${kept[@]}")
}

fault_kill() {
    local name
    name=$(any)
    relay_kill "$name"
    drop "$name"
    join
}

# Frozen until the others own every slot; the woken one must notice that it is stale.
fault_freeze() {
    local name pid frozen
    name=$(any)
    pid=${relay_pids[$name]}
    kill -STOP "$pid"
    frozen=$(sql 'SELECT sum(epoch) FROM sagaz.slot')
    taken() { [ "$(sql 'SELECT sum(epoch) FROM sagaz.slot')" -gt "$frozen" ]; }
    wait_for 30 "the others take the frozen one's slots" taken
    sleep 0.5
    kill -CONT "$pid"
}

rough_phase() {
    local faults step=0 fault from
    RANDOM=$((SEED % 32768))
    LEASE=$rough_lease
    for _ in 1 2 3 4; do join; done
    wait_until_spread
    from=$(events_tried)
    start_load -t $((EVENTS * 100 / 412 / CLIENTS / 2 + 1)) -R "${RATE:-1500}"
    mapfile -t faults < <({
        for ((n = 0; n < KILLS; ++n)); do echo kill; done
        for ((n = 0; n < FREEZES; ++n)); do echo freeze; done
    } | shuf --random-source=<(yes "$SEED"))
    due() {
        ! is_child "$pgbench" ||
            [ "$(events_tried)" -ge $((from + EVENTS / 2 * step / (${#faults[@]} + 2))) ]
    }
    for fault in "${faults[@]}"; do
        step=$((step + 1))
        wait_for 120 "fault $step is due" due
        say "   fault $step of ${#faults[@]}: $fault; slots $(spread)"
        "fault_$fault"
    done
    finish_load
    wait_until_spread
    wait_until_drained 120 "${names[0]}"
    for fault in "${names[@]}"; do
        relay_lives "$fault" || die "relay $fault ended by itself, see its log"
        relay_stop "$fault"
    done
}

chaos_begin many-relays
pg_start
kafka_start $TOPICS
bank_create
began=$(now_ms)
calm_phase
rough_phase
note "seed" "$SEED"
note "faults" "$KILLS relays killed, $FREEZES frozen past the lease"
require_variety
[ "$(events_committed)" -ge $((EVENTS * 95 / 100)) ] || die "the workload is too short"
[ "$(sql 'SELECT count(*) FROM sagaz.parked')" = 0 ] || die "events were parked"
[ "$(sql 'SELECT count(*) FROM sagaz.relay')" = "$((KILLS))" ] ||
    die "relays that stopped are still listed: $(sql 'SELECT count(*) FROM sagaz.relay')"
judge $((KILLS + FREEZES))
chaos_end
