#!/usr/bin/env bash
# Three consumers share a topic while members are killed, frozen past their session, sent away and
# added, and now and then all are killed at once. Each writes what it handled into one ledger before
# it settles. Nothing is skipped, first times of a key are in order, and no committed offset is ever
# past an unfinished message: looked at exactly whenever all are dead, and at the end.
#
# MESSAGES (100000), DELAY_US (150) of each handler, KILLS (20), FREEZES (4), LEAVES (6),
# CRASHES (6) of all at once, SEED; LEDGER_CONSUMER names the program.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MESSAGES=${MESSAGES:-100000}
DELAY_US=${DELAY_US:-150}
KILLS=${KILLS:-20} FREEZES=${FREEZES:-4} LEAVES=${LEAVES:-6} CRASHES=${CRASHES:-6}
MEMBERS=3
TOPIC=orders

declare -A members=()  # Name: pid.
member_count=0
produced=0

member_start() {
    member_count=$((member_count + 1))
    "$LEDGER_CONSUMER" run "$kafka_servers" billing "$TOPIC" "$work/ledger" "$DELAY_US" \
        >>"$work/member-$member_count.log" 2>&1 </dev/null &
    members[$member_count]=$!
    chaos_children+=("$!")
}

# The name of a member, another one each time.
any_member() {
    local names
    mapfile -t names < <(printf '%s\n' "${!members[@]}" | sort -n)
    echo "${names[$((RANDOM % ${#names[@]}))]}"
}

member_lives() { is_child "${members[$1]}"; }

member_kill() {
    member_lives "$1" || die "member $1 had ended by itself, see $work/member-$1.log"
    kill -9 "${members[$1]}"
    wait "${members[$1]}" 2>/dev/null || true
    unset "members[$1]"
}

# SIGTERM; it must commit, leave and exit with 0 by itself.
member_leave() {
    local pid=${members[$1]} code=0
    member_lives "$1" || die "member $1 had ended by itself, see $work/member-$1.log"
    wait_for 20 "member $1 listens to signals" grep -q started "$work/member-$1.log"
    kill -TERM "$pid"
    wait_for 20 "member $1 has stopped" child_is_gone "$pid"
    wait "$pid" 2>/dev/null || code=$?
    [ "$code" = 0 ] || die "member $1 exited with $code, see $work/member-$1.log"
    unset "members[$1]"
}

# produce COUNT: numbered messages under fifty keys.
produce() {
    seq $((produced + 1)) $((produced + $1)) | awk '{ print $1 % 50 ":" $1 }' |
        kcat -P -b "$kafka_servers" -t "$TOPIC" -K : -X partitioner=murmur2_random \
            -X enable.idempotence=true 2>>"$work/kcat.err" ||
        die "kcat: $(tail -1 "$work/kcat.err")"
    produced=$((produced + $1))
}

ledger_lines() { wc -l <"$work/ledger"; }
ledger_grew() { [ "$(ledger_lines)" -ge "$1" ]; }
all_finished() { [ "$(cut -d' ' -f1,2 "$work/ledger" | sort -u | wc -l)" -ge "$produced" ]; }

check_offsets() {
    "$LEDGER_CONSUMER" committed "$kafka_servers" billing "$TOPIC" 4 >"$work/committed" ||
        die "the committed offsets cannot be read"
    python3 "$chaos_here/consumers_check.py" offsets "$work/ledger" "$work/committed" \
        >"$work/offsets" || die "$(cat "$work/offsets")"
    say "   $(cat "$work/offsets")"
}

fault_kill() {
    member_kill "$(any_member)"
    member_start
}

fault_leave() {
    member_start
    member_leave "$(any_member)"
}

