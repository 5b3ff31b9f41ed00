"""Validates every object strictly against the schemas of Kubernetes and, for operators' kinds, the
shapes of @kubernetes-models: an unknown field, a wrong type or a missing key is an error.

  strict.py FOLDER_OF_NODE_MODULES FILE...
Needs kubernetes-validate. Then it plants what the schemas must find.
"""

import copy
import json
import pathlib
import subprocess
import sys

import kubernetes_validate

import manifests

# The oldest that the guide names, and the newest that the package has.
VERSIONS = ("1.27", kubernetes_validate.latest_version())
SHAPES = ("monitoring.coreos.com/", "keda.sh/", "postgresql.cnpg.io/")


def against_kubernetes(document):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            yield f"{manifests.name_of(document)}, Kubernetes {version}: {path}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{manifests.name_of(document)}: {error.message}"


def against_shapes(documents, modules):
    shapes = pathlib.Path(__file__).with_name("shapes.mjs")
    done = subprocess.run(["node", str(shapes)], cwd=modules, input=json.dumps(documents),
                          capture_output=True, text=True, timeout=60, check=False)
    if done.returncode not in (0, 1) or done.stderr:
        sys.exit(f"shapes.mjs: {done.stderr}")
    return done.stdout.splitlines()


def findings(documents, modules):
    shaped = [document for document in documents if document["apiVersion"].startswith(SHAPES)]
    plain = [document for document in documents
             if not document["apiVersion"].startswith(SHAPES)]
    found = [text for document in plain for text in against_kubernetes(document)]
    return found + (against_shapes(shaped, modules) if shaped else [])


def plant(documents):
    """(what, object) for each mistake that only a schema knows."""
    def changed(kind, change):
        for document in manifests.of_kind(documents, kind):
            copied = copy.deepcopy(document)
            change(copied["spec"])
            return f"{change.__name__} in a {kind}", copied
        return None

    def unknown_field(spec):
        spec["replica"] = 3

    def text_for_a_number(spec):
        spec["template"]["spec"]["terminationGracePeriodSeconds"] = "30s"

    def unknown_field_of_a_container(spec):
        spec["template"]["spec"]["containers"][0]["resourcess"] = {}

    def unknown_field_of_an_endpoint(spec):
        spec["endpoints"][0]["intervall"] = "30s"

    def rule_without_expression(spec):
        del spec["groups"][0]["rules"][0]["expr"]

    def unknown_field_of_a_trigger(spec):
        spec["triggers"][0]["metrictype"] = "Value"

    def unknown_field_of_a_database(spec):
        spec["storage"]["sise"] = "20Gi"

    planted = [changed("Deployment", unknown_field), changed("Deployment", text_for_a_number),
               changed("StatefulSet", unknown_field_of_a_container),
               changed("ServiceMonitor", unknown_field_of_an_endpoint),
               changed("PrometheusRule", rule_without_expression),
               changed("ScaledObject", unknown_field_of_a_trigger),
               changed("Cluster", unknown_field_of_a_database)]
    return [entry for entry in planted if entry]


def main():
    modules, files = sys.argv[1], sys.argv[2:]
    bad, everything = 0, []
    for name in files:
        documents = manifests.read(name)
        everything += documents
        found = findings(documents, modules)
        print(f"== {pathlib.Path(name).stem}: {len(documents)} objects, {len(found)} findings")
        print("".join(f"   {text}\n" for text in found), end="")
        bad += len(found)
    for what, document in plant(everything):
        found = findings([document], modules)
        print(f"   planted {what}: {found[0] if found else 'NOT FOUND'}")
        bad += not found
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
