#!/usr/bin/env bash
# Runs every real-server scenario, one after the other, and closes with a table.
#
#   chaos.sh [NAME...]     all without a name:
#       realrun faults two_relays many_relays postgres_crash broker_outage ring restore poison
#       consumers inbox inbox_sqlite optimistic optimistic_hot rolling_update
#   only by its name: pg_upgrade
#
# Exits 1 when one fails. LOGS (a new temporary folder) keeps each one's output.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
logs=${LOGS:-$(mktemp -d "${TMPDIR:-/tmp}/sagaz-chaos-XXXXXX")}
mkdir -p "$logs"
all="realrun faults two_relays many_relays postgres_crash broker_outage ring restore poison
    consumers inbox inbox_sqlite optimistic optimistic_hot rolling_update"
# shellcheck disable=SC2086  # a list of words
[ $# -gt 0 ] || set -- $all
failed=0
table=
for name in "$@"; do
    case $name in
        realrun) command=("$here/realrun.sh") ;;
        faults) command=("$here/realrun.sh" --faults) ;;
        optimistic_hot) command=(env HOT=10 "$here/optimistic.sh") ;;
        inbox_sqlite) command=(env STORE=sqlite EVENTS=5000 "$here/inbox.sh") ;;
        two_relays | many_relays | postgres_crash | broker_outage | ring | restore | poison | \
        consumers | inbox | optimistic | rolling_update | pg_upgrade)
            command=("$here/$name.sh")
            ;;
        *) echo "chaos.sh: no scenario $name" >&2; exit 2 ;;
    esac
    from=$SECONDS
    result=passed
    "${command[@]}" 2>&1 | tee "$logs/$name.log" || result=FAILED failed=1
    table+=$(printf '%-16s %-7s %5d s' "$name" "$result" $((SECONDS - from)))$'\n'
done
printf '\n%s' "$table"
echo "logs: $logs"
exit $failed
