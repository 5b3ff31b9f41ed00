"""Names, ports, keys and numbers that have to agree between objects, and with the executable.

Each check takes the objects of one installation and gives its findings as sentences.
"""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import yaml

import manifests
from manifests import containers, environment, find, matches, mount_of, name_of, of_kind
from manifests import volume_of, workloads

SAGAZ = os.environ.get("SAGAZ", "")
SLOTS = 16  # setting slot_count: more relays than that stand by
# Secrets that somebody else makes, and their keys: the CloudNativePG operator's; the two that the
# guide has one make for an overlay. The rest is in secrets-example.yaml.
FOREIGN = {"postgresql-app": {"uri"},
           "sagaz-db-migrator-credentials": {"connection-string"},
           "sagaz-keda-credentials": {"connection-string"}}
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def secrets():
    """Secrets that the guide has one make, with their keys: as in secrets-example.yaml, which lists
    optional keys in a comment."""
    path = manifests.ROOT / "k8s/secrets-example.yaml"
    known = {secret["metadata"]["name"].removesuffix("-example"): set(secret["stringData"])
             for secret in manifests.read(path)}
    optional = re.search(r"# (ca\.crt, [\w., ]+): PEM", path.read_text(encoding="utf-8"))
    known["sagaz-broker-credentials"] |= set(optional[1].split(", "))
    return known | FOREIGN


# ------------------------------------------------------------------------------------------- names

@check
def namespaces(documents):
    """Everything lives in one namespace, which is there."""
    if not find(documents, "Namespace", "sagaz"):
        yield "there is no Namespace sagaz"
    for document in documents:
        if document["kind"] != "Namespace" and document["metadata"].get("namespace") != "sagaz":
            yield f"{name_of(document)} is not in namespace sagaz"


@check
def doubles(documents):
    """No object is there twice."""
    names = [(document["apiVersion"], name_of(document)) for document in documents]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{name[1]} is there twice"


@check
def versions(documents):
    """Image, label and the job's name say the version of CMakeLists.txt."""
    version = manifests.version()
    for document, template in workloads(documents):
        for container in containers(template["spec"]):
            image, _, tag = container["image"].rpartition(":")
            if not image:
                yield f"{name_of(document)}: {container['image']} has no tag"
            elif manifests.is_ours(container) and tag != version:
                yield f"{name_of(document)}: image tag {tag} is not version {version}"
        if document["kind"] == "Job" and version.replace(".", "-") not in name_of(document):
            yield f"{name_of(document)}: the name does not say version {version}"
    for document in documents:
        label = document["metadata"].get("labels", {}).get("app.kubernetes.io/version", version)
        if label != version:
            yield f"{name_of(document)}: label version {label} is not {version}"


@check
def accounts(documents):
    """Each pod has a service account of its own that is there, and no token."""
    for document, template in workloads(documents):
        name = template["spec"].get("serviceAccountName", "default")
        account = find(documents, "ServiceAccount", name)
        if not account:
            yield f"{name_of(document)}: there is no ServiceAccount {name}"
        for where in (template["spec"], account or {}):
            if where.get("automountServiceAccountToken") is not False:
                yield f"{name_of(document)}: a service-account token is mounted"
        if template["spec"].get("enableServiceLinks") is not False:
            yield f"{name_of(document)}: enableServiceLinks is not false"


# --------------------------------------------------------------------------------------- selectors

def pods(documents):
    return [template["metadata"]["labels"] for _, template in workloads(documents)]


@check
def selectors(documents):
    """What selects pods selects some: its own, for what makes pods."""
    for document, template in workloads(documents):
        labels = template["metadata"]["labels"]
        selector = document["spec"].get("selector")
        if selector and not matches(selector, labels):
            yield f"{name_of(document)}: its selector does not take its own pods"
        for spread in template["spec"].get("topologySpreadConstraints", []):
            if not matches(spread["labelSelector"], labels):
                yield f"{name_of(document)}: a topology spread does not count its own pods"
    all_pods = pods(documents)
    if find(documents, "Cluster", "postgresql"):  # the operator's label on the pods it makes
        all_pods = all_pods + [{"cnpg.io/cluster": "postgresql"}]
    for document in of_kind(documents, "Service", "PodDisruptionBudget"):
        selector = document["spec"]["selector"]
        selector = selector if "matchLabels" in selector else {"matchLabels": selector}
        if not any(matches(selector, labels) for labels in all_pods):
            yield f"{name_of(document)} selects no pod"
    if not find(documents, "StatefulSet", "postgresql"):
        return  # policies for it stay behind in overlays that keep their database elsewhere
    for document in of_kind(documents, "NetworkPolicy"):
        if not any(matches(document["spec"]["podSelector"], labels) for labels in all_pods):
            yield f"{name_of(document)} selects no pod"


