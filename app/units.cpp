#include "app/units.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <limits>
#include <utility>

namespace sagaz::inline v0::app {
namespace {

using Unit = std::pair<std::string_view, std::uint64_t>;
constexpr std::array<Unit, 5> kDurations{
    {{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
constexpr std::array<Unit, 4> kSizes{
    {{"B", 1}, {"KiB", 1U << 10}, {"MiB", 1U << 20}, {"GiB", 1U << 30}}};

// A number and one of `units`, as a multiple of the smallest; nothing beyond 63 bits.
template <std::size_t N>
std::optional<std::uint64_t> parse_with_unit(std::string_view text,
                                             const std::array<Unit, N>& units) {
    std::uint64_t number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{}) {
        return std::nullopt;
    }
    const auto unit = text.substr(static_cast<std::size_t>(end - text.data()));
    for (const auto& [name, factor] : units) {
        if (unit == name) {
            constexpr auto kMax =
                static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
            return number > kMax / factor ? std::nullopt : std::optional{number * factor};
        }
    }
    return std::nullopt;
}

// Edits that turn one word into the other (Levenshtein), by rows.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) {
        row[j] = j;
    }
    for (std::size_t i = 1; i <= a.size(); ++i) {
        auto diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const auto changed = diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
        }
    }
    return row[b.size()];
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
    const auto value = parse_with_unit(text, kDurations);
    if (!value) {
        return std::nullopt;
    }
    return std::chrono::milliseconds{static_cast<std::int64_t>(*value)};
}

std::optional<std::size_t> parse_size(std::string_view text) {
    return parse_with_unit(text, kSizes);
}

std::optional<std::size_t> parse_count(std::string_view text) {
    std::size_t number{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return number;
}

std::string duration_text(std::chrono::milliseconds duration) {
    const auto ms = duration.count();
    const auto pair = [](std::int64_t big, const char* unit, std::int64_t small, const char* rest) {
        auto text = std::to_string(big) + unit;
        return small == 0 ? text : text + ' ' + std::to_string(small) + rest;
    };
    if (ms < 1'000) {
        return std::to_string(ms) + "ms";
    }
    if (ms < 60'000) {
        return std::to_string(ms / 1'000) + '.' + std::to_string(ms % 1'000 / 100) + 's';
    }
    const auto seconds = ms / 1'000;
    if (seconds < 3'600) {
        return pair(seconds / 60, "m", seconds % 60, "s");
    }
    if (seconds < 86'400) {
        return pair(seconds / 3'600, "h", seconds % 3'600 / 60, "m");
    }
    return pair(seconds / 86'400, "d", seconds % 86'400 / 3'600, "h");
}

std::string seconds_text(double seconds) {
    return duration_text(std::chrono::milliseconds{static_cast<std::int64_t>(seconds * 1'000)});
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
    std::string best;
    auto best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
    for (const auto& candidate : candidates) {
        const auto edits = distance(word, candidate);
        if (edits < best_distance) {
            best_distance = edits;
            best = candidate;
        }
    }
    return best;
}

}  // namespace sagaz::inline v0::app
