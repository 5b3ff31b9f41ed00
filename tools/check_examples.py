"""Checks that the code which documents show is code that is compiled.

A fenced block that names a file behind its language (```cpp examples/append.cpp) has that file's
text. C++ and CMake in README.md and docs always name one. A program of examples/ is short, and so
are the files of those with a folder of their own.
"""

import re
import tree

FENCE = re.compile(r"^(?P<fence>```+)(?P<language>\w*) *(?P<file>\S*)\s*$")
ALWAYS_FILES = {"cpp", "c++", "cmake"}
LINES_MAX = 25
FILE_LINES_MAX = 260


def blocks(text):
    """(line, language, file, text) of each fenced block."""
    opened = None
    for number, line in enumerate(text.splitlines(), 1):
        match = FENCE.match(line)
        if opened is None:
            if match:
                opened = (number, match["language"], match["file"], match["fence"], [])
        elif match and match["fence"] == opened[3] and not match["language"]:
            yield opened[0], opened[1], opened[2], "".join(f"{line}\n" for line in opened[4])
            opened = None
        else:
            opened[4].append(line)


def check_block(root, path, block):
    number, language, name, text = block
    if not name:
        if language in ALWAYS_FILES and (path.parts[0] == "docs" or len(path.parts) == 1):
            return tree.finding(path, number, f"{language} that names no file: nobody compiles it")
        return None
    if not (root / name).is_file():
        return tree.finding(path, number, f"no such file: {name}")
    if text != tree.read(root, name):
        return tree.finding(path, number, f"not the text of {name}")
    return None


def check(root):
    found = []
    for path in tree.files(root, {".md"}):
        found += [wrong for block in blocks(tree.read(root, path))
                  if (wrong := check_block(root, path, block))]
    for path in tree.files(root, {".cpp", ".hpp", ".py", ".sql"}):
        if path.parts[0] == "examples":
            lines = len(tree.read(root, path).splitlines())
            most = LINES_MAX if len(path.parts) == 2 else FILE_LINES_MAX
            if lines > most:
                found.append(tree.finding(path, lines, f"{lines} lines; at most {most}"))
    return found


if __name__ == "__main__":
    tree.main(check, __doc__)
