#!/usr/bin/env bash
# tools/debian_root.sh debian13 COMMAND [...]: runs "./do COMMAND ..." in a root of that Debian
# release, which is made once and kept. The tree is copied in anew for each run; the packages that
# it builds come out in build/package.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/roots.sh

release=${1:-}
codename_of "$release" >/dev/null
only_root
shift
root=$roots/$release

# The tree without what git ignores.
fill_root() {
    rm -rf "$root/src/sagaz"
    mkdir -p "$root/src/sagaz"
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        if [ -e "$file" ]; then printf '%s\0' "$file"; fi
    done | tar -c --null -T - | tar -x -C "$root/src/sagaz" --no-same-owner
}

# Folders of the machine that the run may share: its caches, and where packages go.
shared() {
    local ours=${XDG_CACHE_HOME:-$HOME/.cache}/sagaz
    mkdir -p "$ours" build/package  # so that what the run leaves there is for the next
    printf 'root/.cache/ccache %s\n' "$(ccache --get-config cache_dir 2>/dev/null || true)"
    printf 'root/.cache/sagaz %s\n' "$ours"
    printf 'root/.m2 %s\n' "$HOME/.m2"
    printf 'src/sagaz/build/package %s\n' "$PWD/build/package"
}

make_root "$release" "$root"
connect_root "$root"
fill_root
mounts=$(shared | while read -r name folder; do
    if [ -n "$folder" ] && [ -d "$folder" ]; then printf '%s %s\n' "$name" "$folder"; fi
done)
given=(CI="${CI:-}" SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)")
for name in SAGAZ_JOBS SAGAZ_DEBIAN_REVISION DEBFULLNAME DEBEMAIL; do
    if [ -n "${!name:-}" ]; then given+=("$name=${!name}"); fi
done
enter_root "$root" "$mounts" "${given[@]}" -- \
    bash -c 'cd /src/sagaz && ./do "$@"' do "$@"
