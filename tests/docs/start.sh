#!/usr/bin/env bash
# Follows docs/start.md; see README.md. SAGAZ is the executable, BUILD the folder of its build.
source "$(dirname "${BASH_SOURCE[0]}")/../chaos/lib.sh"

chaos_begin docs_start
BUILD=${BUILD:-$(cd "$(dirname "$SAGAZ")/.." && pwd)}
pg_start
options=()
if "$KAFKA_SH" fetch && "$KAFKA_SH" available; then
    KAFKA=$(SAGAZ_KAFKA_PROPERTIES="auto.create.topics.enable=true" \
        sh "$KAFKA_SH" start "$work/kafka" | cut -d' ' -f1)
    export KAFKA
else
    say "NO REAL KAFKA: the sections that need it are left out"
    options=(--no-kafka)
fi

# The source's folder as the document sees it: with a release that is built.
mkdir -p "$work/tree/build"
ln -s "$BUILD" "$work/tree/build/release"
ln -s "$chaos_root/examples" "$work/tree/examples"

export DATABASE_URL=$pg_url SAGAZ_ADMIN_LISTEN=127.0.0.1:0
python3 -B "$chaos_root/tests/docs/follow.py" "$chaos_root/docs/start.md" "$work/tree" \
    "${options[@]}" || die "docs/start.md cannot be followed"
chaos_end
