#!/usr/bin/env bash
# The restore drills: a database with delivered events and a backlog is lost and comes back another
# way; what survived must arrive, each drill with its account.
#
#   dump      pg_dump under load, restored into a new cluster; producers start before the relay
#   resetwal  pg_resetwal: the log thrown away; ids set forward; ids set back after a freeze
#   logical   publication and subscription, then the subscriber becomes the database
#   upgrade   pg_upgrade to NEW_BIN; where there is one major version only it says so and shows
#             nothing (pg_upgrade.sh brings two)
#   lagging   promotion of a standby that lacks what the relay has published: those are counted
#
# Dumping and restoring set the session up for themselves (no search_path), and what feeds a
# subscriber speaks another protocol: all of that goes past a pooler in transaction mode, which
# would hand such a session to the next client.
#
# DRILLS (all), SECONDS_OF_LOAD (4), CLIENTS (4), BATCH_MAX (500), OLD_BIN, NEW_BIN, SEED; SAGAZ.
BATCH_MAX=${BATCH_MAX:-500}
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

DRILLS=${DRILLS:-dump resetwal logical upgrade lagging}
SECONDS_OF_LOAD=${SECONDS_OF_LOAD:-4}
CLIENTS=${CLIENTS:-4}

TRUTH_ROWS="SELECT json_build_array(event_id, topic, key, order_number) FROM truth"

# server_start NAME BIN [config line...]: an empty cluster; it becomes the one that sql talks to.
server_start() {
    local name=$1
    pg_bin=$2
    shift 2
    pg_home=$work/pg-$name
    pg_start "autovacuum = off" "wal_level = logical" "$@"
}

# The pid that pg_launch noted may be of another server by now.
server_stop() {
    (as_server "$pg_bin/pg_ctl" stop -s -m fast -D "$pg_home/data") >/dev/null 2>&1 ||
        die "PostgreSQL did not stop"
    wait "$pg_pid" 2>/dev/null || true
}

load() {
    (bank_run "$pg_url" -c "$CLIENTS" -j 2 -T "$1") >>"$work/pgbench.log" 2>&1 ||
        die "the load failed: $(tail -2 "$work/pgbench.log")"
}

delivered() { wc -l <"$file" 2>/dev/null || echo 0; }
some_delivered() { [ "$(delivered)" -gt "${1:-100}" ]; }

# Events delivered, then a killed relay, then a backlog.
begin_drill() {
    drill=$1
    file=$work/$drill.jsonl
    : >"$file"
    broker_url=file:$file
    say "== drill $drill"
    bank_create
    load 1
    relay_start "$drill-before"
    load "$SECONDS_OF_LOAD" &
    local loading=$!
    wait_for 60 "the relay delivers" some_delivered 300
    sleep 1
    relay_kill "$drill-before"
    wait "$loading" || die "the load failed: $(tail -2 "$work/pgbench.log")"
    before=$(delivered)
    has_backlog || load 1  # On a busy machine the relay outlived the load.
    require_backlog
}

has_backlog() { [ "$(events_committed)" -gt $((before + 100)) ]; }

require_backlog() {
    local committed
    committed=$(events_committed)
    has_backlog || die "there is no backlog to lose"
    say "   $committed committed, $before delivered when it happens"
}

