#!/usr/bin/env bash
# Events many times round the ring to `null:`, with the disk that the schema uses bounded: its
# curve while all is quiet, while a pg_dump stands still on every table, and while a transaction
# that has touched the log stays open for a minute.
#
# The producers wait while too much is pending (BACKLOG_MAX), so that what is bounded is the log and
# not a relay's speed. In calm the schema then needs room for what is pending, the segment that is
# written, and the ones that were left within the last seconds. A phase that holds the segments may
# add what is appended in it, and nothing more; after it all of that must go.
#
# EVENTS (10000000), CLIENTS (2), PAYLOAD (100) bytes, BACKLOG_MAX (500000), HOLD (60) seconds of
# the open transaction; SAGAZ.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

EVENTS=${EVENTS:-10000000}
CLIENTS=${CLIENTS:-2}
PAYLOAD=${PAYLOAD:-100}
BACKLOG_MAX=${BACKLOG_MAX:-500000}
HOLD=${HOLD:-60}
CHUNK=$((EVENTS / CLIENTS / 20 < 20000 ? EVENTS / CLIENTS / 20 : 20000))
SEGMENT=262144

disk() {
    sql "SELECT sum(pg_total_relation_size(c.oid)) / 1048576 FROM pg_class c
         WHERE c.relnamespace = 'sagaz'::regnamespace AND c.relkind IN ('r', 'S')" | cut -d. -f1
}
appended() { sql "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM sagaz.outbox_id"; }
truncations() { sql "SELECT sum(truncations) FROM sagaz.segment"; }
held_back() { # rows that are still there, whatever became of them
    sql "SELECT count(*) FROM pg_class c WHERE c.relname ~ '^outbox_[0-9]{2}$'
         AND c.relnamespace = 'sagaz'::regnamespace AND pg_relation_size(c.oid) > 0"
}

# One producer: chunk after chunk, each committed, waiting while too much is pending.
produce() {
    local left=$1
    while [ "$left" -gt 0 ]; do
        while [ "$(pending)" -gt "$BACKLOG_MAX" ]; do sleep 0.1; done
        sql "INSERT INTO sagaz.outbox (topic, key, event_type, payload)
             SELECT 'orders', (n % 50000)::text, 'OrderPlaced',
                    convert_to(repeat('x', $PAYLOAD), 'UTF8')
             FROM generate_series(1, $((left < CHUNK ? left : CHUNK))) n"
        left=$((left - CHUNK))
    done
}

# The curve, twice a second: seconds, phase, appended, MiB, segments in use, truncations.
watch() {
    local from=$SECONDS
    while :; do
        printf '%s %s %s %s %s %s\n' $((SECONDS - from)) "$(cat "$work/phase")" "$(appended)" \
            "$(disk)" "$(held_back)" "$(truncations)"
        sleep 0.5
    done >>"$work/curve"
}

phase() { echo "$1" >"$work/phase"; say "== $1: $(appended) appended, $(disk) MiB"; }
has_appended() { [ "$(appended)" -ge "$1" ]; }
is_reclaimed() { [ "$(held_back)" -le 1 ]; }
peak_of() { awk -v p="$1" '$2 == p && $4 > m { m = $4 } END { print m + 0 }' "$work/curve"; }
spent_of() {
    awk -v p="$1" '$2 == p { if (!n++) a = $3; b = $3 } END { print b - a + 0 }' "$work/curve"
}

# What a million events of this size take with their indexes, in MiB.
measure_size() {
    sql "CREATE TABLE probe (LIKE sagaz.outbox_00 INCLUDING ALL)"
    sql "INSERT INTO probe (slot, id, key, event_type, topic, payload)
         SELECT n % 16, n, (n % 50000)::text, 'OrderPlaced', 'orders',
                convert_to(repeat('x', $PAYLOAD), 'UTF8') FROM generate_series(1, 100000) n"
    million_mib=$(sql "SELECT pg_total_relation_size('probe') * 10 / 1048576")
    sql "DROP TABLE probe"
}
mib_of() { echo $(($1 * million_mib / 1000000)); }