# ------------------------------------------------------------------------------------------- ports

def ports_of(template):
    return {port["name"]: port["containerPort"]
            for container in template["spec"]["containers"] for port in container.get("ports", [])}


@check
def ports(documents):
    """Services, probes and monitors name ports that are there, and the relay listens on its own."""
    for document, template in workloads(documents):
        named = ports_of(template)
        for container in template["spec"]["containers"]:
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                port = container.get(kind, {}).get("httpGet", {}).get("port")
                if port is not None and port not in named:
                    yield f"{name_of(document)}: {kind} asks port {port}, which is not there"
    for service in of_kind(documents, "Service"):
        for _, template in workloads(documents):
            labels = template["metadata"]["labels"]
            if not matches({"matchLabels": service["spec"]["selector"]}, labels):
                continue
            for port in service["spec"]["ports"]:
                if port["targetPort"] not in ports_of(template):
                    yield f"{name_of(service)}: its pods have no port {port['targetPort']}"
    relay = find(documents, "Deployment", "outbox-worker")
    listen = manifests.configuration(documents)[1].get("admin", {}).get("listen", "127.0.0.1:9464")
    host, _, port = listen.rpartition(":")
    if host in ("127.0.0.1", "localhost", "[::1]"):
        yield f"admin.listen is {listen}: neither a probe nor Prometheus reaches it"
    if relay and ports_of(relay["spec"]["template"]).get("metrics") != int(port):
        yield f"admin.listen is {listen}, and the port metrics is another"


@check
def monitors(documents):
    """Each ServiceMonitor of the relays finds their Service, and a port of it."""
    services = of_kind(documents, "Service")
    for monitor in of_kind(documents, "ServiceMonitor"):
        spec = monitor["spec"]
        if "namespaceSelector" in spec and spec["namespaceSelector"].get("any"):
            continue  # by label, for services that are not ours
        found = [service for service in services
                 if matches(spec["selector"], service["metadata"].get("labels", {}))]
        if not found:
            yield f"{name_of(monitor)} finds no Service"
        for service in found:
            names = {port["name"] for port in service["spec"]["ports"]}
            for endpoint in spec["endpoints"]:
                if endpoint.get("port") not in names:
                    yield f"{name_of(monitor)}: {name_of(service)} has no port {endpoint}"


# ------------------------------------------------------------------- configuration and secret files

def files_named(container, config):
    """Paths that this container is told to read: by its variables, its command, and, where it reads
    the configuration for the broker too, sagaz.yaml."""
    words = container.get("command", []) + container.get("args", [])
    found = {value for value in environment(container).values() if value.startswith("/")}
    found |= {word.rpartition("=")[2] for word in words if "/" in word and " " not in word}
    if manifests.is_ours(container) and "relay" in words:
        found |= {value for key, value in config.get("broker", {}).items() if key.endswith("_file")}
        found.add(manifests.CONFIG)
    return sorted(path for path in found if path.startswith(("/etc/sagaz", "/etc/postgresql/",
                                                            manifests.SECRETS)))


@check
def mounted_files(documents):
    """A file that a program is told to read is a key of what is mounted there."""
    config = manifests.configuration(documents)[1]
    known = secrets()
    for document, template in workloads(documents):
        pod = template["spec"]
        for container in containers(pod):
            for path in files_named(container, config):
                mount = mount_of(container, path)
                volume = volume_of(pod, mount)
                where = f"{name_of(document)}, container {container['name']}"
                if not volume:
                    yield f"{where}: {path} is not mounted"
                    continue
                key = path[len(mount["mountPath"]) + 1:]
                source = volume.get("secret") or volume.get("configMap") or {}
                for item in source.get("items", []):
                    if item["path"] == key:
                        key = item["key"]
                name = source.get("secretName") or source.get("name")
                if "secret" in volume:
                    keys = known.get(name, set())
                else:
                    keys = (find(documents, "ConfigMap", name) or {}).get("data", {})
                if key not in keys:
                    yield f"{where}: {path} is key {key} of {name}, which has no such key"


