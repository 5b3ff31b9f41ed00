#pragma once

#include <sagaz/event.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace sagaz::inline v0::app {

/// Reads one line of `sagaz append`: an object with `topic`, `key`, `event_type`, one of `payload`
/// (any JSON value), `payload_text` and `payload_base64`, `headers` (an object, or an array of
/// [name, value]), and optionally `event_id`, `content_type`, `aggregate_type`, `aggregate_id`,
/// `saga_id`. A `payload` value is written without spaces but otherwise as it came: members keep
/// their order and numbers their digits. Throws `append_line`, without the line's number, for
/// anything else, unknown and repeated keys included.
Event parse_event_line(std::string_view line);

/// The bytes of base64 text (RFC 4648, padded); nothing when it is not.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace sagaz::inline v0::app
