#include "settings.hpp"

#include <sagaz/error.hpp>

#include <charconv>
#include <map>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

namespace shop {
namespace {

constexpr std::string_view kPrefix = "ORDERS_";

[[noreturn]] void refuse(const std::string& what, const std::string& hint) {
    throw sagaz::Error(sagaz::ErrorKind::invalid, "setting", what, hint);
}

// The variables that are ours; each is taken out when it is read.
class Variables {
public:
    explicit Variables(char** environment) {
        for (; *environment != nullptr; ++environment) {
            const std::string_view variable = *environment;
            if (!variable.starts_with(kPrefix)) continue;
            const auto equals = variable.find('=');
            values_.emplace(variable.substr(0, equals), variable.substr(equals + 1));
        }
    }

    std::string text(const std::string& name, const std::string& fallback) {
        auto found = values_.extract(name);
        return found.empty() ? fallback : found.mapped();
    }

    std::string required(const std::string& name, const std::string& example) {
        auto value = text(name, {});
        if (value.empty()) refuse(name + " is not set", "set it, as in " + name + '=' + example);
        return value;
    }

    std::size_t number(const std::string& name, std::size_t fallback, std::size_t lowest,
                       std::size_t highest) {
        const auto value = text(name, std::to_string(fallback));
        const auto number = number_in(value);
        if (!number || *number < lowest || *number > highest) {
            refuse(name + " is \"" + value + '"', "give a whole number from " +
                                                      std::to_string(lowest) + " to " +
                                                      std::to_string(highest));
        }
        return *number;
    }

    bool flag(const std::string& name, bool fallback) {
        const auto value = text(name, fallback ? "on" : "off");
        if (value != "on" && value != "off") {
            refuse(name + " is \"" + value + '"', "give on or off");
        }
        return value == "on";
    }

    static std::optional<std::size_t> number_in(std::string_view text) {
        std::size_t number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
        return number;
    }

    std::vector<std::string> rest() const {
        std::vector<std::string> names;
        names.reserve(values_.size());
        for (const auto& [name, value] : values_) names.push_back(name);
        return names;
    }

private:
    std::map<std::string, std::string> values_;
};

std::pair<std::string, int> read_address(const std::string& name, const std::string& value) {
    const auto colon = value.rfind(':');
    const auto port = colon == std::string::npos
                          ? std::nullopt
                          : Variables::number_in(std::string_view{value}.substr(colon + 1));
    if (!port || *port > 65'535 || colon == 0) {
        refuse(name + " is \"" + value + '"', "give host:port, as in 0.0.0.0:8080");
    }
    return {value.substr(0, colon), static_cast<int>(*port)};
}

}  // namespace

Settings read_settings(char** environment) {
    Variables variables{environment};
    Settings settings;
    settings.database_url =
        variables.required("ORDERS_DATABASE_URL", "postgresql://order_service@localhost/shop");
    settings.kafka = variables.required("ORDERS_KAFKA", "localhost:9092");
    std::tie(settings.listen_host, settings.listen_port) =
        read_address("ORDERS_LISTEN", variables.text("ORDERS_LISTEN", "127.0.0.1:8080"));
    settings.http_threads = variables.number("ORDERS_HTTP_THREADS", 8, 1, 1'000);
    settings.connections = variables.number("ORDERS_CONNECTIONS", 4, 2, 1'000);
    settings.payments_topic = variables.text("ORDERS_PAYMENTS_TOPIC", "payments");
    settings.is_optimistic = variables.flag("ORDERS_OPTIMISTIC", true);
    settings.stop_seconds =
        static_cast<unsigned>(variables.number("ORDERS_STOP_SECONDS", 20, 1, 3'600));
    settings.unknown = variables.rest();
    return settings;
}

}  // namespace shop
