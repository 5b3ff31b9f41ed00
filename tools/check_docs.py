"""Checks documents and tree against each other.

What documents name is there: tests, files behind links, verbs of ./do. What others hold on to
stands in its document: configuration keys, metrics, checks (and error codes, by a test of the app).
Each guarantee of README.md names a test that holds it, and each row of the table of failures too.
"""

import re
import tree

# A test of a conformance suite: a row of the table that registers it.
ENTRY = re.compile(r'^\s*\{"(\w+)",\s*\w+\s*\}', re.MULTILINE)
NAMED = re.compile(r"`([A-Z]\w*\.(?:[A-Z]\d+_)*[A-Z]\w*)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
VERB = re.compile(r"\./do ([a-z][a-z0-9-]*)")
# Names in our sources, and the document that explains each.
EXPLAINED = (
    ("key", re.compile(r'KeyInfo\{"([a-z.\_]+)"'), "docs/reference/configuration.md"),
    ("metric", re.compile(r'MetricInfo\{"(\w+)"'), "docs/reference/metrics.md"),
    ("check", re.compile(r'Check\{"(\w+)"'), "docs/reference/doctor.md"),
)
ITEM = re.compile(r"^\d+\. ")
# The rows of the failure catalogue that the document must have, each held by a test.
FAILURES = "docs/internals/failures.md"
FAILURE_ROWS = {*range(1, 7), *range(8, 17), *range(18, 37), *range(67, 77)}
FAILURE_ROW = re.compile(r"^\| (\d+) \|")
NAMELESS = "Rows without a name yet: "


def tests_of(root):
    found = set()
    for path in tree.files(root, tree.SOURCES):
        text = tree.read(root, path)
        found |= {f"{suite}.{name}" for suite, name in tree.TEST.findall(text)}
        if path.stem.endswith("_conformance"):
            shared = "StoreEntry" in text  # Several files register rows of the store's suite.
            suite = "StoreConformance" if shared else path.stem.title().replace("_", "")
            found |= {f"{suite}.{name}" for name in ENTRY.findall(text)}
    return found


def verbs_of(root):
    script = root / "do"
    if not script.is_file():
        return set()
    verb = re.compile(r"^    ([a-z][a-z0-9-]*)(?: \| [^)]*)?\)(?:$| )", re.MULTILINE)
    return set(verb.findall(script.read_text()))


def check_guarantees(root):
    """Items of the section "Guarantees" that name no test."""
    name, found, inside, item = "README.md", [], False, None
    if not (root / name).is_file():
        return [tree.finding(name, 1, "there is none")]
    items = []
    for number, line in enumerate(tree.read(root, name).splitlines(), 1):
        if line.startswith("## "):
            inside, item = line.strip() == "## Guarantees", None
        elif inside and ITEM.match(line):
            item = [number, line]
            items.append(item)
        elif inside and item and line.strip():
            item[1] += " " + line.strip()
    if not items:
        found.append(tree.finding(name, 1, 'no numbered list under "## Guarantees"'))
    found += [tree.finding(name, number, "this guarantee names no test") for number, text in items
              if not NAMED.search(text)]
    return found


def check_explained(root):
    found = []
    sources = [path for path in tree.files(root, tree.SOURCES)
               if path.parts[0] in ("include", "src", "app") and not path.stem.endswith("test")]
    for what, pattern, document in EXPLAINED:
        text = tree.read(root, document) if (root / document).is_file() else ""
        missing = {name: path for path in sources for name in pattern.findall(tree.read(root, path))
                   if f"`{name}`" not in text}
        found += [tree.finding(path, 1, f"{what} {name} is not in {document}")
                  for name, path in sorted(missing.items())]
    return found


def is_held(number, line):
    """A test's name says the row's number, alone or beside others: F06_F08_Forgets."""
    return any(f"F{number:02}_" in name for name in NAMED.findall(line))


def check_failures(root):
    if not (root / FAILURES).is_file():
        return [tree.finding(FAILURES, 1, "there is none")] if (root / "docs").is_dir() else []
    found, seen, nameless = [], set(), set()
    for number, line in enumerate(tree.read(root, FAILURES).splitlines(), 1):
        if line.startswith(NAMELESS):
            nameless = {int(row) for row in re.findall(r"\d+", line)}
        if not (match := FAILURE_ROW.match(line)):
            continue
        row = int(match[1])
        seen.add(row)
        held = is_held(row, line) or "cannot be tested here" in line
        if not held and row not in nameless:
            found.append(tree.finding(FAILURES, number, f"row {row} names no test F{row:02}_…"))
        if held and row in nameless:
            found.append(tree.finding(FAILURES, number, f"row {row} has a name now"))
    missing = sorted(FAILURE_ROWS - seen)
    return found + [tree.finding(FAILURES, 1, f"row {row} is not there") for row in missing]


def check(root):
    found, tests, verbs = check_guarantees(root), tests_of(root), verbs_of(root)
    found += check_explained(root) + check_failures(root)
    for path in tree.files(root, {".md"}):
        for number, line in enumerate(tree.read(root, path).splitlines(), 1):
            found += [tree.finding(path, number, f"no such test: {name}")
                      for name in NAMED.findall(line) if name not in tests]
            found += [tree.finding(path, number, f"no such command: ./do {verb}")
                      for verb in VERB.findall(line) if verb not in verbs]
            found += [tree.finding(path, number, f"the link leads nowhere: {target}")
                      for target in LINK.findall(line)
                      if "://" not in target and not target.startswith("mailto:")
                      and not (root / path.parent / target).exists()]
    return found


if __name__ == "__main__":
    tree.main(check, __doc__)
