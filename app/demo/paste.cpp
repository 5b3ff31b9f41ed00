#include "app/demo/paste.hpp"

#include "app/commands.hpp"
#include "app/errors.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <sstream>

namespace sagaz::inline v0::app::demo {
namespace {

namespace fs = std::filesystem;

bool is_found_as(const fs::path& program, const std::string& name) {
    const char* const path = std::getenv("PATH");
    std::istringstream folders{path == nullptr ? "" : path};
    for (std::string folder; std::getline(folders, folder, ':');) {
        std::error_code trouble;
        if (fs::exists(fs::path{folder} / name, trouble)) {
            return fs::equivalent(fs::path{folder} / name, program, trouble);
        }
    }
    return false;
}

bool is_plain(char c) {
    constexpr std::string_view kPlain = "_./:@%+=,-";
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           kPlain.find(c) != std::string_view::npos;
}

}  // namespace

std::string own_name() {
    std::error_code trouble;
    const auto program = fs::read_symlink("/proc/self/exe", trouble);
    if (trouble || is_found_as(program, "sagaz")) return "sagaz";
    const auto here = fs::relative(program, trouble);
    const bool is_below = !trouble && !here.empty() && *here.begin() != "..";
    return shell_word(is_below ? "./" + here.string() : program.string());
}

std::string shell_word(std::string_view word) {
    if (!word.empty() && std::ranges::all_of(word, is_plain)) return std::string{word};
    std::string text = "'";
    for (const char c : word) {
        text += c == '\'' ? std::string{R"('\'')"} : std::string{c};
    }
    return text + '\'';
}

std::string store_words(const StoreTarget& store) {
    const bool is_open = hide_secrets(store.url) == store.url;
    return "--store " + (is_open ? shell_word(store.url) : std::string{"\"$DATABASE_URL\""}) +
           (store.schema == "sagaz" ? "" : " --schema " + shell_word(store.schema));
}

}  // namespace sagaz::inline v0::app::demo
