#!/usr/bin/env bash
# k8s/postgresql.yaml without Kubernetes: its script, its configuration and its probes with a real
# server, then what the migration job and a relay of the dev overlay do with it. See README.md.
source "$(dirname "${BASH_SOURCE[0]}")/../chaos/lib.sh"
PATH=/usr/bin:$PATH # the python3 that has python3-yaml

if [ "$(id -u)" != 0 ]; then
    say "SKIPPED: it needs a process of user postgres, so it runs as root only"
    exit 77
fi
chaos_begin k8s-postgresql
here=$chaos_root/tests/k8s
PGPORT=$(free_port)
export PGPORT PGHOST=$work/run PGDATA=$work/data/pgdata
export CONNECTION_STRING_FILE=$work/connection-string POD_NAMESPACE=sagaz
config=$work/etc
mkdir -p "$work/bin" "$work/run" "$work/data" "$config"
chown postgres "$work/run" "$work/data"

# out KIND NAME KEY.KEY...: a part of an object of k8s/, a list word by word.
out() { python3 -B "$here/part.py" "$@"; }
for file in postgresql.conf pg_hba.conf create.sh; do
    out ConfigMap postgresql-config "data/$file" >"$config/$file"
done
sed -i "s|/etc/postgresql|$config|; s|'/var/run/postgresql'|'$work/run'|" "$config/postgresql.conf"

# The image has PostgreSQL 17; where this machine's is older, its initdb does not know one option.
PATH=$pg_bin:$PATH
if [ "$(basename "$(dirname "$pg_bin")")" -lt 17 ]; then
    say "PostgreSQL is older than 17: without --locale-provider=builtin"
    printf '#!/bin/sh\nexec %s/initdb $(printf "%%s\\n" "$@" | grep -v builtin)\n' "$pg_bin" \
        >"$work/bin/initdb"
    chmod +x "$work/bin/initdb"
    PATH=$work/bin:$PATH
fi
export PATH

create() { (as_server bash "$config/create.sh") >"$work/create.log" 2>&1; }
# refuses WHAT WORDS [URL]
refuses() {
    rm -f "$CONNECTION_STRING_FILE"
    [ -z "${3:-}" ] || printf '%s\n' "$3" >"$CONNECTION_STRING_FILE"
    ! create || die "$1 is accepted"
    grep -qF -- "$2" "$work/create.log" || die "$1: $(cat "$work/create.log")"
    [ ! -e "$PGDATA" ] || die "$1 leaves a cluster"
    note "$1" "is refused"
}
refuses "no secret" "kubectl -n sagaz create secret generic sagaz-db-credentials"
refuses "another database" "postgresql://USER:PASSWORD@" mysql://a:b@h/d
refuses "no password" "postgresql://USER:PASSWORD@" postgresql://sagaz@postgresql:5432/sagaz
refuses "the superuser" "take other names" postgresql://postgres:a@postgresql:5432/sagaz
refuses "the superuser's database" "take other names" postgresql://sagaz:a@postgresql/postgres

# A password with what a shell, SQL and a URL find special: p@ss/w%rd'"\$x
printf 'postgresql://sagaz:%s@127.0.0.1:%s/sagaz?sslmode=disable\n' \
    'p%40ss%2Fw%25rd%27%22\$x' "$PGPORT" >"$CONNECTION_STRING_FILE"
mkdir "$PGDATA.new" # what a pod leaves that was killed while it made the cluster
touch "$PGDATA.new/half"
chown -R postgres "$PGDATA.new"
create || die "no cluster: $(cat "$work/create.log")"
before=$(stat -c %i "$PGDATA")
create || die "the second start fails: $(cat "$work/create.log")"
[ "$before" = "$(stat -c %i "$PGDATA")" ] || die "the second start makes another cluster"
[ ! -e "$PGDATA.new" ] || die "the folder beside is left"
note "a cluster" "made once"

