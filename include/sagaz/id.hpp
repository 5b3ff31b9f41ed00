#pragma once

#include <sagaz/export.hpp>

#include <array>
#include <compare>
#include <cstddef>
#include <string>
#include <string_view>

namespace sagaz::inline v0 {

/// A 128-bit identity, written as a UUID. An event's id is a UUIDv7 (RFC 9562, section 5.7):
/// its first 48 bits are milliseconds since 1970, the rest is random.
struct SAGAZ_EXPORT Id {
    std::array<std::byte, 16> bytes{};

    /// A new UUIDv7 from the system's clock and its random source. Thread-safe.
    static Id generate();

    /// Reads the 36-character form in either case; throws `invalid` (`id_malformed`) otherwise.
    static Id parse(std::string_view text);

    /// The 36-character form in lower case.
    std::string text() const;

    /// True for the all-zero id, which stands for "none given".
    bool is_zero() const noexcept { return *this == Id{}; }

    auto operator<=>(const Id&) const = default;
};

}  // namespace sagaz::inline v0
