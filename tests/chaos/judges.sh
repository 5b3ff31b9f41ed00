#!/usr/bin/env bash
# Are the judges awake? Delivers a little, lets them accept it, then damages the truth in one way
# after the other, and at last the topics: each of the three must say so each time.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# must_find WHAT PLAIN_WORD INVARIANT: in the words of sagaz verify, the plain script and the
# history checker.
must_find() {
    (judge 1) >/dev/null 2>&1 && die "the judges accept what is damaged: $1"
    grep -q "\"$1\": [1-9]" "$work/verify.json" || die "sagaz verify does not find $1"
    grep -q "$2 [1-9]" "$work/plain.txt" || die "the plain script does not find $1"
    grep -q "\"invariant\": \"$3\"" "$work/history.json" ||
        die "the history checker does not find $1"
    note "$1" "found by all three"
}

chaos_begin judges
pg_start
kafka_start $TOPICS
bank_create
relay_start main
wait_for 30 "the relay owns every slot" all_slots_owned
(bank_run "$pg_url" -c 4 -j 2 -t 50) >"$work/pgbench.log" 2>&1
wait_until_drained 60 main
relay_stop main
judge
sql "CREATE TABLE whole AS SELECT * FROM truth"
ids_where() { echo "(SELECT min(event_id::text)::uuid FROM truth WHERE $1)"; }
restore() { sql "TRUNCATE truth; INSERT INTO truth SELECT * FROM whole"; }

sql "INSERT INTO truth VALUES (gen_random_uuid(), '5', 99999999, 'orders', 'Lost', md5(''))"
must_find missing missing I1
restore
sql "DELETE FROM truth WHERE event_id = (SELECT min(event_id::text)::uuid FROM truth)"
must_find foreign foreign I2
restore
sql "UPDATE truth SET order_number = -order_number WHERE topic = 'orders'"
must_find inversion inversions I4
restore
sql "UPDATE truth SET payload_md5 = md5('other')
     WHERE event_id = (SELECT max(event_id::text)::uuid FROM truth)"
must_find wrong_payload altered I5
restore
sql "UPDATE truth SET key = '5' WHERE event_id = $(ids_where 'key IS NULL')"
must_find wrong_key altered I5
restore
sql "UPDATE truth SET headers = NULL WHERE event_id = $(ids_where 'headers IS NOT NULL')"
must_find wrong_header headers I5
restore
sql "UPDATE truth SET headers = '{\"added\": \"1\"}'
     WHERE event_id = $(ids_where 'headers IS NULL')"
must_find wrong_header headers I5
restore
judge

# From here on the topics are damaged, and stay so. deliver TOPIC PARTITION ID [kcat argument...]
deliver() {
    printf 'planted' | kcat -b "$kafka_servers" -P -t "$1" -p "$2" -H ce_specversion=1.0 \
        -H "ce_id=$3" -H ce_source=/bank -H ce_type=Planted -H content-type=text/plain \
        -H "message_id=$3" "${@:4}" || die "kcat did not deliver"
}
new_id() { cat /proc/sys/kernel/random/uuid; }

again=$(new_id)
sql "INSERT INTO truth VALUES ('$again', NULL, 0, 'orders', 'Planted', md5('planted'))"
deliver orders 0 "$again"
judge
deliver orders 1 "$again"
(judge) >/dev/null 2>&1 && die "the judges accept a repeat of a run without faults"
judge 1
note "repeats without a fault" "found"

# A key of one message that is there, in the next partition.
read -r key partition < <(kcat -b "$kafka_servers" -C -q -t orders -p 2 -o beginning -c 1 \
    -f '%k %p\n')
split=$(new_id)
sql "INSERT INTO truth VALUES ('$split', '$key', 99999999, 'orders', 'Planted', md5('planted'))"
deliver orders $(((partition + 1) % 4)) "$split" -k "$key"
must_find split_key split_keys I4

deliver nobodys_topic 0 "$(new_id)"
must_find foreign foreign I2
grep -q '"topic": "nobodys_topic"' "$work/verify.json" || die "the foreign topic was not read"
chaos_end