# serve [option...]: as the container's command, in the background.
serve() {
    (as_server postgres -c "config_file=$config/postgresql.conf" "$@") >>"$work/server.log" 2>&1 &
    server=$!
    chaos_children+=("$server")
    end_signals[$server]=INT
}
stop() { kill -INT "$server"; wait "$server" || die "the server does not stop well"; }

# probe KIND: the probe's command as the container runs it.
probe() {
    local words
    mapfile -t words < <(out StatefulSet postgresql \
        "spec/template/spec/containers/0/$1/exec/command")
    "${words[@]}"
}
# probes WHAT STARTUP LIVENESS READINESS: each yes or no.
probes() {
    local kind seen=()
    for kind in startupProbe livenessProbe readinessProbe; do
        if probe "$kind"; then seen+=(yes); else seen+=(no); fi
    done
    [ "${seen[*]}" = "$2 $3 $4" ] || die "$1: startup, liveness, readiness say ${seen[*]}"
    note "$1" "startup $2, alive $3, ready $4"
}
answers() { pg_isready -q -h 127.0.0.1 || [ $? = "$1" ]; }

probes "no server" no no no
serve
wait_for 60 "the server is ready" probe readinessProbe
probes "a server" yes yes yes

url=$(<"$CONNECTION_STRING_FILE")
ask() { psql "$1" -XAtc "$2" 2>&1 || true; }
[ "$(ask "$url" "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")" = f ] ||
    die "the role is a superuser, or cannot log in: $(ask "$url" "SELECT 1")"
# is_kept_out WHO WORDS URL
is_kept_out() {
    local said
    said=$(ask "$3" "SELECT 1")
    [[ $said == *"$2"* ]] || die "$1: $said"
    note "$1" "is kept out"
}
is_kept_out "another password" "password authentication failed" "${url/p%40/q%40}"
is_kept_out "the superuser by the network" "rejects connection" \
    "postgresql://postgres:x@127.0.0.1:$PGPORT/sagaz?sslmode=disable"
is_kept_out "another user by the socket" "Peer authentication failed" \
    "postgresql:///postgres?host=$PGHOST&user=postgres"

# The migration job, twice, then a relay as the dev overlay configures it.
export SAGAZ_STORE_URL_FILE=$CONNECTION_STRING_FILE
"$SAGAZ" wait --for store --timeout 30s || die "sagaz wait"
"$SAGAZ" migrate 2>"$work/migrate.log" || die "sagaz migrate: $(cat "$work/migrate.log")"
[[ $("$SAGAZ" migrate 2>&1) == *"up to date"* ]] || die "migrating twice changes something"
ask "$url" "SELECT sagaz.append('orders', '42', 'OrderPlaced', '{\"total\": 12}')" >"$work/id"
queries=0
(as_server psql -U postgres -d sagaz -qX \
    -c "CREATE ROLE sagaz_keda LOGIN PASSWORD 'keda' IN ROLE sagaz_reader") || die "no role"
while read -r query; do
    pending=$(ask "postgresql://sagaz_keda:keda@127.0.0.1:$PGPORT/sagaz" "$query")
    [ "$pending" = 1 ] || die "KEDA's query says $pending, not 1: $query"
    queries=$((queries + 1))
done < <(sed -n 's/^ *query: //p' "$chaos_root"/kustomize/components/keda/scaledobject.yaml)
[ "$queries" = 1 ] || die "KEDA has $queries queries"
note "KEDA's query" "1 pending, as a reader"
SAGAZ_CONFIG=$chaos_root/kustomize/dev/sagaz.yaml SAGAZ_ADMIN_LISTEN=127.0.0.1:0 \
    timeout 60 "$SAGAZ" relay --until-drained --timeout 50s >"$work/messages" 2>"$work/relay.log" ||
    die "the relay: $(cat "$work/relay.log")"
grep -q "$(cat "$work/id")" "$work/messages" || die "the event does not arrive"
note "migrated, one event" "arrived"

# Crash recovery may last: a server that refuses, as then, must live and not be ready.
stop
(as_server touch "$PGDATA/standby.signal")
serve -c hot_standby=off
wait_for 60 "the server refuses" answers 1
probes "a server that recovers" yes yes no
stop
chaos_end
