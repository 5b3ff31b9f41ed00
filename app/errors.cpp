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
    CodeInfo{"bench_failed", kFailed, "a benchmark could not be measured"},
    CodeInfo{"bench_schema", kUsage, "the schema for the benchmarks is in use"},
    CodeInfo{"broker_not_built", kUsage, "this build has no client for that broker"},
    CodeInfo{"broker_option", kUsage, "a broker option is not allowed"},
    CodeInfo{"broker_scheme", kUsage, "the broker URL names no kind of broker"},
    CodeInfo{"broker_unreachable", kFailed, "the broker cannot be reached"},
    CodeInfo{"broker_url_invalid", kUsage, "the broker URL cannot be right"},
    CodeInfo{"broker_url_missing", kUsage, "no broker is configured"},
    CodeInfo{"busy", kFailed, "another connection writes to the database file"},
    CodeInfo{"busy_snapshot", kFailed, "the database file was written since the transaction began"},
    CodeInfo{"commit_in_doubt", kFailed, "the answer to a COMMIT was lost"},
    CodeInfo{"config_conflict", kUsage, "two settings say the same thing"},
    CodeInfo{"config_duplicate_key", kUsage, "a key stands twice in the configuration"},
    CodeInfo{"config_file", kUsage, "the configuration file cannot be read"},
    CodeInfo{"config_unknown_key", kUsage, "the configuration has an unknown key"},
    CodeInfo{"config_value", kUsage, "a configuration value is wrong"},
    CodeInfo{"config_yaml", kUsage, "the configuration file is not plain YAML"},
    CodeInfo{"confirmation_missing", kUsage, "nobody has agreed to the removal"},
    CodeInfo{"connection_failed", kFailed, "the database cannot be reached"},
    CodeInfo{"connection_lost", kFailed, "the connection to the database was lost"},
    CodeInfo{"consumer_failed", kFailed, "the consumer's client cannot go on"},
    CodeInfo{"consumer_name", kUsage, "a consumer has no usable name"},
    CodeInfo{"consumer_unknown", kFailed, "no such consumer in the inbox"},
    CodeInfo{"cursor_missing", kFailed, "a slot has no stored cursor"},
    CodeInfo{"data_corrupted", kFailed, "the database reports corrupted data"},
    CodeInfo{"database_encoding", kFailed, "the database's encoding is not UTF8"},
    CodeInfo{"database_missing", kFailed, "the database or the role does not exist"},
    CodeInfo{"deadline_passed", kFailed, "the database did not answer in time"},
    CodeInfo{"deadlock", kFailed, "the database broke a deadlock"},
    CodeInfo{"demo_consumer", kFailed, "the demo's consumer cannot go on"},
    CodeInfo{"demo_folder", kUsage, "the demo's folder cannot be used"},
    CodeInfo{"destination", kFailed, "a schema has another destination, or more than one"},
    CodeInfo{"dev_store", kUsage, "the database has a log that sagaz dev has not made"},
    CodeInfo{"disk_full", kFailed, "the database's disk is full"},
    CodeInfo{"duplicate", kFailed, "a row of that identity exists already"},
    CodeInfo{"event_not_found", kFailed, "no such event in the log"},
    CodeInfo{"event_type_missing", kFailed, "an event has no type"},
    CodeInfo{"file_foreign", kUsage, "a file holds what sagaz did not write"},
    CodeInfo{"file_io", kFailed, "the database file cannot be read or written"},
    CodeInfo{"file_line", kFailed, "a line of the destination's file is not a message"},
    CodeInfo{"file_open", kUsage, "a file cannot be opened"},
    CodeInfo{"group_missing", kUsage, "the consumer has no group"},
    CodeInfo{"header_name", kFailed, "a header has no name"},
    CodeInfo{"header_reserved", kFailed, "a header has a name that sagaz writes itself"},
    CodeInfo{"id_malformed", kUsage, "an id is not a UUID"},
    CodeInfo{"in_recovery", kFailed, "the database is a standby or still in recovery"},
    CodeInfo{"incarnation_changed", kFailed, "the database lost its memory meanwhile"},
    CodeInfo{"internal", kFailed, "sagaz met something it did not expect"},
    CodeInfo{"journal_unsafe", kFailed, "the connection could not undo what it writes"},
    CodeInfo{"limit_exceeded", kFailed, "an event is over a limit of the outbox"},
    CodeInfo{"lock_not_available", kFailed, "a lock in the database is taken"},
    CodeInfo{"login_refused", kFailed, "the database refuses the login"},
    CodeInfo{"no_transaction", kFailed, "no transaction is open on the connection"},
    CodeInfo{"option_range", kUsage, "an option is out of range"},
    CodeInfo{"out_of_memory", kFailed, "the process has no memory left"},
    CodeInfo{"output_failed", kFailed, "standard output cannot be written"},
    CodeInfo{"parked_inbox", kFailed, "messages of an inbox are changed by naming their consumer"},
    CodeInfo{"parked_not_found", kFailed, "no such event is parked"},
    CodeInfo{"permission_denied", kFailed, "the database role may not do this"},
    CodeInfo{"pipeline_mode", kFailed, "the connection is in pipeline mode"},
    CodeInfo{"read_only", kFailed, "the database takes no writes"},
    CodeInfo{"rebase_not_alone", kFailed, "the re-base runs in no transaction of its own"},
    CodeInfo{"rebasing", kFailed, "the log is being re-based after a restore"},
    CodeInfo{"relay_process", kFailed, "a relay that the command started cannot go on"},
    CodeInfo{"report_write", kFailed, "the report cannot be written"},
    CodeInfo{"schema_missing", kFailed, "the database has no sagaz schema"},
    CodeInfo{"schema_name", kUsage, "the schema name is not a plain identifier"},
    CodeInfo{"schema_too_new", kFailed, "the schema is newer than this build can work with"},
    CodeInfo{"schema_too_old", kFailed, "the schema is older than this build needs"},
    CodeInfo{"scratch_file", kFailed, "the temporary database of verify cannot be used"},
    CodeInfo{"secret_file", kUsage, "a secret file cannot be read"},
    CodeInfo{"sequence_behind", kFailed, "the sequence of the log is behind its rows"},
    CodeInfo{"serialization_failure", kFailed, "the database chose another transaction"},
    CodeInfo{"server_crashed", kFailed, "the database server crashed and recovers"},
    CodeInfo{"server_internal", kFailed, "the database server met an internal error"},
    CodeInfo{"server_interrupted", kFailed, "the database server interrupted the statement"},
    CodeInfo{"server_io", kFailed, "the database server could not use a file"},
    CodeInfo{"server_not_ready", kFailed, "the database is not in the state that was needed"},
    CodeInfo{"server_resources", kFailed, "the database server is out of a resource"},
    CodeInfo{"server_shutdown", kFailed, "the database server is shutting down"},
    CodeInfo{"server_starting", kFailed, "the database server is starting up"},
    CodeInfo{"setting_fixed", kUsage, "a setting cannot change any more"},
    CodeInfo{"setting_unknown", kUsage, "there is no such setting"},
    CodeInfo{"setting_value", kUsage, "a setting has a wrong value"},
    CodeInfo{"slot_count_differs", kFailed, "a copy was made with another slot count"},
    CodeInfo{"snapshot_malformed", kFailed, "a snapshot of the database cannot be read"},
    CodeInfo{"source_unreadable", kUsage, "the destination cannot be read back"},
    CodeInfo{"standby_missing", kFailed, "no standby says that it has what is to be sent"},
    CodeInfo{"statement_canceled", kFailed, "the database cancelled the statement"},
    CodeInfo{"statement_failed", kFailed, "the database refused a statement"},
    CodeInfo{"still_subscribed", kFailed, "a subscription still brings rows of the log"},
    CodeInfo{"store_scheme", kUsage, "the store URL names no database that sagaz knows"},
    CodeInfo{"store_unreachable", kFailed, "the database cannot be reached"},
    CodeInfo{"store_url", kUsage, "the store URL cannot be read"},
    CodeInfo{"store_url_missing", kUsage, "no database is configured"},
    CodeInfo{"synchronous_normal", kFailed,
             "a power cut could take back what the connection commits"},
    CodeInfo{"synchronous_off", kFailed,
             "a power cut could ruin the file that the connection writes"},
    CodeInfo{"text_encoding", kFailed, "a text does not fit the database's encoding"},
    CodeInfo{"tls_failed", kFailed, "the TLS connection to the database failed"},
    CodeInfo{"too_many_connections", kFailed, "the database has no connection left"},
    CodeInfo{"too_many_events", kFailed, "too many events or messages in one call"},
    CodeInfo{"topic_missing", kUsage, "no topic is given"},
    CodeInfo{"topic_unreadable", kFailed, "a topic cannot be read"},
    CodeInfo{"transaction_ended", kFailed, "a handler ended the transaction of its mark"},
    CodeInfo{"transaction_failed", kFailed, "an earlier statement of the transaction failed"},
    CodeInfo{"transaction_open", kFailed, "the connection is in a transaction already"},
    CodeInfo{"transaction_rolled_back", kFailed, "the database rolled the transaction back"},
    CodeInfo{"truth_empty", kUsage, "the truth holds no event to compare"},
    CodeInfo{"truth_missing", kUsage, "no truth is given"},
    CodeInfo{"truth_query", kUsage, "the truth does not give what verify needs"},
    CodeInfo{"unexpected_answer", kFailed, "the database answered something unexpected"},
    CodeInfo{"usage", kUsage, "the command line cannot be understood"},
    CodeInfo{"version_range", kUsage, "there are no such schema versions"},
    CodeInfo{"wait_timeout", kFailed, "something is not there in time"},
    CodeInfo{"wrong_password", kFailed, "the database refuses the password"},
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
