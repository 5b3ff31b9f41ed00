#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Values that carry their unit, and the nearest word for a mistyped one.
namespace sagaz::inline v0::app {

/// "10ms", "30s", "5m", "2h", "7d": a whole number and a unit. Nothing for anything else, a bare
/// number included: "30" of what?
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

/// "512B", "64KiB", "8MiB", "1GiB". Nothing for anything else. KB and MB are refused, since half
/// of their readers mean 1000.
std::optional<std::size_t> parse_size(std::string_view text);

/// A whole decimal number without sign.
std::optional<std::size_t> parse_count(std::string_view text);

/// For people: "1.5s", "3m 20s", "2d 4h".
std::string duration_text(std::chrono::milliseconds duration);
std::string seconds_text(double seconds);

/// The candidate that `word` was probably meant to be; empty when none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace sagaz::inline v0::app
