#pragma once

#include <sagaz/inbox.hpp>

#include <string>

namespace sagaz::test {

/// A message of a consumer's test; without a key when it is empty.
inline Message message(const std::string& id, const std::string& key = "",
                       const std::string& payload = "body") {
    Message made{
        .id = id, .event = {.event_type = "Paid", .payload = payload}, .source_topic = "payments"};
    if (!key.empty()) made.event.key = key;
    return made;
}

}  // namespace sagaz::test
