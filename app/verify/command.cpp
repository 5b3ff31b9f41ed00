#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/url.hpp"
#include "app/verify/report.hpp"
#include "app/verify/sources.hpp"

#include <sagaz/error.hpp>

#include <fstream>
#include <ostream>

namespace sagaz::inline v0::app {

namespace {

constexpr std::string_view kKafka = "kafka://";
constexpr std::string_view kFile = "file:";

void check(const VerifyOptions& options) {
    if (options.truth_sql.empty()) {
        throw Error(ErrorKind::invalid, "truth_missing", "no truth is given",
                    "Give --truth 'SELECT event_id, key, order_number FROM ...'.");
    }
    const std::string& url = options.source.url;
    if (url.starts_with(kKafka) || url.starts_with(kFile)) return;
    throw Error(ErrorKind::invalid, "source_unreadable",
                url.empty() ? "no destination is given" : "this destination cannot be read back",
                "Give --broker kafka://host:port or file:PATH.");
}

void write_report(const std::string& path, const std::string& json) {
    std::ofstream file(path, std::ios::trunc);
    file << json << '\n';
    file.close();
    if (!file) {
        throw Error(ErrorKind::invalid, "report_write", "cannot write " + path,
                    "Give a path that can be written to.");
    }
}

void read_destination(const VerifyOptions& options, verify::Account& account,
                      const std::function<void()>& progress) {
    const std::string& url = options.source.url;
    if (url.starts_with(kFile)) {
        verify::read_file(url.substr(kFile.size()), account, progress);
        return;
    }
    verify::KafkaSource source;
    source.bootstrap_servers = url.substr(kKafka.size());
    while (source.bootstrap_servers.ends_with('/')) source.bootstrap_servers.pop_back();
    source.client = options.source.options;
    source.topics = options.topics.empty() ? account.topics_expected() : options.topics;
    if (source.topics.empty()) {
        throw Error(ErrorKind::invalid, "topic_missing", "neither --topic nor the truth names one",
                    "Give --topic, or a truth with a column topic.");
    }
    verify::read_kafka(source, account, progress);
}

}  // namespace

int run_verify(const VerifyOptions& options, Console& console) {
    check(options);
    verify::Account account;
    const auto progress = [&] {
        console.progress("truth " + std::to_string(account.expected()) + " events, read " +
                         std::to_string(account.messages()) + " messages");
    };
    if (const auto path = sqlite_path(options.store.url)) {
        verify::read_sqlite_truth(*path, options.truth_sql, account, progress);
    } else {
        verify::read_truth(options.store.url, options.truth_sql, account, progress);
    }
    // Nothing to compare is no finding of health: a wrong WHERE or database looks just so.
    if (account.expected() == 0 && !options.allow_empty) {
        throw Error(ErrorKind::invalid, "truth_empty", "the truth holds no event",
                    "Correct --truth or --store; with --allow-empty this is accepted.");
    }
    read_destination(options, account, progress);
    const verify::Report report = account.close();
    const std::string json = verify::to_json(report);
    if (!options.report_path.empty()) write_report(options.report_path, json);
    console.out() << (options.json ? json : verify::to_text(report)) << '\n';
    if (!report.is_damaged()) return kOk;
    console.say("verify: damage found");
    return kCondition;
}

}  // namespace sagaz::inline v0::app
