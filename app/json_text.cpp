#include "app/json_text.hpp"

#include "app/table.hpp"

#include <ostream>

namespace sagaz::inline v0::app {

using Json = nlohmann::ordered_json;

std::string line_of(const Json& object) {
    return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void write_members(std::ostream& out, const Json& object) {
    for (const auto& [name, value] : object.items()) {
        if (name == "schema" || value.is_null()) continue;
        out << name << ": " << plain(value.is_string() ? value.get<std::string>() : line_of(value))
            << '\n';
    }
}

std::string unhex(const std::string& hex) {
    const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
    std::string bytes;
    for (std::size_t n = 0; n + 1 < hex.size(); n += 2) {
        bytes += static_cast<char>(digit(hex[n]) * 16 + digit(hex[n + 1]));
    }
    return bytes;
}

void put_payload(Json& object, const std::string& hex) {
    try {
        object["payload"] = unhex(hex);
        static_cast<void>(object["payload"].dump());  // throws for what is not UTF-8
    } catch (const Json::exception&) {
        object.erase("payload");
        object["payload_hex"] = hex;
    }
}

}  // namespace sagaz::inline v0::app
