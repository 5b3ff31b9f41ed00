#include "app/verify/report.hpp"

#include <nlohmann/json.hpp>

#include <cstdio>

namespace sagaz::verify {

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Finding& finding) {
    Json json;
    if (!finding.id.empty()) json["event_id"] = finding.id;
    if (!finding.topic.empty()) json["topic"] = finding.topic;
    if (finding.key) json["key"] = *finding.key;
    if (finding.partition >= 0) json["partition"] = finding.partition;
    if (finding.offset >= 0) json["offset"] = finding.offset;
    json["detail"] = finding.detail;
    return json;
}

/// For a terminal: whatever a key or a header made of control characters would do to it is shown.
std::string printable(std::string_view text) {
    std::string shown;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte != 0x7F) {
            shown += c;
            continue;
        }
        char escape[5] = {};
        std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned>(byte));
        shown += escape;
    }
    return shown;
}

std::string to_line(const Finding& finding) {
    std::string line = "  ";
    line += finding.id.empty() ? "(no id)" : printable(finding.id);
    if (!finding.topic.empty()) line += " topic " + printable(finding.topic);
    if (finding.key) line += " key " + printable(*finding.key);
    if (finding.partition >= 0) {
        line += " at " + std::to_string(finding.partition) + "/" + std::to_string(finding.offset);
    }
    return line + ": " + printable(finding.detail);
}

}  // namespace

std::string to_json(const Report& report) {
    Json json{{"schema", 1},
              {"verdict", report.is_damaged() ? "damaged" : "intact"},
              {"expected", report.expected},
              {"messages", report.messages},
              {"arrived", report.arrived},
              {"repeats", report.repeats},
              {"repeated_events", report.repeated_events}};
    Json& damages = json["damages"] = Json::object();
    for (const Damage damage : kDamages)
        damages[std::string(to_string(damage))] = report.count(damage);
    Json& samples = json["samples"] = Json::object();
    for (const auto& [damage, tally] : report.damages) {
        for (const Finding& finding : tally.samples) {
            samples[std::string(to_string(damage))].push_back(to_json(finding));
        }
    }
    return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string to_text(const Report& report) {
    std::string text =
        std::string("verdict          ") + (report.is_damaged() ? "damaged" : "intact");
    const auto line = [&text](std::string_view name, std::uint64_t count) {
        text +=
            '\n' + std::string(name) + std::string(17 - name.size(), ' ') + std::to_string(count);
    };
    line("expected", report.expected);
    line("messages", report.messages);
    line("arrived", report.arrived);
    line("repeats", report.repeats);
    for (const Damage damage : kDamages) {
        line(to_string(damage), report.count(damage));
        const auto found = report.damages.find(damage);
        if (found == report.damages.end()) continue;
        for (const Finding& finding : found->second.samples) text += '\n' + to_line(finding);
        if (found->second.count > found->second.samples.size()) text += "\n  ...";
    }
    return text;
}

}  // namespace sagaz::verify
