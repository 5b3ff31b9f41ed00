#!/usr/bin/env bash
# Says what the tests are about to run on, Kafka included: its jars are fetched when they can be.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."

first() { "$@" 2>/dev/null | sed -n 1p; }

kafka() {
    local starter=tests/support/kafka.sh
    if [ -x "$starter" ]; then
        timeout 300 "$starter" fetch >/dev/null 2>&1
        if "$starter" available; then
            printf 'real Kafka %s and the mock cluster of librdkafka\n' \
                "$(sed -n 's/^version=//p' "$starter")"
            return
        fi
    fi
    printf 'NO REAL KAFKA here (its jars cannot be had); only the mock cluster of librdkafka\n'
}

servers=$(find /usr/lib/postgresql -maxdepth 3 -name postgres 2>/dev/null | sort -V | tail -n 1)
printf 'grounds: %s\n' "$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)" \
    "$(first g++ --version)" "$(first "${servers:-postgres}" --version)" \
    "librdkafka $(pkg-config --modversion rdkafka), $(first pgbouncer --version)" "$(kafka)"
