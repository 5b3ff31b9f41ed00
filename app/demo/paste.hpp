#pragma once

#include <string>
#include <string_view>

/// Commands that a person can paste into a shell as they are.
namespace sagaz::inline v0::app {
struct StoreTarget;
}  // namespace sagaz::inline v0::app

namespace sagaz::inline v0::app::demo {

/// How to call this executable: "sagaz" where the PATH leads to it, else its path.
std::string own_name();

/// `word`, in quotes where a shell needs them.
std::string shell_word(std::string_view word);

/// "--store URL", and "--schema NAME" where it is not the usual one. A URL with a password is
/// "$DATABASE_URL" instead.
std::string store_words(const StoreTarget& store);

}  // namespace sagaz::inline v0::app::demo
