// The line is read as a stream of JSON events, not as a tree: a tree would turn a number of more
// than 64 bits into a rounded one and keep the last of two equal keys, and a payload must arrive
// as it was written.
#include "app/event_line.hpp"

#include "app/errors.hpp"
#include "app/units.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>
#include <vector>

namespace sagaz::inline v0::app {
namespace {

using nlohmann::json;
constexpr int kDepthMax = 200;

const std::vector<std::string> kKeys{
    "topic",   "key",      "event_type",   "payload",        "payload_text", "payload_base64",
    "headers", "event_id", "content_type", "aggregate_type", "aggregate_id", "saga_id"};

[[noreturn]] void refuse_line(const std::string& seen, const std::string& what_to_do) {
    throw Error{ErrorKind::invalid, "append_line", seen, what_to_do};
}

std::string json_text(const std::string& text) { return json(text).dump(); }

class LineReader final : public json::json_sax_t {
public:
    Event take() {
        if (payload_key_.empty()) {
            refuse_line("no payload", "give \"payload\", \"payload_text\" or \"payload_base64\"");
        }
        if (event_.event_type.empty()) {
            refuse_line("no event_type", "give \"event_type\"");
        }
        return std::move(event_);
    }

    bool null() override { return value("null", nullptr); }
    bool boolean(bool v) override { return value(v ? "true" : "false", nullptr); }
    bool number_integer(number_integer_t v) override { return value(std::to_string(v), nullptr); }
    bool number_unsigned(number_unsigned_t v) override { return value(std::to_string(v), nullptr); }
    bool number_float(number_float_t /*v*/, const string_t& text) override {
        return value(text, nullptr);
    }
    bool string(string_t& v) override {
        return in_payload() ? value(json_text(v), nullptr) : value({}, &v);
    }
    bool binary(binary_t& /*v*/) override { return false; }

    bool start_object(std::size_t /*n*/) override { return open('{', '}'); }
    bool end_object() override { return close(); }
    bool start_array(std::size_t /*n*/) override { return open('[', ']'); }
    bool end_array() override { return close(); }

    bool key(string_t& name) override {
        if (stack_.size() == 1) {
            take_field(name);
        } else if (in_payload()) {
            separate();
            event_.payload += json_text(name) + ':';
            after_key_ = true;
        } else {
            header_name_ = name;
        }
        return true;
    }

    bool parse_error(std::size_t position, const std::string& /*token*/,
                     const nlohmann::detail::exception& error) override {
        // Only the position and the kind of trouble: the parser's own text quotes what it read.
        const bool range = dynamic_cast<const json::out_of_range*>(&error) != nullptr;
        refuse_line("not JSON at byte " + std::to_string(position) +
                        (range ? ": a number is out of range" : ""),
                    "write one JSON object a line");
    }

private:
    bool in_payload() const { return field_ == "payload"; }

    void take_field(const std::string& name) {
        if (std::find(kKeys.begin(), kKeys.end(), name) == kKeys.end()) {
            const auto guess = nearest(name, kKeys);
            refuse_line("unknown key " + json_text(name),
                        guess.empty() ? std::string{"see sagaz append --help for the keys"}
                                      : "did you mean \"" + guess + "\"?");
        }
        if (!seen_.insert(name).second) {
            refuse_line("key \"" + name + "\" stands twice", "keep one of the two");
        }
        if (name.starts_with("payload")) {
            if (!payload_key_.empty()) {
                refuse_line("both \"" + payload_key_ + "\" and \"" + name + "\"",
                            "keep one of the two");
            }
            payload_key_ = name;
        }
        field_ = name;
    }

    bool open(char begin, char end) {
        if (static_cast<int>(stack_.size()) >= kDepthMax) {
            refuse_line("more than " + std::to_string(kDepthMax) + " levels", "nest less deeply");
        }
        const auto depth = stack_.size();
        if (depth == 0 && begin != '{') {
            refuse_line("an array", "write one JSON object a line");
        }
        if (depth >= 1 && in_payload()) {
            separate();
            event_.payload += begin;
            first_.push_back(true);
        } else if (depth >= 1 && !(field_ == "headers" && header_may_open(begin, depth))) {
            refuse_line("\"" + field_ + "\" is not a text", "give it a text");
        }
        stack_ += end;
        return true;
    }

    // {"name": "value"} or [["name", "value"], ...]
    bool header_may_open(char begin, std::size_t depth) {
        if (depth == 1) {
            pairs_ = begin == '[';
            return true;
        }
        pair_.clear();
        return depth == 2 && pairs_ && begin == '[';
    }

