// sagaz as its users have it: installed somewhere, found in each of the ways, run.
#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_server.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <string>

namespace sagaz::test {
namespace {

namespace fs = std::filesystem;

struct Ran {
    int code{};
    std::string output{};
};

// One command by the shell; says how long it took.
Ran shell(const std::string& what, const std::string& command) {
    const auto begin = std::chrono::steady_clock::now();
    Ran ran;
    // NOLINTNEXTLINE(cert-env33-c): the words are this file's own
    std::FILE* const pipe = ::popen(("{ " + command + "; } 2>&1").c_str(), "r");
    if (pipe == nullptr) return {.code = -1, .output = "no shell"};
    char buffer[4096];
    while (const std::size_t size = std::fread(buffer, 1, sizeof buffer, pipe)) {
        ran.output.append(buffer, size);
    }
    const int status = ::pclose(pipe);
    ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1'000 + WTERMSIG(status);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    std::printf("%s: %.1f s\n", what.c_str(), took.count());
    return ran;
}

std::string as_word(const std::string& text) { return "'" + text + "'"; }

class Package : public testing::Test {
protected:
    static void SetUpTestSuite() {
        folder_ = make_folder("sagaz-package-");
        install(SAGAZ_BUILD, "static");
        install(std::string{SAGAZ_BUILD} + "-shared", "shared");
    }
    static void TearDownTestSuite() { remove_folder(folder_); }

    void SetUp() override {
        const auto migrated = shell(
            "migrate", prefix("static") + "/bin/sagaz migrate --no-roles --store " + as_word(url_));
        ASSERT_EQ(migrated.code, 0) << migrated.output;
    }

    // Installed, then moved: a package says nowhere where it was meant to be.
    static void install(const std::string& build, const std::string& kind) {
        const auto first = (folder_ / (kind + "-first")).string();
        const auto ran = shell("install " + kind, std::string{SAGAZ_CMAKE} + " --install " + build +
                                                      " --prefix " + first);
        ASSERT_EQ(ran.code, 0) << ran.output;
        fs::rename(first, prefix(kind));
    }
    static std::string prefix(const std::string& kind) { return (folder_ / kind).string(); }
    static std::string tree(const std::string& path) {
        return std::string{SAGAZ_TREE} + "/" + path;
    }
    static std::string fresh_folder(const std::string& name) {
        fs::create_directories(folder_ / name);
        return (folder_ / name).string();
    }

    static Ran configure(const std::string& project, const std::string& build,
                         const std::string& options) {
        return shell("configure " + project, std::string{SAGAZ_CMAKE} + " -G Ninja -S " +
                                                 tree(project) + " -B " + build +
                                                 " -DCMAKE_CXX_COMPILER=" SAGAZ_CXX " " + options);
    }
    static void build(const std::string& project, const std::string& build,
                      const std::string& options) {
        const auto configured = configure(project, build, options);
        ASSERT_EQ(configured.code, 0) << configured.output;
        const auto built = shell("build " + project,
                                 std::string{SAGAZ_CMAKE} + " --build " + build + " --parallel 2");
        ASSERT_EQ(built.code, 0) << built.output;
    }
    static std::string found_in(const std::string& kind) {
        return "-DCMAKE_PREFIX_PATH=" + prefix(kind);
    }

    // A message that comes twice takes effect once, by either driver.
    void expect_inbox(const std::string& program) {
        Sql sql{url_};
        sql.run("CREATE TABLE effects (driver text)");
        for (const std::string driver : {"libpq", "libpqxx"}) {
            const auto ran =
                shell("consume by " + driver, program + " " + as_word(url_) + " " + driver);
            EXPECT_EQ(ran.code, 0) << ran.output;
            EXPECT_EQ(ran.output, "processed\nduplicate\n");
        }
        EXPECT_EQ(sql.value("SELECT string_agg(driver, ',' ORDER BY driver) FROM effects"),
                  "libpq,libpqxx");
    }

    // Runs a program of tests/package/append.cpp; its event must be there, and reach a destination.
    void expect_append(const std::string& program, const std::string& kind = "static") {
        const auto ran = shell("append", program + " " + as_word(url_) + " OrderPlaced");
        ASSERT_EQ(ran.code, 0) << ran.output;
        expect_event(ran.output, kind);
    }
    void expect_event(const std::string& id, const std::string& kind) {
        Sql sql{url_};
        EXPECT_EQ(sql.value("SELECT event_id || E'\\n' FROM sagaz.outbox ORDER BY id DESC LIMIT 1"),
                  id);
        const auto relay =
            shell("relay",
                  "SAGAZ_ADMIN_LISTEN=127.0.0.1:0 " + prefix(kind) +
                      "/bin/sagaz relay --broker stdout: --until-drained --timeout 30s --store " +
                      as_word(url_));
        EXPECT_EQ(relay.code, 0) << relay.output;
        EXPECT_NE(relay.output.find(id.substr(0, 36)), std::string::npos) << relay.output;
    }

