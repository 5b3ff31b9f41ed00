// The relay has a thread to itself (the caller's, in `Relay::run`); beside it are one that takes
// signals, one that looks whether all is drained, and the admin server's. Only the first moves
// events; each of the others may be slow or dead without an event lost or late. They share nothing
// but `Relay::status`, the telemetry sink and a stop request, all of them thread-safe, and they end
// before the relay is destroyed: they are declared after it.
#include "app/admin_server.hpp"
#include "app/brokers.hpp"
#include "app/clean_pages.hpp"
#include "app/commands.hpp"
#include "app/config.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"
#include "app/signals.hpp"
#include "app/store.hpp"
#include "app/table.hpp"
#include "app/units.hpp"
#include "telemetry/log.hpp"
#include "telemetry/prometheus.hpp"

#include <sagaz/relay.hpp>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <optional>
#include <thread>

namespace sagaz::inline v0::app {
namespace {

using std::chrono::milliseconds;
using telemetry::LogWriter;
using telemetry::PrometheusTelemetry;

constexpr auto kStatusEvery = milliseconds{100};
// A turn may wait for a connection and for a statement, each with its deadline; three times that
// long without a turn is a loop that hangs.
constexpr milliseconds kTurnMax{60'000};

RelayOptions relay_options(const Config& config) {
    RelayOptions options;
    options.batch_max = config.count("relay.batch_max");
    options.batch_max_bytes = config.size("relay.batch_max_bytes");
    options.poll_interval = config.duration("relay.poll_interval");
    options.idle_poll_interval = config.duration("relay.idle_poll_interval");
    options.lease = config.duration("relay.lease");
    options.store_interval = config.duration("relay.store_interval");
    options.grace = config.duration("optimistic.grace");
    options.drain_timeout = config.duration("relay.drain_timeout");
    options.retention = config.duration("relay.retention");
    options.inbox_retention = config.duration("inbox.retention");
    options.retry_initial = config.duration("relay.retry_initial");
    options.retry_max = config.duration("relay.retry_max");
    options.parked_retry_initial = config.duration("relay.parked_retry_initial");
    options.parked_retry_max = config.duration("relay.parked_retry_max");
    options.attempt_timeout = config.duration("relay.attempt_timeout");
    options.max_attempts = static_cast<std::int32_t>(
        std::min<std::size_t>(config.count("relay.max_attempts"), 1'000'000));
    return options;
}

telemetry::LogFormat log_format(const Config& config) {
    return config.text("log.format") == "json" ? telemetry::LogFormat::json
                                               : telemetry::LogFormat::text;
}

LogLevel log_level(const Config& config) {
    const auto& word = config.text("log.level");
    return word == "debug"     ? LogLevel::debug
           : word == "warning" ? LogLevel::warning
           : word == "error"   ? LogLevel::error
                               : LogLevel::info;
}

/// For `--until-drained`: asks for the stop when nothing is left, and draws the progress meanwhile.
class DrainWatch {
public:
    DrainWatch(const Relay& relay, StopOnSignal& stop, std::optional<milliseconds> timeout,
               Console& console)
        : relay_{relay},
          stop_{stop},
          timeout_{timeout},
          console_{console},
          thread_{[this](const std::stop_token& end) { run(end); }} {}

    /// Waits for the thread; true when it saw that nothing was left.
    bool finish() {
        thread_.request_stop();
        thread_.join();
        return drained_;
    }

private:
    void run(const std::stop_token& end) {
        const auto started = std::chrono::steady_clock::now();
        std::unique_lock lock{mutex_};
        while (!end.stop_requested()) {
            const auto status = relay_.status();
            const auto passed = std::chrono::steady_clock::now() - started;
            if (status.drained || (timeout_ && passed >= *timeout_)) {
                drained_ = status.drained;  // the stopping relay gives its slots back and forgets
                stop_.request_stop();
                return;
            }
            console_.progress("published " + grouped(static_cast<std::int64_t>(status.published)) +
                              " events" +
                              (status.destination_down.empty()
                                   ? ""
                                   : ", destination down: " + plain(status.destination_down)));
            wake_.wait_for(lock, end, kStatusEvery, [] { return false; });
        }
    }

    const Relay& relay_;
    StopOnSignal& stop_;
    std::optional<milliseconds> timeout_;
    Console& console_;
    bool drained_{};  // the thread's until it is joined
    std::mutex mutex_;
    std::condition_variable_any wake_;
    std::jthread thread_;
};

std::string why_not_live(const Relay& relay) {
    const auto status = relay.status();
    const milliseconds silent{status.turned_ms_ago};
    return silent < kTurnMax ? "" : "the relay's loop has not turned for " + duration_text(silent);
}

// Attaching checks the schema's version, so a store that is up has one that fits.
std::string why_not_ready(const Relay& relay) {
    const auto status = relay.status();
    if (status.store_up) {
        return why_not_live(relay);
    }
    return status.store_error.empty() ? "not attached to the store yet"
                                      : "store: " + status.store_error;
}

// What a relay knows of the database is true only while it reaches it. What it saw last would be
// taken for the backlog of today by whoever asks for the highest of all relays, an autoscaler too.
constexpr std::array<std::string_view, 7> kOfTheStore{"outbox_pending_events",
                                                      "outbox_oldest_pending_age_seconds",
                                                      "outbox_parked_events",
                                                      "outbox_slots_without_owner",
                                                      "outbox_reclaim_blocked_seconds",
                                                      "outbox_database_clock_skew_seconds",
                                                      "outbox_database_wraparound_ratio"};

// The relay says when the destination changes; a scrape before the first change must see it too.
std::string page(const Relay& relay, PrometheusTelemetry& metrics) {
    const auto status = relay.status();
    const std::chrono::duration<double> turn_age = milliseconds{status.turned_ms_ago};
    metrics.gauge("outbox_destination_up", status.destination_down.empty() ? 1 : 0, {});
    metrics.gauge("outbox_store_up", status.store_up ? 1 : 0, {});
    metrics.gauge("outbox_relay_turn_age_seconds", turn_age.count(), {});
    return status.store_up ? metrics.page() : metrics.page(kOfTheStore);
}

// Two writers to one stream could tear each other's lines.
Relay::OpenBroker broker_for_parked(const BrokerTarget& target) {
    if (target.url == "stdout:") return {};
    return [&target] { return open_broker(target); };
}

void log_start(const Config& config, const StoreTarget& store, const BrokerTarget& broker,
               const std::string& address, Telemetry& telemetry) {
    for (const auto& warning : config.warnings) {
        const Field field{"seen", warning};
        telemetry.log(LogLevel::warning, "config_warning", {&field, 1});
    }
    const auto store_url = hide_secrets(store.url);
    const auto broker_url = hide_secrets(broker.url);
    const std::array fields{Field{"version", SAGAZ_VERSION}, Field{"store", store_url},
                            Field{"schema", store.schema}, Field{"broker", broker_url},
                            Field{"config", config.file_name}};
    telemetry.log(LogLevel::info, "relay_starting", fields);
    const Field listening{"address", address};
    telemetry.log(LogLevel::info, "admin_listening", {&listening, 1});
}

void log_end(const RelayStatus& status, std::string_view cause, Telemetry& telemetry) {
    const auto published = std::to_string(status.published);
    const auto parked = std::to_string(status.parked);
    const std::array fields{Field{"cause", cause}, Field{"published", published},
                            Field{"parked", parked}};
    telemetry.log(LogLevel::info, "relay_stopped", fields);
}

std::string_view name_of(int signal) { return signal == SIGTERM ? "SIGTERM" : "SIGINT"; }

// What to say and to return at the end of `--until-drained`. What this run parked was not
// delivered, so a script must not take it for success.
int end_of_drain(const RelayStatus& status, bool drained, int signal, Console& console) {
    std::string counts = grouped(static_cast<std::int64_t>(status.published)) + " events published";
    if (status.parked > 0) {
        counts += ", " + grouped(static_cast<std::int64_t>(status.parked)) +
                  " parked: see sagaz parked ls";
    }
    if (drained) {
        console.say("drained: " + counts);
        return status.parked > 0 ? kCondition : kOk;
    }
    console.say("not drained: " + counts +
                (status.destination_down.empty()
                     ? ""
                     : ", destination down: " + plain(status.destination_down)));
    return signal != 0 ? kInterrupted : kCondition;
}

}  // namespace

int run_relay(const RelayRunOptions& options, Console& console) {
    const auto& config = *options.config;
    const auto store = store_target(config);
    const auto broker = broker_target(config);
    std::signal(SIGPIPE, SIG_IGN);  // a reader that goes away must not end the relay
    StopOnSignal::block();
    LogWriter log{log_format(config), log_level(config)};
    PrometheusTelemetry metrics{{.version = SAGAZ_VERSION}, log};
    StopOnSignal stop{[&](int number) {
        const Field field{"signal", name_of(number)};
        metrics.log(LogLevel::info, "relay_stopping", {&field, 1});
    }};
    Relay relay{open_store(store), open_broker(broker), relay_options(config), &metrics,
                broker_for_parked(broker)};
    const AdminServer admin{config.text("admin.listen"),
                            {.live = [&] { return why_not_live(relay); },
                             .ready = [&] { return why_not_ready(relay); },
                             .metrics = [&] { return page(relay, metrics); }}};
    log_start(config, store, broker, admin.address(), metrics);
    std::optional<DrainWatch> drain;
    if (options.until_drained) {
        drain.emplace(relay, stop, options.timeout, console);
    }
    // The dynamic linker has read the symbols and relocations of some forty libraries, of which a
    // relay calls few: 8 of 26 MiB with Kafka (docs/internals/adr/0016).
    drop_clean_pages();
    try {
        relay.run(stop.token());
    } catch (const Error& error) {
        const auto seen = hide_secrets(error.what());
        const std::array fields{Field{"code", error.code()}, Field{"seen", seen},
                                Field{"do", error.hint()}};
        metrics.log(LogLevel::error, "relay_failed", fields);
        throw;
    }
    const bool drained = drain && drain->finish();
    const auto status = relay.status();
    const int signal = stop.signal();
    log_end(status, drained ? "drained" : signal != 0 ? name_of(signal) : "timeout", metrics);
    return drain ? end_of_drain(status, drained, signal, console) : kOk;
}

}  // namespace sagaz::inline v0::app
