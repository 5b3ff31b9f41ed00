"""Checks the manifests: that they agree with each other and with the executable, pod security,
network policies; and that the checks find planted mistakes.

  check.py                the folder k8s/ as it is, then every planted mistake
  check.py NAME=FILE...   also installations rendered by kustomize
SAGAZ names the executable.
"""

import copy
import sys

import agreement
import manifests
import network
import planted
import pod_security


def findings(documents, only=None):
    """(check, finding) of one installation; `only` runs a single check."""
    found = []
    for check in agreement.CHECKS:
        if only in (None, check.__name__):
            found += [(check.__name__, text) for text in check(documents)]
    if only in (None, "network"):
        found += [("network", text) for text in network.check(documents)]
    if only in (None, "pod_security"):
        found += [("pod_security", f"{manifests.name_of(document)}: {rule}: {where}")
                  for document, template in manifests.workloads(documents)
                  for rule, where in pod_security.check(template["spec"])]
    return found


def check_mistakes(documents):
    """Each planted mistake is found, and by its check."""
    missed = []
    for check, mistake in planted.MISTAKES:
        changed = copy.deepcopy(documents)
        mistake(changed)
        found = findings(changed, check)
        said = found[0][1].splitlines()[0] if found else "NOT FOUND"
        print(f"   planted {mistake.__name__}: {said}")
        if not found:
            missed.append(mistake.__name__)
    return missed


def check_breaks(documents):
    """Each way of breaking a rule of pod security is found by its rule, in every kind of pod."""
    missed, broken = [], set()
    for name, change in pod_security.BREAKS:
        for document, template in manifests.workloads(documents):
            pod = copy.deepcopy(template["spec"])
            change(pod, pod["containers"][0])
            if name not in {rule for rule, _ in pod_security.check(pod)}:
                missed.append(f"{change.__name__} in {manifests.name_of(document)}")
        broken.add(name)
    missed += [f"rule {name} was never broken" for name in pod_security.RULES if name not in broken]
    print(f"   {len(pod_security.RULES)} rules of pod security, {len(pod_security.BREAKS)} ways of "
          f"breaking them, in {len(manifests.workloads(documents))} kinds of pod")
    return missed


def main():
    if not agreement.SAGAZ:
        sys.exit("SAGAZ has to name the executable")
    installations = {"k8s/": manifests.folder()}
    installations |= {name: manifests.read(path) for name, path in
                      (argument.split("=", 1) for argument in sys.argv[1:])}
    bad = 0
    for name, documents in installations.items():
        found = findings(documents)
        print(f"== {name}: {len(documents)} objects, {len(found)} findings")
        for check, text in found:
            print(f"   {check}: {text}")
        bad += len(found)
    if bad:
        sys.exit("mistakes are planted once these are mended")
    folder = installations["k8s/"]
    print(f"== {len(planted.MISTAKES)} planted mistakes")
    missed = check_mistakes(folder)
    print("== pod security")
    missed += check_breaks(folder)
    for what in missed:
        print(f"   not found: {what}")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
