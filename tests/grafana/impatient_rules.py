"""impatient_rules.py FILE: the rules of a PrometheusRule, for Prometheus itself.

What an alert waits for is a fifteenth of what it is, so that a story of minutes shows it. Prints
no group when the file is not there.
"""

import pathlib
import re
import sys

import yaml

SHORTER = 15
SECONDS = {"s": 1, "m": 60, "h": 3600}


def shortened(duration):
    total = sum(int(n) * SECONDS[unit] for n, unit in re.findall(r"(\d+)([smh])", duration))
    return f"{max(1, total // SHORTER)}s"


def groups_of(path):
    if not path.is_file():
        return []
    found = []
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        if document and document.get("kind") == "PrometheusRule":
            found += document["spec"]["groups"]
    for group in found:
        group.pop("interval", None)
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = shortened(rule["for"])
    return found


if __name__ == "__main__":
    yaml.safe_dump({"groups": groups_of(pathlib.Path(sys.argv[1]))}, sys.stdout)