# A dump of every table that stands still in the middle: it has all its locks and its snapshot.
start_dump() {
    "$pg_bin/pg_dump" "$pg_direct_url" -n sagaz -f "$work/dump.sql" 2>"$work/dump.err" &
    dump=$!
    chaos_children+=("$dump")
    dump_has_locks() {
        [ "$(sql "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
                  WHERE c.relname ~ '^outbox_[0-9]{2}$' AND l.granted AND l.pid IN
                  (SELECT pid FROM pg_stat_activity WHERE application_name = 'pg_dump')")" = 16 ]
    }
    wait_for 30 "pg_dump has its locks" dump_has_locks
    kill -STOP "$dump"
}

chaos_begin ring
pg_start "autovacuum_naptime = 5s" "synchronous_commit = off"
"$SAGAZ" migrate --store "$pg_url" >"$work/migrate.log" 2>&1 || die "migrate failed"
measure_size
RELAY_BROKER=null: relay_start main
wait_for 30 "the relay owns every slot" all_slots_owned
phase calm
watch &
watcher=$!
chaos_children+=("$watcher")
producers=()
for ((n = 0; n < CLIENTS; ++n)); do
    produce $((EVENTS / CLIENTS)) 2>"$work/producer-$n.log" &
    producers+=("$!")
    chaos_children+=("$!")
done
wait_for 600 "a third is appended" has_appended $((EVENTS / 3))

phase dump
start_dump
wait_for 600 "half is appended" has_appended $((EVENTS / 2))
kill -CONT "$dump"
wait "$dump" || die "pg_dump failed: $(tail -2 "$work/dump.err")"
phase calm_again
wait_for 600 "six tenths are appended" has_appended $((EVENTS * 6 / 10))

phase transaction
(echo "BEGIN; INSERT INTO sagaz.outbox (topic, key, event_type, payload)
       VALUES ('orders', 'late', 'OrderPlaced', ''); SELECT count(*) FROM sagaz.outbox;"
 sleep "$HOLD"; echo "COMMIT;") | psql -Xq "$pg_url" >/dev/null 2>"$work/transaction.err" &
transaction=$!
chaos_children+=("$transaction")
wait "$transaction" || die "the transaction failed: $(cat "$work/transaction.err")"
phase calm_at_last
for producer in "${producers[@]}"; do wait "$producer" || die "a producer failed, see its log"; done
wait_until_drained 300 main
wait_for 60 "all segments but the one being written are empty" is_reclaimed
end_child "$watcher"
phase over
relay_stop main

# ------------------------------------------------------------------------------------ the verdict

events=$((EVENTS / CLIENTS * CLIENTS + 1))
published=$(sed -n 's/.*relay_stopped.*published=\([0-9]*\).*/\1/p' "$work/relay-main.log")
say "-- the curve: seconds, phase, appended, MiB, segments in use, truncations"
awk -v n="$(wc -l <"$work/curve")" '(NR - 1) % (int(n / 40) + 1) == 0' "$work/curve" >&2
# What is pending, the segment that is written and two that were left since the last look, each at
# most full; and as much for what is appended within a second or two by clients that did not look.
calm_mib=$(mib_of $((BACKLOG_MAX + 2 * CLIENTS * CHUNK + 4 * SEGMENT)))
note "events committed / published" "$events / ${published:-?}"
note "laps of the ring" "$(awk -v n="$events" -v s=$SEGMENT 'BEGIN { printf "%.1f", n / s / 16 }')"
note "truncations" "$(truncations)"
note "all events would take" "$(mib_of "$events") MiB"
[ "${published:-0}" = "$events" ] || die "not everything committed was published, and once"
for name in calm dump calm_again transaction calm_at_last; do
    bound=$calm_mib
    case $name in
        dump | transaction) bound=$((bound + $(mib_of "$(spent_of $name)"))) ;;
        calm_again) bound=$((bound + $(mib_of "$(spent_of dump)"))) ;;
        calm_at_last) bound=$((bound + $(mib_of "$(spent_of transaction)"))) ;;
    esac
    note "peak of $name" "$(peak_of $name) MiB, at most $bound"
    [ "$(peak_of $name)" -le "$bound" ] || die "the disk used in phase $name is not bounded"
done
note "at the end" "$(disk) MiB"
[ "$(disk)" -le $(($(mib_of $SEGMENT) + 32)) ] || die "what was delivered is still there"
[ "$(truncations)" -ge $((events / SEGMENT - 1)) ] || die "segments left the ring by other ways"
relay_costs "$events"
chaos_end
