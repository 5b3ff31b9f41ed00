#pragma once

#include "tests/support/history.hpp"

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace sagaz::history {

struct Violation {
    std::string invariant{};  ///< "I1" to "I5".
    std::string id{};
    std::string what{};
};

struct Verdict {
    std::uint64_t appended{};   ///< Events that a producer began to append.
    std::uint64_t committed{};  ///< Of them, in committed and surviving transactions.
    std::uint64_t arrived{};    ///< Different events that arrived.
    std::uint64_t repeats{};    ///< Arrivals beyond the first of an event. Allowed, and counted.
    std::uint64_t parked{};
    std::uint64_t pending{};
    std::vector<Violation> violations{};  ///< At most `Checker::kViolationsMax`; first ones.
    std::uint64_t violations_total{};

    bool holds() const noexcept { return violations_total == 0; }
};

/// Proves I1 to I5 of docs/internals/history.md over one history. Fed in the order of recording;
/// holds a record an event, so a history of millions fits in memory.
class Checker {
public:
    static constexpr std::size_t kViolationsMax = 100;

    void feed(const Operation& operation);

    /// Once, at the end.
    Verdict finish();

private:
    enum class Fate { none, invoked, committed, aborted, unknown };
    struct Record {
        Fate fate{Fate::none};
        bool survived{};
        bool arrived{};
        bool parked{};
        bool pending{};
        std::optional<std::string> key{};
        std::string topic{};
        std::string digest{};
        std::optional<std::int64_t> order{};
        std::optional<std::string> arrived_key{};
        std::string arrived_topic{};
        std::string arrived_digest{};
        std::optional<std::int32_t> arrived_partition{};
    };
    struct Highest {
        std::int64_t order{};
        std::string id{};
        std::optional<std::int32_t> partition{};  ///< Of the first that arrived.
    };

    void feed_append(const Operation& operation);
    void feed_arrival(const Operation& operation);
    void compare_repeat(const Operation& operation, const Record& record);
    void judge_orders();
    void judge_arrival(const std::string& id, const Record& record);
    void judge(const std::string& id, const Record& record);
    void violate(const char* invariant, const std::string& id, std::string what);

    std::unordered_map<std::string, Record> records_{};
    std::vector<std::string> first_arrivals_{};  ///< In the order of arrival.
    bool has_truth_{};
    Verdict verdict_{};
};

/// Reads a whole history and checks it. Throws as `Reader` does.
Verdict check(std::istream& stream);

}  // namespace sagaz::history
