#pragma once

#include <nlohmann/json.hpp>

#include <iosfwd>
#include <string>

/// What commands print of JSON, and the bytes that a database gave as hex digits.
namespace sagaz::inline v0::app {

/// One line, with the replacement character for what is not UTF-8.
std::string line_of(const nlohmann::ordered_json& object);

/// A line "name: value" for each member that has a value, for people.
void write_members(std::ostream& out, const nlohmann::ordered_json& object);

/// The bytes of lower-case hex digits.
std::string unhex(const std::string& hex);

/// Adds `payload` when the bytes are text, else `payload_hex`.
void put_payload(nlohmann::ordered_json& object, const std::string& hex);

}  // namespace sagaz::inline v0::app