@check
def volumes(documents):
    """Volumes name ConfigMaps that are there, secrets that the guide makes, and those are files."""
    known = secrets()
    for document, template in workloads(documents):
        pod = template["spec"]
        names = {volume["name"] for volume in pod.get("volumes", [])}
        names |= {claim["metadata"]["name"]
                  for claim in document["spec"].get("volumeClaimTemplates", [])}
        for volume in pod.get("volumes", []):
            name = volume.get("configMap", {}).get("name")
            if name and not find(documents, "ConfigMap", name):
                yield f"{name_of(document)}: there is no ConfigMap {name}"
            secret = volume.get("secret")
            if secret and secret["secretName"] not in known:
                yield f"{name_of(document)}: nobody makes secret {secret['secretName']}"
            if secret and secret.get("defaultMode") != 0o440:
                yield f"{name_of(document)}: files of {secret['secretName']} are not 0440"
        for container in containers(pod):
            entries = container.get("env", [])
            if any("secretKeyRef" in entry.get("valueFrom", {}) for entry in entries):
                yield f"{name_of(document)}: a secret stands in the environment"
            if container.get("envFrom"):
                yield f"{name_of(document)}: envFrom"
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in names:
                    yield f"{name_of(document)}: there is no volume {mount['name']}"


def run(words, variables, config=""):
    """The executable in a folder of its own, with nothing of this process's environment."""
    with tempfile.TemporaryDirectory() as work:
        if config:
            path = pathlib.Path(work, "config.yaml")
            path.write_text(config, encoding="utf-8")
            variables = variables | {"SAGAZ_CONFIG": str(path)}
        return subprocess.run([SAGAZ, *words], cwd=work, env=variables, capture_output=True,
                              text=True, timeout=60)


@check
def configuration_is_read(documents):
    """The executable takes sagaz.yaml, with the pods' variables: no unknown key, no wrong value."""
    if not SAGAZ:
        return
    text = manifests.configuration(documents)[0]
    if not text:
        yield "ConfigMap sagaz-config has no sagaz.yaml"
        return
    for document, template in workloads(documents):
        for container in filter(manifests.is_ours, containers(template["spec"])):
            done = run(["config", "validate"], environment(container), text)
            if done.returncode != 0:
                yield f"{name_of(document)}: sagaz config validate: {done.stderr.strip()}"
            if "warning" in done.stderr:
                yield f"{name_of(document)}: {done.stderr.strip()}"


@check
def commands_are_known(documents):
    """Each command line is one that the executable knows: without its secrets it says which command
    makes them, and nothing about usage."""
    if not SAGAZ:
        return
    for document, template in workloads(documents):
        for container in filter(manifests.is_ours, containers(template["spec"])):
            words = container.get("command", []) + container.get("args", [])
            if words[:1] != ["sagaz"]:
                yield f"{name_of(document)}: {words} is no command of sagaz"
                continue
            variables = environment(container) | {"POD_NAMESPACE": "sagaz"}
            said = run(words[1:], variables).stderr
            wanted = "kubectl -n sagaz create secret generic sagaz-db-credentials " \
                     "--from-file=./connection-string"
            if wanted not in said:
                yield f"{name_of(document)}: `{' '.join(words)}` without its secret says: {said}"


@check
def missing_parts_are_named(documents):
    """A relay without its ConfigMap or the broker's secret says which command makes it."""
    relay = find(documents, "Deployment", "outbox-worker")
    if not SAGAZ or not relay:
        return
    container = relay["spec"]["template"]["spec"]["containers"][0]
    text, config = manifests.configuration(documents)
    with tempfile.NamedTemporaryFile("w") as url:
        url.write("postgresql://nobody@127.0.0.1:1/none\n")
        url.flush()
        variables = environment(container) | {"SAGAZ_STORE_URL_FILE": url.name,
                                              "POD_NAMESPACE": "sagaz"}
        said = run(["relay"], variables).stderr
        if "kubectl -n sagaz apply -f k8s/configmap.yaml" not in said:
            yield f"without its ConfigMap a relay says: {said}"
        files = [value for key, value in config.get("broker", {}).items() if key.endswith("_file")]
        if files:
            said = run(["relay"], variables, text).stderr
            if "create secret generic sagaz-broker-credentials" not in said:
                yield f"without the broker's secret a relay says: {said}"


# ----------------------------------------------------------------------------------------- numbers

