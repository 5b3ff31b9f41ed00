"""Objects of a folder or of a rendered overlay, and the parts of them that the checks ask for."""

import json
import pathlib
import re
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECRETS = "/run/secrets/"
CONFIG = "/etc/sagaz/sagaz.yaml"  # Where the program looks by itself.


def read(*paths):
    """All objects of these files, in order. By way of JSON, so that aliases are objects of their
    own and a planted mistake stays where it was planted."""
    return [json.loads(json.dumps(document)) for path in paths
            for document in yaml.safe_load_all(pathlib.Path(path).read_text(encoding="utf-8"))
            if document]


def folder():
    """What `kubectl apply -f k8s/` applies, in its order."""
    return read(*sorted((ROOT / "k8s").glob("*.yaml")))


def version():
    """The version of this tree, as CMakeLists.txt has it."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(r"project\(sagaz VERSION ([\d.]+)", text)[1]


def name_of(document):
    return f"{document['kind']} {document['metadata']['name']}"


def of_kind(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def find(documents, kind, name):
    """The object, or nothing."""
    for document in of_kind(documents, kind):
        if document["metadata"]["name"] == name:
            return document
    return None


def workloads(documents):
    """(object, pod template) of everything that makes pods."""
    return [(document, document["spec"]["template"])
            for document in of_kind(documents, "Deployment", "StatefulSet", "DaemonSet", "Job")]


def containers(pod):
    return pod.get("initContainers", []) + pod["containers"]


def is_ours(container):
    return container["image"].rpartition(":")[0].endswith("/sagaz")


def environment(container):
    return {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}


def matches(selector, labels):
    """Whether a label selector takes an object with these labels. An empty one takes all."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions") or []:
        value = labels.get(rule["key"])
        taken = {"In": lambda: value in rule["values"],
                 "NotIn": lambda: value not in rule["values"],
                 "Exists": lambda: value is not None,
                 "DoesNotExist": lambda: value is None}[rule["operator"]]()
        if not taken:
            return False
    return True


def mount_of(container, path):
    """The volume mount under which this path lies, or nothing."""
    fitting = [mount for mount in container.get("volumeMounts", [])
               if path.startswith(mount["mountPath"] + "/")]
    return max(fitting, key=lambda mount: len(mount["mountPath"]), default=None)


def volume_of(pod, mount):
    return next((v for v in pod.get("volumes", []) if mount and v["name"] == mount["name"]), None)


def configuration(documents):
    """The text of sagaz.yaml as relays read it, and what it says."""
    config = find(documents, "ConfigMap", "sagaz-config")
    text = config["data"].get("sagaz.yaml", "") if config else ""
    return text, yaml.safe_load(text) or {}


def seconds(duration):
    """'20s' or '5m': the units that our manifests use."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]
