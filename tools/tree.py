"""What the house checks share: the files of the tree, and how a finding is said."""

import argparse
import os
import pathlib
import re
import sys

SKIPPED = {"build", ".git", ".cache", "__pycache__", ".idea", ".vscode"}
CODE = {".cpp", ".hpp", ".py", ".sh"}
SOURCES = {".cpp", ".hpp"}
# A test of GoogleTest: its suite and its name.
TEST = re.compile(
    r"^\s*(?:TEST|TEST_F|TEST_P|TYPED_TEST|TYPED_TEST_P)\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)",
    re.MULTILINE)


def files(root, suffixes=None):
    """The files under root, as sorted paths relative to it; build output and .git are not ours."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED]
        for name in set(names) - SKIPPED:  # .git is a file in a worktree
            path = pathlib.Path(folder, name)
            if suffixes is None or path.suffix in suffixes:
                found.append(path.relative_to(root))
    return sorted(found)


def read(root, path):
    return (pathlib.Path(root) / path).read_text(encoding="utf-8", errors="replace")


def finding(path, line, message):
    return f"{path}:{line}: {message}"


def main(check, description):
    """Runs check(root) as a program: prints its findings, and fails when there are any."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("root", nargs="?", default=pathlib.Path(__file__).resolve().parent.parent)
    found = check(pathlib.Path(parser.parse_args().root))
    for text in found:
        print(text)
    print(f"{len(found)} findings")
    sys.exit(1 if found else 0)
