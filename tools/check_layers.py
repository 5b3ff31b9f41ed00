"""Checks the dependency rules of docs/internals/architecture.md against the #include lines.

Each folder has a row in LAYERS that says what it may include. An include is put into a class first
(a folder of ours, a public header, std, or a named library); what has no class is a finding too,
so that a new dependency is a decision.
"""

import pathlib
import re
import tree

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)

# What begins an include of a library, and the library's name here.
LIBRARIES = {
    "fmt/": "fmt", "nlohmann/": "nlohmann", "libpq-fe.h": "libpq", "libpq-events.h": "libpq",
    "pqxx/": "pqxx", "librdkafka/": "librdkafka", "sqlite3.h": "sqlite3", "CLI/": "cli11",
    "spdlog/": "spdlog", "yaml-cpp/": "yaml-cpp", "httplib.h": "httplib",
    "prometheus/": "prometheus", "gtest/": "gtest", "gmock/": "gtest",
    "benchmark/": "benchmark",
}
# Public headers that name a concrete backend: for app and tests, and for the backend itself.
BACKENDS = {"postgres", "sqlite", "kafka", "rabbitmq", "redis", "nats", "brokers", "consumer"}
# Headers made at build time, and the folder whose rules they fall under.
GENERATED = {"postgres_migrations.hpp": "stores/postgres", "migrations.hpp": "stores/postgres"}

PORTS = {"std", "public", "stdx", "core"}
APP = {"std", "posix", "public", "backend", "stdx", "core", "relay", "outbox", "inbox", "saga",
       "telemetry", "stores/postgres", "stores/sqlite", "brokers", "app", "fmt", "nlohmann",
       "cli11", "spdlog", "yaml-cpp", "httplib", "prometheus", "sqlite3", "libpq", "librdkafka"}

# Folder: what its files may include. The longest folder that fits counts.
LAYERS = {
    "include/sagaz": {"std", "public", "backend"},
    "include/sagaz/adapters": {"std", "public", "backend", "adapters", "pqxx", "prometheus",
                               "libpq"},
    "include/sagaz/testing": {"std", "public", "testing", "gtest"},
    "src/stdx": {"std", "posix", "public", "stdx"},
    "src/core": PORTS,
    "src/outbox": PORTS | {"outbox"},
    "src/relay": PORTS | {"relay"},
    "src/publisher": PORTS | {"publisher"},
    "src/inbox": PORTS | {"inbox"},
    "src/saga": PORTS | {"saga"},
    "src/stores/postgres": PORTS | {"posix", "backend", "stores/postgres", "libpq"},
    "src/stores/sqlite": PORTS | {"posix", "backend", "stores/sqlite", "sqlite3"},
    "src/brokers": PORTS | {"posix", "backend", "brokers", "librdkafka"},
    "src/telemetry": PORTS | {"telemetry", "adapters", "spdlog", "prometheus"},
    "src/testing": PORTS | {"testing", "gtest"},
    "app": APP,
    "examples": {"std", "posix", "public", "backend", "adapters", "pqxx", "libpq", "sqlite3",
                 "nlohmann", "prometheus"},
    "tests": None,
}
# Our sources, not our headers, may use these anywhere under src.
PRIVATE = {"fmt", "nlohmann"}
# Tests beside the code see these as well.
FOR_TESTS = {"gtest", "tests", "testing", "backend", "posix"}
# core has no I/O, no clock and no threads.
NOT_IN_CORE = {"thread", "mutex", "shared_mutex", "condition_variable", "future", "semaphore",
               "latch", "barrier", "stop_token", "fstream", "iostream", "filesystem", "ctime",
               "cstdio"}
CLOCK = re.compile(r"_clock::now\(|\btime\s*\(\s*(nullptr|NULL|0)\s*\)|random_device")
# An id is made from the system's clock and its random source, as its public header says; a broken
# assertion prints before it aborts.
CORE_EXCEPTIONS = {"src/core/id.cpp", "src/core/assert.hpp"}
# Costs seconds to compile.
IN_ONE_FILE = {"cli11"}


def is_test(path):
    return bool(re.search(r"_(test|pgtest|kafkatest)\.cpp$|_fixture\.hpp$", path.name))


def layer_of(path):
    text = str(path.parent)
    fitting = [name for name in LAYERS if text == name or text.startswith(name + "/")]
    return max(fitting, key=len) if fitting else None


def folder_class(path):
    """The class of a file of our own tree."""
    parts = path.parts
    if parts[0] == "include":
        if parts[2] in ("testing", "adapters"):
            return parts[2]
        return "backend" if path.stem in BACKENDS else "public"
    if parts[0] == "src":
        return "/".join(parts[1:3]) if parts[1] == "stores" else parts[1]
    return parts[0]


def include_class(root, path, quote, target):
    if quote == '"':
        for base in (path.parent, pathlib.Path("src"), pathlib.Path(".")):
            candidate = pathlib.Path(*(base / target).parts)
            if (root / candidate).is_file():
                return folder_class(candidate)
    if target.startswith("sagaz/"):
        return folder_class(pathlib.Path("include") / target)
    if target in GENERATED:
        return GENERATED[target]
    for start, library in LIBRARIES.items():
        if target.startswith(start):
            return library
    if "." not in target:
        return "std"
    if target.endswith(".h") and quote == "<":
        return "posix"
    return None


def judge(path, layer, kind, target):
    """What is wrong with this include, or None."""
    allowed = LAYERS[layer]
    if kind is None:
        return f'"{target}" is neither ours nor a library that check_layers knows'
    if allowed is None:
        return None
    test = is_test(path)
    allowed = allowed | (FOR_TESTS if test else set())
    if layer.startswith("src/") and path.suffix == ".cpp":
        allowed = allowed | PRIVATE
    if kind not in allowed:
        return f"{layer} must not include {kind} ({target})"
    if layer == "src/core" and target in NOT_IN_CORE and not test \
            and str(path) not in CORE_EXCEPTIONS:
        return f"core has no I/O, clock or threads ({target})"
    return None


def check(root):
    found = []
    users = {library: [] for library in IN_ONE_FILE}
    for path in tree.files(root, tree.SOURCES):
        layer = layer_of(path)
        if layer is None:
            found.append(tree.finding(path, 1, "no layer: add the folder to check_layers"))
            continue
        text = tree.read(root, path)
        for match in INCLUDE.finditer(text):
            kind = include_class(root, path, match[1], match[2])
            wrong = judge(path, layer, kind, match[2])
            if wrong:
                found.append(tree.finding(path, text.count("\n", 0, match.start()) + 1, wrong))
            if kind in users and path not in users[kind]:
                users[kind].append(path)
        if layer == "src/core" and not is_test(path) and str(path) not in CORE_EXCEPTIONS:
            for number, line in enumerate(text.splitlines(), 1):
                if CLOCK.search(line.split("//")[0]):
                    found.append(tree.finding(path, number, "core reads no clock, no randomness"))
    for library, paths in users.items():
        found += [tree.finding(path, 1, f"{library} belongs in one file: {paths[0]} has it")
                  for path in paths[1:]]
    return found


if __name__ == "__main__":
    tree.main(check, __doc__)
