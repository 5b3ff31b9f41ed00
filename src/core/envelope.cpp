#include "core/envelope.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>

namespace sagaz::inline v0::core {
namespace {

constexpr std::size_t kIdSize = 36;
constexpr std::size_t kTimeSize = 27;  // 2026-11-24T15:44:40.123456Z

void write_digits(char* to, int digits, std::int64_t value) {
    for (int n = digits - 1; n >= 0; --n) {
        to[n] = static_cast<char>('0' + value % 10);
        value /= 10;
    }
}

/// RFC 3339 in UTC with microseconds. Years outside 0 to 9999 cannot be written so; the database's
/// own clock never shows one.
void append_time(Time time, std::string& text) {
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date{day};
    const auto micros = (time - day).count();
    std::array<char, kTimeSize> out{};
    write_digits(&out[0], 4, std::clamp(static_cast<int>(date.year()), 0, 9999));
    out[4] = '-';
    write_digits(&out[5], 2, static_cast<unsigned>(date.month()));
    out[7] = '-';
    write_digits(&out[8], 2, static_cast<unsigned>(date.day()));
    out[10] = 'T';
    write_digits(&out[11], 2, micros / 3'600'000'000);
    out[13] = ':';
    write_digits(&out[14], 2, micros / 60'000'000 % 60);
    out[16] = ':';
    write_digits(&out[17], 2, micros / 1'000'000 % 60);
    out[19] = '.';
    write_digits(&out[20], 6, micros % 1'000'000);
    out[26] = 'Z';
    text.append(out.data(), out.size());
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

std::string topic_of(std::string_view topic_template, std::string_view event_type) {
    constexpr std::string_view kPlace = "{event_type}";
    std::string topic{topic_template};
    const std::size_t at = topic.find(kPlace);
    if (at == std::string::npos) return topic;
    std::string type{event_type};
    std::transform(type.begin(), type.end(), type.begin(),
                   [](char c) { return c == '_' ? '.' : lower(c); });
    return topic.replace(at, kPlace.size(), type);
}

bool is_reserved_header(std::string_view name) {
    std::string small{name.substr(0, 16)};
    std::transform(small.begin(), small.end(), small.begin(), lower);
    return small.starts_with("ce_") || small == "content-type" || small == "message_id";
}

std::string_view EnvelopeEncoder::topic(const Row& row) {
    if (!row.topic.empty()) return row.topic;
    return strings_.emplace_back(topic_of(settings_.topic_template, row.event_type));
}

Envelope EnvelopeEncoder::encode(const Row& row, std::uint64_t token) {
    if (used_ == scratch_.size()) scratch_.emplace_back();
    Scratch& scratch = scratch_[used_++];
    scratch.text.clear();
    scratch.text.reserve(kIdSize + kTimeSize);
    scratch.text += row.event_id.text();
    append_time(row.created_at, scratch.text);
    const std::string_view text = scratch.text;
    const std::string_view id = text.substr(0, kIdSize);
    auto& headers = scratch.headers;
    headers.clear();
    headers.push_back({"ce_specversion", "1.0"});
    headers.push_back({"ce_id", id});
    headers.push_back({"ce_source", settings_.source});
    headers.push_back({"ce_type", row.event_type});
    headers.push_back({"ce_time", text.substr(kIdSize)});
    if (row.aggregate_id) headers.push_back({"ce_subject", *row.aggregate_id});
    headers.push_back({"content-type", row.content_type});
    headers.push_back({"message_id", id});
    if (!row.headers.empty()) add_user_headers(row.headers, scratch);
    return {.token = token,
            .topic = topic(row),
            .key = row.key,
            .headers = headers,
            .payload = row.payload};
}

void EnvelopeEncoder::add_user_headers(std::string_view json, Scratch& scratch) {
    // Comes out of a jsonb column, so it parses; what is neither an object nor an array of pairs
    // was refused by append() and is left out when plain SQL wrote it.
    const auto document = nlohmann::json::parse(json, nullptr, false);
    const auto text_of = [](const nlohmann::json& value) {
        return value.is_string() ? value.get<std::string>() : value.dump();
    };
    if (document.is_object()) {
        for (const auto& [name, value] : document.items()) {
            add_user_header(name, text_of(value), scratch);
        }
    } else if (document.is_array()) {
        for (const auto& pair : document) {
            if (pair.is_array() && pair.size() == 2 && pair[0].is_string()) {
                add_user_header(pair[0].get<std::string>(), text_of(pair[1]), scratch);
            } else {
                ++headers_dropped_;
            }
        }
    }
}

void EnvelopeEncoder::add_user_header(std::string name, std::string value, Scratch& scratch) {
    if (is_reserved_header(name)) {
        ++headers_dropped_;
        return;
    }
    const std::string& kept_name = strings_.emplace_back(std::move(name));
    const std::string& kept_value = strings_.emplace_back(std::move(value));
    scratch.headers.push_back({kept_name, kept_value});
}

void EnvelopeEncoder::clear() {
    used_ = 0;
    strings_.clear();
}

}  // namespace sagaz::inline v0::core
