#!/usr/bin/env bash
# ./do bench: starts PostgreSQL with its default durability and Kafka, runs `sagaz bench` on them,
# and writes bench/RESULTS.md. What is given goes to `sagaz bench`: --only drain, --scale quick.
#
# The results of a benchmark are kept as it ends, so one that fails takes no other's with it.
# RESULTS names another place for the results; SAGAZ and COUNTS_TEST another build.
. "$(dirname "${BASH_SOURCE[0]}")/../chaos/lib.sh"

RESULTS=${RESULTS:-$chaos_root/bench/RESULTS.md}
bench_here=$chaos_root/tests/bench

# What a database of this size is given; durability is as PostgreSQL comes.
pg_settings=("shared_buffers = 2GB" "max_wal_size = 16GB" "checkpoint_timeout = 30min")

describe() {
    python3 "$bench_here/results.py" machine "$(sql 'SHOW server_version')" \
        "$("$SAGAZ" version --json)" "$(cd "$chaos_root" && git describe --always --dirty)" \
        "$(sql "SELECT string_agg(name || ' = ' || current_setting(name), ', ' ORDER BY name)
                FROM pg_settings
                WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'wal_level',
                               'shared_buffers', 'max_wal_size', 'checkpoint_timeout',
                               'autovacuum', 'wal_sync_method')")" \
        "sagaz bench $*"
}

if [ -z "${SAGAZ:-}" ]; then
    (cd "$chaos_root" && cmake --preset release >/dev/null &&
        cmake --build build/release --target sagaz_executable relay_counts_test >&2)
    SAGAZ=$chaos_root/build/release/app/sagaz
    COUNTS_TEST=$chaos_root/build/release/tests/bench/relay_counts_test
fi
chaos_begin bench
pg_start "${pg_settings[@]}"
kafka_start
arguments=("$@")
[[ " $* " == *" --scale "* ]] || arguments+=(--scale full)
code=0
describe "${arguments[@]}" >"$work/results.jsonl"
from=$SECONDS
"$SAGAZ" bench --store "$pg_url" --broker "$broker_url" --json "${arguments[@]}" \
    >>"$work/results.jsonl" || code=$?
say "== $((SECONDS - from)) s"
[ "$(wc -l <"$work/results.jsonl")" -gt 1 ] || die "nothing was measured"
"$COUNTS_TEST" >"$work/counts.log" 2>&1 || { tail -20 "$work/counts.log" >&2; code=1; }
sed -n 's/^counts: //p' "$work/counts.log" >>"$work/results.jsonl"
mkdir -p "$(dirname "$RESULTS")"
python3 "$bench_here/results.py" table "$work/results.jsonl" >"$RESULTS"
say "== results are in $RESULTS"
[ "$code" = 0 ] || die "sagaz bench exited with $code"
chaos_end
