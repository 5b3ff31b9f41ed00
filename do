#!/usr/bin/env bash
# Everything a developer or CI does with this tree, by name. "./do help" lists it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# Debian's names; the same on 12 (bookworm) and 13 (trixie).
kBuild="g++ cmake ninja-build pkg-config git ccache mold
    libpq-dev libsqlite3-dev librdkafka-dev libcli11-dev libspdlog-dev libfmt-dev libyaml-cpp-dev
    nlohmann-json3-dev libcpp-httplib-dev prometheus-cpp-dev libgtest-dev libgmock-dev libssl-dev
    libpqxx-dev python3"
kTest="postgresql pgbouncer kcat default-jre-headless maven ca-certificates
    procps util-linux curl make binutils faketime python3-psycopg python3-confluent-kafka
    prometheus python3-yaml"
kStyle="clang-format-19 clang-tidy-19"
# For ./do k8s-check alone, as PROGRAM:PACKAGE: a program of another origin does as well.
kOps="node:nodejs npm:npm go:golang-go etcd:etcd-server openssl:openssl"
kPackage="dpkg-dev file binutils"
# Apart from ./do setup, for what makes roots and images, as root.
kRoots="debootstrap git"
kImage="podman crun"

# A fresh clone elsewhere on the machine then finds what another one has compiled.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
jobs=${SAGAZ_JOBS:-$(nproc)}

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf 'do: %s\n' "$*" >&2; exit 2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# timed WHAT command...: runs it, then says how long it took.
timed() {
    local what=$1 from=$SECONDS
    shift
    say "$what"
    "$@"
    printf '== %s: %d s\n' "$what" $((SECONDS - from)) >&2
}

help() {
    cat <<'TEXT'
./do demo [...]          the whole story: a shop, a relay that is killed, a consumer; checked
./do setup               list the Debian packages, install the missing ones
./do build [PRESET]      configure and compile: dev (default), release, asan, tsan
./do test                the whole suite, then unit, conformance and simulation under sanitizers
./do test dev            the whole suite as in dev, no sanitizers
./do test pooled         what uses PostgreSQL, as in dev but through pgbouncer in transaction mode
./do test asan [full]    unit, conformance and simulation (or all) under ASan and UBSan
./do test tsan [full]    the same under ThreadSanitizer
./do test --root debian13 [...]   the same ./do test in a Debian 13 root made by debootstrap
./do package             Debian packages for the Debian that this runs on, into build/package
./do package --root debian13   the same for Debian 13, in such a root
./do package test [debian12|debian13]   builds them, then installs and uses them in a clean root
./do package image       the Containerfile's image, built and run without a registry
./do realrun [...]       pgbench, a release relay and Kafka; compares what arrived with the truth
./do chaos [...]         the same under kills, freezes and outages
./do bench [...]         how fast, beside a bare read and others; writes bench/RESULTS.md
./do k8s-check [--server]   the manifests of k8s/; with --server also by a real API server
./do format [--check]    clang-format 19 on every file of ours
./do tidy [FILE...]      clang-tidy 19 on those files; without any, on all
./do tidy --changed [REV]   the same on what differs from that revision (default HEAD)
TEXT
}

missing() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            printf '%s\n' "$package"
    done
}

# Installs without letting Debian start a server or make a database cluster of its own. Both
# files that see to it are there only meanwhile.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d cluster=/etc/postgresql-common/createcluster.d/sagaz.conf
    as_root env DEBIAN_FRONTEND=noninteractive policy="$policy" cluster="$cluster" bash -euc '
        clean() {
            rm -f "$policy" "$cluster"
            if [ -e "$policy.before-sagaz" ]; then mv "$policy.before-sagaz" "$policy"; fi
        }
        trap clean EXIT
        if [ -e "$policy" ]; then mv "$policy" "$policy.before-sagaz"; fi
        printf "#!/bin/sh\nexit 101\n" > "$policy"
        chmod 755 "$policy"
        mkdir -p "${cluster%/*}"
        echo "create_main_cluster = false" > "$cluster"
        log=$(mktemp)
        if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; } \
            >"$log" 2>&1; then
            cat "$log"
            rm -f "$log"
            exit 1
        fi
        rm -f "$log"' setup "$@" >&2
}

