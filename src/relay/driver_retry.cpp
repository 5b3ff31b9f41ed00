// The commands of the RetryStep: parked events, through a broker of their own.
#include "relay/driver.hpp"

#include <sagaz/error.hpp>

#include <utility>
#include <vector>

namespace sagaz::inline v0::relay {

namespace command = core::command;

void Driver::retry_by(std::function<std::unique_ptr<Broker>()> open) {
    open_for_parked_ = std::move(open);
    step_.retry().enable();
}

void Driver::run(command::LookAtParked& look) {
    step_.on_looked_at_parked(store_.look_at_parked(look.query), clock_.now());
}

void Driver::run(command::ReadParked& read) {
    step_.retry().on_read(store_.read_parked(read.rows), clock_.now());
}

void Driver::run(command::Retry& retry) {
    const bool is_open = open_retry_broker();
    step_.retry().on_taken(is_open ? retry_broker_->publish(retry.envelopes) : 0, clock_.now());
}

// The stream's own broker was made of the same options, so time may heal what is wrong (a
// certificate that is just being replaced), and the stream need not end for it.
bool Driver::open_retry_broker() {
    if (retry_broker_) return true;
    try {
        retry_broker_ = open_for_parked_();
        retry_error_.clear();
    } catch (const Error& error) {
        const std::string seen = std::exchange(retry_error_, error.what());
        if (telemetry_ == nullptr || seen == retry_error_) return false;
        const Field fields[] = {
            {"code", error.code()}, {"error", error.what()}, {"do", error.hint()}};
        telemetry_->log(LogLevel::warning, "parked_client_unavailable", fields);
    }
    return retry_broker_ != nullptr;
}

void Driver::run(command::PollRetry& poll) {
    const auto receipts =
        retry_broker_ ? retry_broker_->poll(poll.deadline) : std::vector<Receipt>{};
    step_.retry().on_receipts(receipts, clock_.now());
    if (telemetry_ != nullptr) log_refusals(receipts);
}

void Driver::run(command::AbandonRetry&) {
    constexpr Milliseconds kGiveUp{100};  // The stream shares this thread.
    std::vector<Receipt> receipts;
    if (retry_broker_) {
        retry_broker_->abandon(kGiveUp);
        receipts = retry_broker_->poll(Milliseconds{0});
    }
    step_.retry().on_abandoned(receipts, clock_.now());
    if (telemetry_ == nullptr) return;
    telemetry_->log(LogLevel::warning, "parked_attempt_unanswered", {});
    log_refusals(receipts);
}

void Driver::run(command::SettleParked& settle) {
    const bool is_owned = store_.settle_parked(settle.slot, settle.outcomes);
    step_.on_settled_parked(is_owned, clock_.now());
    if (telemetry_ == nullptr) return;
    for (const auto& [reason, events] : step_.retry().take_dead()) {
        const Field labels[] = {{"destination", "default"}, {"reason", reason}};
        telemetry_->count("outbox_dead_letter_events_total", static_cast<double>(events), labels);
    }
    for (const ParkedOutcome& outcome : settle.outcomes) {
        if (!is_owned || !outcome.dead) continue;
        const std::string id = outcome.row.event_id.text();
        const Field fields[] = {{"event_id", id}, {"reason", outcome.reason}};
        telemetry_->log(LogLevel::error, "event_dead", fields);
    }
}

}  // namespace sagaz::inline v0::relay
