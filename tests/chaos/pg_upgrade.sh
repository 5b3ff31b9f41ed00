#!/usr/bin/env bash
# restore.sh's drill "upgrade" from PostgreSQL 15 to 17, on a Debian 13 that was a Debian 12: a
# layer over the root of `./do test --root debian13`, to which Debian 12's server is added. Needs
# root. It runs by its name only, since making the root takes minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tools/roots.sh
only_root
tools/debian_root.sh debian13 build dev sagaz_executable
layer=$roots/pg_upgrade
cleanup() {
    umount "$layer/merged" 2>/dev/null || true
    rm -rf "$layer"
}
trap cleanup EXIT
mkdir -p "$layer/upper" "$layer/work" "$layer/merged"
mount -t overlay overlay \
    -o "lowerdir=$roots/debian13,upperdir=$layer/upper,workdir=$layer/work" "$layer/merged"
connect_root "$layer/merged"
printf 'deb %s %s main\n' "$(mirror)" "$(codename_of debian12)" \
    >"$layer/merged/etc/apt/sources.list.d/debian12.list"
cat >"$layer/merged/drill" <<'INNER'
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/postgresql-common
echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
apt-get update -qq
apt-get install -y -qq --no-install-recommends postgresql-15 postgresql-17 pgbouncer python3 \
    procps >/apt.log 2>&1 || { tail -20 /apt.log >&2; exit 1; }
cd /src/sagaz
SAGAZ=/src/sagaz/build/dev/app/sagaz DRILLS=upgrade OLD_BIN=/usr/lib/postgresql/15/bin \
    NEW_BIN=/usr/lib/postgresql/17/bin tests/chaos/restore.sh
INNER
# The first process of its own must wait for children that are not its own, hence not the drill.
(enter_root "$layer/merged" "" -- bash -c 'bash -eu /drill; code=$?; exit $code')
