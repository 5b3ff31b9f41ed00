#include "app/commands.hpp"
#include "app/config.hpp"
#include "app/console.hpp"
#include "app/table.hpp"

#include <nlohmann/json.hpp>

#include <ostream>

namespace sagaz::inline v0::app {
namespace {

using Json = nlohmann::ordered_json;

void warn_all(const Config& config, Console& console) {
    for (const auto& warning : config.warnings) {
        console.warn(warning);
    }
}

Json schema_of(const KeyInfo& key) {
    Json schema{{"type", "string"}, {"description", key.help}};
    switch (key.type) {
        case ValueType::duration: schema["pattern"] = "^[0-9]+(ms|s|m|h|d)$"; break;
        case ValueType::size: schema["pattern"] = "^[0-9]+(B|KiB|MiB|GiB)$"; break;
        case ValueType::count:
            schema["type"] = "integer";
            schema["minimum"] = 0;
            break;
        case ValueType::address: schema["pattern"] = "^.+:[0-9]+$"; break;
        case ValueType::choice: {
            schema["enum"] = Json::array();
            std::string_view rest = key.choices;
            while (!rest.empty()) {
                const auto bar = rest.find('|');
                schema["enum"].push_back(rest.substr(0, bar));
                rest = bar == std::string_view::npos ? std::string_view{} : rest.substr(bar + 1);
            }
            break;
        }
        case ValueType::text:
        case ValueType::url:
        case ValueType::path: break;
    }
    if (!key.fallback.empty()) {
        if (key.type == ValueType::count) {
            schema["default"] = std::stoll(std::string{key.fallback});
        } else {
            schema["default"] = key.fallback;
        }
    }
    return schema;
}

}  // namespace

int run_config_show(const ConfigShowOptions& options, Console& console) {
    const auto& config = *options.config;
    warn_all(config, console);
    Json values = Json::object();
    std::vector<std::vector<std::string>> rows{{"KEY", "VALUE", "FROM"}};
    for (const auto& key : config_keys()) {
        const auto& value = config.values.find(key.key)->second;
        values[std::string{key.key}] = {{"value", shown(key, value)}, {"from", value.where}};
        rows.push_back(
            {std::string{key.key}, value.text.empty() ? "-" : shown(key, value), value.where});
    }
    // An option of the client may be a secret, and only the client knows which are.
    for (const auto& [name, value] : config.broker_options) {
        const bool secret = name.find("password") != std::string::npos ||
                            name.find("secret") != std::string::npos ||
                            name.find("pem") != std::string::npos ||
                            name.find("oauthbearer") != std::string::npos;
        const auto text = secret ? std::string{"***"} : value.text;
        values["broker.options." + name] = {{"value", text}, {"from", value.where}};
        rows.push_back({"broker.options." + name, text, value.where});
    }
    if (options.json) {
        console.out() << Json{{"schema", 1}, {"file", config.file_name}, {"values", values}}.dump()
                      << '\n';
    } else {
        write_table(console.out(), rows);
    }
    return kOk;
}

// Loading has checked every key; what is left to say is what was read.
int run_config_validate(const ConfigShowOptions& options, Console& console) {
    const auto& config = *options.config;
    warn_all(config, console);
    const auto file = config.file_name.empty() ? std::string{"no file"} : config.file_name;
    if (options.json) {
        console.out() << Json{{"schema", 1},
                              {"valid", true},
                              {"file", config.file_name},
                              {"warnings", config.warnings}}
                             .dump()
                      << '\n';
    } else {
        console.say("the configuration is valid (" + file + ")");
    }
    return kOk;
}

int run_config_schema(Console& console) {
    Json sections = Json::object();
    for (const auto& key : config_keys()) {
        const auto dot = key.key.find('.');
        auto& section = sections[std::string{key.key.substr(0, dot)}];
        section["type"] = "object";
        section["additionalProperties"] = false;
        section["properties"][std::string{key.key.substr(dot + 1)}] = schema_of(key);
    }
    sections["broker"]["properties"]["options"] = {
        {"type", "object"},
        {"description", "passed to the client library after an allow-list check"},
        {"additionalProperties", {{"type", {"string", "number", "boolean"}}}}};
    console.out() << Json{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                          {"title", "sagaz.yaml"},
                          {"type", "object"},
                          {"additionalProperties", false},
                          {"properties", sections}}
                         .dump(2)
                  << '\n';
    return kOk;
}

int run_version(bool json, Console& console) {
    if (json) {
        console.out()
            << Json{{"schema", 1}, {"name", "sagaz (native)"}, {"version", SAGAZ_VERSION}}.dump()
            << '\n';
    } else {
        console.out() << "sagaz (native) " << SAGAZ_VERSION << '\n';
    }
    return kOk;
}

}  // namespace sagaz::inline v0::app
