#include "app/arguments.hpp"

#include "app/errors.hpp"
#include "app/units.hpp"

#include <algorithm>

namespace sagaz::inline v0::app {

std::chrono::milliseconds duration_of(const std::string& flag, const std::string& text) {
    const auto value = parse_duration(text);
    if (!value) {
        refuse("argument_invalid", flag + " is \"" + text + "\"",
               "write a number with its unit: ms, s, m, h or d, as 30s");
    }
    return *value;
}

std::pair<std::string, std::string> pair_of(const std::string& flag, const std::string& text) {
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
        refuse("argument_invalid", flag + " is \"" + text + "\"", "write NAME=VALUE");
    }
    return {text.substr(0, equals), text.substr(equals + 1)};
}

void refuse_words(const std::vector<std::string>& words, const std::vector<std::string>& verbs,
                  const std::string& what) {
    for (const auto& word : words) {
        if (word.starts_with('-')) continue;
        if (std::find(verbs.begin(), verbs.end(), word) != verbs.end()) {
            refuse("usage", what, "see sagaz " + word + " --help");
        }
        const auto guess = nearest(word, verbs);
        if (!guess.empty() && &word == &words.front()) {
            refuse("usage", "unknown command \"" + word + "\"",
                   "did you mean \"" + guess + "\"? see sagaz --help");
        }
    }
    refuse("usage", what, "see sagaz --help");
}

}  // namespace sagaz::inline v0::app
