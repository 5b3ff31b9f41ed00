"""Builds everything shared, and checks that the libraries export nothing but names of sagaz.

check_exports.py --build FOLDER [cmake options] configures and builds there;
check_exports.py FILE... only looks at these libraries.
"""

import pathlib
import re
import subprocess
import sys

OURS = re.compile(r"^(vtable for |typeinfo for |typeinfo name for |VTT for )?sagaz::")


def exports(library):
    """The demangled names that a shared library defines for others."""
    run = subprocess.run(["nm", "--dynamic", "--defined-only", "--demangle", str(library)],
                         capture_output=True, text=True, check=True)
    return [line.split(maxsplit=2)[2] for line in run.stdout.splitlines() if line.strip()]


def check(libraries):
    found = [] if libraries else ["no shared library to look at"]
    for library in libraries:
        names = exports(library)
        if not any(OURS.match(name) for name in names):
            found.append(f"{library}: exports nothing of ours")
        found += [f"{library}: exports {name}" for name in names if not OURS.match(name)]
    return found


def build(folder, options):
    source = pathlib.Path(__file__).resolve().parent.parent
    subprocess.run(["cmake", "-S", source, "-B", folder, "-G", "Ninja", "-DBUILD_SHARED_LIBS=ON",
                    "-DSAGAZ_TESTS=OFF", *options], check=True)
    subprocess.run(["cmake", "--build", folder, "--parallel", "2"], check=True)
    return sorted(path for path in pathlib.Path(folder).rglob("libsagaz*.so*")
                  if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--build"]:
        problems = check(build(sys.argv[2], sys.argv[3:]))
    else:
        problems = check([pathlib.Path(name) for name in sys.argv[1:]])
    print("\n".join(problems + [f"{len(problems)} findings"]))
    sys.exit(1 if problems else 0)
