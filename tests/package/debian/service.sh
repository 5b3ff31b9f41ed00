#!/usr/bin/env bash
# service.sh FOLDER: boots the systemd of a root where the package sagaz is installed, in namespaces
# of its own, and lives through what README.Debian tells. PostgreSQL is outside. Called by test.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
root=$1
export SAGAZ=$root/usr/bin/sagaz
source tests/chaos/lib.sh
chaos_begin service

# What systemd asks for: a root that is one, shared mounts, unified cgroups, devices of its own.
boot() {
    exec unshare --mount --propagation private --pid --fork --kill-child --ipc --uts --cgroup \
        bash -euc '
        root=$1
        mount --bind "$root" "$root"
        cd "$root"
        mount -t proc proc proc
        mount -t sysfs -o ro sysfs sys
        mount -t cgroup2 none sys/fs/cgroup
        mount -t tmpfs -o mode=755 dev dev
        mkdir dev/shm dev/pts
        mount -t tmpfs -o mode=1777 shm dev/shm
        for name in null zero full random urandom tty; do
            touch "dev/$name"
            mount --bind "/dev/$name" "dev/$name"
        done
        ln -s /proc/self/fd dev/fd
        ln -s pts/ptmx dev/ptmx
        mount -t tmpfs -o mode=755 run run
        mkdir -p old
        pivot_root . old
        cd /
        umount -l /old
        rmdir /old
        mount --make-rshared /
        exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            /lib/systemd/systemd --system --unit=basic.target
    ' boot "$root"
}
inside() {
    nsenter -t "$first" -m -p -i -u -C -r -w env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
state() { inside systemctl show -P "$1" sagaz-relay.service; }
said() { inside journalctl --no-pager -o cat -u sagaz-relay.service; }
ends_as() { [ "$(state ActiveState)" = "$1" ]; }
ready() { inside sagaz healthcheck ready >/dev/null 2>&1; }

# The service may restart here, so the one thing that forbids it goes.
rm -f "$root/usr/sbin/policy-rc.d"
pg_start
(boot) >"$work/systemd.log" 2>&1 &
chaos_children+=("$!")
end_signals[$!]=KILL
wait_for 10 "systemd has begun" pgrep -P "$!" systemd >/dev/null
first=$(pgrep -P "${chaos_children[-1]}")
# Not "running": what wants kernel modules has failed.
booted() { inside systemctl is-active basic.target >/dev/null 2>&1; }
wait_for 60 "systemd is up" booted

! inside systemctl start sagaz-relay.service 2>"$work/start" || die "it starts without a database"
grep -q 'Assertion failed' "$work/start" || die "it does not say why: $(cat "$work/start")"
printf '%s\n' "$pg_url" | install -m 600 /dev/stdin "$root/etc/sagaz/secrets/store_url"

# A configuration that cannot be used is said once, not in a loop.
inside systemctl start sagaz-relay.service
wait_for 20 "it ends without a broker" ends_as failed
[ "$(state NRestarts) $(state ExecMainStatus)" = "0 2" ] || die "restarts: $(state NRestarts)"
said | grep 'broker_url_missing' >/dev/null || die "the journal has not: $(said)"

printf 'broker:\n  url: "stdout:"\n' >"$root/etc/sagaz/sagaz.yaml"
inside sagaz migrate --no-roles --store-file /etc/sagaz/secrets/store_url 2>>"$work/log"
inside systemctl start sagaz-relay.service
wait_for 30 "it is ready" ready
before=$(state MainPID)
status=$(inside cat "/proc/$before/status")
for fact in 'NoNewPrivs:\s1' 'CapBnd:\s0000000000000000' 'CapEff:\s0000000000000000' \
    'Seccomp:\s2'; do
    grep -qP "^$fact$" <<<"$status" || die "the relay's status has no $fact: $status"
done
user=$(awk '/^Uid:/ { print $2 }' <<<"$status")
[ "$user" -ge 61184 ] || die "its user is no dynamic one"
sql "SELECT count(sagaz.append('orders', '1', 'OrderPlaced', '{}'))
     FROM generate_series(1, 500) AS n" >/dev/null
all_out() { [ "$(said | grep -c '"topic":"orders"')" = 500 ]; }
wait_for 30 "500 events are out" all_out
say "   the service: does not start without a database, ends once without a broker, then runs as"
say "   user $user without capabilities and publishes 500 events"

# An upgrade restarts a service that runs.
inside env DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i "/debs/$(basename \
    "$root"/debs/sagaz_*.deb)" >>"$work/log" 2>&1 || die "no upgrade: $(tail -5 "$work/log")"
wait_for 30 "it is ready again" ready
[ "$(state MainPID)" != "$before" ] || die "an upgrade left the old relay running"
said | grep 'relay_stopped cause=SIGTERM published=500' >/dev/null ||
    die "the old relay did not drain"
began=$(now_ms)
inside systemctl stop sagaz-relay.service
say "   an upgrade restarts it, a stop takes $(($(now_ms) - began)) ms of 30 s: $(state Result)"
[ "$(state Result)" = success ] || die "it did not stop by itself"
[ "$(inside systemctl is-enabled sagaz-relay.service || true)" = disabled ] || die "it is enabled"
chaos_end
