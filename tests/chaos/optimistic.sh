#!/usr/bin/env bash
# Producers publish right after their commits, two relays take what they leave; then producers and
# relays are killed at random and Kafka stands still three times; then it is calm again. Nothing is
# lost, no key is out of order, in the calm nothing repeats and nearly all is sent by the producers,
# and what repeats otherwise does so around a kill or a pause.
#
# EVENTS (100000) in all, PRODUCERS (4), RATE (1200) events a second of all, KEYS (1000), HOT (0)
# keys that take half of the load, KILLS (12) of producers and relays, PAUSES (3), PAUSE (20)
# seconds, LEASE (2s), SEED; SAGAZ and OPTIMISTIC_PRODUCER name the executables. CALM_LEASE (30s):
# so long that no busy machine makes a relay look dead in the calm. CALM_MIN (95): percent that the
# producers send themselves in the calm.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

EVENTS=${EVENTS:-100000}
PRODUCERS=${PRODUCERS:-4}
RATE=${RATE:-1200}
KEYS=${KEYS:-1000}
HOT=${HOT:-0}
KILLS=${KILLS:-12}
PAUSES=${PAUSES:-3}
PAUSE=${PAUSE:-20}
CALM_LEASE=${CALM_LEASE:-30s}
CALM_MIN=${CALM_MIN:-95}
TOPICS=orders
rough_lease=$LEASE

declare -A producer_pids=()
producers_started=0

# producer_start NUMBER PHASE EVENTS
producer_start() {
    producers_started=$((producers_started + 1))
    "$OPTIMISTIC_PRODUCER" "$pg_url" "$kafka_servers" "$2" "$3" $((RATE / PRODUCERS)) "$KEYS" \
        "$HOT" "$work/ledger" "$((SEED + producers_started))" >>"$work/producer-$1.log" 2>&1 \
        </dev/null &
    producer_pids[$1]=$!
    chaos_children+=("$!")
}

producers_end() {
    local n code
    for ((n = 1; n <= PRODUCERS; ++n)); do
        code=0
        wait "${producer_pids[$n]}" || code=$?
        [ "$code" = 0 ] || die "producer $n ended with $code: $(tail -3 "$work/producer-$n.log")"
    done
}

fault() { echo "$(($(date +%s%N) / 1000)) $*" >>"$work/faults"; }

relays_start() { relay_start one && relay_start two; }
relays_stop() {
    wait_until_drained 120 one
    relay_stop one
    relay_stop two
}
both_own() {
    [ "$(sql "SELECT count(DISTINCT owner) FROM sagaz.slot")" = 2 ] && all_slots_owned
}

# calm_phase NAME EVENTS
calm_phase() {
    local n
    LEASE=$CALM_LEASE
    relays_start
    wait_for 60 "both relays own slots" both_own
    for ((n = 1; n <= PRODUCERS; ++n)); do producer_start "$n" "$1" $(($2 / PRODUCERS)); done
    producers_end
    relays_stop
}

fault_producer() {
    local n=$((1 + RANDOM % PRODUCERS))
    is_child "${producer_pids[$n]}" || return 0
    fault "kill producer $n"
    kill -9 "${producer_pids[$n]}"
    wait "${producer_pids[$n]}" 2>/dev/null || true
    producer_start "$n" rough "$rough_each"
}

fault_relay() {
    local name=one
    [ $((RANDOM % 2)) = 0 ] || name=two
    fault "kill relay $name"
    relay_kill "$name"
    relay_start "$name"
}

# Events go on being committed meanwhile.
fault_pause() {
    fault "pause begins"
    kill -STOP "$kafka_pid"
    sleep "$PAUSE"
    kill -CONT "$kafka_pid"
    fault "pause ends"
}

# Until so many were committed: faults in an order of the seed's, then the producers are ended.
rough_phase() {
    local events=$1 faults step=0 one n from
    RANDOM=$((SEED % 32768))
    LEASE=$rough_lease
    rough_each=$((events * 10))
    relays_start
    from=$(events_committed)
    for ((n = 1; n <= PRODUCERS; ++n)); do producer_start "$n" rough "$rough_each"; done
    mapfile -t faults < <({
        for ((n = 0; n < KILLS; ++n)); do
            if [ $((n % 2)) = 0 ]; then echo producer; else echo relay; fi
        done
        for ((n = 0; n < PAUSES; ++n)); do echo pause; done
    } | shuf --random-source=<(yes "$SEED"))
    # Each falls into a system that has come through the one before it.
    due() {
        [ $(($(events_committed) - from)) -ge $((events * step / (${#faults[@]} + 1))) ] &&
            [ "$(pending)" -lt "$((RATE / 2))" ]
    }
    for one in "${faults[@]}"; do
        step=$((step + 1))
        wait_for 180 "fault $step is due" due
        say "   fault $step of ${#faults[@]}: $one, $(pending) events pending"
        "fault_$one"
    done
    step=$((${#faults[@]} + 1))
    wait_for 180 "the rough phase has its events" due
    for ((n = 1; n <= PRODUCERS; ++n)); do
        is_child "${producer_pids[$n]}" || die "producer $n ended, see its log"
        fault "kill producer $n"
        kill -9 "${producer_pids[$n]}"
        wait "${producer_pids[$n]}" 2>/dev/null || true
    done
    wait_for 60 "the relays own every slot" all_slots_owned
    relays_stop
}

chaos_begin optimistic
pg_start
kafka_start $TOPICS
bank_create
sql "INSERT INTO account (id) SELECT generate_series(1001, $KEYS)"
: >"$work/faults"
calm_phase calm $((EVENTS * 3 / 10))
rough_phase $((EVENTS * 4 / 10))
calm_phase calm_again $((EVENTS * 3 / 10))
note "seed" "$SEED"
note "faults" "$KILLS producers and relays killed, Kafka paused $PAUSES times for $PAUSE s"
[ "$(events_committed)" -ge $((EVENTS * 90 / 100)) ] || die "the workload is too short"
[ "$(sql 'SELECT count(*) FROM sagaz.parked')" = 0 ] || die "events were parked"
judge $((KILLS + PAUSES))
python3 "$chaos_here/optimistic_account.py" "$work/ledger" "$work/kcat.jsonl" "$work/faults" \
    --calm-min "$CALM_MIN" --pause "$PAUSE" >"$work/account" ||
    die "the account: $(cat "$work/account")"
while IFS= read -r line; do note "${line%%: *}" "${line#*: }"; done <"$work/account"
chaos_end