setup() {
    local wanted=${*:-$kBuild $kTest $kStyle $kPackage} absent
    # shellcheck disable=SC2086  # lists of words
    absent=$(missing $wanted)
    # shellcheck disable=SC2086
    if [ $# = 0 ]; then printf '%s\n' $wanted; fi
    if [ -z "$absent" ]; then return; fi
    # shellcheck disable=SC2086
    timed "install $(echo $absent)" install_quietly $absent
}

# build PRESET [TARGET...]
build() {
    local preset=${1:-dev} log
    shift || true
    setup "$kBuild"
    log=$(mktemp)
    cmake --preset "$preset" >"$log" 2>&1 || { cat "$log"; rm -f "$log"; return 1; }
    rm -f "$log"
    cmake --build "build/$preset" -j "$jobs" ${1:+--target "$@"}
}

# Only the executable, and only the packages that it needs.
demo() {
    say "packages: $(echo $kBuild)"
    timed "build" build release sagaz_executable >&2
    build/release/app/sagaz demo "$@"
}

# run_ctest PRESET [ctest options]: prints nothing after ctest's closing lines, which say how long
# it took. Eight places are two tests at once and two that wait (cmake/SagazTargets.cmake).
run_ctest() {
    local preset=$1 calm=()
    shift
    say "test $preset"
    # ThreadSanitizer of g++ 12 cannot map its shadow where the kernel spreads addresses widely.
    if [ "$preset" = tsan ] && setarch -R true 2>/dev/null; then calm=(setarch -R); fi
    "${calm[@]}" ctest --test-dir "build/$preset" -j 8 --output-on-failure --no-tests=error "$@"
}

# suite PRESET all|quick: builds and runs all tests, or only those that need no server.
suite() {
    local preset=$1 extent=$2
    if [ "$extent" = all ]; then
        timed "build $preset" build "$preset"
        run_ctest "$preset"
    else
        timed "build $preset" build "$preset" quick_tests
        run_ctest "$preset" -L '^(unit|conformance|simulation)$'
    fi
}

# Everything that uses PostgreSQL, through a pooler: see tests/support/postgres_server.hpp. What the
# ordinary suite runs pooled anyway has a name of its own there.
pooled_suite() {
    timed "build dev" build dev
    SAGAZ_TEST_POOLER=1 run_ctest dev -L '^(postgres|chaos)$' -E '_pooled$'
}

run_tests() {
    local extent=quick
    if [ "${1:-}" = --root ]; then in_root "${2:-}" test "${@:3}"; fi
    case "$*" in
        'asan full' | 'tsan full') extent=all ;;
        *' '*) die "test $*? A root comes first: ./do test --root debian13 $1" ;;
    esac
    setup "$kBuild $kTest"
    tools/grounds.sh >&2
    case ${1:-} in
        '') suite dev all; suite asan quick; suite tsan quick ;;
        dev) suite dev all ;;
        pooled) pooled_suite ;;
        asan | tsan) suite "$1" "$extent" ;;
        *) die "test '$1'? Known: dev, pooled, asan, tsan, --root debian13" ;;
    esac
}

# The packages of those kOps whose program is not there.
absent_programs() {
    local pair
    for pair in $kOps; do command -v "${pair%:*}" >/dev/null || printf '%s ' "${pair#*:}"; done
}

# in_root RELEASE COMMAND...: that command of this script in a Debian root.
in_root() {
    setup "$kRoots"
    exec tools/debian_root.sh "$@"
}

package() {
    case ${1:-} in
        '') setup "$kBuild $kPackage"; exec packaging/package.sh ;;
        --root) in_root "${2:-}" package ;;
        test)
            setup "$kBuild $kTest $kPackage $kRoots"
            exec tests/package/debian/test.sh "${@:2}"
            ;;
        image) setup "$kBuild $kTest $kRoots $kImage"; exec tests/package/image/test.sh ;;
        *) die "package '$1'? Known: nothing, --root debian13, test, image" ;;
    esac
}

ours() {
    find app include src tests examples \( -name '*.cpp' -o -name '*.hpp' \) 2>/dev/null | sort
}

format() {
    setup "$kStyle"
    if [ "${1:-}" = --check ]; then
        ours | xargs clang-format-19 --dry-run --Werror
    else
        ours | xargs clang-format-19 -i
    fi
}

tidy() {
    setup "$kBuild $kStyle"
    cmake --preset dev >/dev/null
    local files=("$@")
    case ${1:-} in
        '') mapfile -t files < <(ours | grep '\.cpp$') ;;
        --changed)
            mapfile -t files < <(git diff --name-only --diff-filter=d "${2:-HEAD}" -- '*.cpp')
            ;;
    esac
    if [ ${#files[@]} = 0 ]; then return; fi
    run-clang-tidy-19 -quiet -p build/dev -j "$jobs" "${files[@]}"
}

case ${1:-help} in
    help | -h | --help) help ;;
    demo) demo "${@:2}" ;;
    setup) setup ;;
    build) build "${@:2}" ;;
    test) run_tests "${@:2}" ;;
    package) package "${@:2}" ;;
    realrun) setup "$kBuild $kTest"; exec tests/chaos/realrun.sh "${@:2}" ;;
    chaos) setup "$kBuild $kTest $kRoots"; exec tests/chaos/chaos.sh "${@:2}" ;;
    bench) setup "$kBuild $kTest"; exec tests/bench/bench.sh "${@:2}" ;;
    k8s-check)
        setup "$kBuild $kTest python3-venv $(absent_programs)"
        exec tests/k8s/check.sh "${@:2}"
        ;;
    format) format "${@:2}" ;;
    tidy) tidy "${@:2}" ;;
    *) help >&2; die "unknown command '$1'" ;;
esac