# Frozen at work, until the others have done everything, its part too: new messages for every
# partition come after it stands still, so that they must have taken its own away. Then it is woken
# into new load, with partitions that are no longer its own. (What its client calls that depends on
# what it reads first: where an answer from before the freeze waits in its socket, it is told of an
# ordinary rebalance and not of a loss, and tries to commit what it had handled.)
fault_freeze() {
    local name pid assigned departed
    name=$(any_member)
    pid=${members[$name]}
    # Amid a rebalance it may have nothing to lose; at a stand it writes nothing, so that is exact.
    freezes_at_work() {
        all_finished && produce "$chunk"
        tail -30 "$work/ledger" | grep -q " $pid " || return 1
        kill -STOP "$pid"
        assigned=$(assignments "$name")
        departed=$(departures "$name")
        [ "$assigned" -gt "$departed" ] || { kill -CONT "$pid"; return 1; }
    }
    wait_for 60 "member $name works and is frozen" freezes_at_work
    produce "$chunk"
    wait_for 60 "the others have done the frozen one's part" all_finished
    produce "$chunk"
    kill -CONT "$pid"
    is_back() { [ "$(assignments "$name")" -gt "$assigned" ]; }
    wait_for 30 "member $name is a member again" is_back
    [ "$(departures "$name")" -gt "$departed" ] ||
        die "member $name was not told that its partitions are gone"
    member_lives "$name" || die "the woken member ended, see $work/member-$name.log"
}
assignments() { grep -c consumer_assigned "$work/member-$1.log"; }
departures() { grep -cE 'consumer_(partitions_lost|revoked)' "$work/member-$1.log" || true; }

# With all dead, the ledger and the offsets stand still.
fault_crash() {
    local name
    for name in "${!members[@]}"; do kill -9 "${members[$name]}"; done
    for name in "${!members[@]}"; do wait "${members[$name]}" 2>/dev/null || true; done
    members=()
    check_offsets
    for ((n = 0; n < MEMBERS; ++n)); do member_start; done
}

fault_list() {
    {
        for ((n = 0; n < KILLS; ++n)); do echo kill; done
        for ((n = 0; n < FREEZES; ++n)); do echo freeze; done
        for ((n = 0; n < LEAVES; ++n)); do echo leave; done
        for ((n = 0; n < CRASHES; ++n)); do echo crash; done
    } | shuf --random-source=<(yes "$SEED")
}

chaos_begin consumers
RANDOM=$((SEED % 32768))
KAFKA_MORE='group.min.session.timeout.ms=100' kafka_start "$TOPIC"
: >"$work/ledger"
mapfile -t faults < <(fault_list)
# A freeze takes three chunks: to be hit in, for the others to take over, to be woken into.
chunk=$((MESSAGES / (${#faults[@]} + 2 * FREEZES + 1) + 1))
for ((n = 0; n < MEMBERS; ++n)); do member_start; done
from=$(now_ms)
step=0
for fault in "${faults[@]}"; do
    step=$((step + 1))
    lines=$(ledger_lines)
    produce "$chunk"
    # Into the work: a part of the chunk is done, the rest is not.
    wait_for 60 "messages are handled again, for fault $step" ledger_grew $((lines + chunk / 10))
    say "   fault $step of ${#faults[@]}: $fault, $(ledger_lines) lines for $produced messages"
    "fault_$fault"
done
produce $((produced < MESSAGES ? MESSAGES - produced : chunk))
wait_for 120 "everything is handled" all_finished
took=$(($(now_ms) - from))
all_committed() {
    check_offsets
    grep -q 'finished and not committed 0' "$work/offsets"
}
wait_for 30 "everything is committed" all_committed
for name in "${!members[@]}"; do member_leave "$name"; done

note "seed" "$SEED"
note "faults" "$KILLS killed, $FREEZES frozen, $LEAVES left, $CRASHES times all killed at once"
note "handled in" "$((took / 1000)) s"
kcat -C -q -b "$kafka_servers" -t "$TOPIC" -o beginning -e -X fetch.wait.max.ms=50 \
    -f '%p %o %s\n' >"$work/topic" ||
    die "kcat did not read"
python3 "$chaos_here/consumers_check.py" all "$work/ledger" "$work/topic" "$produced" \
    >"$work/verdict" || die "$(cat "$work/verdict")"
note "ledger" "$(cat "$work/verdict")"
check_offsets
note "offsets at the end" "$(cat "$work/offsets")"
lost=$(cat "$work"/member-*.log | grep -c consumer_partitions_lost || true)
note "partitions lost" "$lost times as their client had it"
grep -qE 'repeats [1-9]' "$work/verdict" || die "nothing was repeated: the faults hit nothing"
chaos_end
