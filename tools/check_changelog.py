"""Checks that CHANGELOG.md keeps the form of keepachangelog.com and fits the project's version."""

import datetime
import re
import tree

GROUPS = {"Breaking", "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
VERSION = re.compile(r"^\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d{2}-\d{2})$")
PROJECT = re.compile(r"project\(sagaz VERSION (\d+)\.(\d+)\.(\d+)")


def sections(text):
    """(line, title, body lines) of each second-level heading."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("## "):
            found.append((number, line[3:].strip(), []))
        elif found:
            found[-1][2].append((number, line))
    return found


def check_releases(name, releases):
    found, before = [], None
    for line, title, _ in releases:
        match = VERSION.match(title)
        if not match:
            found.append(tree.finding(name, line, f'"{title}" is not "[1.2.3] - 2026-01-31"'))
            continue
        version = tuple(int(match[n]) for n in (1, 2, 3))
        try:
            datetime.date.fromisoformat(match[4])
        except ValueError:
            found.append(tree.finding(name, line, f"{match[4]} is no date"))
        if before and version >= before:
            found.append(tree.finding(name, line, "the newest version comes first"))
        before = version
    return found


def newest(releases):
    for _, title, _ in releases:
        match = VERSION.match(title)
        if match:
            return tuple(int(match[n]) for n in (1, 2, 3))
    return None


def check(root):
    name = "CHANGELOG.md"
    if not (root / name).is_file():
        return [tree.finding(name, 1, "there is none")]
    all_sections = sections(tree.read(root, name))
    if not all_sections or all_sections[0][1] != "[Unreleased]":
        return [tree.finding(name, 1, 'the first section is "## [Unreleased]"')]
    releases = all_sections[1:]
    found = check_releases(name, releases)
    for _, _, body in all_sections:
        found += [tree.finding(name, number, f"no such group: {line[4:].strip()}")
                  for number, line in body
                  if line.startswith("### ") and line[4:].strip() not in GROUPS]
    project = PROJECT.search(tree.read(root, "CMakeLists.txt"))
    released = newest(releases)
    if not project:
        found.append(tree.finding("CMakeLists.txt", 1, "no project version"))
    elif released and tuple(int(project[n]) for n in (1, 2, 3)) < released:
        found.append(tree.finding("CMakeLists.txt", 1, "this version was released already"))
    if not released and not any(line.startswith("- ") for _, line in all_sections[0][2]):
        found.append(tree.finding(name, all_sections[0][0], "nothing is said to be there"))
    return found


if __name__ == "__main__":
    tree.main(check, __doc__)
