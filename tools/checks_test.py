"""Feeds each house check what it exists to find. A checker that cannot fail is a defect."""

import pathlib
import shutil
import subprocess
import tempfile
import unittest

import check_changelog
import check_docs
import check_examples
import check_exports
import check_headers
import check_layers
import check_names


class Tree(unittest.TestCase):
    """A folder that stands for the project; write() adds a file, found() runs the check."""

    check = None

    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="sagaz-checks-"))
        self.addCleanup(shutil.rmtree, self.root)

    def write(self, path, text):
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def found(self):
        return "\n".join(type(self).check(self.root))

    def assert_clean(self, path, text):
        self.write(path, text)
        self.assertEqual(self.found(), "")

    def assert_found(self, words, path, text):
        self.write(path, text)
        self.assertIn(words, self.found())


class Layers(Tree):
    check = staticmethod(check_layers.check)

    def test_lets_the_layers_be(self):
        self.write("include/sagaz/store.hpp", "#include <vector>\n")
        self.write("src/core/window.hpp", "#include <sagaz/store.hpp>\n#include <chrono>\n")
        self.write("src/core/window.cpp", '#include "core/window.hpp"\n#include <fmt/format.h>\n')
        self.write("src/core/window_test.cpp", "#include <gtest/gtest.h>\n#include <thread>\n")
        self.write("src/stores/postgres/store.cpp",
                   '#include "core/window.hpp"\n#include <libpq-fe.h>\n#include <unistd.h>\n')
        self.assert_clean("app/relay.cpp",
                          "#include <sagaz/postgres.hpp>\n#include <CLI/CLI.hpp>\n")

    def test_finds_a_library_in_a_header_of_core(self):
        self.assert_found("src/core must not include fmt", "src/core/a.hpp",
                          "#include <fmt/core.h>\n")

    def test_finds_a_c_client_in_core(self):
        self.assert_found("src/core must not include libpq", "src/core/a.cpp",
                          '#include "libpq-fe.h"\n')

    def test_finds_a_thread_in_core(self):
        self.assert_found("no I/O, clock or threads", "src/core/a.cpp", "#include <thread>\n")

    def test_finds_a_clock_in_core(self):
        self.assert_found("core reads no clock", "src/core/a.cpp",
                          "auto t = std::chrono::steady_clock::now();\n")

    def test_finds_a_backend_in_the_relay(self):
        self.write("src/stores/postgres/store.hpp", "")
        self.assert_found("src/relay must not include stores/postgres", "src/relay/a.cpp",
                          '#include "stores/postgres/store.hpp"\n')

    def test_finds_a_public_backend_header_in_the_relay(self):
        self.assert_found("src/relay must not include backend", "src/relay/a.cpp",
                          "#include <sagaz/kafka.hpp>\n")

    def test_finds_a_broker_in_a_store(self):
        self.write("src/brokers/kafka.hpp", "")
        self.assert_found("must not include brokers", "src/stores/postgres/a.cpp",
                          '#include "brokers/kafka.hpp"\n')

    def test_finds_the_app_in_a_library(self):
        self.write("app/options.hpp", "")
        self.assert_found("src/relay must not include app", "src/relay/a.cpp",
                          '#include "app/options.hpp"\n')

    def test_finds_a_library_in_a_public_header(self):
        self.assert_found("include/sagaz must not include libpq", "include/sagaz/a.hpp",
                          "#include <libpq-fe.h>\n")

    def test_knows_what_an_adapter_is_for(self):
        self.write("include/sagaz/transaction.hpp", "")
        self.assert_clean("include/sagaz/adapters/pqxx.hpp",
                          "#include <sagaz/transaction.hpp>\n#include <pqxx/params>\n")
        self.assert_found("src/relay must not include adapters", "src/relay/a.cpp",
                          "#include <sagaz/adapters/pqxx.hpp>\n")

    def test_finds_a_slow_header_used_twice(self):
        self.write("app/a.cpp", "#include <CLI/CLI.hpp>\n")
        self.assert_found("belongs in one file", "app/b.cpp", "#include <CLI/CLI.hpp>\n")

    def test_finds_what_it_does_not_know(self):
        self.assert_found("neither ours nor", "src/core/a.cpp", '#include "boost/asio.hpp"\n')
        self.assert_found("no layer", "lib/a.cpp", "")


