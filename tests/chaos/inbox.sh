#!/usr/bin/env bash
# Each message takes effect exactly once, or is parked and has none: every message is delivered
# several times, by several consumer processes at about the same time, which are killed with
# SIGKILL from outside and at points inside, lose their connections in the middle of anything, and
# whose handlers fail. Money is conserved, and every account agrees with the effects. On PostgreSQL
# partitions of the inbox are made and dropped under them all the time.
#
# STORE (postgres; or sqlite, where no connection is cut), EVENTS (50000), COPIES (3), CONSUMERS
# (4), KILLS (40) from outside, CUTS (20) connections terminated, SEED, FAULT (none; mark_apart
# commits marks before effects, and must be found); SAGAZ and INBOX_CONSUMER name the executables.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

EVENTS=${EVENTS:-50000}
COPIES=${COPIES:-3}
CONSUMERS=${CONSUMERS:-4}
KILLS=${KILLS:-40}
CUTS=${CUTS:-20}
STORE=${STORE:-postgres}
FAULT=${FAULT:-none}
failure=
deaths=0
starts=0
declare -A consumer_pids=() finished=()

# Each start has a seed of its own, or a chance death would repeat for ever.
consumer_start() {
    starts=$((starts + 1))
    "$INBOX_CONSUMER" "$bank" "$work/feed.$1" "$work/place.$1" \
        $((SEED + starts)) "$FAULT" >>"$work/consumer-$1.log" 2>&1 </dev/null &
    consumer_pids[$1]=$!
    chaos_children+=("$!")
}

# Collects the consumers that ended: one that was killed is started again.
consumers_tend() {
    local n code
    for ((n = 0; n < CONSUMERS; n++)); do
        [ -z "${finished[$n]:-}" ] || continue
        ! is_child "${consumer_pids[$n]}" || continue
        code=0
        wait "${consumer_pids[$n]}" 2>/dev/null || code=$?
        case $code in
            0) finished[$n]=1 ;;
            137) deaths=$((deaths + 1)); consumer_start "$n" ;;
            *) failure="consumer $n exited with $code: $(tail -1 "$work/consumer-$n.log")" ;;
        esac
    done
}
has_ended() { consumers_tend; [ -n "$failure" ] || [ "${#finished[@]}" = "$CONSUMERS" ]; }

place_of() { cat "$work/place.$1" 2>/dev/null || echo 0; }
progress() {
    local n total=0
    for ((n = 0; n < CONSUMERS; n++)); do total=$((total + $(place_of "$n"))); done
    echo "$total"
}

consumer_kill_one() {
    local n=$((RANDOM % CONSUMERS))
    [ -n "${finished[$n]:-}" ] || kill -9 "${consumer_pids[$n]}" 2>/dev/null || true
}
connection_cut_one() {
    sql "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'inbox_consumer' ORDER BY random() LIMIT 1" >/dev/null
}

# One piece of what a relay does once an hour: makes a partition, or drops one of the past, whose
# marks are all young and move.
partitions_keep() {
    [ "$STORE" = postgres ] || return 0
    sql "SELECT sagaz.inbox_keep(interval '1 hour', interval '100 ms', NULL, 0)" >/dev/null
}

# Spreads the faults over the deliveries, so that they hit whatever the size and the speed. Called
# without standard error, where bash reports each killed child; so what fails is kept in `failure`.
consume_with_faults() {
    local deliveries=$((EVENTS * COPIES)) faults=$((KILLS + CUTS)) done_faults=0
    local deadline=$(($(now_ms) + 1000 * ${LIMIT:-1800}))
    until has_ended; do
        if [ "$(now_ms)" -ge "$deadline" ]; then
            failure="timed out at delivery $(progress) of $deliveries"
            return
        fi
        if [ "$done_faults" -lt "$faults" ] &&
            [ "$(progress)" -ge $((deliveries * done_faults / (faults + 1))) ]; then
            if [ $((done_faults % faults)) -lt "$KILLS" ]; then
                consumer_kill_one
            else
                connection_cut_one
            fi
            done_faults=$((done_faults + 1))
            partitions_keep
        fi
        sleep 0.0$((RANDOM % 9 + 1))
    done
}

