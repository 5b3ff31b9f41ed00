#!/usr/bin/env bash
# test.sh [debian12|debian13]...: builds the packages of that release, or of both, and uses them in
# a clean root of it; see README.md. As root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
source tools/roots.sh
only_root

releases=("$@")
if [ $# = 0 ]; then releases=(debian12 debian13); fi
for release in "${releases[@]}"; do codename_of "$release" >/dev/null; done

build() {
    . /etc/os-release
    if [ "debian$VERSION_ID" = "$1" ]; then
        ./do package
    else
        ./do package --root "$1"
    fi
}

# In a copy of the clean root, which is removed however the run ends.
use() {
    local release=$1 clean=$roots/clean-$1 mounts
    make_root "$release" "$clean"
    copy=$(mktemp -d "$roots/use-$release-XXXXXX")
    trap 'rm -rf --one-file-system "$copy"' EXIT
    cp -a "$clean/." "$copy/"
    connect_root "$copy"
    mkdir -p "$copy/debs" "$copy/tests"
    cp build/package/*"~deb${release#debian}_"*.deb "$copy/debs/"
    cp -r tests/package/. "$copy/tests/"
    (enter_root "$copy" "" RELEASE="$release" -- bash /tests/debian/inside.sh use)
    tests/package/debian/service.sh "$copy"
    (enter_root "$copy" "" RELEASE="$release" -- bash /tests/debian/inside.sh purge)
    rm -rf --one-file-system "$copy"
    trap - EXIT
}

for release in "${releases[@]}"; do
    printf '== packages of %s\n' "$release" >&2
    (build "$release")
    began=$SECONDS
    (use "$release")
    printf '== %s: passed, %d s without the build\n' "$release" $((SECONDS - began)) >&2
done