class Names(Tree):
    check = staticmethod(check_names.check)

    def setUp(self):
        super().setUp()
        for folder in ("src/core", "include/sagaz", "tools"):
            self.write(f"{folder}/README.md", "What is here.\n")

    def test_lets_good_names_be(self):
        self.write("include/sagaz/relay.hpp", "#pragma once\n// A Helper in a comment is fine\n")
        self.assert_clean("src/core/relay_test.cpp", "TEST(Relay, AKeyKeepsItsOrder) {}\n"
                          "TEST(Relay, F09_DeliversALateCommit) {}\n"
                          "TEST_F(Relay, KeepsTheCursorWhenTheBrokerIsDown) {}\n")

    def test_finds_a_test_that_is_no_sentence(self):
        for name in ("test_park", "Park", "park_works", "F09"):
            with self.subTest(name):
                self.assert_found("a test's name is a sentence", "src/core/a_test.cpp",
                                  f"TEST(Relay, {name}) {{}}\n")

    def test_finds_a_test_out_of_place(self):
        self.assert_found("a test lives in", "src/core/a.cpp", "TEST(Relay, ParksOnce) {}\n")

    def test_finds_a_skipped_test(self):
        self.assert_found("no skipped", "src/core/a_pgtest.cpp",
                          "TEST(Relay, ParksOnce) { GTEST_" "SKIP(); }\n")
        self.assert_found("no skipped", "src/core/b_test.cpp",
                          "TEST(Relay, DISABLED_" "ParksOnce) {}\n")

    def test_finds_a_sleep_in_a_unit_test(self):
        self.assert_found("waits for a fact", "src/core/a_test.cpp",
                          "std::this_thread::sleep_for(1s);\n")

    def test_finds_a_banned_public_word(self):
        self.assert_found("Manager", "include/sagaz/a.hpp", "#pragma once\nclass RelayManager;\n")

    def test_finds_a_header_without_its_guard(self):
        self.assert_found("#pragma once", "src/core/a.hpp", "int a();\n")

    def test_finds_unfinished_work(self):
        self.assert_found("unfinished", "src/core/a.cpp", "// TO" "DO: the rest\n")

    def test_finds_long_files_and_lines(self):
        self.assert_found("601 lines", "src/core/a.cpp", "\n" * 601)
        self.assert_found("101 columns", "src/core/b.cpp", "x" * 101 + "\n")

    def test_finds_a_file_name_of_another_style(self):
        self.assert_found("snake_case", "src/core/SnapShot.cpp", "int a;\n")

    def test_finds_a_path_of_a_machine(self):
        self.assert_found("somebody's machine", "tools/a.sh", "cat /" "home/me/x\n")

    def test_finds_a_folder_without_its_readme(self):
        self.assert_found("src/relay:1: a folder of code", "src/relay/a.cpp", "int a;\n")


class Changelog(Tree):
    check = staticmethod(check_changelog.check)
    unreleased = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n"

    def setUp(self):
        super().setUp()
        self.write("CMakeLists.txt", "project(sagaz VERSION 0.2.0 LANGUAGES CXX)\n")

    def test_lets_a_good_one_be(self):
        self.assert_clean("CHANGELOG.md", self.unreleased)
        self.assert_clean("CHANGELOG.md", self.unreleased + "\n## [0.1.1] - 2026-02-01\n"
                          "\n## [0.1.0] - 2026-01-31\n")

    def test_finds_that_there_is_none(self):
        self.assertIn("there is none", self.found())

    def test_finds_what_is_missing(self):
        self.assert_found("the first section", "CHANGELOG.md", "# Changelog\n")
        self.assert_found("nothing is said", "CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n")

    def test_finds_bad_versions(self):
        for words, heading in (("is not", "0.1"), ("is no date", "[0.1.0] - 2026-02-30"),
                               ("released already", "[0.3.0] - 2026-01-01")):
            with self.subTest(heading):
                self.assert_found(words, "CHANGELOG.md", f"{self.unreleased}\n## {heading}\n")
        self.assert_found("newest version comes first", "CHANGELOG.md", self.unreleased +
                          "\n## [0.1.0] - 2026-01-01\n\n## [0.1.1] - 2026-02-01\n")

    def test_finds_an_unknown_group(self):
        self.assert_found("no such group: News", "CHANGELOG.md",
                          self.unreleased.replace("Added", "News"))