# Each makes a bank and says how to ask it: `ask` a row a line, `ask_row` a line a column.
bank_on_postgres() {
    # Batches lock accounts in any order, so deadlocks are part of it.
    pg_start "deadlock_timeout = 100ms"
    "$SAGAZ" migrate --store "$pg_url" >"$work/migrate.log" 2>&1 ||
        die "migrate failed: $(tail -3 "$work/migrate.log")"
    psql -Xq -v ON_ERROR_STOP=1 "$pg_url" -f "$chaos_here/inbox.sql" || die "no tables"
    psql -Xq -v ON_ERROR_STOP=1 "$pg_url" -c "\\copy truth FROM '$work/truth.tsv'"
    sql "SELECT sagaz.inbox_add_partition(
             ('past_' || d)::name, sagaz.inbox_first_id(now() - d * interval '1 day'),
             sagaz.inbox_first_id(now() - (d - 1) * interval '1 day'))
         FROM generate_series(1, 20) d" >/dev/null || die "no partitions"
    bank="$pg_url?application_name=inbox_consumer"
    ask() { sql "$1"; }
    ask_row() { psql -Xqx "$pg_url" -c "$1" | sed '1d;/^$/d'; }
}
bank_on_sqlite() {
    local file=$work/bank.db
    CUTS=0
    bank=sqlite:$file
    "$SAGAZ" migrate --store "$bank" >"$work/migrate.log" 2>&1 ||
        die "migrate failed: $(tail -3 "$work/migrate.log")"
    python3 "$chaos_here/inbox_bank.py" make "$file" "$chaos_here/inbox.sql" "$work/truth.tsv" ||
        die "no tables"
    ask() { python3 "$chaos_here/inbox_bank.py" query "$work/bank.db" "$1"; }
    ask_row() { python3 "$chaos_here/inbox_bank.py" row "$work/bank.db" "$1"; }
}

chaos_begin inbox
python3 "$chaos_here/inbox_feed.py" "$work" "$EVENTS" "$COPIES" "$CONSUMERS" "$SEED"
case $STORE in
    postgres) bank_on_postgres ;;
    sqlite) bank_on_sqlite ;;
    *) die "STORE '$STORE'? Known: postgres, sqlite" ;;
esac
from=$(now_ms)
for ((n = 0; n < CONSUMERS; n++)); do consumer_start "$n"; done
consume_with_faults 2>/dev/null
[ -z "$failure" ] || die "$failure"
took=$(($(now_ms) - from))

effects=$(ask "SELECT count(*) FROM effect")
runs=$(cat "$work"/place.*.runs | wc -c)
note "messages, deliveries" "$EVENTS, $((EVENTS * COPIES)) and what deaths repeated, in $took ms"
note "consumers that died" "$deaths of $starts started"
note "handler runs" "$runs, of which $((runs - effects)) had no effect"
note "effects" "$effects"
note "parked" "$(ask "SELECT reason || ' ' || count(*) FROM sagaz.parked GROUP BY reason
    ORDER BY reason" | paste -sd, -)"
if [ "$STORE" = postgres ]; then
    note "partitions made" "$(sql "SELECT count(*) FROM sagaz.inbox_partitions()
        WHERE name LIKE 'consumer%'")"
    dropped=$(sql "SELECT count(*) || ', from which ' || coalesce(sum((detail ->> 'kept')::int), 0)
        || ' marks moved' FROM sagaz.audit WHERE action = 'inbox_partition'")
    note "partitions dropped" "$dropped"
    [ "${FAULT:-none}" != none ] || [ "${dropped%%,*}" -gt 0 ] ||
        die "no partition was dropped: the run shows too little"
fi
ask_row "SELECT * FROM damage" >"$work/damage"
while IFS='|' read -r name number; do
    note "${name// /}" "${number// /}"
done <"$work/damage"
[ "$(awk -F'|' 'NR > 1 { sum += $2 } END { print sum + 0 }' "$work/damage")" = 0 ] ||
    die "the account does not hold"
[ "$(ask 'SELECT messages FROM damage')" = "$EVENTS" ] || die "the truth is not whole"
[ "$deaths" -gt 0 ] || die "nobody died: the run shows too little"
[ "$runs" -gt "$effects" ] || die "no handler failed: the run shows too little"
[ "$(ask "SELECT count(*) FROM sagaz.parked WHERE reason = 'max_attempts'")" -gt 0 ] ||
    die "nothing was parked: the run shows too little"
chaos_end
