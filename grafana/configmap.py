"""Writes configmap.yaml from the dashboards beside it; --check only says whether it is in step.

A ConfigMap a dashboard, since a client-side "kubectl apply" keeps a copy of the whole object in an
annotation, which has a limit of 256 KiB.
"""

import argparse
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
FILE = "configmap.yaml"
HEAD = """\
# Written by grafana/configmap.py from the dashboards beside it: change those, then run it again.
# No namespace stands here: apply it to Grafana's own (grafana/README.md).
"""
# For a Grafana without a sidecar, mounted at /etc/grafana/provisioning/dashboards.
PROVIDER = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: sagaz-grafana-provider
  labels:
    app.kubernetes.io/name: sagaz
    app.kubernetes.io/component: grafana
data:
  sagaz.yaml: |
    apiVersion: 1
    providers:
      - name: sagaz
        folder: sagaz
        type: file
        disableDeletion: true
        allowUiUpdates: false
        updateIntervalSeconds: 60
        options:
          path: /var/lib/grafana/dashboards/sagaz
"""
# Label and annotation are what the usual sidecar looks for (kiwigrid/k8s-sidecar, as in the charts
# of Grafana and kube-prometheus-stack).
DASHBOARD = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: sagaz-dashboard-{name}
  labels:
    app.kubernetes.io/name: sagaz
    app.kubernetes.io/component: grafana
    grafana_dashboard: "1"
  annotations:
    grafana_folder: sagaz
data:
  sagaz-{name}.json: |
"""


def indented(text):
    return "".join(f"    {line}\n" for line in text.splitlines())


def configmap(folder):
    parts = [PROVIDER]
    for path in sorted(folder.glob("*.json")):
        name = path.stem.replace("_", "-")
        parts.append(DASHBOARD.format(name=name) + indented(path.read_text(encoding="utf-8")))
    return HEAD + "---\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when it differs")
    arguments = parser.parse_args()
    text = configmap(HERE)
    if not arguments.check:
        (HERE / FILE).write_text(text, encoding="utf-8")
    elif (HERE / FILE).read_text(encoding="utf-8") != text:
        sys.exit(f"grafana/{FILE} is not what the dashboards say: run grafana/configmap.py")


if __name__ == "__main__":
    main()
