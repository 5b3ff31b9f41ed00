#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace shop {

/// What the environment says. README.md has a line on each variable.
struct Settings {
    std::string database_url{};
    std::string kafka{};
    std::string listen_host{};
    int listen_port{};
    std::size_t http_threads{};
    std::size_t connections{};
    std::string payments_topic{};
    bool is_optimistic{};
    unsigned stop_seconds{};
    std::vector<std::string> unknown{};  ///< ORDERS_* that mean nothing here.
};

/// Throws `sagaz::Error` (`setting`) with the variable's name and what to change.
Settings read_settings(char** environment);

}  // namespace shop
