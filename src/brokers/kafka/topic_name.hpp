#pragma once

#include <sagaz/event.hpp>

#include <algorithm>
#include <string_view>

namespace sagaz::inline v0::kafka {

/// Kafka's rule for topic names (org.apache.kafka.common.internals.Topic): 1 to 249 of letters,
/// digits, '.', '_' and '-', but neither "." nor "..".
inline bool is_topic_name(std::string_view name) {
    const auto legal = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
    };
    return !name.empty() && name.size() <= kTopicMax && name != "." && name != ".." &&
           std::all_of(name.begin(), name.end(), legal);
}

}  // namespace sagaz::inline v0::kafka
