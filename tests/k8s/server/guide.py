#!/usr/bin/env python3
"""Writes the shell commands that stand below one heading of a guide, one a line.

    guide.py GUIDE.md "Quick start"
"""
import re
import sys


def commands(text, heading):
    below, shell = False, None
    for line in text.splitlines():
        title = re.match(r"#+ (.*)", line) if shell is None else None
        if title:
            if below:
                return
            below = title[1] == heading
        elif line.strip().startswith("```"):
            shell = None if shell is not None else line.strip() == "```sh"
        elif below and shell:
            yield line.strip()


def main(path, heading):
    with open(path, encoding="utf-8") as guide:
        lines = "\n".join(commands(guide.read(), heading))
    if not lines:
        sys.exit(f"{path} has no commands below \"{heading}\"")
    print(lines.replace("\\\n", " "))


if __name__ == "__main__":
    main(*sys.argv[1:])
