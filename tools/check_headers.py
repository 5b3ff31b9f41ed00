"""Compiles each public header alone, twice included: check_headers.py [--compiler CXX] [ROOT]."""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tree

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wold-style-cast",
            "-Werror"]


def compile_alone(compiler, root, header):
    """What the compiler says of a file that includes this header and nothing else."""
    name = header.relative_to("include")
    run = subprocess.run(
        [compiler, "-std=c++20", "-fsyntax-only", *WARNINGS, "-I", str(root / "include"),
         "-x", "c++", "-"],
        input=f"#include <{name}>\n#include <{name}>\n", capture_output=True, text=True,
        check=False)
    return "" if run.returncode == 0 else tree.finding(header, 1, run.stderr.strip())


def check(root, compiler="g++"):
    headers = [path for path in tree.files(root, {".hpp"}) if path.parts[0] == "include"]
    if not headers:
        return [tree.finding("include", 1, "no header there")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        said = pool.map(lambda header: compile_alone(compiler, root, header), headers)
    return [text for text in said if text]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("root", nargs="?",
                        default=pathlib.Path(__file__).resolve().parent.parent)
    arguments = parser.parse_args()
    problems = check(pathlib.Path(arguments.root), arguments.compiler)
    print("\n".join(problems + [f"{len(problems)} findings"]))
    sys.exit(1 if problems else 0)
