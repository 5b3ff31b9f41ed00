#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

/// Values of flags that the parser does not know: each throws `invalid` (`argument_invalid`) with
/// how to write it.
namespace sagaz::inline v0::app {

/// "30s".
std::chrono::milliseconds duration_of(const std::string& flag, const std::string& text);

/// "NAME=VALUE".
std::pair<std::string, std::string> pair_of(const std::string& flag, const std::string& text);

/// Refuses a command line (`usage`): `what` is wrong with it, or its first word is no verb.
[[noreturn]] void refuse_words(const std::vector<std::string>& words,
                               const std::vector<std::string>& verbs, const std::string& what);

}  // namespace sagaz::inline v0::app