# end_drill [LOST_TRUTH]: the relay of after delivers the rest, and the account is made.
end_drill() {
    local after audit limit
    relay_start "$drill-after"
    drained() { all_slots_owned && is_drained; }
    wait_for 120 "everything is delivered" drained
    relay_stop "$drill-after"
    sql "$TRUTH_ROWS" >"$work/$drill.truth"
    after=$(python3 "$chaos_here/restore_account.py" "$work/$drill.truth" "$file" "$@") ||
        die "$drill: $after"
    audit=$(sql "SELECT coalesce(string_agg(detail ->> 'moved', ' + '), 'none')
                 FROM sagaz.audit WHERE action = 'rebase'")
    # What the killed relay had in hand; and what was delivered after the moment it goes back to.
    limit=$((5 * BATCH_MAX + ${went_back:-0}))
    [ "${after##*repeats }" -le "$limit" ] || die "$drill: $after, at most $limit may repeat"
    [ "$(sql 'SELECT count(*) FROM sagaz.parked')" = 0 ] || die "$drill: events were parked"
    note "$drill" "$after (at most $limit), moved $audit"
    "$SAGAZ" doctor --store "$pg_url" --json >"$work/$drill.doctor" 2>/dev/null || true
    note "   doctor" "$(python3 -c 'import json, sys
print(next(c["seen"] for c in json.load(sys.stdin)["checks"] if c["id"] == "restore"))' \
        <"$work/$drill.doctor")"
    went_back=0
}

rebases() { sql "SELECT count(*) FROM sagaz.audit WHERE action = 'rebase'"; }
rebased() { [ "$(rebases)" -gt "${1:-0}" ] || die "$drill: nothing was re-based"; }

# Roles belong to the cluster and are in no dump of a database; postgres itself is there already.
roles_dump() {
    "$pg_bin/pg_dumpall" --roles-only -d "$pg_direct_url" | grep -vw 'ROLE postgres' \
        >"$work/roles.sql" || die "pg_dumpall failed"
}
roles_restore() {
    psql -Xq -v ON_ERROR_STOP=1 "$pg_direct_url" -f "$work/roles.sql" >/dev/null || die "no roles"
}

drill_dump() {
    server_start dump-old "$old_bin"
    begin_drill dump
    (bank_run "$pg_url" -c "$CLIENTS" -j 2 -T 2) >>"$work/pgbench.log" 2>&1 &
    local loading=$!
    "$pg_bin/pg_dump" "$pg_direct_url" -f "$work/dump.sql" || die "pg_dump failed"
    roles_dump
    wait "$loading" || die "the load failed"
    # The old one goes on delivering what the dump has as a backlog: those will repeat.
    relay_start dump-meanwhile
    wait_for 60 "the old database delivers on" some_delivered $((before + 50))
    relay_kill dump-meanwhile
    went_back=$(($(delivered) - before))
    sql "$TRUTH_ROWS" >"$work/dump.lost"
    server_stop
    server_start dump-new "$new_bin"
    roles_restore
    psql -Xq -v ON_ERROR_STOP=1 "$pg_direct_url" -f "$work/dump.sql" >/dev/null \
        2>"$work/restore.err" ||
        die "the dump was not restored: $(head -2 "$work/restore.err")"
    load 1
    end_drill "$work/dump.lost"
    rebased
    server_stop
}

drill_resetwal() {
    local next past
    server_start resetwal "$old_bin"
    begin_drill resetwal
    server_stop
    reset_wal -f
    load 1
    end_drill
    begin_again
    server_stop
    reset_wal -x $((($(next_xid) / 1048576 + 2) * 1048576))
    load 1
    end_drill
    begin_again
    # Back, with snapshots ahead: rows must be frozen to be seen at all.
    past=$(sql "SELECT pg_current_xact_id()")
    printf 'SELECT pg_current_xact_id();\n' >"$work/burn.sql"
    "$pg_bin/pgbench" "$pg_url" -n -f "$work/burn.sql" -c 4 -t 5000 >/dev/null 2>&1
    relay_start resetwal-ahead
    load 1
    wait_for 60 "the relay delivers" is_drained
    relay_kill resetwal-ahead
    load 1
    "$pg_bin/vacuumdb" -q --all --freeze -h 127.0.0.1 -p "$pg_port" -U postgres
    server_stop
    reset_wal -x $((past + 100))
    load 1
    "$SAGAZ" doctor --store "$pg_url" >"$work/ahead.doctor" 2>/dev/null || true
    grep -q "in doubt" "$work/ahead.doctor" ||
        die "doctor does not say that cursors are in doubt"
    end_drill
    rebased
    server_stop
}

begin_again() {
    before=$(delivered)
    load 1
}
next_xid() {
    (as_server "$pg_bin/pg_controldata" "$pg_home/data") |
        sed -n "s/^Latest checkpoint's NextXID: *[0-9]*:\([0-9]*\)$/\1/p"
}
reset_wal() {
    (as_server "$pg_bin/pg_resetwal" "$@" -D "$pg_home/data") >>"$work/resetwal.log" 2>&1 ||
        die "pg_resetwal failed, see $work/resetwal.log"
    pg_launch
}

drill_logical() {
    local old_url
    server_start logical-old "$old_bin"
    begin_drill logical
    old_url=$pg_direct_url
    sql "CREATE PUBLICATION everything FOR ALL TABLES"
    roles_dump
    "$pg_bin/pg_dump" -s "$pg_direct_url" --no-publications -f "$work/schema.sql" ||
        die "pg_dump failed"
    local old_pid=$pg_pid old_home=$pg_home old_tool=$pg_bin
    server_start logical-new "$new_bin"
    roles_restore
    psql -Xq -v ON_ERROR_STOP=1 "$pg_direct_url" -f "$work/schema.sql" >/dev/null ||
        die "the schema was not copied"
    sql "CREATE SUBSCRIPTION copy CONNECTION '$old_url' PUBLICATION everything"
    caught_up() {
        [ "$(sql "SELECT count(*) FROM truth")" = "$(psql -XqAt "$old_url" -c \
            "SELECT count(*) FROM truth")" ] &&
            [ "$(sql "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'")" = 0 ]
    }
    wait_for 120 "the subscriber has caught up" caught_up
    if "$SAGAZ" migrate --after-restore --store "$pg_url" >"$work/early.log" 2>&1; then
        die "a subscriber was re-based while it was still fed"
    fi
    grep -q still_subscribed "$work/early.log" || die "wrong refusal: $(head -3 "$work/early.log")"
    sql "ALTER SUBSCRIPTION copy DISABLE; ALTER SUBSCRIPTION copy SET (slot_name = NONE)"
    sql "DROP SUBSCRIPTION copy"
    (as_server "$old_tool/pg_ctl" stop -s -m immediate -D "$old_home/data") >/dev/null 2>&1
    wait "$old_pid" 2>/dev/null || true
    sql "SELECT setval('movement_id_seq', (SELECT max(id) FROM movement))" >/dev/null
    "$SAGAZ" migrate --after-restore --store "$pg_url" 2>>"$work/migrate.log" >&2 ||
        die "migrate --after-restore failed: $(tail -3 "$work/migrate.log")"
    load 1
    end_drill
    rebased
    server_stop
}

drill_upgrade() {
    local old_home
    if [ "$old_bin" = "$new_bin" ]; then
        note "upgrade" "NOT SHOWN: only one PostgreSQL here; ./do chaos pg_upgrade shows it"
        return
    fi
    server_start upgrade-old "$old_bin"
    begin_drill upgrade
    server_stop
    old_home=$pg_home
    server_start upgrade-new "$new_bin"
    server_stop
    rm -rf "$pg_home/data"
    (as_server "$new_bin/initdb" -D "$pg_home/data" -U postgres -A trust -E UTF8 --locale=C \
        --no-sync) >>"$work/initdb.log" 2>&1 || die "initdb failed"
    (cd "$pg_home" && as_server "$new_bin/pg_upgrade" -b "$old_bin" -B "$new_bin" \
        -d "$old_home/data" -D "$pg_home/data" -U postgres -s "$pg_home") \
        >"$work/upgrade.log" 2>&1 || die "pg_upgrade failed: $(tail -5 "$work/upgrade.log")"
    {
        echo "listen_addresses = '127.0.0.1'"
        echo "port = $pg_port"
        echo "unix_socket_directories = '$pg_home'"
    } >>"$pg_home/data/postgresql.conf"
    pg_launch
    load 1
    end_drill
    rebased
    note "   from and to" "$("$old_bin/postgres" -V), $("$new_bin/postgres" -V)"
    server_stop
}

drill_lagging() {
    local old_home old_port old_pid old_url old_direct_url
    server_start lagging-old "$old_bin" "wal_keep_size = 1GB" "max_wal_senders = 4"
    begin_drill lagging
    old_home=$pg_home old_port=$pg_port old_pid=$pg_pid
    old_url=$pg_url old_direct_url=$pg_direct_url
    pg_home=$work/pg-lagging-new
    mkdir -p "$pg_home"
    [ "$(id -u)" != 0 ] || chown postgres "$pg_home"
    (as_server "$pg_bin/pg_basebackup" -R -c fast -X stream -h 127.0.0.1 -p "$old_port" \
        -U postgres -D "$pg_home/data") >"$work/basebackup.log" 2>&1 || die "pg_basebackup failed"
    pg_port=$(free_port)
    pg_direct_url=postgresql://postgres@127.0.0.1:$pg_port/bank
    printf "port = %s\nunix_socket_directories = '%s'\n" "$pg_port" "$pg_home" \
        >>"$pg_home/data/postgresql.conf"
    pg_launch
    same() {
        [ "$(events_committed)" = "$(psql -XqAt "$old_direct_url" -c \
            "SELECT count(*) FROM truth")" ]
    }
    wait_for 60 "the standby has caught up" same
    # It hears no more, and the primary commits and delivers on.
    sql "ALTER SYSTEM SET primary_conninfo = ''" >/dev/null
    sql "SELECT pg_reload_conf()" >/dev/null
    deaf() { [ "$(sql "SELECT count(*) FROM pg_stat_wal_receiver")" = 0 ]; }
    wait_for 30 "the standby hears no more" deaf
    pg_url=$old_url pg_direct_url=$old_direct_url
    load 1
    relay_start lagging-primary
    drained() { all_slots_owned && is_drained; }
    wait_for 60 "the primary has delivered all" drained
    relay_kill lagging-primary
    went_back=$(($(delivered) - before))
    sql "$TRUTH_ROWS" >"$work/lagging.lost"
    (as_server "$pg_bin/pg_ctl" stop -s -m immediate -D "$old_home/data") >/dev/null 2>&1
    wait "$old_pid" 2>/dev/null || true
    pg_reach
    sql "SELECT pg_promote()" >/dev/null
    load 1
    end_drill "$work/lagging.lost"
    server_stop
}

chaos_begin restore
old_bin=${OLD_BIN:-$pg_bin}
new_bin=${NEW_BIN:-$pg_bin}
for drill_name in $DRILLS; do "drill_$drill_name"; done
chaos_end
