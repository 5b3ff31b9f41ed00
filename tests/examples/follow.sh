#!/usr/bin/env bash
# follow.sh NAME: follows examples/NAME/README.md; see README.md. SAGAZ is the executable, BUILD the
# folder of its build.
source "$(dirname "${BASH_SOURCE[0]}")/../docs/follow.sh"

name=$1
follow_begin "example_$name"

# Debian's packages for Python are its own Python's.
export PATH=${SAGAZ%/*}:/usr/bin:$PATH

# The build of the Containerfile, command by command, with its folders put beside our own build,
# where they stay: the next run compiles what has changed.
containerfile_build() {
    local kept=$BUILD-examples commands from
    export CMAKE_BUILD_PARALLEL_LEVEL=2
    rm -rf "$kept/src"
    while read -r from; do
        mkdir -p "$(dirname "$kept/src/$from")"
        ln -s "$chaos_root/$from" "$kept/src/$from"
    done < <(sed -n 's|^COPY \([^-].*\) /src/\1$|\1|p' \
        "$chaos_root/examples/order_service/Containerfile")
    commands=$(sed -e ':join' -e '/\\$/{N;s/\\\n *//;b join' -e '}' \
        "$chaos_root/examples/order_service/Containerfile" | sed -n 's/^RUN \(cmake .*\)/\1/p')
    [ "$(wc -l <<<"$commands")" = 6 ] || die "the Containerfile has other commands: $commands"
    commands=$(sed -e "s| /src| $kept/src|g" -e "s| /build| $kept/build|g" \
        -e "s|\([ =]\)/opt|\1$kept/opt|g" <<<"$commands")
    bash -ec "$commands" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; die "no build"; }
    export PREFIX=$kept/opt/sagaz
    # For the document's own build, whose folder has another name each time.
    if command -v ccache >/dev/null; then
        export CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_BASEDIR=$work
    fi
}

# What the finished program loads is in a package that the image has. Their names are Debian 13's.
containerfile_packages() {
    local library package wanted
    . /etc/os-release
    [ "$VERSION_ID" = 13 ] || return 0
    wanted=$(sed -n '/^FROM debian:13-slim$/,$p' "$chaos_root/examples/order_service/Containerfile")
    while read -r library; do
        package=$(dpkg -S "*/$library" | head -1 | cut -d: -f1)
        case $package in
            libc6 | libgcc-s1 | libstdc++6) ;;  # of every image with a C++ program's libraries
            *) grep -qw -- "$package" <<<"$wanted" || die "the image lacks $package: $library" ;;
        esac
    done < <(readelf -d "$BUILD-examples/opt/service/bin/order_service" |
        sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p')
}

if [ "$name" = order_service ]; then
    containerfile_build
    containerfile_packages
    export ORDERS_DATABASE_URL=${pg_url/postgres@/order_service@}
    ORDERS_LISTEN=127.0.0.1:$(free_port)
    export ORDERS_LISTEN
fi
follow "examples/$name/README.md"
chaos_end
