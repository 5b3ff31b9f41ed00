"""Runs the sh blocks of a document in one shell, in order. follow.py DOCUMENT FOLDER [--no-kafka]

Stops at the first command that fails. Each line of a text block must be in the output of the block
before it; an ellipsis stands for anything within a line.
"""

import pathlib
import re
import subprocess
import sys

MARK = "@@ block"
LIMIT_SECONDS = 480


def blocks(text, has_kafka):
    """(line, language, body) of the sh and text blocks that are to be followed."""
    opened, skipped = None, False
    for number, line in enumerate(text.splitlines(), 1):
        if opened is None and line.startswith("## "):
            skipped = "Kafka" in line and not has_kafka
            if skipped:
                print(f"left out, there is no Kafka: {line[3:]}")
        if not line.startswith("```"):
            if opened:
                opened[2].append(line)
        elif opened is None:
            opened = (number, line.strip("`").strip(), [])
        else:
            if opened[1] in ("sh", "text") and not skipped:
                yield opened
            opened = None


def command(line):
    if line.startswith("./do "):
        return f"echo 'left out, this tree is built: {line}'"
    return line


def script(followed):
    # What the document leaves running ends with the shell.
    text = ["set -eo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for number, language, body in followed:
        if language == "sh":
            text += [f"echo '{MARK} {number}'", *map(command, body)]
    return "\n".join(text) + "\n"


def expectations(followed, outputs):
    """What text blocks promise and the output does not keep."""
    before = None
    for number, language, body in followed:
        if language == "sh":
            before = number
            continue
        for line in body:
            pattern = ".*".join(map(re.escape, line.split("…")))
            if not re.search(pattern, outputs.get(before, "")):
                yield f"line {number}: not in the output of line {before}: {line}"


def main(document, folder, *options):
    followed = list(blocks(pathlib.Path(document).read_text(), "--no-kafka" not in options))
    ran = subprocess.run(["bash", "-c", script(followed)], cwd=folder, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         timeout=LIMIT_SECONDS, check=False)
    print(ran.stdout)
    parts = re.split(rf"^{MARK} (\d+)\n", ran.stdout, flags=re.MULTILINE)
    outputs = dict(zip(map(int, parts[1::2]), parts[2::2]))
    wrong = list(expectations(followed, outputs))
    if ran.returncode != 0:
        wrong = [f"a command of the block at line {parts[-2]} failed with {ran.returncode}"]
    if not outputs:
        wrong = ["the document has no sh block"]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
