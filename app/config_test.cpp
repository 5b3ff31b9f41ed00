#include "app/config.hpp"

#include "app/commands.hpp"
#include "app/errors.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

namespace sagaz::app {
namespace {

ConfigSources file(const std::string& text) { return {.file_text = text, .file_name = "s.yaml"}; }

// "code | seen | do" of the refusal, empty when the sources are taken.
std::string refusal_of(const ConfigSources& sources) {
    try {
        const auto config = load_config(sources);
        static_cast<void>(config);
    } catch (const Error& error) {
        return std::string{error.code()} + " | " + error.what() + " | " + std::string{error.hint()};
    }
    return "";
}

class SecretFile {
public:
    explicit SecretFile(const std::string& text) {
        char name[] = "/tmp/sagaz_config_testXXXXXX";
        const int fd = mkstemp(name);
        EXPECT_GE(fd, 0);
        ::close(fd);
        path_ = name;
        std::ofstream{path_} << text;
    }
    ~SecretFile() { std::filesystem::remove(path_); }
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

TEST(Config, HasDefaultsForAllButTheTwoUrls) {
    const auto config = load_config({});
    EXPECT_EQ(config.duration("relay.lease"), Milliseconds{10'000});
    EXPECT_EQ(config.size("relay.batch_max_bytes"), std::size_t{8} << 20);
    EXPECT_EQ(config.count("relay.batch_max"), 5'000U);
    EXPECT_EQ(config.text("admin.listen"), "127.0.0.1:9464");
    EXPECT_EQ(config.text("store.url"), "");
    EXPECT_EQ(config.text("broker.url"), "");
}

TEST(Config, FlagBeatsEnvironmentBeatsFileBeatsDatabaseUrl) {
    ConfigSources sources = file("store:\n  url: postgresql://file/d\n");
    sources.environment["DATABASE_URL"] = "postgresql://database-url/d";
    sources.environment["SAGAZ_STORE_URL"] = "postgresql://environment/d";
    sources.flags["store.url"] = "postgresql://flag/d";

    const auto take = [&] {
        const auto value = load_config(sources).values.at("store.url");
        return value.text + " " + value.where;
    };
    EXPECT_EQ(take(), "postgresql://flag/d --store");
    sources.flags.clear();
    EXPECT_EQ(take(), "postgresql://environment/d SAGAZ_STORE_URL");
    sources.environment.erase("SAGAZ_STORE_URL");
    EXPECT_EQ(take(), "postgresql://file/d s.yaml:2:8");
    sources.file_name.clear();
    EXPECT_EQ(take(), "postgresql://database-url/d DATABASE_URL");
    sources.environment.clear();
    sources.environment["PGHOST"] = "h";
    EXPECT_EQ(take(), "postgresql:// PGHOST and other PG*");
    sources.environment.clear();
    EXPECT_EQ(take(), " default");
}

TEST(Config, RefusesAKeyThatStandsTwice) {
    EXPECT_TRUE(refusal_of(file("relay:\n  lease: 5s\n  lease: 6s\n"))
                    .starts_with("config_duplicate_key | s.yaml:3:3: relay.lease"));
    EXPECT_TRUE(
        refusal_of(file("relay:\n  lease: 5s\nlog:\n  level: info\nrelay:\n  batch_max: 5\n"))
            .starts_with("config_duplicate_key | s.yaml:5:1: relay"));
    EXPECT_TRUE(refusal_of(file("broker:\n  options:\n    a: 1\n    a: 2\n"))
                    .starts_with("config_duplicate_key | s.yaml:4:5: broker.options.a"));
}

TEST(Config, NamesTheNearestForAnUnknownKey) {
    const auto key = refusal_of(file("relay:\n  batchmax: 5\n"));
    EXPECT_TRUE(key.starts_with("config_unknown_key | s.yaml:2:3: key \"relay.batchmax\"")) << key;
    EXPECT_NE(key.find("did you mean \"batch_max\"?"), std::string::npos) << key;
    const auto section = refusal_of(file("stoer:\n  url: x\n"));
    EXPECT_TRUE(section.starts_with("config_unknown_key | s.yaml:2:3: section \"stoer\""))
        << section;
    EXPECT_NE(section.find("did you mean \"store\"?"), std::string::npos) << section;
}

TEST(Config, RefusesWhatIsNotTwoPlainLevels) {
    for (const auto* const text :
         {"- a\n", "just text\n", "store: postgresql://h/d\n", "relay:\n  lease:\n    - 5s\n",
          "relay:\n  lease: {a: b}\n", "a: &x 1\nb: *x\n", "relay: {}\n---\nlog: {}\n",
          "relay:\n  lease: \"5s\n", "a: b: c\n", "? [a]\n: b\n", "broker:\n  options: x\n",
          "broker:\n  options:\n    a:\n      b: c\n", "\t- x", "{"}) {
        EXPECT_TRUE(refusal_of(file(text)).starts_with("config_"))
            << text << refusal_of(file(text));
    }
}

TEST(Config, TakesAnEmptyFileAndEmptySections) {
    for (const auto* const text :
         {"", "# only a comment\n", "---\n", "relay:\nlog:\n  level: debug\n", "relay: {}\n",
          "broker:\n  options:\nlog:\n  level: debug\n"}) {
        EXPECT_EQ(refusal_of(file(text)), "") << text;
    }
    EXPECT_EQ(load_config(file("relay:\nlog:\n  level: debug\n")).text("log.level"), "debug");
}

TEST(Config, RefusesABareNumberWhereAUnitBelongs) {
    EXPECT_TRUE(refusal_of(file("relay:\n  lease: 10\n"))
                    .starts_with("config_value | relay.lease is \"10\" (from s.yaml:2:10)"));
    EXPECT_TRUE(
        refusal_of(file("relay:\n  batch_max_bytes: 8000000\n")).starts_with("config_value | "));
    EXPECT_TRUE(refusal_of(file("relay:\n  lease:\n")).starts_with("config_value | s.yaml:"));
    EXPECT_TRUE(refusal_of({.environment = {{"SAGAZ_RELAY_LEASE", "10"}}})
                    .starts_with("config_value | relay.lease"));
    EXPECT_TRUE(
        refusal_of({.flags = {{"log.level", "loud"}}}).starts_with("config_value | log.level"));
    EXPECT_TRUE(refusal_of({.environment = {{"SAGAZ_ADMIN_LISTEN", "9464"}}})
                    .starts_with("config_value | "));
}

TEST(Config, WarnsOfAnUnknownVariableSinceKubernetesInjectsThem) {
    const auto config = load_config({.environment = {{"SAGAZ_PORT_9464_TCP", "tcp://10.0.0.1:9464"},
                                                     {"SAGAZ_RELAY_LAESE", "5s"},
                                                     {"SAGAZ_RELAY_LEASE", ""},
                                                     {"SAGAZ_CONFIG", "x"}}});
    ASSERT_EQ(config.warnings.size(), 2U);
    EXPECT_NE(config.warnings[0].find("SAGAZ_PORT_9464_TCP"), std::string::npos);
    EXPECT_NE(config.warnings[1].find("did you mean SAGAZ_RELAY_LEASE?"), std::string::npos);
    EXPECT_EQ(config.duration("relay.lease"), Milliseconds{10'000});
}

TEST(Config, ReadsAUrlFromAFileWithoutItsLastNewline) {
    const SecretFile secret{"postgresql://u:hush@h/d\n"};
    ConfigSources sources;
    sources.flags["store.url_file"] = secret.path();
    EXPECT_EQ(store_target(load_config(sources)).url, "postgresql://u:hush@h/d");
    sources.environment["SAGAZ_STORE_URL"] = "postgresql://weaker/d";
    EXPECT_EQ(store_target(load_config(sources)).url, "postgresql://u:hush@h/d");
    sources.flags["store.url"] = "postgresql://same/d";
    EXPECT_TRUE(refusal_of(sources).starts_with("config_conflict | "));
}

TEST(Config, NamesFlagKeyAndVariableOfAMissingUrl) {
    try {
        store_target(load_config({}));
        FAIL() << "there is no URL";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), "store_url_missing");
        for (const auto* const word : {"--store", "SAGAZ_STORE_URL", "store.url"}) {
            EXPECT_NE(error.hint().find(word), std::string::npos) << word;
        }
    }
}

// As the manifests mount them: optional, so a pod without its secrets starts and says this.
TEST(Config, NamesTheCommandThatMakesAMissingSecretOfAPod) {
    const auto hint_of = [](const std::string& text) {
        try {
            const auto config = load_config(file(text));
            store_target(config);
            broker_target(config);
        } catch (const Error& error) {
            return std::string{error.hint()};
        }
        return std::string{};
    };
    const std::string folder = "/run/secrets/sagaz-test-";
    const auto store = "store:\n  url_file: " + folder + "db/connection-string\n";
    const auto broker =
        "store:\n  url: postgresql://h/d\nbroker:\n  url: kafka://h:1\n"
        "  username_file: " +
        folder +
        "broker/username\n"
        "  password_file: " +
        folder + "broker/password\n";
    EXPECT_EQ(hint_of(store), "make the file readable for this user, or correct the path");
    ::setenv("POD_NAMESPACE", "shop", 1);
    EXPECT_EQ(hint_of(store),
              "kubectl -n shop create secret generic sagaz-test-db "
              "--from-file=./connection-string");
    EXPECT_EQ(hint_of(broker),
              "kubectl -n shop create secret generic sagaz-test-broker "
              "--from-file=./password --from-file=./username");
    EXPECT_EQ(hint_of("store:\n  url: postgresql://h/d\n"),
              "write broker.url into k8s/configmap.yaml, then: kubectl -n shop apply -f "
              "k8s/configmap.yaml");
    EXPECT_EQ(hint_of("store:\n  url_file: /elsewhere/url\n"),
              "make the file readable for this user, or correct the path");
    ::unsetenv("POD_NAMESPACE");
}

TEST(Config, TurnsSecretFilesIntoClientOptions) {
    const SecretFile user{"ann\n"};
    const SecretFile password{"hush"};
    auto sources = file("broker:\n  url: kafka://h:1\n  tls_ca_file: /ca.pem\n  username_file: " +
                        user.path() + "\n  password_file: " + password.path() +
                        "\n  options:\n    sasl.mechanisms: SCRAM-SHA-512\n    linger.ms: 5\n");
    const auto target = broker_target(load_config(sources));
    const std::map<std::string, std::string> expected{
        {"security.protocol", "sasl_ssl"}, {"sasl.mechanisms", "SCRAM-SHA-512"},
        {"sasl.username", "ann"},          {"sasl.password", "hush"},
        {"ssl.ca.location", "/ca.pem"},    {"linger.ms", "5"}};
    EXPECT_EQ(target.options, expected);
}

TEST(Config, HidesPasswordsWhereItIsShown) {
    const auto config = load_config({.flags = {{"store.url", "postgresql://u:hush@h/d"}}});
    for (const auto& key : config_keys()) {
        EXPECT_EQ(shown(key, config.values.find(key.key)->second).find("hush"), std::string::npos);
    }
}

TEST(Config, GivesEveryKeyAVariableOfItsOwn) {
    EXPECT_EQ(variable_of("relay.batch_max_bytes"), "SAGAZ_RELAY_BATCH_MAX_BYTES");
    std::set<std::string> names;
    for (const auto& key : config_keys()) {
        EXPECT_TRUE(names.insert(variable_of(key.key)).second) << key.key;
    }
}

TEST(Config, IsDocumentedKeyByKey) {
    std::ifstream file{SAGAZ_SOURCE_DIR "/docs/reference/configuration.md"};
    const std::string page{std::istreambuf_iterator<char>{file}, {}};
    for (const auto& key : config_keys()) {
        const auto fallback =
            key.fallback.empty() ? std::string{} : "`" + std::string{key.fallback} + "`";
        EXPECT_NE(page.find("| `" + std::string{key.key} + "` | " + fallback + " |"),
                  std::string::npos)
            << key.key;
    }
}

}  // namespace
}  // namespace sagaz::app
