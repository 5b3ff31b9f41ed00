#include "core/text.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

namespace sagaz::inline v0::core {
namespace {

constexpr std::size_t kCauseMax = 300;

// How many bytes follow a lead byte, and the range of the first of them, which rules out overlong
// forms, surrogates and what lies above U+10FFFF (RFC 3629, section 4).
struct Sequence {
    int follow{};
    std::uint8_t low{0x80};
    std::uint8_t high{0xBF};
};

Sequence sequence_of(std::uint8_t lead) {
    if (lead >= 0x01 && lead <= 0x7F) return {0};
    if (lead >= 0xC2 && lead <= 0xDF) return {1};
    if (lead == 0xE0) return {2, 0xA0, 0xBF};
    if (lead == 0xED) return {2, 0x80, 0x9F};
    if (lead >= 0xE1 && lead <= 0xEF) return {2};
    if (lead == 0xF0) return {3, 0x90, 0xBF};
    if (lead >= 0xF1 && lead <= 0xF3) return {3};
    if (lead == 0xF4) return {3, 0x80, 0x8F};
    return {-1};
}

}  // namespace

bool is_text(std::string_view text) {
    std::size_t at = 0;
    while (at < text.size()) {
        Sequence sequence = sequence_of(static_cast<std::uint8_t>(text[at++]));
        if (sequence.follow < 0) return false;
        for (int n = 0; n < sequence.follow; ++n) {
            if (at == text.size()) return false;
            const auto byte = static_cast<std::uint8_t>(text[at++]);
            if (byte < sequence.low || byte > sequence.high) return false;
            sequence.low = 0x80;
            sequence.high = 0xBF;
        }
    }
    return true;
}

std::string as_text(std::string_view bytes) {
    return is_text(bytes) ? std::string(bytes) : as_hex(bytes);
}

std::string as_hex(std::string_view bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text = "\\x";
    text.reserve(2 + 2 * bytes.size());
    for (const char byte : bytes) {
        const auto value = static_cast<std::uint8_t>(byte);
        text += kDigits[value >> 4U];
        text += kDigits[value & 15U];
    }
    return text;
}

std::string cut(std::string_view text, std::size_t max) {
    if (text.size() <= max) return std::string(text);
    const auto is_inside = [&](std::size_t at) {
        return (static_cast<std::uint8_t>(text[at]) & 0xC0U) == 0x80U;
    };
    while (max > 0 && is_inside(max)) --max;
    return std::string(text.substr(0, max));
}

std::string as_cause(std::string_view what) {
    std::string line = as_text(what.substr(0, what.find('\n')));
    return cut(line, kCauseMax);
}

}  // namespace sagaz::inline v0::core
