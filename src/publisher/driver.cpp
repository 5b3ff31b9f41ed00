#include "publisher/driver.hpp"

#include <sagaz/error.hpp>

#include <span>
#include <utility>
#include <variant>

namespace sagaz::inline v0::publisher {

namespace command = core::command;

Driver::Driver(PublisherStore& store, Broker& broker, const OptimisticOptions& options,
               core::Clock& clock, Telemetry* telemetry)
    : store_(store),
      broker_(broker),
      options_(options),
      clock_(clock),
      reporter_(telemetry),
      seed_(static_cast<std::uint64_t>(clock.now().time_since_epoch().count())) {
    step_.emplace(options_, seed_);
    reporter_.begin();
}

Turn Driver::turn() {
    turn_ = {false, clock_.now()};
    core::PublishCommand next = step_->next(clock_.now());
    at_broker_ = false;
    try {
        std::visit([this](auto& command) { run(command); }, next);
    } catch (const Error& error) {
        if (at_broker_) {
            take_broker_error(error);
        } else {
            take_store_error(error);
        }
    }
    watch_breaker();
    reporter_.report(step_->take_counts());
    return turn_;
}

void Driver::reset() {
    // Above what the client may have been given while the step could not note it.
    const std::uint64_t token = step_->next_token() + 100'000;
    step_.emplace(options_, ++seed_, token);
    broker_.abandon(Milliseconds{100});
    broker_.poll(Milliseconds{0});
}

void Driver::run(command::Attach&) {
    // A client that has not connected yet is not to be given an event that it may keep for long.
    watch_destination();
    step_->on_attached(store_.attach(), clock_.now());
    if (!store_error_.empty()) reporter_.log(LogLevel::info, "publisher_store_attached", {});
    store_error_.clear();
}

void Driver::run(command::Confirm& confirm) {
    Confirmation said = store_.confirm(confirm.asked, confirm.acknowledged, confirm.margin);
    step_->on_confirmed(std::move(said), clock_.now());
}

void Driver::run(command::Flush& flush) {
    step_->on_flushed(store_.flushed(flush.force), clock_.now());
}

void Driver::run(command::Publish& publish) {
    at_broker_ = true;
    step_->on_published(broker_.publish(publish.envelopes), clock_.now());
    watch_destination();
}

void Driver::run(command::Poll& poll) {
    at_broker_ = true;
    take_receipts(broker_.poll(poll.deadline));
    watch_destination();
}

void Driver::run(command::Settle& settle) {
    store_.settle(settle.accepted, settle.left);
    step_->on_settled(clock_.now());
}

void Driver::run(command::Abandon& abandon) {
    at_broker_ = true;
    broker_.abandon(abandon.deadline);
    take_receipts(broker_.poll(Milliseconds{0}));
    step_->on_abandoned(clock_.now());
}

void Driver::run(command::Wait& wait) { turn_.wake_at = wait.until; }

void Driver::run(command::End&) { turn_.ended = true; }

void Driver::take_receipts(std::span<const Receipt> receipts) {
    step_->on_receipts(receipts, clock_.now());
    for (const Receipt& receipt : receipts) {
        if (receipt.state != Receipt::State::refused) continue;
        const Field fields[] = {{"reason", receipt.reason}, {"detail", receipt.detail}};
        reporter_.log(LogLevel::warning, "optimistic_event_refused", fields);
    }
}

void Driver::take_store_error(const Error& error) {
    step_->on_store_error(error, clock_.now());
    const bool is_new = store_error_ != error.code();
    store_error_ = error.code();
    if (!is_new) return;
    const Field fields[] = {{"code", error.code()}, {"error", error.what()}, {"do", error.hint()}};
    reporter_.log(LogLevel::warning, "publisher_store_unavailable", fields);
}

void Driver::take_broker_error(const Error& error) {
    step_->on_broker_lost(clock_.now());
    const Field fields[] = {{"code", error.code()}, {"error", error.what()}, {"do", error.hint()}};
    reporter_.log(LogLevel::error, "publisher_broker_lost", fields);
}

void Driver::watch_destination() {
    std::string down = broker_.down();
    if (down.empty() != step_->destination_down().empty()) {
        const Field fields[] = {{"reason", down}};
        reporter_.log(down.empty() ? LogLevel::info : LogLevel::warning,
                      down.empty() ? "publisher_destination_up" : "publisher_destination_down",
                      fields);
    }
    step_->on_destination(std::move(down), clock_.now());
}

void Driver::watch_breaker() {
    const auto state = step_->breaker();
    if (state == std::exchange(breaker_, state)) return;
    using enum core::Breaker::State;
    if (state == open) reporter_.log(LogLevel::warning, "optimistic_breaker_open", {});
    if (state == closed) reporter_.log(LogLevel::info, "optimistic_breaker_closed", {});
}

}  // namespace sagaz::inline v0::publisher
