"""Prints a part of an object of k8s/, for scripts: part.py KIND NAME KEY/KEY/...

A text as it is, a list a line each.
"""

import sys

import manifests


def main():
    kind, name, path = sys.argv[1:]
    part = manifests.find(manifests.folder(), kind, name)
    for key in path.split("/"):
        part = part[int(key) if isinstance(part, list) else key]
    print("\n".join(part) if isinstance(part, list) else part)


if __name__ == "__main__":
    main()
