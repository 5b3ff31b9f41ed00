#!/usr/bin/env bash
# Builds the image of the Containerfile, looks at it and runs it by podman; see README.md. As root.
# No registry is asked: the base is made by debootstrap.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
source tools/roots.sh
only_root

# Mounts of its own, so that nothing stays mounted; and the unified cgroups that crun insists on,
# where the machine has older ones. Groups are not used, only looked for.
if [ -z "${SAGAZ_IMAGE_ALONE:-}" ]; then
    exec unshare --mount --propagation private env SAGAZ_IMAGE_ALONE=1 tests/package/image/test.sh
fi
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    umount -R -l /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
fi

store=$roots/podman
mkdir -p "$store"
# crun gives a container's first files to its user, and with them the machine's own /dev/null.
rm -f "$store/null"
mknod -m 666 "$store/null" c 1 3
mount --bind "$store/null" /dev/null

image=localhost/sagaz:test
base=docker.io/library/debian:trixie-slim
podman_() { podman --root "$store/root" --runroot "$store/run" --cgroup-manager cgroupfs "$@"; }

# A minimal Debian 13, without what Debian's slim images leave out.
make_base() {
    local clean=$roots/clean-debian13 copy=$store/base
    if podman_ image exists "$base"; then return; fi
    make_root debian13 "$clean"
    rm -rf "$copy"
    cp -a "$clean" "$copy"
    connect_root "$copy"
    rm -rf "$copy"/usr/share/{doc,man,info,locale,lintian}/* "$copy"/var/cache/apt/*.bin \
        "$copy"/var/lib/apt/lists/* "$copy"/var/cache/apt/archives/*.deb
    tar -C "$copy" -c . | podman_ import -q - "$base" >/dev/null
    rm -rf "$copy"
}

make_base
began=$SECONDS
podman_ build --isolation chroot --pull-never --network host --build-arg REVISION=test \
    -t "$image" -f "${CONTAINERFILE:-Containerfile}" . >"$store/build.log" 2>&1 ||
    { tail -50 "$store/build.log" >&2; exit 1; }
printf '== the image is built: %d s\n' $((SECONDS - began)) >&2
root=$(podman_ image mount "$image")
base_root=$(podman_ image mount "$base")

export SAGAZ=$root/usr/bin/sagaz
source tests/chaos/lib.sh
chaos_begin image
trap 'podman_ rm -f -t 0 -a >/dev/null 2>&1 || true; chaos_finish' EXIT

# ------------------------------------------------------------------------------------ what is in it

podman_ image inspect "$image" | python3 -B tests/package/image/check_config.py ||
    die "its configuration is not what the Containerfile says"

packages_of() { dpkg-query --admindir="$1/var/lib/dpkg" -W -f '${Package}\n' | sort; }
packages_of "$base_root" >"$work/base"
packages_of "$root" >"$work/all"
added=$(comm -13 "$work/base" "$work/all" | tr '\n' ' ')
! grep -E '^(g\+\+|gcc|cmake|ninja-build|make|perl|python3)(-[0-9.]+)?$|-dev$' "$work/all" ||
    die "what only a build needs is in the image"

# Nothing that it loads is missing, and nothing that is named is not loaded. libc6 and libgcc-s1 are
# of every Debian.
named=$(sed -n '/^FROM debian:trixie-slim$/,$p' Containerfile |
    sed -n '/apt-get install/,/rm -rf/p' | grep -oE '\b(lib|ca-)[a-z0-9.+-]+' | sort -u)
loaded() {
    printf 'ca-certificates\n'
    readelf -d "$SAGAZ" | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | while read -r library; do
        chroot "$root" dpkg -S "*/$library" | head -1 | cut -d: -f1
    done | grep -vxE 'libc6|libgcc-s1'
}
wanted=$(loaded | sort -u)
[ "$named" = "$wanted" ] || die "the Containerfile names other packages than are loaded:
$(diff <(printf '%s\n' "$named") <(printf '%s\n' "$wanted"))"

size() { du -sm --apparent-size "$1" | cut -f1; }
note "size" "$(size "$root") MB, of which the base is $(size "$base_root") MB"
note "executable" "$(($(stat -c %s "$SAGAZ") / 1000)) kB"
note "packages" "$(wc -l <"$work/all"), $(wc -w <<<"$added") more than the base"
say "   more than the base: $added"

# ----------------------------------------------------------------------------------------- run

