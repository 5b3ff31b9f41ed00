#pragma once

#include <string>
#include <string_view>

namespace sagaz::inline v0::core {

/// `text` with every `from` replaced by `to`. Inline, since every library that writes SQL calls it.
inline std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
    std::string result;
    result.reserve(text.size());
    for (;;) {
        const auto at = text.find(from);
        result += text.substr(0, at);
        if (at == std::string_view::npos) return result;
        result += to;
        text.remove_prefix(at + from.size());
    }
}

}  // namespace sagaz::inline v0::core
