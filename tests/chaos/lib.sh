# shellcheck shell=bash
# What the chaos scripts share. Source it, call `chaos_begin NAME`, end with `chaos_end`.
#
# Every process started here is a child of the script and known by its pid (Kafka by the pid file
# of kafka.sh). `chaos_finish` runs on every way out: it ends exactly those and removes the folder,
# or keeps it after a failure, without the servers' data.
set -euo pipefail

chaos_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
chaos_here=$chaos_root/tests/chaos
KAFKA_SH=${KAFKA_SH:-$chaos_root/tests/support/kafka.sh}
LEASE=${LEASE:-2s}
BATCH_MAX=${BATCH_MAX:-5000}
SEED=${SEED:-$((RANDOM * 32768 + RANDOM))}

say() { printf '%s\n' "$*" >&2; }
die() { say "FAILED $chaos_name: $*"; exit 1; }
note() { printf '%-34s %s\n' "$1" "$2" | tee -a "$work/summary" >&2; }

chaos_begin() {
    chaos_name=$1
    chaos_failed=1
    chaos_children=()
    declare -gA end_signals=()
    work=$(mktemp -d "${TMPDIR:-/tmp}/sagaz-$chaos_name-XXXXXX")
    chmod 711 "$work"
    pg_home=$work/pg
    relay_cpu_ticks=0
    relay_peak_kib=0
    trap chaos_finish EXIT
    trap 'exit 130' INT TERM
    find_programs
    say "== $chaos_name: seed $SEED, lease $LEASE, folder $work"
}

chaos_end() {
    chaos_failed=0
    say "== $chaos_name: passed"
}

chaos_finish() {
    local code=$? pid
    trap - EXIT INT TERM
    set +e
    for pid in "${chaos_children[@]}"; do end_child "$pid"; done
    [ ! -e "$work/kafka/pid" ] || sh "$KAFKA_SH" stop "$work/kafka"
    if [ "$chaos_failed" = 0 ] && [ -z "${KEEP:-}" ]; then
        rm -rf "$work"
    else
        rm -rf "$work"/pg "$work"/pg-* "$work/kafka/data"
        say "== $chaos_name: logs are kept in $work"
        [ "$code" != 0 ] || code=1
        [ "$chaos_failed" != 0 ] || code=0
    fi
    exit "$code"
}

# The release build unless SAGAZ names another; built here when it is not there yet.
find_programs() {
    pg_bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
    if [ -z "${SAGAZ:-}" ]; then
        say "== building the release"
        (cd "$chaos_root" && cmake --preset release >/dev/null &&
            cmake --build build/release --target sagaz_executable history_check \
                inbox_consumer ledger_consumer optimistic_producer >&2)
        SAGAZ=$chaos_root/build/release/app/sagaz
        HISTORY_CHECK=$chaos_root/build/release/tests/history_check
        INBOX_CONSUMER=$chaos_root/build/release/tests/chaos/inbox_consumer
        LEDGER_CONSUMER=$chaos_root/build/release/tests/chaos/ledger_consumer
        OPTIMISTIC_PRODUCER=$chaos_root/build/release/tests/chaos/optimistic_producer
    fi
    [ -x "$SAGAZ" ] || die "no executable at $SAGAZ"
}

# ------------------------------------------------------------------------------------- processes

# End by pid, but only while it is still our child.
end_child() {
    local pid=$1 tries=100
    is_child "$pid" || return 0
    kill -CONT "$pid" 2>/dev/null || true
    kill "-${end_signals[$pid]:-TERM}" "$pid" 2>/dev/null || true
    while is_child "$pid" && [ $tries -gt 0 ]; do
        sleep 0.1
        tries=$((tries - 1))
    done
    if is_child "$pid"; then kill -KILL "$pid" 2>/dev/null || true; fi
    wait "$pid" 2>/dev/null || true
}

