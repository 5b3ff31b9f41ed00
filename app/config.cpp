#include "app/config.hpp"

#include "app/errors.hpp"
#include "app/units.hpp"
#include "app/url.hpp"
#include "core/assert.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace sagaz::inline v0::app {
namespace {

using enum ValueType;
constexpr std::array kKeys{
    KeyInfo{"store.url", url, "", "", "--store",
            "the database: postgresql://user@host:port/database or sqlite:PATH"},
    KeyInfo{"store.url_file", path, "", "", "--store-file", "a file that holds store.url"},
    KeyInfo{"store.schema", text, "sagaz", "", "--schema", "the schema of sagaz's tables"},
    KeyInfo{"store.durability", choice, "local", "local|standby", "",
            "where a committed event has to be on disk before it is sent; standby: as commits wait "
            "by synchronous_standby_names"},
    KeyInfo{"broker.url", url, "", "", "--broker",
            "the destination: kafka://host:port, file:PATH, stdout:, null:"},
    KeyInfo{"broker.username_file", path, "", "", "", "a file that holds the SASL user name"},
    KeyInfo{"broker.password_file", path, "", "", "", "a file that holds the SASL password"},
    KeyInfo{"broker.tls_ca_file", path, "", "", "",
            "certificate authorities to trust (PEM); turns TLS on"},
    KeyInfo{"broker.tls_cert_file", path, "", "", "", "client certificate (PEM)"},
    KeyInfo{"broker.tls_key_file", path, "", "", "", "client key (PEM)"},
    KeyInfo{"relay.batch_max", count, "5000", "", "", "rows of one read"},
    KeyInfo{"relay.batch_max_bytes", size, "8MiB", "", "",
            "payload bytes of one read; memory is about three times this"},
    KeyInfo{"relay.poll_interval", duration, "10ms", "", "", "between reads while events come"},
    KeyInfo{"relay.idle_poll_interval", duration, "500ms", "", "",
            "between reads after some seconds of silence"},
    KeyInfo{"relay.lease", duration, "10s", "", "",
            "a slot whose owner is silent this long is taken over"},
    KeyInfo{"relay.store_interval", duration, "100ms", "", "",
            "between stored cursors; a crash repeats this much"},
    KeyInfo{"relay.drain_timeout", duration, "20s", "", "", "from SIGTERM to the end, at most"},
    KeyInfo{"relay.retention", duration, "0s", "", "",
            "how long delivered events stay in the log, at least"},
    KeyInfo{"relay.retry_initial", duration, "100ms", "", "",
            "first backoff after an error of store or broker"},
    KeyInfo{"relay.retry_max", duration, "5s", "", "", "longest backoff"},
    KeyInfo{"relay.parked_retry_initial", duration, "5s", "", "",
            "first backoff after an event was refused"},
    KeyInfo{"relay.parked_retry_max", duration, "5m", "", "", "longest backoff of such an event"},
    KeyInfo{"relay.attempt_timeout", duration, "30s", "", "",
            "how long an attempt of a parked event is waited for; then it is given up and "
            "counts as none"},
    KeyInfo{"relay.max_attempts", count, "10", "", "",
            "refusals of an event; then it is dead and needs a person"},
    KeyInfo{"optimistic.grace", duration, "1500ms", "", "",
            "how long the relay leaves a held event to its publisher"},
    KeyInfo{"inbox.retention", duration, "30d", "", "",
            "how long relays and sagaz inbox cleanup keep marks, longer than any message can come "
            "again; 0s: relays leave them alone"},
    KeyInfo{"admin.listen", address, "127.0.0.1:9464", "", "",
            "where /livez, /readyz and /metrics answer; port 0: any free one"},
    KeyInfo{"log.format", choice, "text", "text|json", "--log-format",
            "one line an event, for people or for machines"},
    KeyInfo{"log.level", choice, "info", "debug|info|warning|error", "--log-level",
            "the least important level that is written"},
};

const KeyInfo* find_key(std::string_view key) {
    const auto* const found = std::find_if(kKeys.begin(), kKeys.end(),
                                           [&](const KeyInfo& info) { return info.key == key; });
    return found == kKeys.end() ? nullptr : found;
}

std::vector<std::string> names_in(std::string_view section) {
    std::vector<std::string> names;
    for (const auto& info : kKeys) {
        const auto dot = info.key.find('.');
        const auto name =
            std::string{section.empty() ? info.key.substr(0, dot) : info.key.substr(dot + 1)};
        if ((section.empty() || info.key.substr(0, dot) == section) &&
            std::find(names.begin(), names.end(), name) == names.end()) {
            names.push_back(name);
        }
    }
    if (section == "broker") {
        names.emplace_back("options");
    }
    return names;
}

std::string listed(const std::vector<std::string>& names) {
    std::string text;
    for (const auto& name : names) {
        text += (text.empty() ? "" : ", ") + name;
    }
    return text;
}

std::string did_you_mean(const std::string& word, const std::vector<std::string>& names,
                         const std::string& place) {
    const auto guess = nearest(word, names);
    return (guess.empty() ? std::string{} : "did you mean \"" + guess + "\"? ") + place + " has " +
           listed(names);
}

std::string position(const std::string& file, int line, int column) {
    return file + ':' + std::to_string(line) + ':' + std::to_string(column);
}

[[noreturn]] void refuse_unknown(const FileEntry& entry, const std::string& file) {
    const auto at = position(file, entry.key_line, entry.key_column);
    const auto sections = names_in({});
    if (std::find(sections.begin(), sections.end(), entry.section) == sections.end()) {
        refuse("config_unknown_key", at + ": section \"" + entry.section + "\"",
               did_you_mean(entry.section, sections, "the file"));
    }
    refuse("config_unknown_key", at + ": key \"" + entry.section + "." + entry.key + "\"",
           did_you_mean(entry.key, names_in(entry.section), "section \"" + entry.section + "\""));
}

bool is_address(std::string_view text) {
    const auto colon = text.rfind(':');
    const auto port = colon == std::string_view::npos || colon == 0
                          ? std::nullopt
                          : parse_count(text.substr(colon + 1));
    return port && *port <= 65'535;
}

bool is_choice(std::string_view text, std::string_view choices) {
    while (!choices.empty()) {
        const auto bar = choices.find('|');
        if (choices.substr(0, bar) == text) {
            return true;
        }
        choices = bar == std::string_view::npos ? std::string_view{} : choices.substr(bar + 1);
    }
    return false;
}

// What to write instead; empty when the value is of its type.
std::string objection(const KeyInfo& info, const std::string& value) {
    switch (info.type) {
        case duration:
            return parse_duration(value) ? ""
                                         : "write a number with its unit: ms, s, m, h or d, as 30s";
        case size:
            return parse_size(value) ? ""
                                     : "write a number with its unit: B, KiB, MiB or GiB, as 8MiB";
        case count: return parse_count(value) ? "" : "write a whole number";
        case address: return is_address(value) ? "" : "write host:port, as 127.0.0.1:9464";
        case choice:
            return is_choice(value, info.choices) ? ""
                                                  : "write one of " + std::string{info.choices};
        case text: return value.empty() ? "write a value, or leave the key out" : "";
        case url:
        case path: return "";
    }
    return "";
}

void check_value(const KeyInfo& info, const Value& value) {
    const auto instead = objection(info, value.text);
    if (!instead.empty()) {
        refuse("config_value",
               std::string{info.key} + " is \"" + value.text + "\" (from " + value.where + ")",
               instead);
    }
    if (info.type == url && !value.text.empty()) {
        if (info.key == "store.url") {
            check_store_url(value.text, value.where);
        } else {
            parse_broker_url(value.text, value.where);
        }
    }
}

void take_postgres_environment(const ConfigSources& sources, Config& config) {
    const auto variable = [&](const std::string& name) {
        const auto found = sources.environment.find(name);
        return found == sources.environment.end() ? std::string{} : found->second;
    };
    auto& store = config.values.find("store.url")->second;
    if (const auto found = variable("DATABASE_URL"); !found.empty()) {
        store = {found, Origin::postgres_environment, "DATABASE_URL"};
        return;
    }
    for (const auto* const name : {"PGHOST", "PGHOSTADDR", "PGSERVICE", "PGDATABASE"}) {
        if (!variable(name).empty()) {  // libpq reads them itself
            store = {"postgresql://", Origin::postgres_environment,
                     std::string{name} + " and other PG*"};
            return;
        }
    }
}

void take_file(const ConfigSources& sources, Config& config) {
    if (sources.file_name.empty()) {
        return;
    }
    for (const auto& entry : read_yaml(sources.file_text, sources.file_name)) {
        const Value value{entry.text, Origin::file,
                          position(sources.file_name, entry.line, entry.column)};
        const auto key = entry.section + '.' + entry.key;
        if (key == "broker.options") {
            config.broker_options[entry.option] = value;
            continue;
        }
        const auto known = config.values.find(key);
        if (known == config.values.end()) {
            refuse_unknown(entry, sources.file_name);
        }
        known->second = value;
    }
}

// An empty variable counts as not given: that is how compose files and charts write "unset".
void take_environment(const ConfigSources& sources, Config& config) {
    std::map<std::string, std::string> keys;
    std::vector<std::string> names;
    for (const auto& info : kKeys) {
        keys[variable_of(info.key)] = std::string{info.key};
        names.push_back(variable_of(info.key));
    }
    for (const auto& [name, value] : sources.environment) {
        if (!name.starts_with("SAGAZ_") || name == "SAGAZ_CONFIG" || value.empty()) {
            continue;
        }
        const auto found = keys.find(name);
        if (found == keys.end()) {
            const auto guess = nearest(name, names);
            config.warnings.push_back("variable " + name + " names no key and is ignored" +
                                      (guess.empty() ? "" : "; did you mean " + guess + "?"));
            continue;
        }
        config.values.find(found->second)->second = {value, Origin::environment, name};
    }
}

// A URL and the file that holds it: the stronger origin wins, equal ones contradict each other.
void settle_url_file(Config& config) {
    auto& direct = config.values.find("store.url")->second;
    auto& file = config.values.find("store.url_file")->second;
    if (direct.text.empty() || file.text.empty()) {
        return;
    }
    if (direct.origin == file.origin) {
        refuse("config_conflict",
               "store.url from " + direct.where + " and store.url_file from " + file.where,
               "keep one of the two");
    }
    auto& loser = direct.origin < file.origin ? direct : file;
    loser = {"", Origin::fallback, "default"};
}

}  // namespace

