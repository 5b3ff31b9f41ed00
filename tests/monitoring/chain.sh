#!/usr/bin/env bash
# The whole chain: PostgreSQL, Kafka, a relay and the example service, scraped by a real Prometheus
# that has loaded the shipped rules, each `for` shortened. Kafka is killed, the relay is restarted
# meanwhile, Kafka comes back, the relay goes: the right alerts fire and no other. What everybody
# asks for exists, and dashboards have data.
#
# SAGAZ, ORDER_SERVICE: the executables.
. "$(dirname "${BASH_SOURCE[0]}")/../chaos/lib.sh"

here=$chaos_root/tests/monitoring
ask() { say "== $2"; python3 -B "$here/chain.py" "$1" "$2" || die "$2"; }
page_has() { curl -sf -o "$work/page" "http://127.0.0.1:$1/metrics" && grep -q "$2" "$work/page"; }

chaos_begin monitoring
[ -x "${ORDER_SERVICE:-}" ] || die "ORDER_SERVICE names no executable"
command -v prometheus >/dev/null || die "no prometheus: install Debian's package (./do setup)"
pg_start
kafka_start orders payments
"$SAGAZ" migrate --store "$pg_url" >"$work/migrate.log" 2>&1 || die "migrate failed"
psql -Xq -v ON_ERROR_STOP=1 "$pg_url" -f "$chaos_root/examples/order_service/schema.sql" \
    >"$work/schema.log" 2>&1 || die "the service's schema was not made, see $work/schema.log"

# Always on the same port, as a container of a pod that is restarted.
relay_port=$(free_port)
relay() {
    # What was refused once is dead at once, so that the run has a dead event.
    background relay env SAGAZ_RELAY_LEASE="$LEASE" SAGAZ_RELAY_MAX_ATTEMPTS=1 \
        SAGAZ_ADMIN_LISTEN="127.0.0.1:$relay_port" \
        "$SAGAZ" relay --store "$pg_url" --broker "$broker_url"
    relay_pid=$!
}
relay
service_port=$(free_port)
background service env ORDERS_DATABASE_URL="${pg_url/postgres@/order_service@}" \
    ORDERS_KAFKA="$kafka_servers" ORDERS_LISTEN="127.0.0.1:$service_port" "$ORDER_SERVICE"
answers() { curl -sf -o "$work/probe" "http://127.0.0.1:$1"; }
wait_for 30 "the relay is ready" answers "$relay_port/readyz"
wait_for 30 "the service is ready" answers "$service_port/readyz"

# An event that dies, orders that go optimistically, a payment, and a steady stream for the relay.
sql "INSERT INTO sagaz.outbox (topic, key, event_type, payload) VALUES ('no topic!', 'k', 'T', '')"
orders() {
    local n=0
    while n=$((n + 1)); do
        curl -s -o "$work/order" "http://127.0.0.1:$service_port/orders" \
            -H "Idempotency-Key: $BASHPID-$n" --json '{"customer": "ann", "amount_cents": 1200}'
        sleep 0.2
    done
}
orders &
chaos_children+=("$!")
# They go on by themselves when Kafka is back.
payments() {
    local n=0
    while n=$((n + 1)); do
        echo '1|{"order_id": 1, "amount_cents": 1}' |
            timeout 2 kcat -b "$kafka_servers" -P -t payments -K '|' \
                -H "ce_id=payment-$BASHPID-$n" -H ce_type=PaymentReceived \
                2>>"$work/kcat.log" || true
        sleep 0.5
    done
}
payments &
chaos_children+=("$!")
echo "SELECT sagaz.append('orders', (random() * 100)::int::text, 'T', '{}'::jsonb);" \
    >"$work/append.sql"
background pgbench "$pg_bin/pgbench" "$pg_url" -n -f "$work/append.sql" -R 40 -T 300
wait_for 30 "an event has died" page_has "$relay_port" '^outbox_dead_letter_events_total{.*} 1$'
wait_for 60 "a payment was processed" \
    page_has "$service_port" '^consumer_inbox_processed_total{.*} [1-9]'
wait_for 30 "an order was sent optimistically" \
    page_has "$service_port" '^outbox_optimistic_send_success_total [1-9]'

# Only now, so that what a start takes longer for is in no rate.
python3 -B "$here/extract.py" "$work/rules.yaml" 3s
cat >"$work/prometheus.yaml" <<YAML
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
  - job_name: outbox-worker
    static_configs: [{targets: ["127.0.0.1:$relay_port"], labels: {namespace: sagaz, pod: relay}}]
  - job_name: order-service
    static_configs: [{targets: ["127.0.0.1:$service_port"], labels: {namespace: shop, pod: orders}}]
YAML
prometheus_port=$(free_port)
background prometheus prometheus --config.file="$work/prometheus.yaml" \
    --storage.tsdb.path="$work/tsdb" --web.listen-address="127.0.0.1:$prometheus_port"
prometheus=http://127.0.0.1:$prometheus_port
wait_for 30 "Prometheus is ready" answers "$prometheus_port/-/ready"

ask "$prometheus" healthy
python3 -B - "$here" >"$work/keda.sql" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1])
import promql
print(*(query.text for query in promql.keda_sql()), sep='\n')
PYTHON
while read -r query; do
    [ -z "$query" ] || [[ "$(sql "$query")" =~ ^[0-9]+$ ]] || die "no number comes of KEDA's $query"
done <"$work/keda.sql"
kafka_kill
ask "$prometheus" outage
kill -KILL "$relay_pid"
wait "$relay_pid" 2>/dev/null || true
relay
wait_for 30 "the relay is ready again" answers "$relay_port/readyz"
ask "$prometheus" again
kafka_restart
ask "$prometheus" recovered
ask "$prometheus" dashboards
kill -KILL "$relay_pid"
wait "$relay_pid" 2>/dev/null || true
ask "$prometheus" gone
chaos_end
