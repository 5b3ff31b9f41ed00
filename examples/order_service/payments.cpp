#include "payments.hpp"

#include <sagaz/error.hpp>
#include <sagaz/postgres.hpp>

#include <nlohmann/json.hpp>

#include <chrono>
#include <stdexcept>
#include <utility>

namespace shop {
namespace {

constexpr sagaz::Milliseconds kHandlerMax{60'000};
constexpr std::chrono::seconds kReplayEvery{5};

// The cause of a failure is kept and shown, so it says nothing of what was in the payload.
Payment read_payment(const std::string& payload) {
    const auto json = nlohmann::json::parse(payload, nullptr, false);
    const auto number = [&](const char* name) {
        const bool is_there = json.is_object() && json.contains(name);
        if (!is_there || !json[name].is_number_integer()) {
            throw std::runtime_error(std::string{"no whole number "} + name);
        }
        return json[name].get<std::int64_t>();
    };
    return {.order = number("order_id"), .amount_cents = number("amount_cents")};
}

sagaz::kafka::ConsumerOptions consumer_options(const Settings& settings) {
    sagaz::kafka::ConsumerOptions options;
    options.bootstrap_servers = settings.kafka;
    options.group = "order_service";
    options.topics = {settings.payments_topic};
    options.handler_max = kHandlerMax;
    return options;
}

}  // namespace

Payments::Payments(const Settings& settings, Connections& connections, Orders& orders,
                   sagaz::Telemetry& telemetry, std::function<void()> failed)
    : connections_{connections},
      orders_{orders},
      telemetry_{telemetry},
      failed_{std::move(failed)},
      inbox_{{.consumer_name = "order_service"}, &telemetry},
      consumer_{consumer_options(settings), &telemetry},
      thread_{[this](const std::stop_token& stop) { work(stop); }},
      replayer_{[this](const std::stop_token& stop) { replay(stop); }} {}

// The mark "seen", what the payment changes and the event that it causes are one transaction. What
// this returns decides whether the message is acknowledged; what it throws does not acknowledge it.
sagaz::Reply Payments::handle(const sagaz::Message& message) {
    const auto lease = connections_.take();
    auto* connection = lease.get();
    auto outcome = inbox_.process(connection, message,
                                  [this](PGconn* transaction, const sagaz::Message& payment) {
                                      return take(transaction, payment);
                                  });
    if (outcome.value) orders_.committed(std::move(*outcome.value));
    return outcome;
}

sagaz::Ticket Payments::take(PGconn* transaction, const sagaz::Message& payment) const {
    if (payment.event.event_type != "PaymentReceived") return {};
    return orders_.pay(transaction, read_payment(payment.event.payload));
}

void Payments::work(const std::stop_token& stop) {
    try {
        consumer_.run(stop, [this](const sagaz::Message& message) { return handle(message); });
        return;
    } catch (const sagaz::Error& error) {
        const sagaz::Field fields[] = {
            {"code", error.code()}, {"what", error.what()}, {"do", error.hint()}};
        telemetry_.log(sagaz::LogLevel::error, "payments_ended", fields);
    } catch (const std::exception& error) {
        const sagaz::Field fields[] = {{"what", error.what()}};
        telemetry_.log(sagaz::LogLevel::error, "payments_ended", fields);
    }
    failed_();
}

// A payment that was parked is taken up here once a person has set it free, whatever Kafka does.
void Payments::replay(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
        try {
            replay_all_due(stop);
        } catch (const std::exception& error) {  // Next time, perhaps.
            const sagaz::Field fields[] = {{"what", error.what()}};
            telemetry_.log(sagaz::LogLevel::warning, "replay_failed", fields);
        }
        std::unique_lock lock{mutex_};
        resting_.wait_for(lock, stop, kReplayEvery, [] { return false; });
    }
}

void Payments::replay_all_due(const std::stop_token& stop) {
    const auto lease = connections_.take();
    auto* connection = lease.get();
    const auto handler = [this](PGconn* transaction, const sagaz::Message& payment) {
        return take(transaction, payment);
    };
    while (!stop.stop_requested()) {
        auto outcome = inbox_.replay(connection, handler);
        if (!outcome) return;
        if (outcome->value) orders_.committed(std::move(*outcome->value));
    }
}

void Payments::stop() {
    for (auto* const thread : {&thread_, &replayer_}) {
        thread->request_stop();
        if (thread->joinable()) thread->join();
    }
}

bool Payments::is_turning() const { return consumer_.status().turned_ms_ago < kHandlerMax.count(); }

}  // namespace shop
