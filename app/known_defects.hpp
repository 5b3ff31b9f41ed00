#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Releases of the libraries and servers below us whose defects touch what sagaz promises. Not a
/// list of everything that was ever mended: a row is here because sagaz runs into it in ordinary
/// use, and names where it is written down.
namespace sagaz::inline v0::app {

enum class Product { librdkafka, libpq, postgres, sqlite };

struct Defect {
    Product product{};
    std::int64_t from{};    ///< As `version_number` has it.
    std::int64_t before{};  ///< The first release without it.
    /// We work round it, or it costs what is promised anyway (a repeat): said, and no finding.
    bool is_lived_with{};
    std::string_view what{};
    std::string_view source{};
};

std::span<const Defect> known_defects();

/// "18.3", "2.10.1" or "3.40.1" as one number that orders; PostgreSQL has two parts.
constexpr std::int64_t version_number(std::int64_t major, std::int64_t minor,
                                      std::int64_t patch = 0) {
    return (major * 1'000 + minor) * 1'000 + patch;
}

std::string version_text(Product product, std::int64_t version);

/// Of the rows that hold for `version`.
std::vector<Defect> defects_of(Product product, std::int64_t version);

}  // namespace sagaz::inline v0::app
