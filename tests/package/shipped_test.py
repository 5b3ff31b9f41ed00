"""What is shipped beside the executable says what the executable does.

The service, its configuration and its drop-in, the man page, and the Containerfile's lists. Run by
ctest with SAGAZ, the executable, and SAGAZ_MAN_PAGE in the environment.
"""

import gzip
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

SAGAZ = os.environ["SAGAZ"]
MAN_PAGE = pathlib.Path(os.environ["SAGAZ_MAN_PAGE"])
TREE = pathlib.Path(__file__).resolve().parents[2]
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def sagaz(*arguments, **environment):
    """Its exit code, standard output and standard error; no configuration but what is given."""
    run = subprocess.run([SAGAZ, *arguments], env={"PATH": "/usr/bin", **environment}, text=True,
                         capture_output=True, timeout=60, check=False, cwd="/")
    return run.returncode, run.stdout, run.stderr


def verbs():
    return set(re.findall(r"-n '__fish_use_subcommand' -a (\w+)$",
                          sagaz("completion", "fish")[1], re.MULTILINE))


def seconds(text):
    value, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(value) * SECONDS[unit]


def assignments(text, name):
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def uncommented(text):
    """The examples of a configuration: "#key: value" and "#  key: value"; "# " is prose."""
    return re.sub(r"^#(\S|  )", r"\1", text, flags=re.MULTILINE)


def check_environment(unit, folder):
    """The variables of a unit name keys, and their files what the unit loads."""
    found, loaded, given = [], set(), {}
    for text in assignments(unit, "LoadCredential"):
        name, path = text.split(":")
        loaded.add(name)
        (folder / name).write_text("postgresql://user@host/database\n", encoding="utf-8")
        if not path.startswith("/etc/sagaz/secrets/"):
            found.append(f"{path} is not where secrets lie")
    for text in assignments(unit, "Environment"):
        variable, value = text.split("=")
        given[variable] = value.replace("%d", str(folder))
        if value.removeprefix("%d/") not in loaded:
            found.append(f"{variable} names {value}, which is not loaded")
    code, out, err = sagaz("config", "show", "--json", **given)
    if code != 0 or err:
        return [*found, f"config show: {err}"]
    origins = {value["from"] for value in json.loads(out)["values"].values()}
    return found + [f"{variable} is no key's" for variable in set(given) - origins]


def check_unit(unit):
    found = []
    [command] = assignments(unit, "ExecStart")
    if not command.startswith("/usr/bin/sagaz "):
        found.append(f"it starts {command}")
    if command.split()[1] not in verbs():
        found.append(f"{command} is no command")
    relay = json.loads(sagaz("config", "schema")[1])["properties"]["relay"]["properties"]
    [stop] = assignments(unit, "TimeoutStopSec")
    if seconds(stop) <= seconds(relay["drain_timeout"]["default"]):
        found.append("it is killed before it may have drained")
    return found


def check_configuration(text, folder):
    found = []
    for what, content in (("as shipped", text), ("with all examples", uncommented(text))):
        (folder / "sagaz.yaml").write_text(content, encoding="utf-8")
        code, _, err = sagaz("config", "validate", "--config", str(folder / "sagaz.yaml"))
        if code != 0:
            found.append(f"{what}: {err}")
    if uncommented(text) == text:
        found.append("it has no example")
    return found


def check_man_page(page):
    found = []
    _, said, _ = sagaz("--help")
    exits = re.search(r"Exit codes: (.*)\.", said)[1]
    section = page.split(".SH EXIT STATUS")[1].split(".SH")[0]
    if re.findall(r"\d+(?= )", exits) != re.findall(r"^\.TP\n(\d+)$", section, re.MULTILINE):
        found.append(f"its exit codes are not: {exits}")
    plain = page.replace("\\-", "-")
    for verb in verbs():
        if not re.search(rf"^ *{verb}( .*)?$", plain, re.MULTILINE):
            found.append(f"{verb} is missing")
    return found


def words(text):
    """The package names of a list in ./do or in a Containerfile."""
    return set(re.findall(r"(?<![\w-])[a-z0-9][a-z0-9+.-]+", text))


def check_containerfile(text, do, cmake):
    found = []
    lists = re.findall(r"--no-install-recommends ([^&\n]+)", text.replace("\\\n", " "))
    if len(lists) != 2:
        return [f"{len(lists)} lists of packages"]
    known = words(" ".join(re.findall(r'^(?:kBuild|kPackage)="([^"]*)"', do, re.MULTILINE)))
    found += [f"{name} is not in ./do's lists" for name in sorted(words(lists[0]) - known)]
    found += [f"{name} is only for a build" for name in sorted(words(lists[1]) & known)]
    version = re.search(r"project\(sagaz VERSION ([\d.]+)", cmake)[1]
    for said in re.findall(r"(?:ARG VERSION=|ghcr\.io/sagaz/sagaz:)([\d.]+)", text):
        if said != version:
            found.append(f"version {said}, and the project's is {version}")
    return found


class Shipped(unittest.TestCase):
    """Each is looked at as it is, then damaged."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sagaz-shipped-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def read(self, name):
        return (TREE / name).read_text(encoding="utf-8")

    def damaged(self, text, old, new):
        self.assertIn(old, text)
        return text.replace(old, new)

    def test_the_service_fits_the_executable(self):
        unit = self.read("packaging/debian/sagaz-relay.service")
        self.assertEqual(check_unit(unit), [])
        self.assertTrue(check_unit(self.damaged(unit, "sagaz relay", "sagaz relais")))
        self.assertTrue(check_unit(self.damaged(unit, "StopSec=30s", "StopSec=20s")))

    def test_its_secrets_reach_the_executable(self):
        for name in ("sagaz-relay.service", "broker-secrets.conf"):
            unit = self.read(f"packaging/debian/{name}")
            self.assertEqual(check_environment(unit, self.folder), [])
            self.assertTrue(check_environment(unit.replace("_FILE=", "_FIEL="), self.folder))
            self.assertTrue(check_environment(unit.replace("%d/", "%d/x"), self.folder))

    def test_the_configuration_is_valid_and_so_are_its_examples(self):
        text = self.read("packaging/debian/sagaz.yaml")
        self.assertEqual(check_configuration(text, self.folder), [])
        self.assertTrue(check_configuration(text.replace("drain_timeout", "drain"), self.folder))

    def test_the_man_page_has_every_command_and_exit_code(self):
        page = gzip.decompress(MAN_PAGE.read_bytes()).decode()
        self.assertEqual(check_man_page(page), [])
        self.assertTrue(check_man_page(self.damaged(page, "\nrelay\n", "\nrelais\n")))
        self.assertTrue(check_man_page(self.damaged(page, ".TP\n130\n", ".TP\n131\n")))

    def test_the_containerfile_has_the_packages_and_the_version_of_the_tree(self):
        text, do, cmake = (self.read(name) for name in ("Containerfile", "do", "CMakeLists.txt"))
        self.assertEqual(check_containerfile(text, do, cmake), [])
        for old, new in (("libpq-dev", "libqp-dev"), ("libpq5", "libpq-dev"), ("=0.1.0", "=9.1.0")):
            self.assertTrue(check_containerfile(self.damaged(text, old, new), do, cmake), old)


if __name__ == "__main__":
    unittest.main()
