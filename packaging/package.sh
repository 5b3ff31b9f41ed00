#!/usr/bin/env bash
# Builds the Debian packages of the release that this runs on into build/package, and prints them;
# see README.md. Called by "./do package".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
umask 022
export LC_ALL=C TZ=UTC

. /etc/os-release
if [ "$ID" != debian ] || [ -z "${VERSION_ID:-}" ]; then
    printf 'packages are built on a release of Debian, and this is %s: %s\n' "$PRETTY_NAME" \
        './do package --root debian13' >&2
    exit 2
fi
release=debian$VERSION_ID
build=build/package/$release
version=$(sed -n 's/^project(sagaz VERSION \([0-9.]*\) .*/\1/p' CMakeLists.txt)

# The same tree gives the same bytes: what is stamped with a date takes that of the last commit.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
fi
export SOURCE_DATE_EPOCH

# Debian's own flags with all of its hardening; line numbers for backtraces, in a package apart.
export DEB_BUILD_MAINT_OPTIONS=hardening=+all DEB_CXXFLAGS_MAINT_APPEND=-g1
CXXFLAGS="$(dpkg-buildflags --get CPPFLAGS) $(dpkg-buildflags --get CXXFLAGS)"
LDFLAGS=$(dpkg-buildflags --get LDFLAGS)
export CXXFLAGS LDFLAGS

# A Debian that is newer takes packages of its own for newer ones.
options=("-DSAGAZ_DEBIAN_VERSION=$version-${SAGAZ_DEBIAN_REVISION:-1}~deb$VERSION_ID"
    "-DSAGAZ_DEBIAN_CODENAME=$VERSION_CODENAME"
    "-DSAGAZ_DEBIAN_DATE=$(date -Rud "@$SOURCE_DATE_EPOCH")")
if [ -n "${DEBEMAIL:-}" ]; then
    options+=("-DSAGAZ_DEBIAN_MAINTAINER=${DEBFULLNAME:-sagaz maintainers} <$DEBEMAIL>")
fi

mkdir -p "$build"
cmake --preset package -B "$build" "${options[@]}" >"$build/configure.log" 2>&1 ||
    { cat "$build/configure.log" >&2; exit 1; }
cmake --build "$build" -j "${SAGAZ_JOBS:-$(nproc)}" >&2
rm -rf "$build/packages"
cpack --config "$build/CPackConfig.cmake" -G DEB -B "$PWD/$build/packages" \
    >"$build/cpack.log" 2>&1 ||
    { cat "$build/cpack.log" >&2; exit 1; }
rm -f build/package/*"~deb${VERSION_ID}_"*.*deb
mv "$build"/packages/*.*deb build/package/
ls -s --block-size=KiB build/package/*"~deb${VERSION_ID}_"*.*deb
