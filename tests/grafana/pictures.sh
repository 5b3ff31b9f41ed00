#!/usr/bin/env bash
# Draws docs/operating/pictures; see README.md. About seven minutes.
#
# ORDER_SERVICE is the example's executable, SAGAZ the relay's, PROMETHEUS (prometheus) that of
# Prometheus, PYTHON (python3) one with matplotlib and PyYAML, OUT (docs/operating/pictures) where
# pictures go; ORDERS (40) and STOCK (300) are events a second; SEED, KEEP as in tests/chaos/lib.sh.
. "$(dirname "${BASH_SOURCE[0]}")/../chaos/lib.sh"

here=$chaos_root/tests/grafana
OUT=${OUT:-$chaos_root/docs/operating/pictures}
PROMETHEUS=${PROMETHEUS:-prometheus}
PYTHON=${PYTHON:-python3}
ORDER_SERVICE=${ORDER_SERVICE:-$chaos_root/build/dev/tests/examples/example_order_service}
ORDERS=${ORDERS:-40}
STOCK=${STOCK:-300}
LEASE=10s
SCRAPE=2

start_relay() {
    SAGAZ_ADMIN_LISTEN=127.0.0.1:$2 SAGAZ_RELAY_LEASE=$LEASE background "relay-$1" \
        "$SAGAZ" relay --store "$pg_url" --broker "$broker_url"
    relay_pids[$1]=$!
}

# Under load there is always something on its way.
backlog_is_small() { [ "$(pending)" -lt 200 ]; }
answers() { curl -sf "http://127.0.0.1:$1/$2" >/dev/null; }
seconds() { date +%s; }

# The rules of the folder k8s, impatient: what waits for minutes there waits for seconds here.
write_configuration() {
    "$PYTHON" -B "$chaos_root/tests/monitoring/extract.py" "$work/rules.yaml" /15
    cat >"$work/prometheus.yaml" <<YAML
global:
  scrape_interval: ${SCRAPE}s
  scrape_timeout: 1s
  evaluation_interval: ${SCRAPE}s
rule_files: [rules.yaml]
scrape_configs:
  - job_name: outbox-worker
    static_configs:
      - targets: ["127.0.0.1:$relay_a", "127.0.0.1:$relay_b"]
  - job_name: order-service
    static_configs:
      - targets: ["127.0.0.1:$service_port"]
YAML
}

# Other services' events, by plain SQL: most of what the relays move.
write_load() {
    cat >"$work/stock.sql" <<'SQL'
\set item random(1, 500)
SELECT sagaz.append('stock', :item::text, 'StockMoved', json_build_object('item', :item, 'by', -1));
SQL
    # What a customer pays is an event of somebody else's, and comes to the service by Kafka.
    cat >"$work/payments.sql" <<'SQL'
SELECT sagaz.append('payments', o.id::text, 'PaymentReceived',
                    json_build_object('order_id', o.id, 'amount_cents', o.amount_cents))
FROM shop.orders o WHERE o.id = (SELECT max(id) FROM shop.orders) - 40 AND o.paid_cents = 0;
SQL
}

# A payment for an order that nobody placed: the handler fails it for some four minutes, and its
# partition waits; then it is parked.
wrong_payment() {
    sql "SELECT sagaz.append('payments', '900000001', 'PaymentReceived',
             '{\"order_id\": 900000001, \"amount_cents\": 1}'::json)" >/dev/null
}
# Each twice under one id, as after a repeat.
repeated_messages() {
    sql "SELECT count(sagaz.append('payments', n::text, 'PaymentNoted', '{}'::json, event_id => id))
         FROM (SELECT n, sagaz.uuid_v7() AS id FROM generate_series(1, 40) n) m,
              generate_series(1, 2)" >/dev/null
}
# A name that no Kafka allows.
refused_events() {
    sql "SELECT count(sagaz.append('no such/topic', n::text, 'Mistyped', '{}'::json))
         FROM generate_series(1, 12) n" >/dev/null
}

chaos_begin pictures
[ -x "$ORDER_SERVICE" ] || die "no example service at $ORDER_SERVICE: set ORDER_SERVICE"
command -v "$PROMETHEUS" >/dev/null || die "no Prometheus: apt-get install prometheus"
"$PYTHON" -c 'import matplotlib, yaml' || die "apt-get install python3-matplotlib python3-yaml"
TOPICS="orders payments stock"
pg_start
kafka_start $TOPICS
"$SAGAZ" migrate --store "$pg_url" >"$work/migrate.log" 2>&1 || die "migrate failed"
psql -Xq -v ON_ERROR_STOP=1 "$pg_direct_url" -f "$chaos_root/examples/order_service/schema.sql"
relay_a=$(free_port)
relay_b=$(free_port)
service_port=$(free_port)
prometheus_port=$(free_port)
write_configuration
write_load
start_relay a "$relay_a"
start_relay b "$relay_b"
wait_for 30 "relays own every slot" all_slots_owned
ORDERS_DATABASE_URL=postgresql://order_service@127.0.0.1:$pg_port/bank ORDERS_KAFKA=$kafka_servers \
    ORDERS_LISTEN=127.0.0.1:$service_port background service "$ORDER_SERVICE"
background prometheus "$PROMETHEUS" --config.file="$work/prometheus.yaml" \
    --storage.tsdb.path="$work/tsdb" --web.listen-address="127.0.0.1:$prometheus_port"
wait_for 30 "the service is ready" answers "$service_port" readyz
wait_for 30 "Prometheus is ready" answers "$prometheus_port" -/ready

background orders "$PYTHON" "$here/place_orders.py" "$service_port" "$ORDERS"
background stock "$pg_bin/pgbench" "$pg_direct_url" -n -c 4 -R "$STOCK" -T 600 -f "$work/stock.sql"
background payments "$pg_bin/pgbench" "$pg_direct_url" -n -c 1 -R 20 -T 600 -f "$work/payments.sql"
began=$(seconds)
say "== normal load"
sleep 10
wrong_payment
sleep 40
repeated_messages
sleep 40
kafka_kill
down_from=$(seconds)
say "== Kafka is away"
sleep 60
at=$(seconds)
sleep 5
kafka_restart
down_to=$(seconds)
say "== Kafka is back"
wait_for 120 "the backlog is gone" backlog_is_small
sleep 45
refused_events
sleep 15
relay_kill b
say "== a relay is killed"
sleep 30
start_relay b "$relay_b"
sleep 45
ended=$(seconds)
say "== drawing $began to $ended, at $at, Kafka away $down_from to $down_to"
mkdir -p "$OUT"
"$PYTHON" "$here/draw.py" --prometheus "http://127.0.0.1:$prometheus_port" --from "$began" \
    --to "$ended" --at "$at" --shade "$down_from" "$down_to" --scrape "$SCRAPE" \
    --dashboards "$chaos_root/grafana" --out "$OUT"
chaos_end
