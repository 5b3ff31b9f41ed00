#include "app/bench/report.hpp"

#include "app/table.hpp"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <sstream>

namespace sagaz::inline v0::app::bench {
namespace {

using Json = nlohmann::ordered_json;

std::string number_text(double value) {
    if (std::abs(value) >= 1'000) return grouped(std::llround(value));
    std::ostringstream text;
    text.precision(3);
    text << value;
    return text.str();
}

}  // namespace

double median(std::vector<double> values) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const auto middle = values.size() / 2;
    return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

bool Target::is_met_by(double found) const {
    return kind == Kind::none || (kind == Kind::at_least ? found >= value : found <= value);
}

std::string Target::text() const {
    if (kind == Kind::none) return {};
    return (kind == Kind::at_least ? ">= " : "<= ") + number_text(value);
}

Report::Report(std::string name, std::string about)
    : name_{std::move(name)}, about_{std::move(about)} {}

void Report::add(const std::string& what, const std::string& unit, double value) {
    for (auto& line : figures_) {
        if (line.what == what) {
            line.rounds.push_back(value);
            return;
        }
    }
    figures_.push_back({what, unit, {value}});
}

void Report::add_sum(const std::string& what, const std::string& one, const std::string& other) {
    const auto* const first = find(one);
    const auto* const second = find(other);
    if (first == nullptr || second == nullptr) return;
    Line sum{what, first->unit, {}};
    const auto rounds = std::min(first->rounds.size(), second->rounds.size());
    for (std::size_t n = 0; n < rounds; ++n) {
        sum.rounds.push_back(first->rounds[n] + second->rounds[n]);
    }
    figures_.push_back(std::move(sum));
}

const Report::Line* Report::find(const std::string& what) const {
    const auto found = std::find_if(figures_.begin(), figures_.end(),
                                    [&](const Line& line) { return line.what == what; });
    return found == figures_.end() ? nullptr : &*found;
}

void Report::compare(const std::string& what, const std::string& of, const std::string& to,
                     Target target) {
    const auto* const above = find(of);
    const auto* const below = find(to);
    if (above == nullptr || below == nullptr) return;
    Line ratio{what, "ratio", {}, target};
    const auto rounds = std::min(above->rounds.size(), below->rounds.size());
    for (std::size_t n = 0; n < rounds; ++n) {
        if (below->rounds[n] > 0) ratio.rounds.push_back(above->rounds[n] / below->rounds[n]);
    }
    if (!ratio.rounds.empty()) ratios_.push_back(std::move(ratio));
}

void Report::expect(const std::string& what, Target target) {
    for (auto& line : figures_) {
        if (line.what == what) line.target = target;
    }
}

Json Report::json_of(const Line& line) {
    const auto [least, most] = std::minmax_element(line.rounds.begin(), line.rounds.end());
    const double middle = median(line.rounds);
    Json json{{"what", line.what}, {"unit", line.unit},    {"median", middle},
              {"min", *least},     {"max", *most},         {"rounds", line.rounds},
              {"target", nullptr}, {"target_met", nullptr}};
    if (line.target.kind != Target::Kind::none) {
        json["target"] = line.target.text();
        json["target_met"] = line.target.is_met_by(middle);
    }
    return json;
}

Json Report::json() const {
    Json json{{"schema", 1},
              {"benchmark", name_},
              {"about", about_},
              {"figures", Json::array()},
              {"ratios", Json::array()},
              {"notes", notes_}};
    for (const auto& line : figures_) json["figures"].push_back(json_of(line));
    for (const auto& line : ratios_) json["ratios"].push_back(json_of(line));
    return json;
}

void Report::print(std::ostream& out) const {
    out << "== " << name_ << ": " << about_ << '\n';
    for (const auto* const lines : {&figures_, &ratios_}) {
        if (lines->empty()) continue;
        std::vector<std::vector<std::string>> rows{
            {lines == &figures_ ? "figure" : "ratio", "median", "min", "max", "unit", "target"}};
        for (const auto& line : *lines) {
            const auto [least, most] = std::minmax_element(line.rounds.begin(), line.rounds.end());
            const double middle = median(line.rounds);
            auto target = line.target.text();
            if (!target.empty()) target += line.target.is_met_by(middle) ? " met" : " MISSED";
            rows.push_back({line.what, number_text(middle), number_text(*least), number_text(*most),
                            lines == &figures_ ? line.unit : "", target});
        }
        write_table(out, rows);
    }
    for (const auto& note : notes_) out << "note: " << note << '\n';
    out << std::endl;
}

}  // namespace sagaz::inline v0::app::bench
