# shellcheck shell=bash
# What the scripts share that follow a document. Source it, call `follow_begin NAME`, then `follow
# DOCUMENT` and `chaos_end`. SAGAZ is the executable, BUILD the folder of its build.
source "$(dirname "${BASH_SOURCE[0]}")/../chaos/lib.sh"

# A PostgreSQL and, where one can be had, a Kafka.
follow_begin() {
    chaos_begin "$1"
    BUILD=${BUILD:-$(cd "$(dirname "$SAGAZ")/.." && pwd)}
    pg_start
    follow_options=()
    if "$KAFKA_SH" fetch && "$KAFKA_SH" available; then
        KAFKA=$(SAGAZ_KAFKA_PROPERTIES="auto.create.topics.enable=true" \
            sh "$KAFKA_SH" start "$work/kafka" | cut -d' ' -f1)
        export KAFKA
    else
        say "NO REAL KAFKA: the sections that need it are left out"
        follow_options=(--no-kafka)
    fi
    # What documents call the root of the source.
    mkdir -p "$work/tree"
    ln -s "$chaos_root/examples" "$work/tree/examples"
    export DATABASE_URL=$pg_url SAGAZ_ADMIN_LISTEN=127.0.0.1:0
}

# follow DOCUMENT, by its path in the source.
follow() {
    python3 -B "$chaos_root/tests/docs/follow.py" "$chaos_root/$1" "$work/tree" \
        "${follow_options[@]}" || die "$1 cannot be followed"
}