is_child() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    stat=${stat##*) }
    # shellcheck disable=SC2086  # fields: state, ppid, ...
    set -- $stat
    [ "$2" = "$$" ] && [ "$1" != Z ]
}

# background NAME command...: a child with a log of its own, whose pid is in $! then.
background() {
    local name=$1
    shift
    "$@" >>"$work/$name.log" 2>&1 </dev/null &
    chaos_children+=("$!")
}

free_port() {
    python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

now_ms() { echo $(($(date +%s%N) / 1000000)); }

# wait_for SECONDS WHAT command...: until the command succeeds.
wait_for() {
    local deadline=$(($(now_ms) + $1 * 1000)) what=$2
    shift 2
    until "$@"; do
        [ "$(now_ms)" -lt "$deadline" ] || die "timed out waiting until $what"
        sleep 0.1
    done
}

# Servers refuse to run as root; everyone else runs them as themselves.
as_server() {
    if [ "$(id -u)" = 0 ]; then
        exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
    fi
    exec "$@"
}

# ------------------------------------------------------------------------------------- PostgreSQL

# pg_start [config line...]: an empty server with a database "bank". With SAGAZ_TEST_POOLER=1
# everybody but sql() works through a pgbouncer in transaction mode.
pg_start() {
    pg_port=$(free_port)
    mkdir -p "$pg_home"
    [ "$(id -u)" != 0 ] || chown postgres "$pg_home"
    (as_server "$pg_bin/initdb" -D "$pg_home/data" -U postgres -A trust -E UTF8 --locale=C \
        --no-sync) >"$work/initdb.log" 2>&1 || die "initdb failed, see $work/initdb.log"
    {
        echo "listen_addresses = '127.0.0.1'"
        echo "port = $pg_port"
        echo "unix_socket_directories = '$pg_home'"
        echo "max_connections = 100"
        echo "shared_buffers = 256MB"
        echo "max_wal_size = 4GB"
        printf '%s\n' "$@"
    } >>"$pg_home/data/postgresql.conf"
    pg_launch
    "$pg_bin/createdb" -h 127.0.0.1 -p "$pg_port" -U postgres bank
    pg_reach
}

# Everybody's way to the server at pg_port from now on.
pg_reach() {
    pg_direct_url=postgresql://postgres@127.0.0.1:$pg_port/bank
    pg_url=$pg_direct_url
    if [ "${SAGAZ_TEST_POOLER:-}" = 1 ]; then
        bouncer_start
        pg_url=$bouncer_url
    fi
}

pg_launch() {
    as_server "$pg_bin/postgres" -D "$pg_home/data" >>"$work/postgres.log" 2>&1 </dev/null &
    pg_pid=$!
    chaos_children+=("$pg_pid")
    end_signals[$pg_pid]=INT  # TERM would wait for the clients
    wait_for 60 "PostgreSQL answers" \
        "$pg_bin/pg_isready" -q -h 127.0.0.1 -p "$pg_port" -U postgres
}

pg_stop_immediately() {
    (as_server "$pg_bin/pg_ctl" stop -s -m immediate -D "$pg_home/data") >/dev/null 2>&1 ||
        die "PostgreSQL did not stop"
    wait "$pg_pid" 2>/dev/null || true
}

sql() { psql -XqAt -v ON_ERROR_STOP=1 "$pg_direct_url" -c "$1"; }

# pgbouncer in transaction mode in front of it: any two transactions of a client may run on
# different server connections, and the server's restart goes unnoticed by the client.
bouncer_start() {
    bouncer_port=$(free_port)
    bouncer_url=postgresql://postgres@127.0.0.1:$bouncer_port/bank
    cat >"$work/pgbouncer-$bouncer_port.ini" <<CONF
[databases]
bank = host=127.0.0.1 port=$pg_port dbname=bank user=postgres
hasty = host=127.0.0.1 port=$pg_port dbname=bank user=hasty
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $bouncer_port
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 200
default_pool_size = 20
ignore_startup_parameters = extra_float_digits,options
server_login_retry = 1
server_round_robin = 1
CONF
    as_server "$(command -v pgbouncer || echo /usr/sbin/pgbouncer)" -q \
        "$work/pgbouncer-$bouncer_port.ini" >>"$work/pgbouncer.log" 2>&1 </dev/null &
    bouncer_pid=$!
    chaos_children+=("$bouncer_pid")
    wait_for 20 "pgbouncer answers" "$pg_bin/pg_isready" -q -h 127.0.0.1 -p "$bouncer_port"
}

# ------------------------------------------------------------------------------------------ Kafka

# kafka_start TOPIC...: a node with these topics, four partitions each. The session time-out is
# short, since a killed node is let in again only after it. KAFKA_MORE: more of its properties.
kafka_start() {
    local topic
    say "== starting Kafka"
    SAGAZ_KAFKA_PROPERTIES='auto.create.topics.enable=true
num.partitions=4
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
'"${KAFKA_MORE:-}" sh "$KAFKA_SH" start "$work/kafka" >"$work/kafka.start" ||
        die "Kafka did not start"
    read -r kafka_servers kafka_pid <"$work/kafka.start"
    broker_url=kafka://$kafka_servers
    for topic in "$@"; do
        wait_for 30 "topic $topic is there" topic_is_there "$topic"
    done
}

topic_is_there() {
    kcat -b "$kafka_servers" -L -t "$1" -X allow.auto.create.topics=true 2>/dev/null |
        grep -q 'partition 3, leader 1'
}

kafka_kill() {
    kill -9 "$kafka_pid"
    wait_for 10 "Kafka is gone" kafka_is_gone
}
kafka_is_gone() { ! kill -0 "$kafka_pid" 2>/dev/null; }

kafka_restart() {
    sh "$KAFKA_SH" restart "$work/kafka" >"$work/kafka.start" || die "Kafka did not start again"
    read -r kafka_servers kafka_pid <"$work/kafka.start"
}

# How many messages the topics hold.
topics_size() {
    local total=0 topic partition end
    for topic in $TOPICS; do
        for partition in 0 1 2 3; do
            end=$(kcat -b "$kafka_servers" -Q -t "$topic:$partition:-1" 2>/dev/null |
                sed -n 's/.*offset \([0-9]*\)$/\1/p')
            total=$((total + ${end:-0}))
        done
    done
    echo $total
}

# ----------------------------------------------------------------------------------------- relays

declare -A relay_pids=()

# relay_start NAME [argument...]: RELAY_STORE overrides the store, RELAY_BROKER the broker.
relay_start() {
    local name=$1
    shift
    SAGAZ_RELAY_LEASE=$LEASE SAGAZ_RELAY_BATCH_MAX=$BATCH_MAX SAGAZ_ADMIN_LISTEN=127.0.0.1:0 \
        "$SAGAZ" relay --store "${RELAY_STORE:-$pg_url}" --broker "${RELAY_BROKER:-$broker_url}" \
        "$@" >>"$work/relay-$name.log" 2>&1 </dev/null &
    relay_pids[$name]=$!
    chaos_children+=("$!")
}

# Adds what a relay has used to the totals; while it lives, its numbers are in /proc.
relay_account() {
    local pid=${relay_pids[$1]} stat peak
    stat=$(cat "/proc/$pid/stat" 2>/dev/null) || return 0
    stat=${stat##*) }
    # shellcheck disable=SC2086
    set -- $stat
    relay_cpu_ticks=$((relay_cpu_ticks + ${12} + ${13}))
    peak=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2>/dev/null)
    [ "${peak:-0}" -le "$relay_peak_kib" ] || relay_peak_kib=$peak
}

relay_kill() {
    relay_account "$1"
    kill -9 "${relay_pids[$1]}" 2>/dev/null || die "relay $1 was not running, see its log"
    wait "${relay_pids[$1]}" 2>/dev/null || true
}

# SIGTERM; the relay must drain and exit with 0 by itself.
relay_stop() {
    local code=0
    relay_account "$1"
    kill -TERM "${relay_pids[$1]}" 2>/dev/null || die "relay $1 was not running, see its log"
    wait_for 30 "relay $1 has stopped" child_is_gone "${relay_pids[$1]}"
    wait "${relay_pids[$1]}" 2>/dev/null || code=$?
    [ "$code" = 0 ] || die "relay $1 exited with $code, see $work/relay-$1.log"
}
child_is_gone() { ! is_child "$1"; }
relay_lives() { is_child "${relay_pids[$1]}"; }

owners() { sql "SELECT coalesce(owner::text, '-'), count(*) FROM sagaz.slot GROUP BY 1"; }
owned_slots() { sql "SELECT count(owner) FROM sagaz.slot"; }
slots_owned_by() { sql "SELECT count(*) FROM sagaz.slot WHERE owner = '$1'"; }
all_slots_owned() { [ "$(owned_slots)" = "$(sql 'SELECT count(*) FROM sagaz.slot')" ]; }
pending() { sql "SELECT pending_events FROM sagaz.backlog"; }
is_drained() { [ "$(pending 2>/dev/null)" = 0 ]; }

# wait_until_drained SECONDS RELAY: fails at once when that relay ends instead.
wait_until_drained() {
    drained_or_dead() { is_drained || ! relay_lives "$2"; }
    wait_for "$1" "everything is delivered" drained_or_dead "$@"
    relay_lives "$2" || die "relay $2 ended: $(tail -3 "$work/relay-$2.log" | tr '\n' ' ')"
}

# ------------------------------------------------------------------------ the bank and its truth

TOPICS="orders payments"

bank_create() {
    "$SAGAZ" migrate --store "$pg_url" >"$work/migrate.log" 2>&1 ||
        die "migrate failed: $(tail -3 "$work/migrate.log")"
    psql -Xq -v ON_ERROR_STOP=1 "$pg_url" -f "$chaos_here/bank.sql" ||
        die "the bank's tables were not made"
}

# bank_run URL pgbench-argument...: the mix of business transactions. For the background: becomes
# pgbench, so that the job's pid is pgbench's own.
bank_run() {
    local url=$1
    shift
    exec "$pg_bin/pgbench" "$url" -n -M simple --random-seed="$SEED" \
        -f "$chaos_here/transfer.sql@70" -f "$chaos_here/savepoint.sql@15" \
        -f "$chaos_here/slow.sql@10" -f "$chaos_here/rolled_back.sql@5" "$@"
}

# start_load pgbench-argument...: the mix in the background, by CLIENTS clients.
start_load() {
    bank_run "$pg_url" -c "$CLIENTS" -j 2 "$@" >>"$work/pgbench.log" 2>&1 &
    pgbench=$!
    chaos_children+=("$pgbench")
}

finish_load() { wait "$pgbench" || die "pgbench failed: $(tail -3 "$work/pgbench.log")"; }

# What the sequence counted is never rolled back; what the truth holds committed.
events_tried() { sql "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM attempt"; }
events_committed() { sql "SELECT count(*) FROM truth"; }

# ------------------------------------------------------------------------------------ the verdict

TRUTH_SQL="SELECT event_id, key, order_number, topic, payload_md5, event_type, headers FROM truth"

# Every topic of the cluster but Kafka's own: what stands in a topic that nobody named is foreign.
cluster_topics() {
    kcat -b "$kafka_servers" -L -J >"$work/cluster.json" 2>"$work/kcat.err" &&
        python3 "$chaos_here/plain_check.py" --topics "$work/cluster.json"
}

# At most so many events repeat for one fault: those that a relay has in hand when it dies, is
# overtaken or loses its broker. It reads while fewer than 4 * batch_max are unsettled, and one
# read brings batch_max more. Also what was accepted counts, until its cursor is stored.
repeats_max_for() { echo $(($1 * 5 * BATCH_MAX)); }

# judge [FAULTS]: three judges that share no code: sagaz verify, a plain script over kcat's output,
# and the history checker over what that script recorded. They must agree. Without faults nothing
# may repeat.
judge() {
    local topic topics repeats_max arguments=() verify=0 history=0
    repeats_max=$(repeats_max_for "${1:-0}")
    topics=$(cluster_topics) || die "kcat -L failed: $(tail -1 "$work/kcat.err")"
    for topic in $TOPICS; do
        [[ " $topics " = *" $topic "* ]] || die "topic $topic is not in the list of the cluster"
    done
    for topic in $topics; do arguments+=(--topic "$topic"); done
    "$SAGAZ" verify --store "$pg_url" --broker "$broker_url" --truth "$TRUTH_SQL" --json \
        "${arguments[@]}" >"$work/verify.json" 2>"$work/verify.err" || verify=$?
    [ "$verify" = 0 ] || [ "$verify" = 3 ] ||
        die "verify exited with $verify: $(tail -3 "$work/verify.err")"
    sql "SELECT json_build_array(event_id, key, order_number, topic, payload_md5, event_type,
                                 headers) FROM truth" >"$work/truth.jsonl"
    for topic in $topics; do
        kcat -b "$kafka_servers" -C -q -t "$topic" -o beginning -e -J -X fetch.wait.max.ms=50
    done >"$work/kcat.jsonl" 2>"$work/kcat.err" || die "kcat failed: $(tail -1 "$work/kcat.err")"
    python3 "$chaos_here/plain_check.py" "$work/truth.jsonl" "$work/kcat.jsonl" \
        "$work/history.jsonl" "$SEED" >"$work/plain.txt" || die "the plain check failed"
    "$HISTORY_CHECK" "$work/history.jsonl" >"$work/history.json" || history=$?
    note "sagaz verify" "$(python3 "$chaos_here/plain_check.py" --summary "$work/verify.json")"
    note "plain script over kcat" "$(cat "$work/plain.txt")"
    note "history checker" "$(tr -d '{}\n"' <"$work/history.json" | tr -s ' ')"
    grep -q 'missing 0, foreign 0, inversions 0, altered 0, headers 0, split_keys 0,' \
        "$work/plain.txt" || die "the plain script found damage"
    [ "$verify" = 0 ] && [ "$history" = 0 ] ||
        die "damage was found, see $work/verify.json and $work/history.json"
    [ "$(wc -l <"$work/truth.jsonl")" -gt 0 ] || die "the truth is empty: nothing was shown"
    bound_repeats "$repeats_max"
}