class Docs(Tree):
    check = staticmethod(check_docs.check)
    readme = "## Guarantees\n\n1. Nothing is lost:\n   `Relay.F09_DeliversALateCommit`.\n"

    def setUp(self):
        super().setUp()
        self.write_failures()
        self.write("src/a_test.cpp", "TEST(Relay, F09_DeliversALateCommit) {}\n")
        self.write("do", "case $1 in\n    build) build ;;\nesac\n")

    def test_lets_the_truth_be(self):
        self.assert_clean("README.md", self.readme + "\n[there](src/a_test.cpp) and `./do build`\n")

    def test_finds_a_test_that_does_not_exist(self):
        self.assert_found("no such test: Relay.DropsNothing", "README.md",
                          self.readme + "`Relay.DropsNothing`\n")

    def test_knows_the_tests_of_a_conformance_suite(self):
        self.write("src/testing/store_conformance.cpp",
                   '    {"F22_StoresNothingLate",\n     stores_nothing_late},\n')
        self.assert_clean("README.md", self.readme + "`StoreConformance.F22_StoresNothingLate`\n")
        self.assert_found("no such test", "README.md", self.readme + "`StoreConformance.IsFine`\n")

    def test_finds_a_guarantee_without_a_test(self):
        self.assert_found("names no test", "README.md", self.readme + "2. Always in order.\n")
        self.assert_found("no numbered list", "README.md", "# sagaz\n")

    def test_finds_a_link_to_nowhere(self):
        self.write("README.md", self.readme)
        self.assert_found("leads nowhere: gone.md", "docs/a.md", "[x](gone.md#part)\n")

    def write_failures(self, changed=None, nameless="none"):
        rows = {row: "cannot be tested here" for row in check_docs.FAILURE_ROWS} | (changed or {})
        self.write(check_docs.FAILURES, f"{check_docs.NAMELESS}{nameless}.\n\n"
                   + "".join(f"| {row} | … | {held} |\n" for row, held in rows.items() if held))

    def test_finds_a_failure_that_no_test_holds(self):
        self.write("README.md", self.readme)
        self.write_failures({9: "`Relay.F09_DeliversALateCommit`", 10: ""})
        self.assertIn("row 10 is not there", self.found())
        self.write_failures({9: "`Relay.F09_DeliversALateCommit`", 10: "some day"})
        self.assertIn("row 10 names no test F10_", self.found())
        self.write_failures({10: "some day"}, nameless="9, 10")
        self.assertNotIn("row 10", self.found())
        self.assertIn("row 9 has a name now", self.found())
        self.write_failures({9: "`Relay.F09_DeliversNothing`"})
        self.assertIn("no such test", self.found())

    def test_finds_what_no_document_explains(self):
        self.write("README.md", self.readme)
        self.write("docs/reference/metrics.md", "| `outbox_batch_size` |\n")
        self.write("src/a.cpp", 'MetricInfo{"outbox_batch_size", histogram}')
        self.assertEqual(self.found(), "")
        self.assert_found("key relay.speed", "src/b.cpp", 'KeyInfo{"relay.speed", text}')
        self.assert_found("metric outbox_mood", "src/b.cpp", 'MetricInfo{"outbox_mood", gauge}')

    def test_finds_a_command_that_does_not_exist(self):
        self.assert_found("no such command: ./do fly", "README.md", self.readme + "`./do fly`\n")


class Examples(Tree):
    check = staticmethod(check_examples.check)
    program = "int main() {}\n"

    def setUp(self):
        super().setUp()
        self.write("examples/append.cpp", self.program)

    def test_lets_the_files_text_be(self):
        self.assert_clean("README.md", "```sh\n./do build\n```\n\n```cpp examples/append.cpp\n"
                          + self.program + "```\n")

    def test_finds_text_that_is_not_the_files(self):
        self.assert_found("README.md:3: not the text of examples/append.cpp", "README.md",
                          "Text.\n\n```cpp examples/append.cpp\nint main() { }\n```\n")

    def test_finds_a_file_that_is_not_there(self):
        self.assert_found("no such file: examples/gone.cpp", "docs/a.md",
                          "```cpp examples/gone.cpp\nint a;\n```\n")

    def test_finds_code_without_a_file(self):
        for path in ("README.md", "docs/start/a.md"):
            for language in ("cpp", "cmake"):
                with self.subTest(path=path, language=language):
                    self.assert_found(f"{path}:1: {language} that names no file", path,
                                      f"```{language}\nanything\n```\n")

    def test_finds_a_long_example(self):
        self.assert_found("26 lines", "examples/append.cpp", "int a;\n" * 26)

    def test_finds_a_long_file_of_a_service(self):
        self.assert_clean("examples/service/main.cpp", "int a;\n" * 26)
        self.assert_found("261 lines", "examples/service/main.cpp", "int a;\n" * 261)


class Headers(Tree):
    check = staticmethod(check_headers.check)

    def test_lets_a_whole_header_be(self):
        self.assert_clean("include/sagaz/a.hpp",
                          "#pragma once\n#include <string>\nstd::string a();\n")

    def test_finds_a_missing_include(self):
        self.assert_found("include/sagaz/a.hpp", "include/sagaz/a.hpp",
                          "#pragma once\nstd::string a();\n")

    def test_finds_a_header_that_cannot_come_twice(self):
        self.assert_found("redefinition", "include/sagaz/a.hpp", "struct A {};\n")

    def test_finds_that_there_is_none(self):
        self.assertIn("no header there", self.found())


class Exports(Tree):
    def library(self, source, *options):
        self.write("a.cpp", source)
        subprocess.run(["g++", "-shared", "-fPIC", "-o", self.root / "liba.so", *options,
                        self.root / "a.cpp"], check=True)
        return "\n".join(check_exports.check([self.root / "liba.so"]))

    def test_lets_our_names_be(self):
        self.assertEqual(self.library("namespace sagaz { int open() { return 1; } }\n"), "")

    def test_finds_a_foreign_name(self):
        self.assertIn("exports leaked()", self.library(
            "namespace sagaz { int open() { return 1; } }\nint leaked() { return 2; }\n"))

    def test_finds_that_nothing_is_exported(self):
        self.assertIn("exports nothing of ours", self.library(
            "namespace sagaz { int open() { return 1; } }\n", "-fvisibility=hidden"))
        self.assertNotEqual(check_exports.check([]), [])


del Tree

if __name__ == "__main__":
    unittest.main()
