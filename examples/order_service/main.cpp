// Takes orders by HTTP and tells of them through the outbox; takes payments from Kafka through the
// inbox. README.md says how to run it.
#include "connections.hpp"
#include "http.hpp"
#include "orders.hpp"
#include "payments.hpp"
#include "settings.hpp"

#include <sagaz/adapters/prometheus.hpp>
#include <sagaz/error.hpp>
#include <sagaz/kafka.hpp>
#include <sagaz/optimistic_publisher.hpp>
#include <sagaz/postgres.hpp>

#include <nlohmann/json.hpp>
#include <prometheus/registry.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace shop {
namespace {

constexpr sagaz::Milliseconds kFlush{1'000};
constexpr int kFailed = 1;
constexpr int kWrongSettings = 2;

// One JSON line, by any thread.
void log_line(sagaz::LogLevel level, std::string_view event, std::span<const sagaz::Field> fields) {
    static constexpr const char* kLevels[] = {"debug", "info", "warning", "error"};
    if (level == sagaz::LogLevel::debug) return;
    nlohmann::ordered_json line{{"level", kLevels[static_cast<int>(level)]}, {"event", event}};
    for (const auto& field : fields) line[std::string{field.name}] = field.value;
    using nlohmann::detail::error_handler_t;
    const auto text = line.dump(-1, ' ', false, error_handler_t::replace) + '\n';
    std::fputs(text.c_str(), stderr);
}

// Blocked in every thread that is made after this, so that `sigwait` gets them.
sigset_t block_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    return signals;
}

int run(const Settings& settings) {
    const auto signals = block_signals();
    prometheus::Registry registry;
    sagaz::prometheus::Telemetry telemetry{registry, {.log = log_line}};
    for (const auto& name : settings.unknown) {
        const sagaz::Field fields[] = {{"name", name}};
        telemetry.log(sagaz::LogLevel::warning, "unknown_setting", fields);
    }

    Connections connections{settings.database_url, settings.connections};
    // Sends right after the commit; the relay sends what this did not.
    sagaz::OptimisticPublisher publisher{
        sagaz::postgres::open_publisher(settings.database_url),
        sagaz::kafka::open_for_publisher({.bootstrap_servers = settings.kafka}),
        {.enabled = settings.is_optimistic},
        &telemetry};
    const sagaz::Outbox outbox{publisher};
    Orders orders{connections, outbox,
                  [&](sagaz::Ticket&& ticket) { publisher.submit(std::move(ticket)); }};
    std::atomic<bool> has_failed{};
    Payments payments{settings, connections, orders, telemetry, [&] {
                          has_failed = true;
                          ::kill(::getpid(), SIGTERM);
                      }};
    HttpServer http{settings, orders, payments, registry, telemetry};
    const sagaz::Field fields[] = {{"address", http.address()}};
    telemetry.log(sagaz::LogLevel::info, "listening", fields);

    int received = 0;
    sigwait(&signals, &received);
    telemetry.log(sagaz::LogLevel::info, "stopping", {});
    // The kernel ends us when that is over. It is as a kill at any other moment: what was committed
    // stays, the rest was not answered or comes again.
    ::alarm(settings.stop_seconds);
    http.stop();
    payments.stop();
    publisher.stop(kFlush);
    telemetry.log(sagaz::LogLevel::info, "stopped", {});
    return has_failed ? kFailed : 0;
}

int fail(const sagaz::Error& error) {
    const sagaz::Field fields[] = {
        {"code", error.code()}, {"what", error.what()}, {"do", error.hint()}};
    log_line(sagaz::LogLevel::error, "failed", fields);
    return error.kind() == sagaz::ErrorKind::invalid ? kWrongSettings : kFailed;
}

}  // namespace
}  // namespace shop

int main() {
    try {
        return shop::run(shop::read_settings(environ));
    } catch (const sagaz::Error& error) {
        return shop::fail(error);
    }
}
