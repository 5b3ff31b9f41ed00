#pragma once

#include <sagaz/event.hpp>

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// The configuration: two levels, section and key, from four places. A flag beats the environment,
/// the environment beats the file, the file beats DATABASE_URL and PG*, and these beat the default.
/// Each value keeps where it came from, so that every message can name it.
namespace sagaz::inline v0::app {

struct StoreTarget;
struct BrokerTarget;

enum class ValueType { text, url, path, duration, size, count, choice, address };

/// One key that may be configured.
struct KeyInfo {
    std::string_view key{};  ///< "relay.batch_max".
    ValueType type{ValueType::text};
    std::string_view fallback{};
    std::string_view choices{};  ///< For `choice`: "a|b|c".
    std::string_view flag{};     ///< "--store"; empty: it has none.
    std::string_view help{};
};

/// Every key, by section, in the order in which they are shown.
std::span<const KeyInfo> config_keys();

/// "SAGAZ_RELAY_BATCH_MAX" for "relay.batch_max".
std::string variable_of(std::string_view key);

enum class Origin { fallback, postgres_environment, file, environment, flag };

struct Value {
    std::string text{};
    Origin origin{Origin::fallback};
    std::string where{
        "default"};  ///< "--store", "SAGAZ_STORE_URL", "sagaz.yaml:3:8", "DATABASE_URL".
};

/// One scalar of the file. `section` and `key` have been checked for doubles, not for meaning.
struct FileEntry {
    std::string section{};
    std::string key{};
    std::string option{};  ///< Third level: only `broker.options`.
    std::string text{};
    int key_line{};
    int key_column{};
    int line{};  ///< Of the value, as the column: both from 1.
    int column{};
};

/// Reads the text of a file. Throws `config_yaml` for what is not a plain two-level mapping and
/// `config_duplicate_key`, each with line and column; `name` is how messages call the file.
std::vector<FileEntry> read_yaml(const std::string& text, const std::string& name);

/// Everything that has a say. Tests fill it by hand.
struct ConfigSources {
    std::map<std::string, std::string> flags{};        ///< By key: "store.url" from --store.
    std::map<std::string, std::string> environment{};  ///< SAGAZ_*, DATABASE_URL and PG*.
    std::string file_text{};
    std::string file_name{};  ///< Empty: there is no file.
};

/// A checked configuration: every key has a value of its type. Immutable.
struct Config {
    std::map<std::string, Value, std::less<>> values{};
    std::map<std::string, Value> broker_options{};
    std::vector<std::string> warnings{};
    std::string file_name{};

    const std::string& text(std::string_view key) const;
    Milliseconds duration(std::string_view key) const;
    std::size_t size(std::string_view key) const;
    std::size_t count(std::string_view key) const;
};

/// Throws the first thing that is wrong.
Config load_config(const ConfigSources& sources);

/// The sources of this process: the environment, and the file of `--config`, SAGAZ_CONFIG,
/// ./sagaz.yaml or /etc/sagaz/sagaz.yaml, in this order. Throws `config_file`.
ConfigSources sources_of_process(const std::string& config_flag);

/// Reads `store.url` or the file it is in. Throws `store_url_missing`, which names flag, key and
/// variable, and `secret_file`.
StoreTarget store_target(const Config& config);

/// The same for the broker, with the secret files turned into client options.
BrokerTarget broker_target(const Config& config);

/// Where the store's URL comes from, when `code` is trouble that it may be the cause of; else
/// empty.
std::string origin_of_cause(const Config& config, std::string_view code);

/// What `config show` prints for a value: secrets hidden.
std::string shown(const KeyInfo& key, const Value& value);

}  // namespace sagaz::inline v0::app
