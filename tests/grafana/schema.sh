#!/bin/sh
# Reads grafana/*.json with Grafana's own types, and a damaged one, which must be refused. Needs
# Go and its module proxy; without Go it says that it did nothing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
out=$root/build/grafana
command -v go >/dev/null || { echo "dashboards' schema: SKIPPED, there is no Go here" >&2; exit 0; }
mkdir -p "$out"
(cd "$root/tests/grafana/schema" && go build -p 2 -o "$out/schema" .)
"$out/schema" "$root"/grafana/*.json
sed 's/"schemaVersion": 38/"schemaVersion": "38"/' "$root/grafana/fleet.json" >"$out/damaged.json"
if "$out/schema" "$out/damaged.json" >"$out/damaged.txt"; then
    echo "dashboards' schema: a damaged one was taken" >&2
    exit 1
fi
