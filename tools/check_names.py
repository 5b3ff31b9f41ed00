"""Checks what the style guide says about names, places and sizes."""

import re
import tree

SENTENCE = re.compile(r"^([A-Z]\d+_)*[A-Z][A-Za-z0-9]*[a-z0-9][A-Z][A-Za-z0-9]*$")
TEST_FILE = re.compile(r"_(test|pgtest|kafkatest)\.cpp$")
SLEEP = re.compile(r"sleep_for|sleep_until|\b(u|nano)?sleep\s*\(")
SKIPPED_TEST = re.compile(r"GTEST_SKIP|\bDISABLED_")
WORDS = re.compile(r"\b\w*(Manager|Helper|Util|Impl)(s|ities)?\b")
# Written in two parts, so that this file does not hold what it looks for.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|not imple" r"mented")
MACHINE_PATH = re.compile(r"(?<![\w.$}~])/(work|farm|root|home/\w+|Users/\w+)/")
FILE_NAME = re.compile(r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")
LINES_MAX = 600
COLUMNS_MAX = 100
# The folders that hold a README of a few lines: their job, their main class, their rule.
README_UNDER = ("src", "app", "tests", "tools", "migrations", "include/sagaz")
TEXT = tree.CODE | {".md", ".sql", ".cmake", ".txt", ".json", ".yaml", ".map", ""}


def lines_matching(path, text, pattern, message):
    return [tree.finding(path, number, message) for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)]


def check_tests(path, text):
    found = []
    for match in tree.TEST.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if not SENTENCE.match(match[2]):
            found.append(tree.finding(path, line, f"a test's name is a sentence, not {match[2]}"))
        if not TEST_FILE.search(path.name) and "testing" not in path.parts:
            found.append(tree.finding(path, line, "a test lives in x_test, x_pgtest, x_kafkatest"))
    found += lines_matching(path, text, SKIPPED_TEST, "no skipped and no disabled test")
    if path.name.endswith("_test.cpp"):
        found += lines_matching(path, text, SLEEP, "a unit test waits for a fact, not for time")
    return found


def check_source(path, text):
    found = check_tests(path, text)
    if path.suffix == ".hpp" and "#pragma once" not in text:
        found.append(tree.finding(path, 1, "a header begins with #pragma once"))
    if path.parts[0] == "include":
        code = "\n".join(line.split("//")[0] for line in text.splitlines())
        found += lines_matching(path, code, WORDS, "no Manager, Helper, Util, Impl in public")
    return found


def check_code(path, text):
    found = lines_matching(path, text, UNFINISHED, "unfinished work is not committed")
    lines = text.splitlines()
    if len(lines) > LINES_MAX:
        found.append(tree.finding(path, len(lines), f"{len(lines)} lines; at most {LINES_MAX}"))
    found += [tree.finding(path, number, f"{len(line)} columns; at most {COLUMNS_MAX}")
              for number, line in enumerate(lines, 1) if len(line) > COLUMNS_MAX]
    if not FILE_NAME.match(path.name):
        found.append(tree.finding(path, 1, "file names are snake_case"))
    return found


def check_folders(root, paths):
    folders = {path.parent for path in paths
               if path.suffix in tree.CODE | {".sql"}
               and any(str(path).startswith(top + "/") for top in README_UNDER)}
    return [tree.finding(folder, 1, "a folder of code has a README.md")
            for folder in sorted(folders) if not (root / folder / "README.md").is_file()]


def check(root):
    found = []
    paths = tree.files(root)
    for path in paths:
        if path.suffix not in TEXT:
            continue
        text = tree.read(root, path)
        if path.suffix in tree.SOURCES:
            found += check_source(path, text)
        if path.suffix in tree.CODE or path.name == "do":
            found += check_code(path, text)
        found += lines_matching(path, text, MACHINE_PATH, "a path of somebody's machine")
    return found + check_folders(root, paths)


if __name__ == "__main__":
    tree.main(check, __doc__)
