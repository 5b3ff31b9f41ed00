#pragma once

#include "random.hpp"
#include "scheduler.hpp"

#include <deque>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace sagaz::simulation {

/// What happened, as JSON lines: hashed whole, the last lines kept for a failure's report. With
/// SAGAZ_TRACE=PATH in the environment everything is also written to that file.
class Trace {
public:
    explicit Trace(const Scheduler& scheduler);

    /// `fields` is the inside of a JSON object: `"what":"store","slot":3`.
    void line(std::string_view who, std::string_view fields);

    std::uint64_t hash() const { return hash_; }
    std::uint64_t size() const { return size_; }
    const std::deque<std::string>& last_lines() const { return last_; }

private:
    const Scheduler& scheduler_;
    std::uint64_t hash_{0xcbf29ce484222325U};
    std::uint64_t size_{};
    std::deque<std::string> last_;
    std::ofstream file_;
};

}  // namespace sagaz::simulation
