#!/usr/bin/env bash
# Says what the tests are about to run on.
set -u
first() { "$@" 2>/dev/null | sed -n 1p; }
servers=$(find /usr/lib/postgresql -maxdepth 3 -name postgres 2>/dev/null | sort -V | tail -n 1)
printf 'grounds: %s\n' "$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)"
printf 'grounds: %s\n' "$(first g++ --version)"
printf 'grounds: %s\n' "$(first "${servers:-postgres}" --version)"
printf 'grounds: librdkafka %s, pgbouncer %s\n' "$(pkg-config --modversion rdkafka)" \
    "$(dpkg-query -W -f '${Version}' pgbouncer 2>/dev/null)"
