#!/usr/bin/env bash
# What "./do k8s-check [--server]" runs: see README.md. Tools come from the package registries by
# their own clients, once, into build/k8s-tools. SAGAZ names an executable; else one is built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=$root/build/k8s-tools
out=$root/build/k8s-check
kValidate=kubernetes-validate==1.37.0
kShapes="@kubernetes-models/prometheus-operator@6.0.0 @kubernetes-models/keda@2.0.0"
kShapes+=" @kubernetes-models/cloudnative-pg@2.0.0"
# The one of kubectl 1.27, the oldest that the guide names.
kKustomize=sigs.k8s.io/kustomize/kustomize/v5@v5.0.1
failed=()

say() { printf '\n== %s\n' "$*" >&2; }
die() { printf 'k8s-check: %s\n' "$*" >&2; exit 1; }

# once WHAT command...: runs it unless exactly WHAT was done before; a deadline for every download.
once() {
    local stamp=$tools/done/${1//\//_}
    [ ! -e "$stamp" ] || return 0
    say "$1"
    timeout 900 "${@:2}" || die "cannot get $1; the first time it takes the package registries"
    touch "$stamp"
}

has_kubectl() {
    kubectl version --client -o json 2>/dev/null | python3 -c '
import json, re, sys
version = json.load(sys.stdin)["clientVersion"]["gitVersion"]
sys.exit(not 27 <= int(re.match(r"v1\.(\d+)\.", version)[1]))' 2>/dev/null
}

get_tools() {
    mkdir -p "$tools/done" "$tools/shapes"
    once venv python3 -m venv "$tools/venv"
    once "$kValidate" "$tools/venv/bin/pip" install -q --disable-pip-version-check "$kValidate"
    # shellcheck disable=SC2086  # a list of words
    once "$kShapes" npm install --silent --no-audit --no-fund --ignore-scripts \
        --prefix "$tools/shapes" $kShapes
    if [ -z "${SAGAZ_NO_KUBECTL:-}" ] && has_kubectl; then
        kustomize=(kubectl kustomize)
    else
        once "$kKustomize" env GOBIN="$tools" GOFLAGS= go install "$kKustomize"
        kustomize=("$tools/kustomize" build)
    fi
}

# part WHAT command...: goes on when it fails, so that one run shows everything.
part() {
    local code=0
    say "$1"
    "${@:2}" || code=$?
    case $code in
        0) ;;
        77) printf '== %s: SKIPPED, for the reason above\n' "$1" >&2 ;;
        *) failed+=("$1") ;;
    esac
}

render() {
    local overlay name
    rm -rf "$out"
    mkdir -p "$out"
    for overlay in "$root"/k8s "$root"/k8s/overlays/*/kustomization.yaml; do
        overlay=${overlay%/kustomization.yaml}
        name=${overlay##*/}
        "${kustomize[@]}" "$overlay" >"$out/$name.yaml" || return 1
        printf '   %s: %s objects\n' "$name" "$(grep -c '^kind:' "$out/$name.yaml")"
    done
}

agree() {
    local file rendered=()
    for file in "$out"/*.yaml; do rendered+=("$(basename "$file" .yaml)=$file"); done
    SAGAZ=$SAGAZ "$tools/venv/bin/python" -B "$here/check.py" "${rendered[@]}"
}

case ${1:-} in
    '' | --server) ;;
    *) die "'$1'? Known: nothing, --server" ;;
esac
get_tools
if [ -z "${SAGAZ:-}" ]; then
    "$root/do" build dev sagaz_executable
    SAGAZ=$root/build/dev/app/sagaz
fi
part "rendered by ${kustomize[*]}" render
if [ ${#failed[@]} = 0 ]; then
    part "strict schemas" \
        "$tools/venv/bin/python" -B "$here/strict.py" "$tools/shapes" "$out"/*.yaml
    part "agreement, pod security, network, planted mistakes" agree
fi
if [ -x "$root/tests/monitoring/run" ]; then
    part "alerts and dashboards" env SAGAZ="$SAGAZ" "$root/tests/monitoring/run"
fi
if [ "${1:-}" = --server ]; then
    part "a real API server" "$root/tests/k8s/server/run"
fi
[ ${#failed[@]} = 0 ] || die "red: $(printf '%s; ' "${failed[@]}")"
say "k8s-check: green"
