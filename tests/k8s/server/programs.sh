#!/usr/bin/env bash
# Builds kube-apiserver and kubectl from Kubernetes' own Go modules, and generates the custom
# resource definitions that the folder needs from the operators' Go types, as their makers do.
# (CloudNativePG's types are not to be had as a module: see cloudnative-pg.yaml beside this file.)
#
#   programs.sh FOLDER      leaves FOLDER/bin/{kube-apiserver,kubectl} and FOLDER/crds/*.yaml
#
# What is there already is kept: a version below is part of each result's name or stamp. The first
# time takes minutes and 1.4 GiB under FOLDER; everything comes through the ordinary `go`.
set -euo pipefail

kubernetes=v1.36.3
staging=v0.36.3            # Kubernetes' parts that are modules of their own, of the same release
controller_tools=v0.23.0
prometheus_operator=v0.95.2
keda=v2.21.0

folder=$1
mkdir -p "$folder/bin" "$folder/crds"
folder=$(cd "$folder" && pwd)
# Downloads stay in the folder and can be deleted by hand; what is compiled is in Go's own cache.
export GOMODCACHE=$folder/mod GOFLAGS='-mod=mod -modcacherw -buildvcs=false' GOWORK=off
export GOTOOLCHAIN=auto CGO_ENABLED=0  # auto: an older Go takes the one that Kubernetes names
places=${SAGAZ_JOBS:-$(nproc)}

say() { printf '== %s\n' "$*" >&2; }

# stamped NAME VERSION command...: runs it unless it once succeeded for this version.
stamped() {
    local stamp=$folder/.$1 version=$2
    [ "$(cat "$stamp" 2>/dev/null)" != "$version" ] || return 0
    say "$1 $version"
    "${@:3}"
    printf '%s\n' "$version" >"$stamp"
}

# Kubernetes' go.mod gives its parts the version v0.0.0, which only its own tree resolves.
parts_of_kubernetes() {
    local mod
    mod=$(go list -m -json "k8s.io/kubernetes@$kubernetes" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["GoMod"])')
    go mod edit -json "$mod" | python3 -c 'import json, sys
for module in json.load(sys.stdin)["Require"]:
    if module["Version"] == "v0.0.0":
        print(module["Path"])'
}

build_kubernetes() {
    local part
    rm -rf "$folder/kubernetes"
    mkdir "$folder/kubernetes"
    cd "$folder/kubernetes"
    go mod init check 2>/dev/null
    for part in $(parts_of_kubernetes); do go mod edit "-replace=$part=$part@$staging"; done
    go get "k8s.io/kubernetes/cmd/kube-apiserver@$kubernetes" \
        "k8s.io/kubernetes/cmd/kubectl@$kubernetes"
    go build -p "$places" -o "$folder/bin/" \
        -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes
            -X k8s.io/client-go/pkg/version.gitVersion=$kubernetes" \
        k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl
}

build_generator() {
    GOBIN=$folder/bin go install -p "$places" \
        "sigs.k8s.io/controller-tools/cmd/controller-gen@$controller_tools"
}

# generate NAME MODULE VERSION PACKAGE: the definitions of the types of a package.
generate() {
    local name=$1 module=$2 version=$3 package=$4
    rm -rf "$folder/types-$name" "$folder/crds/$name"
    mkdir "$folder/types-$name"
    cd "$folder/types-$name"
    go mod init check 2>/dev/null
    printf 'package check\n\nimport _ "%s"\n' "$package" >types.go
    go get "$package@$version"
    "$folder/bin/controller-gen" crd paths="$package" output:crd:dir="$folder/crds/$name"
}

stamped kubernetes "$kubernetes" build_kubernetes
stamped controller-gen "$controller_tools" build_generator
stamped prometheus-operator "$prometheus_operator" generate prometheus-operator \
    github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring "$prometheus_operator" \
    github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1
stamped keda "$keda" generate keda github.com/kedacore/keda/v2 "$keda" \
    github.com/kedacore/keda/v2/apis/keda/v1alpha1
