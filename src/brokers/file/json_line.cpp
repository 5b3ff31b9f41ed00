#include "brokers/file/json_line.hpp"

#include <sagaz/error.hpp>

#include <nlohmann/json.hpp>

#include <array>
#include <cstdint>
#include <optional>

namespace sagaz::inline v0::file {

namespace {

using Json = nlohmann::ordered_json;

bool is_continuation(unsigned char c) { return (c & 0xC0U) == 0x80U; }

// Length of the UTF-8 sequence at `at`, 0 when there is none (Unicode 15, table 3-7).
std::size_t sequence_length(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t n) { return static_cast<unsigned char>(text[at + n]); };
    const unsigned char first = byte(0);
    if (first < 0x80) return 1;
    const std::size_t length = first >= 0xF0 ? 4U : first >= 0xE0 ? 3U : 2U;
    if (first < 0xC2 || first > 0xF4 || at + length > text.size()) return 0;
    for (std::size_t n = 1; n < length; ++n) {
        if (!is_continuation(byte(n))) return 0;
    }
    const unsigned char second = byte(1);
    const bool too_long = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
    const bool no_scalar = (first == 0xED && second > 0x9F) || (first == 0xF4 && second > 0x8F);
    return too_long || no_scalar ? 0 : length;
}

bool is_utf8(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = sequence_length(text, at);
        if (length == 0) return false;
        at += length;
    }
    return true;
}

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string to_base64(std::string_view bytes) {
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const std::size_t left = bytes.size() - at;
        std::uint32_t group = 0;
        for (std::size_t n = 0; n < 3; ++n) {
            group = (group << 8) | (n < left ? static_cast<unsigned char>(bytes[at + n]) : 0U);
        }
        for (std::size_t n = 0; n < 4; ++n) {
            text += n > left ? '=' : kAlphabet[(group >> (18 - 6 * n)) & 63U];
        }
    }
    return text;
}

std::optional<std::string> from_base64(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    std::string bytes;
    for (std::size_t at = 0; at < text.size(); at += 4) {
        std::uint32_t group = 0;
        std::size_t padding = 0;
        for (std::size_t n = 0; n < 4; ++n) {
            const char c = text[at + n];
            const std::size_t digit = c == '=' ? 0 : kAlphabet.find(c);
            if (digit == std::string_view::npos || (c != '=' && padding > 0)) return std::nullopt;
            padding += c == '=' ? 1 : 0;
            group = (group << 6) | static_cast<std::uint32_t>(digit);
        }
        if (padding > 2 || (padding > 0 && at + 4 < text.size())) return std::nullopt;
        for (std::size_t n = 0; n < 3 - padding; ++n) {
            bytes += static_cast<char>((group >> (16 - 8 * n)) & 255U);
        }
    }
    return bytes;
}

void put(Json& object, const std::string& name, std::string_view bytes) {
    if (is_utf8(bytes)) {
        object[name] = bytes;
    } else {
        object[name + "_base64"] = to_base64(bytes);
    }
}

Json header_part(std::string_view bytes) {
    if (is_utf8(bytes)) return Json(bytes);
    return Json{{"base64", to_base64(bytes)}};
}

[[noreturn]] void malformed(const std::string& what) {
    throw Error(ErrorKind::invalid, "file_line", "not a line of this format: " + what,
                "read a file that the file: destination wrote");
}

std::string decode(const Json& text) {
    if (!text.is_string()) malformed("a base64 value is not a string");
    std::optional<std::string> bytes = from_base64(text.get_ref<const std::string&>());
    if (!bytes) malformed("broken base64");
    return *bytes;
}

std::optional<std::string> get(const Json& object, const std::string& name) {
    if (const auto found = object.find(name); found != object.end()) {
        if (!found->is_string()) malformed("'" + name + "' is not a string");
        return found->get<std::string>();
    }
    if (const auto found = object.find(name + "_base64"); found != object.end()) {
        return decode(*found);
    }
    return std::nullopt;
}

std::string header_bytes(const Json& part) {
    if (part.is_string()) return part.get<std::string>();
    if (part.is_object() && part.contains("base64")) return decode(part["base64"]);
    malformed("a header is neither text nor base64");
}

}  // namespace

std::string encode_line(const Envelope& envelope) {
    Json line = Json::object();
    put(line, "topic", envelope.topic);
    if (envelope.key) put(line, "key", *envelope.key);
    Json headers = Json::array();
    for (const HeaderView& header : envelope.headers) {
        headers.push_back(Json::array({header_part(header.name), header_part(header.value)}));
    }
    line["headers"] = std::move(headers);
    put(line, "payload", envelope.payload);
    return line.dump() + "\n";
}

Message decode_line(std::string_view text) {
    const Json line = Json::parse(text, nullptr, false);
    if (!line.is_object()) malformed("no JSON object");
    Message message;
    const std::optional<std::string> topic = get(line, "topic");
    if (!topic) malformed("no topic");
    message.source_topic = *topic;
    message.event.topic = *topic;
    message.event.key = get(line, "key");
    const std::optional<std::string> payload = get(line, "payload");
    if (!payload) malformed("no payload");
    message.event.payload = *payload;
    const auto headers = line.find("headers");
    if (headers == line.end() || !headers->is_array()) malformed("no list of headers");
    for (const Json& header : *headers) {
        if (!header.is_array() || header.size() != 2) malformed("a header is not [name, value]");
        const Header read{header_bytes(header[0]), header_bytes(header[1])};
        if (read.name == "ce_id") message.id = read.value;
        if (read.name == "ce_type") message.event.event_type = read.value;
        if (read.name == "content-type") message.event.content_type = read.value;
        message.event.headers.push_back(read);
    }
    return message;
}

}  // namespace sagaz::inline v0::file
