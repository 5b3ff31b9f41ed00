#!/usr/bin/env bash
# Drains a log of committed events to `null:` beside a bare libpq read of the same rows, by turns
# in one run: prints both, their ratio and its spread, and where the relay's time goes.
#
# The log is filled once. Before each drain the cursors go back to the first migration's rows
# (n = 0) while no relay runs: the same million is then undelivered again. One drain and one read
# before the counted rounds warm the server's and the kernel's memory. What is delivered has to stay
# for the next round, hence the retention.
#
# EVENTS (1000000), ROUNDS (5), PAYLOAD (200) bytes, PROFILE=1; SAGAZ, BARE_READ.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

EVENTS=${EVENTS:-1000000}
ROUNDS=${ROUNDS:-5}
PAYLOAD=${PAYLOAD:-200}

fill() {
    sql "INSERT INTO sagaz.outbox (topic, key, event_type, payload, headers)
         SELECT 'orders', (n % 50000)::text, 'OrderPlaced',
                convert_to(repeat('x', $PAYLOAD), 'UTF8'),
                CASE WHEN n % 4 = 0 THEN '{\"tenant\": \"blue\"}'::jsonb END
         FROM generate_series(1, $EVENTS) n"
    sql "VACUUM (ANALYZE) sagaz.outbox"
    sql "CHECKPOINT"
}

rewind_cursors() {
    sql "DELETE FROM sagaz.cursor WHERE n > 0"
    [ "$(sql 'SELECT count(*) FROM sagaz.cursor')" = "$(sql 'SELECT count(*) FROM sagaz.slot')" ] ||
        die "the cursors' first rows are gone: they cannot be rewound"
    [ "$(owned_slots)" = 0 ] || sql "UPDATE sagaz.slot SET owner = NULL, epoch = epoch + 1"
}

# drain [command before it...]: prints milliseconds.
drain() {
    local from
    rewind_cursors
    from=$(now_ms)
    SAGAZ_ADMIN_LISTEN=127.0.0.1:0 SAGAZ_RELAY_LEASE=$LEASE SAGAZ_RELAY_RETENTION=24h "$@" \
        "$SAGAZ" relay --store "$pg_url" --broker null: --until-drained >>"$work/relay.log" 2>&1 ||
        die "the drain failed, see $work/relay.log"
    echo $(($(now_ms) - from))
    is_drained || die "the relay says drained, the backlog does not"
}

bare() {
    local from
    from=$(now_ms)
    "$BARE_READ" "$pg_url" "$EVENTS" >>"$work/bare.log" || die "the bare read failed"
    echo $(($(now_ms) - from))
}

median() { sort -n | sed -n "$(((ROUNDS + 1) / 2))p"; }

# profile_by SORT LINES. Not by head: it would break the pipe.
profile_by() {
    perf report -i "$work/perf.data" --no-children -g none --sort "$1" --stdio 2>/dev/null |
        sed -n '/^ *[0-9]/p' | sed -n "1,$2p" | sed 's/  *-  *-  *$//' | cut -c1-120 >&2
}

profile() {
    command -v perf >/dev/null || { say "   no perf here"; return 0; }
    drain perf record -q -F 499 -g -o "$work/perf.data" -- >/dev/null ||
        { say "   perf may not run here"; return 0; }
    say "-- where the relay's time goes, by library and then by function (self)"
    profile_by dso 8
    profile_by dso,symbol 25
}

chaos_begin drain-bench
pg_start "shared_buffers = 2GB" "autovacuum = off"
"$SAGAZ" migrate --store "$pg_url" >"$work/migrate.log" 2>&1 || die "migrate failed"
say "== filling $EVENTS events of $PAYLOAD bytes"
fill
bare >/dev/null
drain >/dev/null
for ((round = 1; round <= ROUNDS; ++round)); do
    bare_ms=$(bare)
    drain_ms=$(drain)
    echo "$bare_ms" >>"$work/bare.ms"
    echo "$drain_ms" >>"$work/drain.ms"
    ratio=$(awk -v b="$bare_ms" -v d="$drain_ms" 'BEGIN { printf "%.3f", b / d }')
    echo "$ratio" >>"$work/ratios"
    say "   round $round: bare $bare_ms ms, drain $drain_ms ms, ratio $ratio"
done
bare_ms=$(median <"$work/bare.ms")
drain_ms=$(median <"$work/drain.ms")
ratio=$(awk -v b="$bare_ms" -v d="$drain_ms" 'BEGIN { printf "%.2f", b / d }')
note "bare read, median" \
    "$bare_ms ms, $((EVENTS * 1000 / bare_ms)) events/s ($(tail -1 "$work/bare.log"))"
note "drain to null:, median" "$drain_ms ms, $((EVENTS * 1000 / drain_ms)) events/s"
note "ratio" "$ratio (rounds: $(sort -n "$work/ratios" | tr '\n' ' '))"
[ "${PROFILE:-1}" = 0 ] || profile
awk -v r="$ratio" 'BEGIN { exit !(r >= 0.5) }' || say "   below the goal of 0.5"
chaos_end