    bool close() {
        const char end = stack_.back();
        stack_.pop_back();
        if (stack_.empty()) {
            return true;
        }
        if (in_payload()) {
            event_.payload += end;
            first_.pop_back();
        } else if (field_ == "headers" && pairs_ && stack_.size() == 2) {
            if (pair_.size() != 2) {
                refuse_line("a header that is not [name, value]",
                            "write [[\"name\", \"value\"], ...]");
            }
            event_.headers.push_back({pair_[0], pair_[1]});
        }
        return true;
    }

    // A comma where the payload needs one before its next value or key.
    void separate() {
        if (after_key_) {
            after_key_ = false;
        } else if (!first_.empty()) {
            if (!first_.back()) {
                event_.payload += ',';
            }
            first_.back() = false;
        }
    }

    // A scalar: `raw` as JSON, or `text` when it was a string outside the payload.
    bool value(const std::string& raw, const std::string* text) {
        if (stack_.empty()) {
            refuse_line("not an object", "write one JSON object a line");
        }
        if (in_payload()) {
            separate();
            event_.payload += raw;
        } else if (stack_.size() == 1) {
            set_field(raw, text);
        } else if (pairs_) {
            if (stack_.size() != 3 || pair_.size() >= 2) {
                refuse_line("a header that is not [name, value]",
                            "write [[\"name\", \"value\"], ...]");
            }
            pair_.push_back(text != nullptr ? *text : raw);
        } else {
            // A header that is not a text keeps its JSON, as it does when SQL writes it.
            event_.headers.push_back({header_name_, text != nullptr ? *text : raw});
        }
        return true;
    }

    void set_field(const std::string& raw, const std::string* text) {
        if (text == nullptr) {
            const bool may_be_absent = field_ != "event_type" && !field_.starts_with("payload_");
            if (raw == "null" && may_be_absent) {
                return;
            }
            refuse_line("\"" + field_ + "\" is " + raw + ", not a text", "write it in quotes");
        }
        if (field_ == "topic") event_.topic = *text;
        if (field_ == "key") event_.key = *text;
        if (field_ == "event_type") event_.event_type = *text;
        if (field_ == "payload_text") event_.payload = *text;
        if (field_ == "content_type") event_.content_type = *text;
        if (field_ == "aggregate_type") event_.aggregate_type = *text;
        if (field_ == "aggregate_id") event_.aggregate_id = *text;
        if (field_ == "saga_id") event_.saga_id = *text;
        if (field_ == "event_id") event_.id = parse_id(*text);
        if (field_ == "payload_base64") event_.payload = decode(*text);
        if (field_ == "headers")
            refuse_line("\"headers\" is a text", "write {\"name\": \"value\"}");
    }

    static Id parse_id(const std::string& text) {
        try {
            return Id::parse(text);
        } catch (const Error& error) {
            refuse_line(std::string{"\"event_id\": "} + error.what(), std::string{error.hint()});
        }
    }

    static std::string decode(const std::string& text) {
        auto bytes = decode_base64(text);
        if (!bytes) {
            refuse_line("\"payload_base64\" is not base64",
                        "write padded base64 (RFC 4648, + and /)");
        }
        return std::move(*bytes);
    }

    Event event_;
    std::set<std::string> seen_;
    std::string field_;  // of the object's first level that is being read
    std::string payload_key_;
    std::string stack_;        // the closing brackets that are still to come
    std::vector<bool> first_;  // a payload level: nothing written in it yet
    std::string header_name_;
    std::vector<std::string> pair_;
    bool pairs_{};
    bool after_key_{};
};

int digit_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

}  // namespace

Event parse_event_line(std::string_view line) {
    LineReader reader;
    json::sax_parse(line.begin(), line.end(), &reader);
    return reader.take();
}

std::optional<std::string> decode_base64(std::string_view text) {
    if (text.size() % 4 != 0) {
        return std::nullopt;
    }
    const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with("=") ? 1 : 0;
    std::string bytes;
    bytes.reserve(text.size() / 4 * 3);
    std::uint32_t group = 0;
    for (std::size_t n = 0; n < text.size(); ++n) {
        const bool is_padding = n >= text.size() - padding;
        const int digit = is_padding ? 0 : digit_of(text[n]);
        if (digit < 0) {
            return std::nullopt;
        }
        group = group << 6U | static_cast<std::uint32_t>(digit);
        if (n % 4 == 3) {
            for (int shift = 16; shift >= 0; shift -= 8) {
                bytes += static_cast<char>(group >> static_cast<unsigned>(shift) & 0xffU);
            }
            group = 0;
        }
    }
    bytes.resize(bytes.size() - padding);
    return bytes;
}

}  // namespace sagaz::inline v0::app
