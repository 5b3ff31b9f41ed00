# shellcheck shell=bash
# etcd and a kube-apiserver on free loopback ports, certificates made here, all in one temporary
# folder. Source it, call `server_begin FOLDER-OF-PROGRAMS`, then `server_start`, which begins with
# an empty cluster each time it is called. Nothing runs in it: no controller, no node.
set -euo pipefail

say() { printf '== %s\n' "$*" >&2; }
die() { printf 'FAILED k8s server: %s\n' "$*" >&2; exit 1; }

server_begin() {
    programs=$1
    work=$(mktemp -d "${TMPDIR:-/tmp}/sagaz-k8s-XXXXXX")
    etcd_pid= apiserver_pid= clusters=0
    trap server_end EXIT
    trap 'exit 130' INT TERM
    make_certificates
    etcd_port=$(free_port)
    # The data is thrown away, so nothing waits for the disk more than etcd itself must.
    etcd --data-dir "$work/etcd" --log-level error \
        --listen-client-urls "http://127.0.0.1:$etcd_port" \
        --advertise-client-urls "http://127.0.0.1:$etcd_port" \
        --listen-peer-urls "http://127.0.0.1:$(free_port)" >"$work/etcd.log" 2>&1 </dev/null &
    etcd_pid=$!
}

server_end() {
    local code=$? pid
    # bash runs it at the end of a process substitution as well.
    [ "$BASHPID" = $$ ] || return "$code"
    trap - EXIT INT TERM
    set +e
    for pid in $apiserver_pid $etcd_pid; do end "$pid"; done
    if [ $code = 0 ] && [ -z "${KEEP:-}" ]; then
        rm -rf "$work"
    else
        rm -rf "$work/etcd"
        say "logs are kept in $work"
    fi
    exit $code
}

# A server that does not end by itself is killed.
end() {
    local tries=100
    kill "$1" 2>/dev/null || return 0
    while kill -0 "$1" 2>/dev/null && [ $tries -gt 0 ]; do
        sleep 0.1
        tries=$((tries - 1))
    done
    kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

free_port() {
    python3 -c 'import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# One authority; the server's certificate, and that of an administrator. Valid for a day.
make_certificates() {
    local keys=$work/keys
    mkdir -m 700 "$keys"
    (
        cd "$keys"
        openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=check -keyout ca.key -out ca.crt
        openssl req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver -keyout server.key \
            -out server.csr
        printf 'subjectAltName=IP:127.0.0.1\n' >server.ext
        openssl x509 -req -days 1 -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
            -extfile server.ext -out server.crt
        openssl req -newkey rsa:2048 -nodes -subj /O=system:masters/CN=admin -keyout admin.key \
            -out admin.csr
        openssl x509 -req -days 1 -in admin.csr -CA ca.crt -CAkey ca.key -CAcreateserial \
            -out admin.crt
        openssl genrsa -out accounts.key 2048
    ) >"$work/openssl.log" 2>&1 || die "openssl failed: $(tail -3 "$work/openssl.log")"
}

# server_start: an empty cluster, with a prefix of its own in etcd.
server_start() {
    local port keys=$work/keys
    [ -z "$apiserver_pid" ] || end "$apiserver_pid"
    clusters=$((clusters + 1))
    port=$(free_port)
    "$programs/bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" \
        --etcd-prefix "/cluster-$clusters" --bind-address 127.0.0.1 --secure-port "$port" \
        --tls-cert-file "$keys/server.crt" --tls-private-key-file "$keys/server.key" \
        --client-ca-file "$keys/ca.crt" --authorization-mode RBAC --allow-privileged \
        --service-account-issuer https://kubernetes.default.svc \
        --service-account-signing-key-file "$keys/accounts.key" \
        --service-account-key-file "$keys/accounts.key" \
        --service-cluster-ip-range 10.96.0.0/16 >"$work/apiserver-$clusters.log" 2>&1 </dev/null &
    apiserver_pid=$!
    cat >"$work/kubeconfig" <<CONFIG
apiVersion: v1
kind: Config
clusters:
  - name: check
    cluster: {server: "https://127.0.0.1:$port", certificate-authority: $keys/ca.crt}
users:
  - name: admin
    user: {client-certificate: $keys/admin.crt, client-key: $keys/admin.key}
contexts: [{name: check, context: {cluster: check, user: admin}}]
current-context: check
CONFIG
    wait_for 120 "the API server is ready" kube get --raw /readyz
    wait_for 60 "the default namespace is there" kube get namespace default
}

# wait_for SECONDS WHAT command...: until the command succeeds.
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "$apiserver_pid" 2>/dev/null ||
            die "the API server ended: $(tail -3 "$work/apiserver-$clusters.log")"
        [ $SECONDS -lt "$deadline" ] || die "timed out waiting until $what"
        sleep 0.2
    done
}

# kubectl as it comes, with nothing of the user's own.
kube() {
    env -i PATH="$PATH" HOME="$work" KUBECONFIG="$work/kubeconfig" "$programs/bin/kubectl" "$@"
}
