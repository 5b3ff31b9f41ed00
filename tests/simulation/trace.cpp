#include "trace.hpp"

#include <fmt/format.h>

#include <cstdlib>

namespace sagaz::simulation {

constexpr std::size_t kLinesKept = 300;

Trace::Trace(const Scheduler& scheduler) : scheduler_(scheduler) {
    if (const char* path = std::getenv("SAGAZ_TRACE")) file_.open(path);
}

void Trace::line(std::string_view who, std::string_view fields) {
    const auto time = std::chrono::duration_cast<microseconds>(scheduler_.now().time_since_epoch() -
                                                               seconds{1'000'000});
    std::string text;
    if (last_.size() >= kLinesKept) {
        text = std::move(last_.front());  // its memory is used again
        last_.pop_front();
        text.clear();
    }
    fmt::format_to(std::back_inserter(text), R"({{"us":{},"who":"{}",{}}})", time.count(), who,
                   fields);
    hash_ = hash_bytes(text, hash_);
    ++size_;
    if (file_.is_open()) file_ << text << '\n';
    last_.push_back(std::move(text));
}

}  // namespace sagaz::simulation
