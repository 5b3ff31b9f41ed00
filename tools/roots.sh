# shellcheck shell=bash
# Debian roots, for scripts that source this: made once by debootstrap, entered in namespaces of
# their own, so that nothing is left behind however a run ends. Which mirror, proxy and certificates
# the machine uses is read from its own configuration, and written nowhere else.
roots=${SAGAZ_ROOTS:-/var/tmp/sagaz-roots}

# codename_of debian13: trixie; says which there are otherwise.
codename_of() {
    case ${1:-} in
        debian12) printf 'bookworm\n' ;;
        debian13) printf 'trixie\n' ;;
        *) printf 'a root of "%s"? Known: debian13, debian12\n' "${1:-}" >&2; return 2 ;;
    esac
}

only_root() {
    [ "$(id -u)" = 0 ] || { printf 'a Debian root is made by root only: use sudo\n' >&2; return 2; }
}

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

# make_root RELEASE FOLDER: nothing where it is already.
make_root() {
    local release=$1 root=$2 proxy codename
    if [ -d "$root" ]; then return; fi
    codename=$(codename_of "$release")
    proxy=$(apt-config dump Acquire::http::Proxy --format '%v')
    printf '== making a %s root by debootstrap\n' "$release" >&2
    rm -rf "$root.new"
    mkdir -p "$root.new"
    ${proxy:+env http_proxy="$proxy"} \
        debootstrap --variant=minbase "$codename" "$root.new" "$(mirror)" >&2
    mv "$root.new" "$root"
}

# connect_root FOLDER: what reaching the mirrors needs.
connect_root() {
    local root=$1
    apt-config dump | grep -E '^Acquire::(https?::Proxy|Check-|Retries)' \
        > "$root/etc/apt/apt.conf.d/90machine" || true
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp -L /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" \
        2>/dev/null || true
}

# enter_root FOLDER MOUNTS [NAME=VALUE...] -- COMMAND...: runs it there. MOUNTS has a line each,
# "name inside" and "folder outside".
enter_root() {
    exec unshare --mount --propagation private --pid --fork --kill-child bash -euc '
        root=$1 mounts=$2
        shift 2
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
        rm -rf "$root/tmp" && mkdir -m 1777 "$root/tmp"
        while read -r name folder; do
            if [ -z "$name" ]; then continue; fi
            mkdir -p "$root/$name"
            mount --bind "$folder" "$root/$name"
        done <<< "$mounts"
        variables=()
        while [ "$1" != -- ]; do
            variables+=("$1")
            shift
        done
        shift
        exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM=dumb \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            "${variables[@]}" "$@"
    ' enter_root "$@"
}
