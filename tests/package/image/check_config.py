"""Reads "podman image inspect" from standard input: what the image says of itself."""

import json
import pathlib
import re
import sys

tree = pathlib.Path(__file__).resolve().parents[3]
version = re.search(r"project\(sagaz VERSION ([\d.]+)", (tree / "CMakeLists.txt").read_text())[1]
image = json.load(sys.stdin)[0]["Config"]
labels = image.get("Labels", {})
prefix = "org.opencontainers.image."

seen = {
    "User": image.get("User"), "Entrypoint": image.get("Entrypoint"), "Cmd": image.get("Cmd"),
    "StopSignal": image.get("StopSignal"), "ExposedPorts": sorted(image.get("ExposedPorts", {})),
    "version": labels.get(prefix + "version"), "revision": labels.get(prefix + "revision"),
    "licenses": labels.get(prefix + "licenses"),
    "named": sorted(set(labels) & {prefix + "title", prefix + "description", prefix + "source"}),
}
wanted = {
    "User": "1000:1000", "Entrypoint": ["/usr/bin/sagaz"], "Cmd": ["relay"],
    "StopSignal": "SIGTERM", "ExposedPorts": ["9464/tcp"], "version": version, "revision": "test",
    "licenses": "Apache-2.0",
    "named": [prefix + name for name in ("description", "source", "title")],
}
wrong = [f"{name}: {seen[name]} is not {wanted[name]}" for name in wanted
         if seen[name] != wanted[name]]
print("\n".join(wrong) or "   " + json.dumps(labels), file=sys.stderr)
sys.exit(1 if wrong else 0)
