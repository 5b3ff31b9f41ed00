#include "outbox/validation.hpp"

#include "core/envelope.hpp"
#include "core/text.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>

#include <limits>

namespace sagaz::inline v0::outbox {
namespace {

constexpr std::size_t kContentTypeMax = 255;
constexpr std::size_t kAggregateTypeMax = 255;
constexpr std::size_t kAggregateIdMax = 2'000;
constexpr std::size_t kSagaIdMax = 255;
constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

[[noreturn]] void refuse(const char* code, std::string_view field, std::string_view problem) {
    throw Error(ErrorKind::invalid, code, fmt::format("{} {}", field, problem),
                fmt::format("change the event's {}", field));
}

[[noreturn]] void refuse_length(std::string_view field, std::size_t size, std::size_t max) {
    const bool is_payload = field == "payload";
    throw Error(ErrorKind::invalid, "limit_exceeded",
                fmt::format("{} has {} bytes, at most {} fit", field, size, max),
                fmt::format("shorten the event's {} to {} bytes{}", field, max,
                            is_payload ? ", or keep the body elsewhere and send where it is" : ""));
}

void check_length(std::string_view field, std::size_t size, std::size_t max) {
    if (size > max) refuse_length(field, size, max);
}

void check_text(std::string_view field, std::string_view text, std::size_t max) {
    check_length(field, text.size(), max);
    if (!core::is_text(text)) {
        refuse("text_encoding", field, "is not valid UTF-8 without zero bytes");
    }
}

void check_optional(std::string_view field, const std::optional<std::string>& text,
                    std::size_t max) {
    if (text) check_text(field, *text, max);
}

void check_headers(const std::vector<Header>& headers) {
    if (headers.size() > kHeadersMax) {
        refuse("limit_exceeded", "headers",
               fmt::format("are {}, at most {} fit", headers.size(), kHeadersMax));
    }
    std::size_t bytes = 0;
    for (const auto& header : headers) {
        if (header.name.empty()) refuse("header_name", "headers", "have one without a name");
        check_text("header name", header.name, kNoLimit);
        check_text("header value", header.value, kNoLimit);
        if (core::is_reserved_header(header.name)) {
            refuse("header_reserved", "headers",
                   fmt::format("use \"{}\", which sagaz writes itself", header.name));
        }
        bytes += header.name.size() + header.value.size();
    }
    check_length("headers", bytes, kHeadersBytesMax);
}

}  // namespace

void check(const Event& event) {
    if (event.event_type.empty()) {
        refuse("event_type_missing", "event_type", "is empty");
    }
    check_text("topic", event.topic, kTopicMax);
    check_optional("key", event.key, kKeyMax);
    check_text("event_type", event.event_type, kEventTypeMax);
    check_text("content_type", event.content_type, kContentTypeMax);
    check_optional("aggregate_type", event.aggregate_type, kAggregateTypeMax);
    check_optional("aggregate_id", event.aggregate_id, kAggregateIdMax);
    check_optional("saga_id", event.saga_id, kSagaIdMax);
    check_length("payload", event.payload.size(), kPayloadMax);
    check_headers(event.headers);
}

}  // namespace sagaz::inline v0::outbox
