#!/usr/bin/env bash
# Runs every command of sagaz and psql that docs/operating shows, each on its own, on a database
# in which there is something to see: see README.md. SAGAZ is the executable.
. "$(dirname "${BASH_SOURCE[0]}")/../chaos/lib.sh"

# The lines of a document's shell blocks that begin with one of our two programs.
commands_of() {
    awk '/^ *```sh$/ { inside = 1; next } /^ *```$/ { inside = 0 }
         inside && /^ *(sagaz|psql) / { sub(/^ */, ""); sub(/ +# .*$/, ""); print }' "$1"
}

# A pending event, a dead one with another behind it, a consumer that has failed and parked.
furnish() {
    sql "SELECT sagaz.append('orders', '7', 'OrderPlaced', '{}'::json);
         INSERT INTO sagaz.parked (direction, destination, event_id, slot, state, reason, attempts,
             topic, key, event_type, content_type, payload)
         SELECT 'outbox', 'default', id, sagaz.slot_of('42', id), state, reason, 10, 'orders', '42',
                'OrderPlaced', 'application/json', '{}'
         FROM (VALUES ('$dead'::uuid, 'dead', 'unknown_topic'),
                      (sagaz.uuid_v7(), 'waiting', 'behind_parked')) p (id, state, reason);
         SELECT sagaz.inbox_mark('billing', '1', 'payments', 'Paid', '{}'::text);
         SELECT sagaz.inbox_failed('billing', '2', 'no account', 10, 'payments', 'Paid', '{}', 'k');
         SELECT sagaz.inbox_failed('billing', '$message', 'no account', 1, 'payments', 'Paid', '{}',
             'l')" >/dev/null
}

# run COMMAND: 0 is right, and 3 where it says that a condition was found.
run() {
    local command=$1 code=0 id=$dead
    [[ $command != *--consumer* && $file != *Inbox* ]] || id=$message
    command=${command//EVENT_ID/$id}
    (cd "$work" && bash -c "$command") >"$work/out" 2>&1 || code=$?
    case $code:$command in
        0:* | 3:sagaz\ doctor* | 3:sagaz\ migrate\ --check*) ;;
        *) die "$file: exit code $code of: $command
$(head -5 "$work/out")" ;;
    esac
    [ -s "$work/out" ] || [[ $command = *'>'* ]] || die "$file: says nothing: $command"
    count=$((count + 1))
}

chaos_begin docs-operating
pg_start
mkdir "$work/bin"
ln -s "$SAGAZ" "$work/bin/sagaz"
export PATH=$work/bin:$PATH
export DATABASE_URL=$pg_url SCRATCH_URL=$pg_url BROKER_URL=file:$work/sent.jsonl
export SAGAZ_BROKER_URL=$BROKER_URL
sagaz migrate >"$work/migrate.log" 2>&1 || die "migrate failed"
dead=$(sql "SELECT sagaz.uuid_v7()")
message=$(sql "SELECT sagaz.uuid_v7()")
broker_url=$BROKER_URL relay_start main
wait_for 30 "the relay owns every slot" all_slots_owned
count=0
while read -r file; do
    # Each document has it whole again: some commands discard.
    sql "DELETE FROM sagaz.parked; DELETE FROM sagaz.inbox_attempt;
         DELETE FROM sagaz.consumer_inbox"
    furnish
    while read -r command; do run "$command" </dev/null; done < <(commands_of "$file")
done < <(find "$chaos_root/docs/operating" -name '*.md' | sort)
[ "$count" -ge 50 ] || die "only $count commands were found"
note "commands that ran" "$count"
chaos_end
