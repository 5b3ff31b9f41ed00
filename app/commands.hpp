#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

/// Every command is a plain struct of what it was asked and one function. Nothing here knows how
/// the words were parsed: `cli.cpp` fills the structs, tests fill them by hand.
///
/// A command writes data to `Console::out`, messages to `Console::err`, returns an exit code, and
/// throws `sagaz::Error` for what failed as a whole; `main` prints that on three lines.
namespace sagaz::inline v0 {
class Error;
}  // namespace sagaz::inline v0

namespace sagaz::inline v0::app {

class Console;
struct Config;

// Exit codes.
inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;
inline constexpr int kUsage = 2;  ///< Usage or configuration.
inline constexpr int kCondition =
    3;  ///< What was looked for was found: behind, damaged, not ready.
inline constexpr int kInterrupted = 130;

/// Where the log lives.
struct StoreTarget {
    std::string url{};  ///< Any libpq connection string, secrets included: never print it as it is.
    std::string schema{"sagaz"};
    std::function<std::string()> current_url{};  ///< Reads the file of `--store-file` again.
    bool waits_for_standby{};                    ///< `store.durability`, of who sends events.
};

/// Where events go, or are read back from.
struct BrokerTarget {
    std::string url{};  ///< As given: "kafka://h:p,h:p", "file:PATH", ...
    std::map<std::string, std::string> options{};  ///< For the client library, allow-listed there.
};

struct MigrateOptions {
    StoreTarget store{};
    bool print{};   ///< Write plain SQL instead of running it; needs no database.
    bool status{};  ///< Say which versions are there and which are not.
    bool check{};   ///< Exit 3 when behind.
    bool no_roles{};
    bool after_restore{};       ///< Re-base the log, whatever its cursors look like.
    std::optional<int> from{};  ///< With `print`: the version the database has.
    std::optional<int> to{};
    std::vector<std::pair<std::string, std::string>> set{};
    bool json{};
};

struct WaitOptions {
    std::vector<std::string> targets{};  ///< Of "store", "schema", "broker".
    std::chrono::milliseconds timeout{60'000};
    StoreTarget store{};
    BrokerTarget broker{};
    bool json{};
};

struct RelayRunOptions {
    const Config* config{};  ///< Borrowed; outlives the run.
    bool until_drained{};
    std::optional<std::chrono::milliseconds> timeout{};  ///< For `until_drained`; none: for ever.
};

struct AppendOptions {
    StoreTarget store{};
    bool from_stdin{};  ///< JSON lines instead of the fields below.
    std::string topic{};
    std::optional<std::string> key{};
    std::string event_type{};
    std::string payload{};  ///< Text, "@FILE", or "-" for standard input.
    std::string content_type{"application/json"};
    std::vector<std::pair<std::string, std::string>> headers{};
    std::string id{};
    bool json{};
};

struct StatusOptions {
    StoreTarget store{};
    bool json{};
    bool exit_code{};  ///< Exit 3 when something is wrong.
    std::chrono::milliseconds interval{
        2'500};  ///< How long to wait for a report that gives a rate.
};

struct EventFilter {
    std::string topic{};
    std::optional<std::string> key{};
    std::string event_type{};
    std::int64_t after{};  ///< Position; only later ones.
    std::size_t limit{50};
};

struct EventsListOptions {
    StoreTarget store{};
    EventFilter filter{};
    bool follow{};  ///< `tail`: go on until interrupted.
    bool payload{};
    bool json{};
};

struct EventsShowOptions {
    StoreTarget store{};
    std::string id{};
    bool payload{};
    bool json{};
};

struct VerifyOptions {
    StoreTarget store{};
    BrokerTarget source{};              ///< kafka://... or file:PATH: what the destination holds.
    std::vector<std::string> topics{};  ///< For Kafka: which topics to read.
    std::string truth_sql{};            ///< Gives event_id, key, order (and more, see its help).
    bool allow_empty{};                 ///< Accept a truth without events.
    bool json{};
    std::string report_path{};  ///< Empty: only to standard output.
};

struct InboxStatusOptions {
    StoreTarget store{};
    std::optional<std::string> consumer{};  ///< None: all of them.
    bool json{};
};

/// What a command that changes things does about what it finds.
enum class ChangeMode { ask, dry_run, change };

constexpr ChangeMode change_mode(bool dry_run, bool yes) {
    if (dry_run) return ChangeMode::dry_run;
    return yes ? ChangeMode::change : ChangeMode::ask;
}

struct InboxCleanupOptions {
    StoreTarget store{};
    std::optional<std::string> consumer{};
    std::chrono::milliseconds older_than{};
    std::string older_than_from{};  ///< Who said so: "--older-than", or the key and its place.
    ChangeMode mode{ChangeMode::ask};
    bool json{};
};

struct ParkedFilter {
    std::string id{};                    ///< An event id; empty: any.
    std::optional<std::string> topic{};  ///< As it was written; "": the template's.
    std::optional<std::string> key{};
    std::string event_type{};
    std::string reason{};
    std::string state{};                    ///< "waiting" or "dead".
    std::string direction{};                ///< "outbox" or "inbox".
    std::optional<std::string> consumer{};  ///< Of an inbox: its messages, and no events.
    std::optional<std::chrono::milliseconds> older_than{};  ///< Since it was parked.
    std::optional<std::chrono::milliseconds> younger_than{};
};

struct ParkedListOptions {
    StoreTarget store{};
    ParkedFilter filter{};
    std::size_t limit{50};
    bool payload{};
    bool json{};
};

struct ParkedChangeOptions {
    StoreTarget store{};
    ParkedFilter filter{};
    bool discard{};       ///< Otherwise replay.
    std::int64_t rate{};  ///< Replays a second; 0: all at once.
    ChangeMode mode{ChangeMode::ask};
    bool json{};
};

struct HealthcheckOptions {
    std::string probe{};    ///< "live" or "ready".
    std::string address{};  ///< host:port of the admin server.
    std::chrono::milliseconds timeout{3'000};
    bool json{};
};

/// Exit codes of `check` are those of monitors.
enum class CheckState { ok, warning, critical, unknown };

struct CheckOptions {
    StoreTarget store{};
    std::chrono::milliseconds age_warn{30'000};  ///< Of the oldest event that waits.
    std::chrono::milliseconds age_critical{300'000};
    bool json{};
};

struct DoctorOptions {
    StoreTarget store{};
    std::optional<BrokerTarget> broker{};  ///< None: it is not looked at.
    std::chrono::milliseconds inbox_retention{};
    bool json{};
};

struct DemoOptions {
    std::int64_t orders{10'000};
    std::string folder{};  ///< Empty: a new temporary one.
    std::string check{};   ///< A folder of an earlier demo: deliver and compare again.
    bool json{};
};

struct DevOptions {
    std::optional<StoreTarget> store{};   ///< None: SQLite files in the folder.
    std::string folder{};                 ///< Empty: a new temporary one.
    std::string admin{"127.0.0.1:9464"};  ///< On loopback; another port when that one is taken.
    std::int64_t rate{2};                 ///< Orders a second.
    std::int64_t orders{};                ///< Stop after so many; 0: when interrupted.
    bool json{};
};

struct BenchOptions {
    StoreTarget store{};
    std::optional<BrokerTarget> broker{};  ///< Kafka; none: only what needs none is measured.
    std::vector<std::string> only{};       ///< Names; empty: all.
    std::int64_t rounds{5};                ///< Each way is measured so often, in turns.
    std::optional<std::int64_t> events{};  ///< For the drains, instead of the scale's number.
    bool full{};                           ///< Or quick, for a first look.
    bool json{};                           ///< One object a benchmark, as it ends.
};

/// A verb as a shell should complete it.
struct VerbInfo {
    std::string path{};                ///< "events ls"; empty: the program itself.
    std::vector<std::string> words{};  ///< Its verbs and its long flags.
};

struct CompletionOptions {
    std::string shell{};
    std::vector<VerbInfo> verbs{};
};

struct ConfigShowOptions {
    const Config* config{};
    bool json{};
};

int run_migrate(const MigrateOptions& options, Console& console);
int run_wait(const WaitOptions& options, Console& console);
int run_relay(const RelayRunOptions& options, Console& console);
int run_append(const AppendOptions& options, Console& console);
int run_status(const StatusOptions& options, Console& console);
int run_events_list(const EventsListOptions& options, Console& console);
int run_events_show(const EventsShowOptions& options, Console& console);
int run_verify(const VerifyOptions& options, Console& console);  // in app/verify
int run_inbox_status(const InboxStatusOptions& options, Console& console);
int run_inbox_cleanup(const InboxCleanupOptions& options, Console& console);
int run_parked_list(const ParkedListOptions& options, Console& console);
int run_parked_show(const ParkedListOptions& options, Console& console);
int run_parked_change(const ParkedChangeOptions& options, Console& console);
int run_healthcheck(const HealthcheckOptions& options, Console& console);
int run_check(const CheckOptions& options, Console& console);
/// What `check` prints when it could not look, and its exit code.
int say_unknown(const Error& error, bool json, Console& console);
int run_doctor(const DoctorOptions& options, Console& console);
int run_demo(const DemoOptions& options, Console& console);    // in app/demo
int run_dev(const DevOptions& options, Console& console);      // in app/demo
int run_bench(const BenchOptions& options, Console& console);  // in app/bench
int run_completion(const CompletionOptions& options, Console& console);
int run_config_show(const ConfigShowOptions& options, Console& console);
int run_config_validate(const ConfigShowOptions& options, Console& console);
int run_config_schema(Console& console);
int run_version(bool json, Console& console);

}  // namespace sagaz::inline v0::app
