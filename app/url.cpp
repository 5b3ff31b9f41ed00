#include "app/url.hpp"

#include "app/errors.hpp"
#include "app/units.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

namespace sagaz::inline v0::app {
namespace {

// "scheme" of "scheme:rest", lower case; empty when there is none.
std::string scheme_of(std::string_view url) {
    const auto colon = url.find(':');
    const auto word = url.substr(0, colon);
    const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '+' || c == '-' || c == '.';
    });
    if (colon == std::string_view::npos || !plain) {
        return {};
    }
    std::string scheme{word};
    std::transform(scheme.begin(), scheme.end(), scheme.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return scheme;
}

std::string from(const std::string& url, std::string_view origin) {
    return "\"" + hide_secrets(url) + "\" from " + std::string{origin};
}

std::string after_scheme(const std::string& url) {
    auto rest = url.substr(url.find(':') + 1);
    return rest.starts_with("//") ? rest.substr(2) : rest;
}

// One "host:port" of a kafka URL.
bool is_host_port(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0) {
        return false;
    }
    const auto port = parse_count(text.substr(colon + 1));
    return port && *port >= 1 && *port <= 65'535 &&
           text.find_first_of(" \t@/?#") == std::string_view::npos;
}

BrokerUrl parse_kafka(const std::string& url, std::string_view origin) {
    constexpr auto kHow = "write kafka://host:port or kafka://host1:port,host2:port";
    auto place = url.find("://") == std::string{"kafka"}.size() ? after_scheme(url) : std::string{};
    if (place.find('@') != std::string::npos) {
        refuse("broker_url_invalid", from(url, origin) + " carries a user name",
               "put user and password into files and name them by broker.username_file and "
               "broker.password_file");
    }
    while (place.ends_with('/')) {
        place.pop_back();
    }
    for (std::string_view rest{place};;) {
        const auto comma = rest.find(',');
        if (!is_host_port(rest.substr(0, comma))) {
            refuse("broker_url_invalid", from(url, origin), kHow);
        }
        if (comma == std::string_view::npos) {
            return {BrokerKind::kafka, place};
        }
        rest.remove_prefix(comma + 1);
    }
}

}  // namespace

std::optional<std::string> sqlite_path(const std::string& url) {
    if (scheme_of(url) != "sqlite") return std::nullopt;
    return url.substr(url.find(':') + 1);
}

std::string check_store_url(const std::string& url, std::string_view origin) {
    const auto scheme = scheme_of(url);
    if (scheme == "postgresql" || scheme == "postgres") {
        if (url.find("://") == std::string::npos) {
            refuse("store_scheme", from(url, origin),
                   "write " + scheme + "://user@host:port/database");
        }
        return url;
    }
    if (scheme.starts_with("postgresql+") || scheme.starts_with("postgres+")) {
        const auto driver = scheme.substr(scheme.find('+') + 1);
        refuse("store_scheme", from(url, origin),
               "write postgresql:" + hide_secrets(url).substr(scheme.size() + 1) + " (\"+" +
                   driver + "\" names a Python driver; sagaz speaks libpq)");
    }
    if (const auto path = sqlite_path(url)) {
        // Others write sqlite:///x for a relative path and sqlite:////x for an absolute one.
        if (path->empty() || path->starts_with("//") || *path == ":memory:") {
            refuse("store_scheme", from(url, origin),
                   "write sqlite:PATH, as sqlite:shop.db or sqlite:/var/lib/shop/shop.db");
        }
        return url;
    }
    if (scheme.empty() && url.find('=') != std::string::npos) {
        return url;  // a keyword string: "host=... dbname=..."
    }
    refuse("store_scheme", from(url, origin),
           "write postgresql://user@host:port/database or sqlite:PATH");
}

BrokerUrl parse_broker_url(const std::string& url, std::string_view origin) {
    const auto scheme = scheme_of(url);
    if (scheme == "kafka") {
        return parse_kafka(url, origin);
    }
    if (scheme == "file") {
        auto path = after_scheme(url);
        if (path.empty()) {
            refuse("broker_url_invalid", from(url, origin),
                   "write file:PATH, as file:/tmp/events.jsonl");
        }
        return {BrokerKind::file, path};
    }
    if (scheme == "stdout") {
        return {BrokerKind::standard_output, "-"};
    }
    if (scheme == "null") {
        return {BrokerKind::null, {}};
    }
    if (scheme == "memory") {
        refuse(
            "broker_not_built", from(url, origin),
            "memory: lives inside one process and only embedded relays can use it; take null: to "
            "measure, file:PATH or stdout: to look");
    }
    constexpr std::array kLater{"amqp", "amqps", "rabbitmq", "redis", "rediss", "nats"};
    if (std::find(kLater.begin(), kLater.end(), scheme) != kLater.end()) {
        const std::string alias = scheme == "rabbitmq" ? " (an alias of amqp://)" : "";
        refuse("broker_not_built", from(url, origin),
               scheme + "://" + alias +
                   " is not built into this sagaz; it has kafka://, file:PATH, "
                   "stdout: and null:");
    }
    const auto guess = nearest(scheme, {"kafka", "file", "stdout", "null"});
    refuse("broker_scheme", from(url, origin),
           (guess.empty() ? std::string{} : "did you mean " + guess + ":? ") +
               "write kafka://host:port, file:PATH, stdout: or null:");
}

}  // namespace sagaz::inline v0::app
