#!/usr/bin/env bash
# Is the account of inbox.sh awake? With marks committed before their effects it must not hold.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
said=$(EVENTS=${EVENTS:-600} KILLS=2 CUTS=1 FAULT=mark_apart "$here/inbox.sh" 2>&1) && {
    printf '%s\n' "$said" "the account accepts a mark that outlives its effects"
    exit 1
}
grep -Eq '^lost +[1-9]' <<<"$said" && grep -q 'the account does not hold' <<<"$said" || {
    printf '%s\n' "$said" "it failed, but not for the messages that were lost"
    exit 1
}
# A folder is kept after a failure; this one was wanted.
rm -rf "$(sed -n 's/.*logs are kept in //p' <<<"$said")"
echo "found: $(grep -E '^lost ' <<<"$said")"