# What a judge counted of repeats, in its own words.
repeats_of() { sed -n 's/.*repeats"\{0,1\}:\{0,1\} \([0-9][0-9]*\).*/\1/p' "$work/$1" | head -1; }

bound_repeats() {
    local judge repeats
    for judge in verify.json plain.txt history.json; do
        repeats=$(repeats_of "$judge")
        [ -n "$repeats" ] && [ "$repeats" -le "$1" ] ||
            die "${repeats:-unknown} repeats in $judge, at most $1 are allowed"
    done
    note "repeats" "$repeats, at most $1"
}

# A run that tried nothing which rolled back, or repeated no key, shows nothing.
require_variety() {
    local tried committed
    tried=$(events_tried)
    committed=$(events_committed)
    note "events tried / committed" "$tried / $committed"
    [ "$tried" -gt "$committed" ] || die "no event was rolled back: the workload shows too little"
}

relay_costs() {
    local events=$1 ticks
    ticks=$(getconf CLK_TCK)
    note "relay peak RSS" "$((relay_peak_kib / 1024)) MiB"
    note "relay CPU" "$(awk -v t="$relay_cpu_ticks" -v hz="$ticks" -v n="$events" \
        'BEGIN { printf "%.1f s, %.1f s per million events", t / hz, t / hz / n * 1e6 }')"
}