@check
def resources(documents):
    """Each container says what it needs and what it may take; no request is above its limit."""
    for document, template in workloads(documents):
        for container in containers(template["spec"]):
            have = container.get("resources", {})
            for part in ("requests", "limits"):
                for what in ("cpu", "memory", "ephemeral-storage"):
                    if what not in have.get(part, {}):
                        yield f"{name_of(document)}, {container['name']}: no {what} in {part}"


@check
def stopping(documents):
    """The drain ends well before Kubernetes kills."""
    relay = find(documents, "Deployment", "outbox-worker")
    if not relay:
        return
    grace = relay["spec"]["template"]["spec"].get("terminationGracePeriodSeconds", 30)
    config = manifests.configuration(documents)[1]
    drain = manifests.seconds(str(config.get("relay", {}).get("drain_timeout", "20s")))
    if grace < drain + 5:
        yield f"a grace of {grace} s leaves no five seconds after relay.drain_timeout of {drain} s"


@check
def waiting(documents):
    """What needs the database waits for it first, with a deadline."""
    for document, template in workloads(documents):
        if not manifests.is_ours(template["spec"]["containers"][0]):
            continue
        waits = [container["command"] for container in template["spec"].get("initContainers", [])
                 if container["command"][:2] == ["sagaz", "wait"]]
        if not any("--timeout" in words for words in waits):
            yield f"{name_of(document)} has no init container that waits with a deadline"


@check
def scaling(documents):
    """What scales finds the deployment, keeps to the slots, and agrees with budget and count."""
    for document in of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject"):
        spec = document["spec"]
        target = spec["scaleTargetRef"]
        relay = find(documents, target["kind"], target["name"])
        if not relay:
            yield f"{name_of(document)}: there is no {target['kind']} {target['name']}"
            continue
        least = spec.get("minReplicas", spec.get("minReplicaCount"))
        most = spec.get("maxReplicas", spec.get("maxReplicaCount"))
        if relay["spec"].get("replicas", least) != least:
            yield f"{name_of(document)}: {least} at least, and {name_of(relay)} asks for another"
        if most > SLOTS:
            yield f"{name_of(document)}: {most} relays for {SLOTS} slots"
        for budget in of_kind(documents, "PodDisruptionBudget"):
            if budget["spec"]["minAvailable"] >= least:
                yield f"{name_of(budget)} lets no node be drained: {least} relays at least"
        metrics = json.dumps(spec.get("metrics", spec.get("triggers")))
        if "AverageValue" not in metrics or '"Value"' in metrics:
            yield f"{name_of(document)}: the backlog is one for all, so its target is AverageValue"
        if document["kind"] == "HorizontalPodAutoscaler" and "outbox_pending_events" not in metrics:
            yield f"{name_of(document)} does not look at outbox_pending_events"
    if len(of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject")) > 1:
        yield "two autoscalers"
    if not of_kind(documents, "HorizontalPodAutoscaler", "ScaledObject"):
        for budget in of_kind(documents, "PodDisruptionBudget"):
            yield f"{name_of(budget)} without an autoscaler that keeps the count"


@check
def authentication(documents):
    """A ScaledObject's triggers name a TriggerAuthentication that is there, with a secret's key."""
    for document in of_kind(documents, "ScaledObject"):
        for trigger in document["spec"]["triggers"]:
            name = trigger.get("authenticationRef", {}).get("name")
            if name and not find(documents, "TriggerAuthentication", name):
                yield f"{name_of(document)}: there is no TriggerAuthentication {name}"
    for document in of_kind(documents, "TriggerAuthentication"):
        for reference in document["spec"]["secretTargetRef"]:
            if reference["key"] not in secrets().get(reference["name"], set()):
                yield f"{name_of(document)}: nobody makes that key: {reference}"


@check
def guide(documents):
    """The commands of k8s/README.md name the job and the image that are there."""
    text = (manifests.ROOT / "k8s/README.md").read_text(encoding="utf-8")
    words = [f"job/{job['metadata']['name']} " for job in of_kind(documents, "Job")]
    words += [container["image"] for _, template in workloads(documents)
              for container in containers(template["spec"]) if manifests.is_ours(container)]
    for word in sorted(set(words)):
        if word not in text:
            yield f"k8s/README.md does not name {word}"


@check
def examples(documents):
    """The example secrets cannot overwrite a real one, and no pod reads them."""
    for secret in of_kind(documents, "Secret"):
        if not secret["metadata"]["name"].endswith("-example"):
            yield f"{name_of(secret)} would overwrite what somebody made"
    if "-example" in yaml.safe_dump([template for _, template in workloads(documents)]):
        yield "a pod reads an example secret"
