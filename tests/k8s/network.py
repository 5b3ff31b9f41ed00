"""Who may reach whom by the network policies: what they mean, asked pair by pair."""

import ipaddress
import re

import manifests
from manifests import matches, name_of, of_kind, workloads

OUTSIDE = "203.0.113.7"  # somebody in the internet


class Place:
    """A pod (namespace and labels), or an address outside of the cluster."""

    def __init__(self, name, namespace=None, labels=None, address=None):
        self.name, self.namespace, self.labels = name, namespace, labels or {}
        self.address = address
        # What Kubernetes puts on every namespace.
        self.namespace_labels = {"kubernetes.io/metadata.name": namespace}


def is_peer(rule, place):
    """Whether one entry of `from` or `to`, of a policy in namespace sagaz, takes this place."""
    if "ipBlock" in rule:
        return bool(place.address) and (ipaddress.ip_address(place.address)
                                        in ipaddress.ip_network(rule["ipBlock"]["cidr"]))
    if place.address:
        return False
    if "namespaceSelector" in rule:
        if not matches(rule["namespaceSelector"], place.namespace_labels):
            return False
    elif place.namespace != "sagaz":
        return False
    return matches(rule.get("podSelector", {}), place.labels)


def lets(policies, place, peer, direction, port):
    """Whether the policies that select `place` let it talk with `peer` in this direction."""
    if place.namespace != "sagaz":
        return True  # its own policies are its owner's
    chosen = [policy["spec"] for policy in policies
              if direction in policy["spec"]["policyTypes"]
              and matches(policy["spec"]["podSelector"], place.labels)]
    if not chosen:
        return True
    peers, rules = ("from", "ingress") if direction == "Ingress" else ("to", "egress")
    for rule in (rule for spec in chosen for rule in spec.get(rules, [])):
        if port not in [entry["port"] for entry in rule.get("ports", [{"port": port}])]:
            continue
        if peers not in rule or any(is_peer(entry, peer) for entry in rule[peers]):
            return True
    return False


def reaches(policies, source, target, port):
    return (lets(policies, source, target, "Egress", port)
            and lets(policies, target, source, "Ingress", port))


def brokers(documents):
    """(place, port) of each broker of broker.url: a service of a namespace, or an address that the
    policy names, since a name outside of the cluster says none."""
    url = manifests.configuration(documents)[1].get("broker", {}).get("url", "")
    for host, port in re.findall(r"([\w.-]+):(\d+)", url.partition("://")[2]):
        inside = re.fullmatch(r"[\w-]+\.([\w-]+)\.svc(\.[\w.]+)?", host)
        if inside:
            yield Place(host, namespace=inside[1]), int(port)
        else:
            yield Place(host, address="198.51.100.10"), int(port)  # production/*-network.yaml


def database(documents):
    if any(document["kind"] == "Cluster" for document in documents):
        return Place("postgresql", "sagaz", {"cnpg.io/cluster": "postgresql"})
    for document, template in workloads(documents):
        if document["kind"] == "StatefulSet":
            return Place("postgresql", "sagaz", template["metadata"]["labels"])
    return Place("postgresql", address="192.0.2.10")  # production/*-network.yaml


def check(documents):
    """What has to be reached is, and a sample of what must not be is not."""
    policies = of_kind(documents, "NetworkPolicy")
    pods = {name_of(document).partition(" ")[2].split("-0-")[0]:
            Place(name_of(document), "sagaz", template["metadata"]["labels"])
            for document, template in workloads(documents)}
    relay, migration = pods["outbox-worker"], pods["sagaz-migrate"]
    store = database(documents)
    dns = Place("DNS", "kube-system", {"k8s-app": "kube-dns"})
    prometheus, stranger = Place("Prometheus", "monitoring"), Place("a stranger", "default")
    outside = Place("the internet", address=OUTSIDE)
    unnamed = Place("a pod without labels", "sagaz")

    wanted = [(relay, store, 5432), (migration, store, 5432), (relay, dns, 53),
              (migration, dns, 53), (prometheus, relay, 9464)]
    wanted += [(relay, place, port) for place, port in brokers(documents)]
    if any(document["kind"] == "ScaledObject" for document in documents) and not store.address:
        wanted.append((Place("KEDA", "keda"), store, 5432))
    unwanted = [(relay, outside, 443), (migration, outside, 443), (relay, stranger, 80),
                (stranger, relay, 9464), (stranger, store, 5432), (unnamed, outside, 443),
                (stranger, unnamed, 80), (prometheus, store, 5432), (relay, relay, 22),
                (prometheus, migration, 9464), (migration, stranger, 9092)]
    if "StatefulSet postgresql" in [name_of(document) for document, _ in workloads(documents)]:
        unwanted += [(store, outside, 443), (store, dns, 53), (store, relay, 9464)]
    for source, target, port in wanted:
        if not reaches(policies, source, target, port):
            yield f"{source.name} cannot reach {target.name} at {port}"
    for source, target, port in unwanted:
        if "sagaz" not in (source.namespace, target.namespace):
            continue  # an overlay that keeps the database elsewhere: not ours to say
        if reaches(policies, source, target, port):
            yield f"{source.name} can reach {target.name} at {port}"
