#pragma once

#include <nlohmann/json.hpp>

#include <iosfwd>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// What a benchmark has to say: figures of several rounds, and ratios of figures of one round.
namespace sagaz::inline v0::app::bench {

double median(std::vector<double> values);

/// What a ratio or a figure should be.
struct Target {
    enum class Kind { none, at_least, at_most };
    Kind kind{Kind::none};
    double value{};

    static Target at_least(double value) { return {Kind::at_least, value}; }
    static Target at_most(double value) { return {Kind::at_most, value}; }
    bool is_met_by(double found) const;
    std::string text() const;
};

class Report {
public:
    explicit Report(std::string name, std::string about);

    /// One round's figure.
    void add(const std::string& what, const std::string& unit, double value);
    /// A figure that is the sum of two others, round by round.
    void add_sum(const std::string& what, const std::string& one, const std::string& other);
    void note(std::string text) { notes_.push_back(std::move(text)); }

    /// The ratio of two figures, round by round, so that what disturbs a round disturbs both.
    void compare(const std::string& what, const std::string& of, const std::string& to,
                 Target target = {});
    /// The median of a figure should be so.
    void expect(const std::string& what, Target target);

    nlohmann::ordered_json json() const;
    void print(std::ostream& out) const;

private:
    struct Line {
        std::string what;
        std::string unit;
        std::vector<double> rounds;
        Target target{};
    };
    const Line* find(const std::string& what) const;
    static nlohmann::ordered_json json_of(const Line& line);

    std::string name_;
    std::string about_;
    std::vector<Line> figures_;
    std::vector<Line> ratios_;
    std::vector<std::string> notes_;
};

}  // namespace sagaz::inline v0::app::bench
