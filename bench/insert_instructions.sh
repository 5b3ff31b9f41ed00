#!/usr/bin/env bash
# The instructions that PostgreSQL needs for one prepared statement in a transaction of its own: an
# INSERT into a bare table, into the log, and append(). By callgrind on a server with one user, so
# that neither the machine's load nor its clock is in the figure; it does not see caches or locks.
#
# STATEMENTS (500), SAGAZ; needs valgrind, which `./do setup` does not install.
. "$(dirname "${BASH_SOURCE[0]}")/../tests/chaos/lib.sh"

STATEMENTS=${STATEMENTS:-500}
PAYLOAD=$(printf 'x%.0s' $(seq 200))

prepare_and_execute() { # prepare_and_execute COUNT STATEMENT
    echo "PREPARE way (text) AS $2"
    for n in $(seq "$1"); do echo "EXECUTE way ('key-$n')"; done
}

instructions() { # instructions COUNT STATEMENT: all of a server that starts, runs it and ends
    prepare_and_execute "$@" >"$work/statements"
    chmod 644 "$work/statements"
    (as_server valgrind --tool=callgrind --callgrind-out-file=/dev/null "$pg_bin/postgres" --single \
        -D "$pg_home/data" bank <"$work/statements") 2>&1 >/dev/null | awk '/Collected/ { print $4 }'
}

measure() { # measure NAME STATEMENT
    local few more
    few=$(instructions $((STATEMENTS / 2)) "$2")
    more=$(instructions $((STATEMENTS / 2 + STATEMENTS)) "$2")
    note "$1" "$(((more - few) / STATEMENTS)) instructions"
}

command -v valgrind >/dev/null || { echo "valgrind is not installed" >&2; exit 1; }
chaos_begin insert_instructions
pg_start "fsync = off" "autovacuum = off"
"$SAGAZ" migrate --store "$pg_url" >"$work/migrate.log" 2>&1 || die "migrate failed"
sql "CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, created_at timestamptz NOT
     NULL DEFAULT clock_timestamp(), topic text, key text, event_type text NOT NULL, payload bytea
     NOT NULL)"
(as_server "$pg_bin/pg_ctl" stop -s -m fast -D "$pg_home/data")

values="(topic, key, event_type, payload) VALUES ('orders', \$1, 'OrderPlaced', '$PAYLOAD')"
measure "bare table" "INSERT INTO bare $values"
measure "plain INSERT" "INSERT INTO sagaz.outbox $values"
measure "append()" "SELECT sagaz.append('orders', \$1, 'OrderPlaced', '$PAYLOAD'::text)"
chaos_end
