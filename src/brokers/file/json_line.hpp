#pragma once

#include <sagaz/broker.hpp>
#include <sagaz/event.hpp>

#include <string>
#include <string_view>

namespace sagaz::inline v0::file {

/// What every line begins with, also that of a topic that is not UTF-8.
inline constexpr std::string_view kLineBegin = "{\"topic";

/// One envelope as a line of JSON, newline included: `topic`, `key` (absent: none), `headers` as a
/// list of [name, value], `payload`. Bytes that are not UTF-8 go as base64: `topic_base64`,
/// `key_base64`, `payload_base64`, and {"base64": ...} for a header's name or value.
std::string encode_line(const Envelope& envelope);

/// Reads such a line back; throws `invalid` (`file_line`) for anything else.
Message decode_line(std::string_view line);

}  // namespace sagaz::inline v0::file
