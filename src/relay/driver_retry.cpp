// The commands of the RetryStep: parked events, through a broker of their own.
#include "core/assert.hpp"
#include "relay/driver.hpp"

#include <utility>

namespace sagaz::inline v0::relay {

namespace command = core::command;

void Driver::retry_by(std::function<std::unique_ptr<Broker>()> open) {
    open_retry_broker_ = std::move(open);
    step_.retry().enable();
}

void Driver::run(command::LookAtParked& look) {
    last_command_ = "look_at_parked";
    step_.on_looked_at_parked(store_.look_at_parked(look.query), clock_.now());
}

void Driver::run(command::ReadParked& read) {
    last_command_ = "read_parked";
    step_.retry().on_read(store_.read_parked(read.rows), clock_.now());
}

void Driver::run(command::Retry& retry) {
    last_command_ = "retry";
    if (!retry_broker_) retry_broker_ = open_retry_broker_();
    step_.retry().on_taken(retry_broker_->publish(retry.envelopes), clock_.now());
}

void Driver::run(command::PollRetry& poll) {
    last_command_ = "poll_retry";
    SAGAZ_ASSERT(retry_broker_ != nullptr);
    const auto receipts = retry_broker_->poll(poll.deadline);
    step_.retry().on_receipts(receipts, clock_.now());
    if (telemetry_ != nullptr) log_refusals(receipts);
}

void Driver::run(command::SettleParked& settle) {
    last_command_ = "settle_parked";
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
