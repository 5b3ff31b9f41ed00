#!/usr/bin/env bash
# PostgreSQL stopped with -m immediate under load of asynchronous commits, again and again; first
# directly, then with everybody behind pgbouncer in transaction mode. What survived must arrive,
# what did not survive must not: the truth is what the table holds after the last recovery.
#
# CRASHES (10) direct, POOLED_CRASHES (10) behind pgbouncer, CLIENTS (8), LEASE (2s), SEED; SAGAZ.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
unset SAGAZ_TEST_POOLER  # its rounds are of both kinds already

CRASHES=${CRASHES:-10}
POOLED_CRASHES=${POOLED_CRASHES:-10}
CLIENTS=${CLIENTS:-8}
ROUND_EVENTS=${ROUND_EVENTS:-2500}

# Commits of one session whose answers were heard, each id a line. psql ends with its server.
hear_commits() {
    yes "SELECT emit((random() * 999)::int + 1, 'orders', 'Heard', 1), pg_sleep(0.002);" |
        psql -XqAt -F ' ' -v ON_ERROR_STOP=1 "$1" >>"$work/heard.txt" 2>/dev/null &
    heard=$!
    chaos_children+=("$heard")
}

crash_round() {
    local url=$1 before pgbench size
    before=$(events_tried)
    size=$(topics_size)
    # For a second after a login failed, a pooler refuses others at once; pgbench would give up.
    takes_clients() { psql -Xq "$url" -c 'SELECT 1' >/dev/null 2>&1; }
    wait_for 30 "the database takes clients" takes_clients
    bank_run "$url" -c "$CLIENTS" -j 2 -T 120 >>"$work/pgbench.log" 2>&1 &
    pgbench=$!
    chaos_children+=("$pgbench")
    hear_commits "$url"
    enough() { [ "$(events_tried)" -gt $((before + ROUND_EVENTS)) ]; }
    wait_for 60 "the load is under way" enough
    # The crash must find the relay at work, not still waiting for the server.
    delivering() { [ "$(topics_size)" -gt $((size + ROUND_EVENTS / 2)) ]; }
    wait_for 60 "the relay delivers again" delivering
    sleep "0.$((RANDOM % 10))"
    pg_stop_immediately
    # Behind a pooler the clients hear of it late, or try again: they are done for now.
    end_child "$pgbench"
    end_child "$heard"
    pg_launch
    relay_lives main || die "the relay ended, see its log"
    note_losses
}

# Commits that were heard and are gone: how much there was to announce wrongly.
note_losses() {
    sql "SELECT event_id FROM truth WHERE event_type = 'Heard'" | sort >"$work/survived.txt"
    awk 'NF { print $1 }' "$work/heard.txt" | sort -u >"$work/heard.ids"
    lost=$(comm -23 "$work/heard.ids" "$work/survived.txt" | wc -l)
}

# crash_rounds WHAT COUNT URL
crash_rounds() {
    local round
    for ((round = 1; round <= $2; ++round)); do
        crash_round "$3"
        say "   $1 crash $round of $2: $(events_committed) events survive," \
            "$lost heard commits are lost"
    done
}

chaos_begin postgres-crash
lost=0
# A lazy writer leaves as much as possible to be lost.
pg_start "wal_writer_delay = 10s" "wal_writer_flush_after = 0"
kafka_start $TOPICS
bank_create
sql "CREATE ROLE hasty LOGIN SUPERUSER"
sql "ALTER ROLE hasty SET synchronous_commit = off"
hasty_url=postgresql://hasty@127.0.0.1:$pg_port/bank

relay_start main
wait_for 30 "the relay owns every slot" all_slots_owned
crash_rounds direct "$CRASHES" "$hasty_url"
wait_until_drained 120 main
relay_stop main
note "direct" "$CRASHES crashes, $(events_committed) events survived, $lost heard commits lost"
judge "$CRASHES"

if [ "$POOLED_CRASHES" -gt 0 ]; then
    lost_before=$lost
    bouncer_start
    RELAY_STORE=$bouncer_url relay_start main
    wait_for 30 "the relay owns every slot" all_slots_owned
    crash_rounds pooled "$POOLED_CRASHES" "${bouncer_url/\/bank/\/hasty}"
    wait_until_drained 120 main
    relay_stop main
    note "through pgbouncer" "$POOLED_CRASHES crashes, $(events_committed) events survived, \
$((lost - lost_before)) heard commits lost"
    judge $((CRASHES + POOLED_CRASHES))
fi
require_variety
[ "$(sql 'SELECT count(*) FROM sagaz.parked')" = 0 ] || die "events were parked"
[ "$CRASHES" -lt 5 ] || [ "$lost" -gt 0 ] ||
    die "no commit was lost in any crash: this showed nothing"
chaos_end
