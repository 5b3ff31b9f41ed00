#include "core/id_time.hpp"

#include <sagaz/error.hpp>
#include <sagaz/id.hpp>

#include <chrono>
#include <cstdint>
#include <random>

namespace sagaz::inline v0 {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::size_t kTextSize = 36;

bool is_dash_place(std::size_t n) { return n == 8 || n == 13 || n == 18 || n == 23; }

int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

[[noreturn]] void throw_malformed() {
    throw Error(ErrorKind::invalid, "id_malformed", "not a UUID",
                "give 36 characters such as 0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa");
}

}  // namespace

Id Id::generate() {
    // random_device reads the system's generator; no state is kept, so a fork repeats nothing.
    std::random_device random;
    Id id;
    for (std::size_t n = 0; n < id.bytes.size(); n += sizeof(std::uint32_t)) {
        const std::uint32_t word = random();
        for (std::size_t k = 0; k < sizeof(word); ++k) {
            id.bytes[n + k] = static_cast<std::byte>(word >> (8 * k));
        }
    }
    core::set_time(id, std::chrono::duration_cast<Milliseconds>(
                           std::chrono::system_clock::now().time_since_epoch()));
    id.bytes[6] = (id.bytes[6] & std::byte{0x0f}) | std::byte{0x70};
    id.bytes[8] = (id.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
    return id;
}

Id Id::parse(std::string_view text) {
    if (text.size() != kTextSize) throw_malformed();
    Id id;
    std::size_t digit = 0;
    for (std::size_t n = 0; n < kTextSize; ++n) {
        if (is_dash_place(n)) {
            if (text[n] != '-') throw_malformed();
            continue;
        }
        const int value = hex_value(text[n]);
        if (value < 0) throw_malformed();
        auto& byte = id.bytes[digit / 2];
        byte = static_cast<std::byte>((std::to_integer<int>(byte) << 4) | value);
        ++digit;
    }
    return id;
}

std::string Id::text() const {
    std::string text;
    text.reserve(kTextSize);
    for (const std::byte byte : bytes) {
        if (is_dash_place(text.size())) text.push_back('-');
        text.push_back(kHexDigits[std::to_integer<std::size_t>(byte >> 4)]);
        text.push_back(kHexDigits[std::to_integer<std::size_t>(byte & std::byte{0x0f})]);
    }
    return text;
}

}  // namespace sagaz::inline v0
