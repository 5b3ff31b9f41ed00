#include "app/errors.hpp"

#include "app/commands.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace sagaz::inline v0::app {
namespace {

// Sorted by code, so that a look-up is a binary search and a double is seen.
constexpr std::array kCodes{
    CodeInfo{"admin_listen", kUsage, "the admin server cannot listen there"},
    CodeInfo{"admin_unreachable", kFailed, "the admin server does not answer"},
    CodeInfo{"append_line", kFailed, "a line on standard input is not an event"},
    CodeInfo{"argument_invalid", kUsage, "an argument has a wrong value"},
    CodeInfo{"broker_not_built", kUsage, "this build has no client for that broker"},
    CodeInfo{"broker_option", kUsage, "a broker option is not allowed"},
    CodeInfo{"broker_scheme", kUsage, "the broker URL names no kind of broker"},
    CodeInfo{"broker_unreachable", kFailed, "the broker cannot be reached"},
    CodeInfo{"broker_url_invalid", kUsage, "the broker URL cannot be right"},
    CodeInfo{"broker_url_missing", kUsage, "no broker is configured"},
    CodeInfo{"config_conflict", kUsage, "two settings say the same thing"},
    CodeInfo{"config_duplicate_key", kUsage, "a key stands twice in the configuration"},
    CodeInfo{"config_file", kUsage, "the configuration file cannot be read"},
    CodeInfo{"config_unknown_key", kUsage, "the configuration has an unknown key"},
    CodeInfo{"config_value", kUsage, "a configuration value is wrong"},
    CodeInfo{"config_yaml", kUsage, "the configuration file is not plain YAML"},
    CodeInfo{"event_not_found", kFailed, "no such event in the log"},
    CodeInfo{"file_open", kUsage, "a file cannot be opened"},
    CodeInfo{"id_malformed", kUsage, "an id is not a UUID"},
    CodeInfo{"incarnation_changed", kFailed, "the database lost its memory meanwhile"},
    CodeInfo{"internal", kFailed, "sagaz met something it did not expect"},
    CodeInfo{"option_range", kUsage, "an option is out of range"},
    CodeInfo{"output_failed", kFailed, "standard output cannot be written"},
    CodeInfo{"schema_missing", kFailed, "the database has no sagaz schema"},
    CodeInfo{"schema_name", kUsage, "the schema name is not a plain identifier"},
    CodeInfo{"secret_file", kUsage, "a secret file cannot be read"},
    CodeInfo{"store_scheme", kUsage, "the store URL names no database that sagaz knows"},
    CodeInfo{"store_unreachable", kFailed, "the database cannot be reached"},
    CodeInfo{"store_url_missing", kUsage, "no database is configured"},
    CodeInfo{"usage", kUsage, "the command line cannot be understood"},
};

std::string_view what_of(ErrorKind kind) {
    switch (kind) {
        case ErrorKind::invalid: return "the input is wrong";
        case ErrorKind::conflict: return "the database chose another transaction";
        case ErrorKind::unavailable: return "a server is not available";
        case ErrorKind::in_doubt: return "the answer was lost: it may have happened";
        case ErrorKind::fatal: return "this cannot go on without a person";
    }
    return "failed";
}

// One line that a terminal and a log can take, whatever a server put into its message.
std::string one_line(std::string_view text) {
    std::string line;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        const bool control = byte < 0x20 || byte == 0x7f;
        if (!control) {
            line += c;
        } else if (!line.empty() && line.back() != ' ') {
            line += ' ';
        }
    }
    while (!line.empty() && line.back() == ' ') {
        line.pop_back();
    }
    return line;
}

// "scheme://user:password@host" -> "scheme://user:***@host", everywhere in the text. The last @
// before the end of the authority counts: a password may hold one.
void hide_userinfo(std::string& text) {
    for (auto at = text.find("://"); at != std::string::npos; at = text.find("://", at + 3)) {
        const auto start = at + 3;
        const auto end = text.find_first_of("/ \t\"'?#", start);
        const auto host = text.rfind('@', end == std::string::npos ? end : end - (end > 0 ? 1 : 0));
        if (host == std::string::npos || host < start) {
            continue;
        }
        const auto colon = text.find(':', start);
        if (colon < host) {
            text.replace(colon + 1, host - colon - 1, "***");
        }
    }
}

// "password=..." of a keyword string or of a URL's query, quoted or not.
void hide_assignment(std::string& text, std::string_view name) {
    for (auto at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
        auto from = text.find_first_not_of(' ', at + name.size());
        if (from == std::string::npos || text[from] != '=') {
            continue;
        }
        from = text.find_first_not_of(' ', from + 1);
        if (from == std::string::npos) {
            return;
        }
        auto to = from;
        if (text[from] == '\'') {
            for (++to; to < text.size() && text[to] != '\''; ++to) {
                to += text[to] == '\\' ? 1U : 0U;
            }
            to = std::min(to + 1, text.size());
        } else {
            to = std::min(text.find_first_of(" &\t\"", from), text.size());
        }
        text.replace(from, to - from, "***");
    }
}

}  // namespace

std::span<const CodeInfo> codes() { return kCodes; }

CodeInfo info_of(std::string_view code) noexcept {
    const auto* const found = std::lower_bound(
        kCodes.begin(), kCodes.end(), code,
        [](const CodeInfo& info, std::string_view wanted) { return info.code < wanted; });
    if (found != kCodes.end() && found->code == code) {
        return *found;
    }
    return {code, kFailed, {}};
}

int exit_of(const Error& error) noexcept { return info_of(error.code()).exit; }

std::string three_lines(const Error& error) {
    const auto info = info_of(error.code());
    std::string text = "error[";
    text += error.code();
    text += "]: ";
    text += info.what.empty() ? what_of(error.kind()) : info.what;
    text += "\nseen: ";
    text += hide_secrets(one_line(error.what()));
    text += "\ndo: ";
    text += hide_secrets(one_line(error.hint()));
    return text;
}

void refuse(std::string_view code, const std::string& seen, const std::string& what_to_do) {
    throw Error{ErrorKind::invalid, std::string{code}, seen, what_to_do};
}

std::string hide_secrets(std::string_view text) {
    std::string hidden{text};
    hide_userinfo(hidden);
    hide_assignment(hidden, "password");
    return hidden;
}

}  // namespace sagaz::inline v0::app