std::span<const KeyInfo> config_keys() { return kKeys; }

std::string variable_of(std::string_view key) {
    std::string name = "SAGAZ_";
    for (const char c : key) {
        name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    return name;
}

Config load_config(const ConfigSources& sources) {
    Config config;
    config.file_name = sources.file_name;
    for (const auto& info : kKeys) {
        config.values[std::string{info.key}] = {std::string{info.fallback}, Origin::fallback,
                                                "default"};
    }
    take_postgres_environment(sources, config);
    take_file(sources, config);
    take_environment(sources, config);
    for (const auto& [key, value] : sources.flags) {
        const auto* const info = find_key(key);
        SAGAZ_ASSERT(info != nullptr);
        config.values.find(key)->second = {value, Origin::flag, std::string{info->flag}};
    }
    settle_url_file(config);
    for (const auto& info : kKeys) {
        check_value(info, config.values.find(info.key)->second);
    }
    return config;
}

const std::string& Config::text(std::string_view key) const {
    const auto found = values.find(key);
    SAGAZ_ASSERT(found != values.end());
    return found->second.text;
}

Milliseconds Config::duration(std::string_view key) const {
    const auto value = parse_duration(text(key));
    SAGAZ_ASSERT(value.has_value());
    return *value;
}

std::size_t Config::size(std::string_view key) const {
    const auto value = parse_size(text(key));
    SAGAZ_ASSERT(value.has_value());
    return *value;
}

std::size_t Config::count(std::string_view key) const {
    const auto value = parse_count(text(key));
    SAGAZ_ASSERT(value.has_value());
    return *value;
}

std::string shown(const KeyInfo& key, const Value& value) {
    return key.type == url ? hide_secrets(value.text) : value.text;
}

}  // namespace sagaz::inline v0::app
