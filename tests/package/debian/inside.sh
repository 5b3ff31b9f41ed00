#!/usr/bin/env bash
# inside.sh use|purge: inside a clean root of RELEASE, as root, the packages in /debs: looked at by
# lintian, installed, upgraded, used by a user without rights; then purged. Called by test.sh.
set -euo pipefail
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

say() { printf '   %s\n' "$*" >&2; }
die() { printf 'FAILED packages of %s: %s\n' "$RELEASE" "$*" >&2; exit 1; }
quietly() { "$@" >/tmp/quietly 2>&1 || { tail -40 /tmp/quietly >&2; die "$*"; }; }
install() { quietly apt-get install -y -q --no-install-recommends "$@"; }
as_user() {
    setpriv --reuid=1000 --regid=1000 --clear-groups \
        env -i HOME=/home/user PATH=/usr/bin:/bin "$@"
}
# But what the test brought along, and the stores of apt and man.
files_of_sagaz() {
    find / -xdev \( -path /proc -o -path /dev -o -path /debs -o -path /tests -o -path /tmp \
        -o -path /home/user -o -path /var/cache \) -prune -o -iname '*sagaz*' -print
}

deb() { ls /debs/"$1"_*.deb; }
library=$(basename -a /debs/libsagaz[0-9]*.deb | sed -n '/dbgsym/!s/_.*//p')

if [ "$1" = purge ]; then
    quietly apt-get purge -y -q sagaz "$library" libsagaz-dev
    left=$(files_of_sagaz)
    [ -z "$left" ] || die "a purge leaves $left"
    say "a purge leaves nothing"
    exit
fi

printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
mkdir -p /home/user && chown 1000:1000 /home/user
quietly apt-get update -q

# ------------------------------------------------------------------------------------------ lintian

install lintian man-db
lintian --fail-on error,warning --tag-display-limit 0 --allow-root --display-info \
    /debs/*.deb >/tmp/lintian 2>&1 ||
    { cat /tmp/lintian >&2; die "lintian finds fault"; }
sed 's/^/   lintian: /' /tmp/lintian >&2
say "lintian: no error, no warning that has no override"

# ------------------------------------------------------------ an upgrade keeps what people changed

# The same package under a lower version, whose configuration file was another one.
older=/tmp/older
dpkg-deb -R "$(deb sagaz)" "$older"
sed -i 's/^Version: .*/Version: 0.0.9-1/' "$older/DEBIAN/control"
echo '# An older text.' >>"$older/etc/sagaz/sagaz.yaml"
(cd "$older" && find . -type f ! -path './DEBIAN/*' -printf '%P\0' | xargs -0 md5sum) \
    >"$older/DEBIAN/md5sums"
