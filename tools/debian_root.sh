#!/usr/bin/env bash
# tools/debian_root.sh debian13 [...]: runs "./do test ..." in a root of that Debian release.
#
# The root is made once by debootstrap and kept; the tree is copied in anew for each run. All
# mounts, and every process of the run, live in namespaces of their own, so that nothing is left
# behind however the run ends. Which mirror, proxy and certificates the machine uses is read from
# its own configuration.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

release=${1:-}
case $release in
    debian12) codename=bookworm ;;
    debian13) codename=trixie ;;
    *) printf 'usage: ./do test --root debian13|debian12 [...]\n' >&2; exit 2 ;;
esac
shift
root=${SAGAZ_ROOTS:-/var/tmp/sagaz-roots}/$release
[ "$(id -u)" = 0 ] || { printf 'a Debian root is made by root only: use sudo\n' >&2; exit 2; }

# The first mirror of Debian proper that this machine's apt knows.
mirror() {
    local found format='$(ORIGIN)|$(LABEL)|$(REPO_URI)'
    found=$(apt-get indextargets --format "$format" 'Identifier: Packages')
    if [ -z "$found" ]; then
        apt-get update -qq >&2
        found=$(apt-get indextargets --format "$format" 'Identifier: Packages')
    fi
    found=$(sed -n 's/^Debian|Debian|//p' <<< "$found" | sed -n 1p)
    [ -n "$found" ] || { printf 'apt of this machine knows no Debian mirror\n' >&2; return 1; }
    printf '%s\n' "$found"
}

make_root() {
    local proxy new=$root.new
    proxy=$(apt-config dump Acquire::http::Proxy --format '%v')
    printf '== making a %s root by debootstrap\n' "$release" >&2
    rm -rf "$new"
    mkdir -p "$new"
    ${proxy:+env http_proxy="$proxy"} \
        debootstrap --variant=minbase "$codename" "$new" "$(mirror)" >&2
    mv "$new" "$root"
}

# What reaching the mirrors needs, and the tree without what git ignores.
fill_root() {
    apt-config dump | grep -E '^Acquire::(https?::Proxy|Check-|Retries)' \
        > "$root/etc/apt/apt.conf.d/90machine" || true
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp -L /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" \
        2>/dev/null || true
    rm -rf "$root/src/sagaz"
    mkdir -p "$root/src/sagaz"
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        if [ -e "$file" ]; then printf '%s\0' "$file"; fi
    done | tar -c --null -T - | tar -x -C "$root/src/sagaz" --no-same-owner
}

# Caches of the machine that the run may share: name inside the root's home, folder outside.
caches() {
    local ours=${XDG_CACHE_HOME:-$HOME/.cache}/sagaz
    mkdir -p "$ours"  # so that what the run fetches is there for the next
    printf '.cache/ccache %s\n' "$(ccache --get-config cache_dir 2>/dev/null || true)"
    printf '.cache/sagaz %s\n' "$ours"
    printf '.m2 %s\n' "$HOME/.m2"
}

[ -d "$root" ] || make_root
fill_root
mounts=$(caches | while read -r name folder; do
    if [ -n "$folder" ] && [ -d "$folder" ]; then printf '%s %s\n' "$name" "$folder"; fi
done)

exec unshare --mount --propagation private --pid --fork --kill-child bash -euc '
    root=$1 mounts=$2 ci=$3
    shift 3
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    rm -rf "$root/tmp" && mkdir -m 1777 "$root/tmp"
    while read -r name folder; do
        if [ -z "$name" ]; then continue; fi
        mkdir -p "$root/root/$name"
        mount --bind "$folder" "$root/root/$name"
    done <<< "$mounts"
    exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM=dumb CI="$ci" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash -c "cd /src/sagaz && ./do test \"\$@\"" do "$@"
' debian_root "$root" "$mounts" "${CI:-}" "$@"
