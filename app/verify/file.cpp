#include "app/verify/sources.hpp"

#include <sagaz/error.hpp>

#include <nlohmann/json.hpp>

#include <utility>

namespace sagaz::verify {

namespace {

using Json = nlohmann::json;

[[noreturn]] void refuse(const std::string& seen) {
    throw Error(ErrorKind::invalid, "file_line", seen,
                "Give a file that a file: destination wrote: one JSON object a line.");
}

int sextet(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    if (c == '/') return 63;
    return -1;
}

std::string payload_of(const Json& line) {
    if (const auto base64 = line.find("payload_base64"); base64 != line.end()) {
        return decode_base64(base64->get_ref<const std::string&>());
    }
    return line.at("payload").get<std::string>();
}

void feed(const std::string& text, std::int64_t offset,
          const std::function<void(const Arrival&)>& take) {
    const Json line = Json::parse(text);
    const std::string topic = line.at("topic").get<std::string>();
    const std::string payload = payload_of(line);
    std::optional<std::string> key;
    if (const auto found = line.find("key"); found != line.end() && !found->is_null()) {
        key = found->get<std::string>();
    }
    std::vector<std::pair<std::string, std::string>> headers;
    for (const Json& header : line.at("headers")) {
        headers.emplace_back(header.at(0).get<std::string>(), header.at(1).get<std::string>());
    }
    std::vector<HeaderView> views;
    for (const auto& [name, value] : headers) views.push_back({name, value});
    take({topic, 0, offset, key, views, payload});
}

}  // namespace

std::string decode_base64(std::string_view text) {
    if (text.size() % 4 != 0) refuse("payload_base64 is cut off");
    std::string bytes;
    bytes.reserve(text.size() / 4 * 3);
    for (std::size_t at = 0; at < text.size(); at += 4) {
        const bool is_last = at + 4 == text.size();
        const std::size_t pad =
            !is_last ? 0 : (text[at + 3] != '=' ? 0U : (text[at + 2] != '=' ? 1U : 2U));
        std::uint32_t group = 0;
        for (std::size_t n = 0; n < 4; ++n) {
            const int value = n >= 4 - pad ? 0 : sextet(text[at + n]);
            if (value < 0) refuse("payload_base64 has a character that is not base64");
            group = group << 6 | static_cast<std::uint32_t>(value);
        }
        for (std::size_t n = 0; n < 3 - pad; ++n) {
            bytes.push_back(static_cast<char>(group >> (16 - 8 * n) & 0xFF));
        }
    }
    return bytes;
}

FileReader::FileReader(const std::string& path) : file_(path, std::ios::binary) {
    if (!file_) {
        throw Error(ErrorKind::invalid, "file_open", "cannot open " + path,
                    "Give the path that the relay's file: destination wrote to.");
    }
}

bool FileReader::next(const std::function<void(const Arrival&)>& take) {
    std::getline(file_, line_);
    if (!file_ || file_.eof()) {  // no newline at its end: not a message yet
        file_.clear();
        file_.seekg(position_);
        return false;
    }
    position_ += static_cast<std::int64_t>(line_.size()) + 1;
    try {
        feed(line_, lines_++, take);
    } catch (const Json::exception& error) {
        refuse("line " + std::to_string(lines_) + ": " + error.what());
    }
    return true;
}

void read_file(const std::string& path, Account& account, const std::function<void()>& progress) {
    FileReader reader(path);
    while (reader.next([&](const Arrival& message) { account.arrive(message); })) {
        if (reader.lines() % 4'096 == 0) progress();
    }
}

}  // namespace sagaz::verify
