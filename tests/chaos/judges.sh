#!/usr/bin/env bash
# Are the judges awake? Delivers a little, lets them accept it, then damages the truth in one way
# after the other: each of the three must say so each time.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# must_find WHAT: in the words of sagaz verify, the plain script and the history checker.
must_find() {
    (judge) >/dev/null 2>&1 && die "the judges accept what is damaged: $1"
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
chaos_end
