// Reads the YAML file as a stream of events, not as a tree: yaml-cpp's tree keeps the last of two
// equal keys in silence, and a setting that somebody believes to be in force must not be lost so.
#include "app/config.hpp"
#include "app/errors.hpp"

#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <map>
#include <sstream>

namespace sagaz::inline v0::app {
namespace {

constexpr auto kShape =
    "write sections with keys below them: a line \"store:\" and below it \"  url: "
    "postgresql://...\"";

class Reader final : public YAML::EventHandler {
public:
    explicit Reader(const std::string& name) : name_{name} {}

    std::vector<FileEntry> take() { return std::move(entries_); }

    void OnDocumentStart(const YAML::Mark& mark) override {
        if (++documents_ > 1) {
            refuse_at(mark, "config_yaml", "a second document", "keep one document in the file");
        }
    }
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
        if (depth_ == 0) {
            return;  // an empty file
        }
        if (!has_key_) {
            refuse_at(mark, "config_yaml", "an empty key", "name the key");
        }
        if (depth_ > 1 && !at_options()) {
            refuse_at(mark, "config_value", path() + " has no value",
                      "write a value, or leave the key out");
        }
        has_key_ = false;  // a section with nothing in it
    }

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
        refuse_at(mark, "config_yaml", "an alias (*name)", "write the value out");
    }

    void OnScalar(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                  const std::string& value) override {
        if (depth_ == 0) {
            refuse_at(mark, "config_yaml", "a plain text where sections belong", kShape);
        }
        if (!has_key_) {
            take_key(mark, value);
            return;
        }
        if (depth_ == 1 || (depth_ == 2 && at_options())) {
            refuse_at(mark, "config_yaml", path() + " holds a value where keys belong", kShape);
        }
        has_key_ = false;
        entries_.push_back({keys_[0], keys_[1], depth_ == 3 ? keys_[2] : std::string{}, value,
                            key_mark_.line + 1, key_mark_.column + 1, mark.line + 1,
                            mark.column + 1});
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/,
                         YAML::anchor_t /*anchor*/, YAML::EmitterStyle::value /*style*/) override {
        refuse_at(mark, "config_yaml", "a list" + (depth_ == 0 ? "" : " at " + path()), kShape);
    }
    void OnSequenceEnd() override {}

    void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                    YAML::EmitterStyle::value /*style*/) override {
        const bool fits =
            depth_ == 0 || (has_key_ && (depth_ == 1 || (depth_ == 2 && at_options())));
        if (!fits) {
            refuse_at(mark, "config_yaml", "keys below " + path(), kShape);
        }
        ++depth_;
        has_key_ = false;
    }
    void OnMapEnd() override {
        --depth_;
        has_key_ = false;
    }

private:
    bool at_options() const { return keys_[0] == "broker" && keys_[1] == "options"; }

    std::string path() const {
        std::string text = keys_[0];
        for (int level = 1; level < depth_ && level < 3; ++level) {
            text += '.' + keys_[level];
        }
        return text;
    }

    void take_key(const YAML::Mark& mark, const std::string& key) {
        keys_[depth_ - 1] = key;
        key_mark_ = mark;
        has_key_ = true;
        const auto [first, is_new] = seen_.emplace(path(), mark.line + 1);
        if (!is_new) {
            refuse_at(mark, "config_duplicate_key", path() + " stands here again",
                      "keep one of the two; the first " + path() + " is in line " +
                          std::to_string(first->second));
        }
    }

    [[noreturn]] void refuse_at(const YAML::Mark& mark, std::string_view code,
                                const std::string& seen, const std::string& what_to_do) const {
        refuse(code,
               name_ + ':' + std::to_string(mark.line + 1) + ':' + std::to_string(mark.column + 1) +
                   ": " + seen,
               what_to_do);
    }

    const std::string& name_;
    std::vector<FileEntry> entries_;
    std::map<std::string, int> seen_;  // a path, and the line it stands in
    std::string keys_[3];
    YAML::Mark key_mark_;
    int depth_{};
    int documents_{};
    bool has_key_{};
};

}  // namespace

std::vector<FileEntry> read_yaml(const std::string& text, const std::string& name) {
    std::istringstream stream{text};
    Reader reader{name};
    try {
        YAML::Parser parser{stream};
        while (parser.HandleNextDocument(reader)) {
        }
    } catch (const YAML::Exception& error) {
        refuse("config_yaml",
               name + ':' + std::to_string(error.mark.line + 1) + ':' +
                   std::to_string(error.mark.column + 1) + ": " + error.msg,
               "correct the YAML there; `sagaz config schema` describes the keys");
    }
    return reader.take();
}

}  // namespace sagaz::inline v0::app