    static inline fs::path folder_;
    std::string url_ = PostgresServer::shared().url(PostgresServer::shared().fresh_database());
};

TEST_F(Package, IsFoundByFindPackage) {
    const auto folder = fresh_folder("find-package");
    build("tests/package/find_package", folder, found_in("static"));
    ASSERT_FALSE(HasFatalFailure());
    expect_append(folder + "/append");
    expect_append(folder + "/append_pqxx");
    expect_inbox(folder + "/consume");
    const auto suite = shell("conformance", folder + "/conformance");
    EXPECT_EQ(suite.code, 0) << suite.output;
    EXPECT_NE(suite.output.find("OwnConformance."), std::string::npos) << suite.output;
}

TEST_F(Package, IsFoundByPkgConfig) {
    const auto folder = fresh_folder("pkg-config");
    const auto built =
        shell("build tests/package/pkg_config",
              "PKG_CONFIG_PATH=" + prefix("static") + "/lib/pkgconfig make -C " +
                  tree("tests/package/pkg_config") + " CXX=" SAGAZ_CXX " OUT=" + folder);
    ASSERT_EQ(built.code, 0) << built.output;
    expect_append(folder + "/append");
    const auto suite = shell("conformance", folder + "/conformance");
    EXPECT_EQ(suite.code, 0) << suite.output;
}

// Beside our own build's folder: paths are then the same seen from there.
TEST_F(Package, IsAFolderOfAnotherProject) {
    const auto folder = std::string{SAGAZ_BUILD} + "-package";
    build("tests/package/add_subdirectory", folder,
          "-DSAGAZ_TREE=" SAGAZ_TREE " " SAGAZ_SAME_FLAGS);
    ASSERT_FALSE(HasFatalFailure());
    expect_append(folder + "/append");
    EXPECT_FALSE(fs::exists(folder + "/sagaz/app")) << "the executable is not a library's business";
}

TEST_F(Package, WorksWithSharedLibraries) {
    const auto folder = fresh_folder("shared");
    build("tests/package/find_package", folder, found_in("shared"));
    ASSERT_FALSE(HasFatalFailure());
    expect_append(folder + "/append", "shared");
    expect_append(folder + "/append_pqxx", "shared");
    expect_inbox(folder + "/consume");
    const auto suite = shell("conformance", folder + "/conformance");
    EXPECT_EQ(suite.code, 0) << suite.output;
    // The name carries the minor version, since a minor version may break until 1.0.
    const auto needs = shell("needs", "readelf -d " + folder + "/append");
    EXPECT_NE(needs.output.find("[libsagaz_postgres.so.0."), std::string::npos) << needs.output;
}

TEST_F(Package, RunsTheProgramsOfTheReadme) {
    const auto folder = fresh_folder("examples");
    build("examples", folder, found_in("static"));
    ASSERT_FALSE(HasFatalFailure());
    Sql{url_}.run("CREATE TABLE orders (id bigserial PRIMARY KEY, total int)");
    const auto ran = shell("append", folder + "/append " + as_word(url_));
    ASSERT_EQ(ran.code, 0) << ran.output;
    EXPECT_EQ(
        Sql{url_}.value("SELECT o.key FROM sagaz.outbox o JOIN orders b ON b.id::text = o.key"),
        "1");
    expect_event(ran.output, "static");
}

TEST_F(Package, SaysWhichComponentIsMissing) {
    const auto project = fresh_folder("missing");
    const auto write = shell("write",
                             "printf '%s\\n' 'cmake_minimum_required(VERSION 3.25)' "
                             "'project(x LANGUAGES NONE)' "
                             "'find_package(sagaz REQUIRED COMPONENTS ${WANTED})' > " +
                                 project + "/CMakeLists.txt");
    ASSERT_EQ(write.code, 0) << write.output;
    const auto ran =
        shell("configure", std::string{SAGAZ_CMAKE} + " -S " + project + " -B " + project +
                               "/build -DWANTED='postgres;pigeon' " + found_in("static"));
    EXPECT_NE(ran.code, 0);
    // CMake breaks lines where it likes.
    const auto said = std::regex_replace(ran.output, std::regex{"\\s+"}, " ");
    EXPECT_NE(said.find("installed without the component \"pigeon\"; it has: "), std::string::npos)
        << ran.output;
    EXPECT_NE(said.find("postgres"), std::string::npos) << ran.output;
}

}  // namespace
}  // namespace sagaz::test