quietly dpkg-deb -b "$older" /tmp/sagaz_older.deb
install /tmp/sagaz_older.deb
[ "$(dpkg-query -W -f '${Version}' sagaz)" = 0.0.9-1 ] || die "the older one is not there"
echo 'log: {format: json}' >>/etc/sagaz/sagaz.yaml
echo 'postgresql://relay@db.example/shop' >/etc/sagaz/secrets/store_url
cp /etc/sagaz/sagaz.yaml /tmp/changed.yaml
install -o Dpkg::Options::=--force-confold "$(deb sagaz)"
[ "$(dpkg-query -W -f '${Version}' sagaz)" != 0.0.9-1 ] || die "it was not upgraded"
cmp /etc/sagaz/sagaz.yaml /tmp/changed.yaml || die "an upgrade changed /etc/sagaz/sagaz.yaml"
[ "$(cat /etc/sagaz/secrets/store_url)" = postgresql://relay@db.example/shop ] ||
    die "an upgrade lost a secret"
say "upgraded from 0.0.9 to $(dpkg-query -W -f '${Version}' sagaz): /etc/sagaz is as it was"
quietly apt-get purge -y -q sagaz
[ ! -e /etc/sagaz ] || die "a purge leaves $(find /etc/sagaz)"

# ----------------------------------------------------------------------------------- the executable

install "$(deb sagaz)"
[ "$(stat -c %a /etc/sagaz/secrets)" = 700 ] || die "anybody may look into /etc/sagaz/secrets"
[ -z "$(dpkg-query -W -f '${Package}\n' 'libsagaz*' 2>/dev/null)" ] || die "it brought a library"
say "needs: $(dpkg-query -W -f '${Depends}' sagaz)"
say "$(as_user sagaz version)"
quietly as_user sagaz config validate
quietly as_user sh -c 'cd && sagaz demo --folder demo'
say "sagaz demo as a user: $(grep '^account' /tmp/quietly)"

# Italics come as a letter, a step back and the letter again.
GROFF_NO_SGR=1 man --warnings -E UTF-8 -l -Tutf8 /usr/share/man/man1/sagaz.1.gz \
    2>/tmp/man.warnings |
    sed 's/.\x08//g' >/tmp/man
[ ! -s /tmp/man.warnings ] || die "the man page: $(head -5 /tmp/man.warnings)"
for word in 'until-drained' '/etc/sagaz/sagaz.yaml' 'SAGAZ_STORE_URL'; do
    grep -q -- "$word" /tmp/man || die "the man page does not say $word"
done
[ "$(as_user man -w sagaz)" = /usr/share/man/man1/sagaz.1.gz ] || die "man finds no page"

install bash-completion zsh fish
bash -ic 'source /usr/share/bash-completion/bash_completion
    _completion_loader sagaz
    complete -p sagaz' 2>/dev/null | grep -q _sagaz || die "bash completes nothing"
[ "$(zsh -fc 'autoload -U compinit && compinit -u -D && print -- $_comps[sagaz]')" = _sagaz ] ||
    die "zsh completes nothing"
fish -c 'complete -C "sagaz rel"' | grep -q '^relay' || die "fish completes nothing"
say "man page and completions of bash, zsh and fish are found"

# -------------------------------------------------------------------------------------- the service

install systemd
unit=/usr/lib/systemd/system/sagaz-relay.service
quietly systemd-analyze verify "$unit"
[ ! -s /tmp/quietly ] || die "systemd-analyze verify: $(cat /tmp/quietly)"
[ "$(systemctl is-enabled sagaz-relay.service || true)" = disabled ] || die "it is enabled"
# 10 is wide open; of Debian's own services few are below 5.
quietly systemd-analyze security --offline=true --threshold=15 "$unit"
say "systemd: verified, not enabled; exposure $(tail -1 /tmp/quietly | sed 's/.*level for //')"

# ------------------------------------------------------------------------------------ the libraries

install "$(deb "$library")" "$(deb libsagaz-dev)" g++ make cmake ninja-build pkg-config \
    libpq-dev libpqxx-dev libgtest-dev binutils
say "$library needs: $(dpkg-query -W -f '${Depends}' "$library")"
quietly cmake -S /tests/find_package -B /tmp/by-cmake -G Ninja
quietly cmake --build /tmp/by-cmake
mkdir /tmp/by-pkg-config
quietly make -C /tests/pkg_config CXX=g++ MORE=libpq OUT=/tmp/by-pkg-config
for way in by-cmake by-pkg-config; do
    quietly as_user "/tmp/$way/conformance"
    needed=$(readelf -d "/tmp/$way/append" | grep -o 'libsagaz[^]]*' | tr '\n' ' ')
    case $needed in
        *libsagaz_postgres.so."${library#libsagaz}"*) ;;
        *) die "$way needs $needed" ;;
    esac
done
# A package that is built with the library depends on it by itself.
mkdir -p /tmp/user/debian && touch /tmp/user/debian/control
(cd /tmp/user && dpkg-shlibdeps -O /tmp/by-cmake/append 2>/dev/null) | grep -q "$library (>= " ||
    die "dpkg-shlibdeps does not know which package the library is in"
say "a project builds by CMake and by pkg-config, its conformance suite passes"
