#!/usr/bin/env python3
"""Reads `kubectl get deployments,statefulsets,jobs -o json` and writes, as one List, the pods that
their controllers would make; and the service accounts that those name, which must be there first.

    pods.py pods NAMESPACE | pods.py accounts NAMESPACE
"""
import json
import sys


def pod_of(owner, namespace):
    template = owner["spec"]["template"]
    spec = template["spec"]
    # A StatefulSet's controller adds the volumes of its claims.
    for claim in owner["spec"].get("volumeClaimTemplates", []):
        name = claim["metadata"]["name"]
        spec.setdefault("volumes", []).append(
            {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-0"}})
    return {"apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {"name": f"{owner['kind'].lower()}-{owner['metadata']['name']}",
                         "namespace": namespace,
                         "labels": template["metadata"].get("labels", {})}}


def main(what, namespace):
    pods = [pod_of(owner, namespace) for owner in json.load(sys.stdin)["items"]]
    items = pods
    if what == "accounts":
        names = {pod["spec"].get("serviceAccountName", "default") for pod in pods}
        items = [{"apiVersion": "v1", "kind": "ServiceAccount",
                  "metadata": {"name": name, "namespace": namespace}} for name in sorted(names)]
    json.dump({"apiVersion": "v1", "kind": "List", "items": items}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