# As Kubernetes' "restricted" has it, beside the user that the image names itself.
podman_run() {
    podman_ run --read-only --read-only-tmpfs=false --cap-drop ALL \
        --security-opt no-new-privileges --network host --cgroups=disabled \
        --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 \
        --volume "$work/secrets:/run/secrets:ro" --env SAGAZ_STORE_URL_FILE=/run/secrets/store_url \
        --env "SAGAZ_ADMIN_LISTEN=127.0.0.1:$port" "$@"
}

mkdir "$work/secrets"
port=$(free_port)
pg_start

code=0
podman_run --rm --env SAGAZ_STORE_URL_FILE= "$image" 2>"$work/bare" || code=$?
[ "$code" = 2 ] && grep -q '^error\[store_url_missing\]' "$work/bare" ||
    die "without configuration it says: $code $(cat "$work/bare")"
note "without configuration" "exit 2, $(head -1 "$work/bare")"

printf '%s\n' "$pg_url" >"$work/secrets/store_url"
chmod 444 "$work/secrets/store_url"
podman_run --rm "$image" migrate --no-roles 2>>"$work/log" || die "migrate: $(cat "$work/log")"
podman_run --detach --name relay "$image" relay --broker stdout: >/dev/null
ready() { podman_ exec relay /usr/bin/sagaz healthcheck ready >>"$work/log" 2>&1; }
wait_for 30 "the relay is ready" ready
[ "$(curl -s -o "$work/readyz" -w '%{http_code}' "http://127.0.0.1:$port/readyz")" = 200 ] ||
    die "/readyz says $(cat "$work/readyz")"
note "/readyz" "200 from outside, and sagaz healthcheck ready inside"

inside=$(podman_ inspect -f '{{.State.Pid}}' relay)
status=$(cat "/proc/$inside/status")
for fact in 'Uid:\s1000\s1000\s1000\s1000' 'Gid:\s1000\s1000\s1000\s1000' 'NoNewPrivs:\s1' \
    'CapBnd:\s0000000000000000' 'CapEff:\s0000000000000000' 'Seccomp:\s2' 'NSpid:.*\s1'; do
    grep -qP "^$fact$" <<<"$status" || die "the relay's status has no $fact: $status"
done
code=0
podman_ exec relay /usr/bin/touch /tmp/file 2>"$work/write" || code=$?
[ "$code" != 0 ] && grep -q 'Read-only file system' "$work/write" || die "its root is writable"
note "the process" "the first of its container, UID 1000, no capabilities, seccomp, root read-only"

sql "SELECT count(sagaz.append('orders', (n % 7)::text, 'OrderPlaced', '{}'))
     FROM generate_series(1, 5000) AS n" >/dev/null
all_out() { [ "$(podman_ logs relay 2>/dev/null | wc -l)" = 5000 ]; }
wait_for 60 "5000 events are out" all_out
began=$(now_ms)
podman_ stop -t 30 relay >/dev/null
took=$(($(now_ms) - began))
[ "$(podman_ inspect -f '{{.State.ExitCode}}' relay)" = 0 ] ||
    die "the relay's exit code is not 0: $(podman_ logs relay 2>&1 >/dev/null | tail -3)"
podman_ logs relay 2>&1 >/dev/null |
    grep 'relay_stopped cause=SIGTERM published=5000' >/dev/null || die "it did not drain"
note "podman stop" "exit 0 after $took ms, of a grace of 30 s; 5000 events published"

# A first process without a handler would not hear of SIGTERM: init containers are stopped, too.
podman_run --detach --name waiting "$image" wait --for store --timeout 60s \
    --store postgresql://nobody@127.0.0.1:1/none >/dev/null
# Until it has its handler: bit 15 of what it catches.
catches_sigterm() {
    local pid catches
    pid=$(podman_ inspect -f '{{.State.Pid}}' waiting)
    catches=$(sed -n 's/^SigCgt:\s*//p' "/proc/$pid/status")
    [ $((0x$catches >> 14 & 1)) = 1 ]
}
wait_for 20 "sagaz wait has its handler" catches_sigterm
podman_ stop -t 20 waiting >/dev/null
code=$(podman_ inspect -f '{{.State.ExitCode}}' waiting)
[ "$code" = 143 ] || die "sagaz wait ended with $code on SIGTERM: 137 is killed, 143 is right"

podman_run --rm --tmpfs /tmp "$image" demo --folder /tmp/demo --orders 1000 >"$work/demo" 2>&1 ||
    die "the demo fails: $(tail -5 "$work/demo")"
note "sagaz demo" "$(grep '^account' "$work/demo")"

say "   not run here: Kubernetes and docker; the base from a registry, whose place debootstrap's
   minimal variant takes; a registry's push and pull; other processors than $(uname -m)"
chaos_end
