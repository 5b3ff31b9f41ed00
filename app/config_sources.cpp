#include "app/commands.hpp"
#include "app/config.hpp"
#include "app/errors.hpp"
#include "app/url.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace sagaz::inline v0::app {
namespace {

constexpr std::size_t kFileMax = std::size_t{1} << 20;  // of a configuration file or a secret

// Nothing when the file is not there; throws nothing.
std::optional<std::string> read_small_file(const std::string& path) {
    std::ifstream file{path, std::ios::binary};
    if (!file) {
        return std::nullopt;
    }
    std::string text(kFileMax + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (file.bad() || text.size() > kFileMax) {
        return std::nullopt;
    }
    return text;
}

std::string without_last_newline(std::string text) {
    if (text.ends_with('\n')) {
        text.pop_back();
    }
    return text;
}

// The namespace of the pod, where k8s/*.yaml says it; else nothing. Then a message may name
// kubectl.
std::string kubectl() {
    const char* const name = std::getenv("POD_NAMESPACE");
    return name == nullptr ? std::string{} : "kubectl -n " + std::string{name};
}

// There a folder of /run/secrets is a secret and a file in it one of its keys, which kubectl takes
// from the name of a file (password=... would be hidden as a password). All keys of that
// secret stand in one command, since a second one would find that it exists.
std::string how_to_make(const Config& config, const std::filesystem::path& path) {
    const auto folder = path.parent_path();
    if (kubectl().empty() || folder.parent_path() != "/run/secrets") {
        return "make the file readable for this user, or correct the path";
    }
    auto command = kubectl() + " create secret generic " + folder.filename().string();
    for (const auto& [key, value] : config.values) {
        const std::filesystem::path file{value.text};
        if (key.ends_with("_file") && file.parent_path() == folder) {
            command += " --from-file=./" + file.filename().string();
        }
    }
    return command;
}

std::string read_secret(const Config& config, std::string_view key) {
    const auto& path = config.text(key);
    auto text = read_small_file(path);
    if (!text) {
        refuse("secret_file",
               std::string{key} + " is \"" + path + "\" (from " +
                   config.values.find(key)->second.where + ") and cannot be read",
               how_to_make(config, path));
    }
    return without_last_newline(*std::move(text));
}

void give(std::map<std::string, std::string>& options, const std::string& name,
          const std::string& value) {
    if (!value.empty()) {
        options.emplace(name, value);  // what the file says under broker.options goes first
    }
}

}  // namespace

ConfigSources sources_of_process(const std::string& config_flag) {
    ConfigSources sources;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view text{*entry};
        const auto equals = text.find('=');
        if (equals != std::string_view::npos &&
            (text.starts_with("SAGAZ_") || text.starts_with("PG") ||
             text.starts_with("DATABASE_URL="))) {
            sources.environment.emplace(text.substr(0, equals), text.substr(equals + 1));
        }
    }
    const auto variable = sources.environment.find("SAGAZ_CONFIG");
    const bool by_variable = variable != sources.environment.end() && !variable->second.empty();
    const auto& named = !config_flag.empty() || !by_variable ? config_flag : variable->second;
    if (!named.empty()) {
        auto text = read_small_file(named);
        if (!text) {
            refuse("config_file",
                   "\"" + named + "\" from " + (config_flag.empty() ? "SAGAZ_CONFIG" : "--config"),
                   "name a readable file of at most 1 MiB");
        }
        sources.file_name = named;
        sources.file_text = std::move(*text);
        return sources;
    }
    for (const auto* const path : {"sagaz.yaml", "/etc/sagaz/sagaz.yaml"}) {
        if (access(path, F_OK) != 0) {
            continue;
        }
        auto text = read_small_file(path);
        if (!text) {
            refuse("config_file", std::string{path} + " is there but cannot be read",
                   "make it readable for this user, or name another file with --config");
        }
        sources.file_name = path;
        sources.file_text = std::move(*text);
        break;
    }
    return sources;
}

StoreTarget store_target(const Config& config) {
    StoreTarget target{config.text("store.url"), config.text("store.schema")};
    if (target.url.empty() && !config.text("store.url_file").empty()) {
        target.url = read_secret(config, "store.url_file");
        check_store_url(target.url, config.text("store.url_file"));
        target.current_url = [path = config.text("store.url_file")] {
            return without_last_newline(read_small_file(path).value());
        };
    }
    if (target.url.empty()) {
        refuse("store_url_missing",
               "no --store, no SAGAZ_STORE_URL, no store.url, no DATABASE_URL, no PGHOST",
               "give --store postgresql://user@host:port/database or sqlite:PATH, or set "
               "SAGAZ_STORE_URL, or "
               "store.url in "
               "the file of --config");
    }
    target.waits_for_standby = config.text("store.durability") == "standby";
    return target;
}

std::string origin_of_cause(const Config& config, std::string_view code) {
    constexpr std::array kCodes{"connection_failed", "database_missing", "login_refused",
                                "tls_failed", "wrong_password"};
    if (std::find(kCodes.begin(), kCodes.end(), code) == kCodes.end()) {
        return {};
    }
    const auto& url = config.values.find("store.url")->second;
    return url.text.empty() ? config.text("store.url_file") : url.where;
}

BrokerTarget broker_target(const Config& config) {
    BrokerTarget target{config.text("broker.url"), {}};
    if (target.url.empty()) {
        refuse("broker_url_missing", "no --broker, no SAGAZ_BROKER_URL, no broker.url",
               kubectl().empty()
                   ? "give --broker kafka://host:port, or set SAGAZ_BROKER_URL, or broker.url in "
                     "the file of --config"
                   : "write broker.url into k8s/configmap.yaml, then: " + kubectl() +
                         " apply -f k8s/configmap.yaml");
    }
    for (const auto& [name, value] : config.broker_options) {
        target.options[name] = value.text;
    }
    const bool tls =
        !config.text("broker.tls_ca_file").empty() || !config.text("broker.tls_cert_file").empty();
    const bool sasl = !config.text("broker.username_file").empty();
    if (sasl != !config.text("broker.password_file").empty()) {
        refuse("config_conflict",
               std::string{"only one of broker.username_file and broker.password_file is set"},
               "set both, or neither");
    }
    if (sasl) {
        give(target.options, "security.protocol", "sasl_ssl");
        if (!target.options.contains("sasl.mechanism")) {  // librdkafka takes either word
            give(target.options, "sasl.mechanisms", "PLAIN");
        }
        target.options["sasl.username"] = read_secret(config, "broker.username_file");
        target.options["sasl.password"] = read_secret(config, "broker.password_file");
    } else if (tls) {
        give(target.options, "security.protocol", "ssl");
    }
    give(target.options, "ssl.ca.location", config.text("broker.tls_ca_file"));
    give(target.options, "ssl.certificate.location", config.text("broker.tls_cert_file"));
    give(target.options, "ssl.key.location", config.text("broker.tls_key_file"));
    return target;
}

}  // namespace sagaz::inline v0::app
