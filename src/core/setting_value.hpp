#pragma once

#include <sagaz/error.hpp>
#include <sagaz/event.hpp>
#include <sagaz/store.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>

namespace sagaz::inline v0::core {

inline constexpr int kSlotsMax = 64;
inline constexpr std::size_t kSourceMax = 1'024;

[[noreturn]] inline void refuse_setting(std::string_view key, std::string_view hint) {
    throw Error(ErrorKind::invalid, "setting_value", "not a value for " + std::string(key),
                std::string(hint));
}

inline int parse_slot_count(std::string_view value) {
    int count = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), count);
    const bool whole = error == std::errc{} && end == value.data() + value.size();
    if (!whole || count < 1 || count > kSlotsMax) refuse_setting("slot_count", "give 1 to 64");
    return count;
}

inline void check_topic_template(std::string_view value) {
    constexpr std::string_view kName = "{event_type}";
    std::string rest(value);
    if (const auto at = rest.find(kName); at != std::string::npos) {
        rest.replace(at, kName.size(), "x");
    }
    const bool good =
        !rest.empty() && rest.size() <= kTopicMax && std::ranges::all_of(rest, [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   c == '.' || c == '_' || c == '-';
        });
    if (!good) {
        refuse_setting("topic_template",
                       "give letters, digits, '.', '_' and '-', and {event_type} once, where the "
                       "type belongs");
    }
}

inline void check_source(std::string_view value) {
    const bool good = !value.empty() && value.size() <= kSourceMax &&
                      std::ranges::all_of(value, [](char c) { return c > ' ' && c < '\x7f'; });
    if (!good) refuse_setting("source", "give a URI reference such as /orders or //shop/orders");
}

/// The one rule for what a setting of the log may be; whether it may change now is the store's to
/// say. Throws `invalid`: `setting_unknown` or `setting_value`. Inline, since every store calls it.
inline void check_setting(std::string_view key, std::string_view value) {
    if (key == "slot_count") {
        parse_slot_count(value);
    } else if (key == "topic_template") {
        check_topic_template(value);
    } else if (key == "source") {
        check_source(value);
    } else if (key == "on_refused") {
        if (value != "park_key" && value != "park_event") {
            refuse_setting(key, "give park_key or park_event");
        }
    } else {
        throw Error(ErrorKind::invalid, "setting_unknown",
                    "no setting is called \"" + std::string(key.substr(0, 60)) + "\"",
                    "settings are slot_count, topic_template, source, on_refused");
    }
}

/// Takes a stored setting over. A key that this build does not know is left alone.
inline void apply_setting(Settings& settings, std::string_view key, std::string_view value) {
    if (key == "slot_count") {
        std::from_chars(value.data(), value.data() + value.size(), settings.slot_count);
    } else if (key == "topic_template") {
        settings.topic_template = value;
    } else if (key == "source") {
        settings.source = value;
    } else if (key == "on_refused") {
        settings.on_refused = value == "park_event" ? OnRefused::park_event : OnRefused::park_key;
    }
}

}  // namespace sagaz::inline v0::core
