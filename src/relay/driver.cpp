#include "relay/driver.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <chrono>
#include <span>
#include <string_view>
#include <utility>
#include <variant>

namespace sagaz::inline v0::relay {

namespace command = core::command;

namespace {

constexpr Field kDestination{"destination", "default"};
constexpr std::span<const Field> kPlain{&kDestination, 1};

Time wall_clock() {
    return std::chrono::time_point_cast<std::chrono::microseconds>(
        std::chrono::system_clock::now());
}

double seconds_since(Time time) {
    return std::max(0.0, std::chrono::duration<double>(wall_clock() - time).count());
}

}  // namespace

Driver::Driver(Store& store, Broker& broker, const RelayOptions& options, core::Clock& clock,
               Telemetry* telemetry)
    : Driver(store, broker, options, clock, telemetry, Id::generate(),
             static_cast<std::uint64_t>(clock.now().time_since_epoch().count())) {}

Driver::Driver(Store& store, Broker& broker, const RelayOptions& options, core::Clock& clock,
               Telemetry* telemetry, const Id& relay, std::uint64_t seed)
    : store_(store),
      broker_(broker),
      clock_(clock),
      telemetry_(telemetry),
      relay_(relay),
      step_(relay, options, seed) {}

// A series that appears with its first event has no increase by it, so an alert would not see what
// happens once. Why an event died is known by its refusals, which come before: see log_refusals.
void Driver::begin_metrics() {
    if (telemetry_ == nullptr) return;
    for (const std::string_view reason : {"refused", "unknown"}) {
        const Field labels[] = {kDestination, {"reason", reason}};
        telemetry_->count("outbox_publish_failures_total", 0, labels);
    }
    telemetry_->gauge("outbox_slots_owned", static_cast<double>(slots_reported_), kPlain);
}

Turn Driver::turn() {
    turn_ = {false, clock_.now()};
    try {
        core::Command next = step_.next(clock_.now());
        std::visit([this](auto& command) { run(command); }, next);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::invalid || error.kind() == ErrorKind::fatal) throw;
        take_store_error(error);
    }
    report();
    return turn_;
}

void Driver::run(command::Attach&) {
    step_.on_attached(store_.attach(relay_));
    store_error_.clear();
    begin_metrics();
    if (telemetry_ != nullptr) telemetry_->log(LogLevel::info, "store_attached", {});
}

void Driver::run(command::Observe& observe) {
    const Observed seen = store_.observe(observe.report);
    step_.on_observed(seen, clock_.now());
    store_error_.clear();
    if (telemetry_ == nullptr) return;
    telemetry_->gauge("outbox_slots_without_owner",
                      static_cast<double>(step_.slots_without_owner()), kPlain);
}

void Driver::run(command::Acquire& acquire) { step_.on_acquired(store_.acquire(acquire.slots)); }

void Driver::run(command::Load& load) { step_.on_loaded(store_.load(load.slots), clock_.now()); }

void Driver::run(command::OpenWindow&) { step_.on_opened(store_.open_window(), clock_.now()); }

void Driver::run(command::FindLate& find) { step_.on_late(store_.find_late(find.queries)); }

void Driver::run(command::StartRead& start) { store_.start_read(start.request); }

void Driver::run(command::FinishRead&) {
    step_.on_read(store_.finish_read(), clock_.now());
    if (telemetry_ == nullptr || step_.last_read_rows() == 0) return;
    telemetry_->observe("outbox_batch_size", static_cast<double>(step_.last_read_rows()), kPlain);
}

void Driver::run(command::Flush& flush) {
    step_.on_flushed(store_.flushed(flush.force), clock_.now());
}

void Driver::run(command::Publish& publish) {
    const std::size_t taken = broker_.publish(publish.envelopes);
    if (taken > 0 && sampled_token_ == 0) {
        sampled_token_ = publish.envelopes.front().token;
        sampled_at_ = clock_.now();
    }
    step_.on_published(taken, clock_.now());
    watch_destination();
}

void Driver::run(command::Poll& poll) {
    take_receipts(broker_.poll(poll.deadline));
    watch_destination();
}

void Driver::run(command::StoreCursors& cursors) {
    step_.on_stored(store_.store(cursors.moves, cursors.parked), clock_.now());
}

void Driver::run(command::LookAt& look) {
    step_.on_looked_at(store_.look_at(look.rows), clock_.now());
}

void Driver::run(command::MarkDelivered& mark) { store_.mark_delivered(mark.rows); }

void Driver::run(command::Release& release) {
    store_.release(release.slots);
    step_.on_released(release.slots);
}

void Driver::run(command::Leave&) {
    store_.leave();
    step_.on_left();
}

void Driver::run(command::Tidy& tidy) {
    store_.tidy(tidy.slots);
    step_.on_tidied(clock_.now());
}

void Driver::run(command::Measure&) {
    const Time before = wall_clock();
    const Backlog backlog = store_.measure();
    const Time after = wall_clock();
    step_.on_measured(backlog, clock_.now());
    if (telemetry_ == nullptr) return;
    const auto parked = [&](std::string_view state, std::int64_t count) {
        const Field labels[] = {kDestination, {"state", state}};
        telemetry_->gauge("outbox_parked_events", static_cast<double>(count), labels);
    };
    telemetry_->gauge("outbox_pending_events", static_cast<double>(backlog.pending), kPlain);
    telemetry_->gauge("outbox_oldest_pending_age_seconds", backlog.oldest_age_seconds, kPlain);
    parked("waiting", backlog.parked_waiting);
    parked("dead", backlog.parked_dead);
    const std::chrono::duration<double> blocked = step_.reclaiming().blocked_for(clock_.now());
    telemetry_->gauge("outbox_reclaim_blocked_seconds", blocked.count(), kPlain);
    if (backlog.clock) {
        const auto skew = core::skew_of(*backlog.clock, before, after);
        telemetry_->gauge("outbox_database_clock_skew_seconds", skew.count(), kPlain);
    }
    if (backlog.wraparound) {
        telemetry_->gauge("outbox_database_wraparound_ratio", *backlog.wraparound, kPlain);
    }
}

void Driver::run(command::Reclaim& reclaim) {
    const Reclaimed reclaimed = store_.reclaim(reclaim.limits);
    step_.on_reclaimed(reclaimed, clock_.now());
    if (telemetry_ == nullptr || reclaimed.truncations == 0) return;
    telemetry_->count("outbox_segment_truncations_total", reclaimed.truncations, kPlain);
}

void Driver::run(command::KeepInbox& keep) {
    const InboxKept kept = store_.keep_inbox(keep.limits);
    step_.on_kept_inbox(kept, clock_.now());
    if (telemetry_ == nullptr || (kept.made.empty() && kept.dropped.empty())) return;
    const std::string removed = std::to_string(kept.removed);
    const Field fields[] = {{"made", kept.made}, {"dropped", kept.dropped}, {"marks", removed}};
    telemetry_->log(LogLevel::info, "inbox_partition", fields);
}

void Driver::run(command::Abandon& abandon) {
    broker_.abandon(abandon.deadline);
    take_receipts(broker_.poll(Milliseconds{0}));
}

void Driver::run(command::Wait& wait) { turn_.wake_at = wait.until; }

void Driver::run(command::End&) { turn_.ended = true; }

void Driver::take_receipts(std::vector<Receipt> receipts) {
    step_.on_receipts(receipts, clock_.now());
    if (telemetry_ == nullptr) return;
    if (const auto sample = step_.delivery().accepted_sample()) {
        telemetry_->observe("outbox_end_to_end_latency_seconds", seconds_since(*sample), kPlain);
    }
    const auto sampled =
        std::find_if(receipts.begin(), receipts.end(),
                     [&](const Receipt& receipt) { return receipt.token == sampled_token_; });
    if (sampled != receipts.end()) {
        const std::chrono::duration<double> took = clock_.now() - sampled_at_;
        telemetry_->observe("outbox_publish_duration_seconds", took.count(), kPlain);
        sampled_token_ = 0;
    }
    log_refusals(receipts);
}

void Driver::log_refusals(std::span<const Receipt> receipts) {
    for (const Receipt& receipt : receipts) {
        if (receipt.state != Receipt::State::refused) continue;
        const Field fields[] = {{"reason", receipt.reason}, {"detail", receipt.detail}};
        telemetry_->log(LogLevel::warning, "event_refused", fields);
        const Field labels[] = {kDestination, {"reason", receipt.reason}};
        telemetry_->count("outbox_dead_letter_events_total", 0, labels);
    }
}

void Driver::take_store_error(const Error& error) {
    const bool is_new = store_error_.empty();
    store_error_ = std::string(error.code()) + ": " + error.what();
    step_.on_store_error(error, clock_.now());
    if (telemetry_ == nullptr || !is_new) return;
    const Field fields[] = {{"code", error.code()}, {"error", error.what()}, {"do", error.hint()}};
    telemetry_->log(LogLevel::warning, "store_unavailable", fields);
}

void Driver::watch_destination() {
    std::string down = broker_.down();
    const bool changed = down.empty() != step_.destination_down().empty();
    if (changed && telemetry_ != nullptr) {
        const Field fields[] = {{"reason", down}};
        telemetry_->log(down.empty() ? LogLevel::info : LogLevel::warning,
                        down.empty() ? "destination_up" : "destination_down", fields);
        telemetry_->gauge("outbox_destination_up", down.empty() ? 1 : 0, kPlain);
    }
    step_.on_destination(std::move(down), clock_.now());
}

void Driver::report() {
    if (telemetry_ == nullptr) return;
    report_publishing();
    report_slots();
}

void Driver::report_publishing() {
    const core::Counters& now = step_.counters();
    const auto count = [&](std::string_view metric, std::uint64_t to, std::uint64_t from,
                           std::string_view reason) {
        if (to == from) return;
        const Field labels[] = {kDestination, {"reason", reason}};
        telemetry_->count(metric, static_cast<double>(to - from),
                          std::span(labels).first(reason.empty() ? 1 : 2));
    };
    count("outbox_publish_attempts_total", now.attempts, reported_.attempts, "");
    count("outbox_publish_failures_total", now.refused, reported_.refused, "refused");
    count("outbox_publish_failures_total", now.unknown, reported_.unknown, "unknown");
    if (now.accepted > reported_.accepted) {
        for (const auto& [topic, events] : step_.take_published()) {
            const Field labels[] = {kDestination, {"topic", topic}};
            telemetry_->count("outbox_published_events_total", static_cast<double>(events), labels);
        }
        telemetry_->gauge("outbox_last_publish_timestamp_seconds", seconds_since(Time{}), kPlain);
    }
    reported_ = now;
    const std::uint64_t dropped = step_.delivery().headers_dropped();
    if (dropped > dropped_reported_) {
        telemetry_->count("outbox_headers_dropped_total",
                          static_cast<double>(dropped - dropped_reported_), kPlain);
        const std::string headers = std::to_string(dropped - dropped_reported_);
        const Field fields[] = {{"headers", headers}};
        telemetry_->log(LogLevel::warning, "headers_dropped", fields);
    }
    dropped_reported_ = dropped;  // It begins anew with an attach.
}

void Driver::report_slots() {
    if (step_.slots_owned() == slots_reported_) return;
    slots_reported_ = step_.slots_owned();
    telemetry_->gauge("outbox_slots_owned", static_cast<double>(slots_reported_), kPlain);
    const std::string slots = std::to_string(slots_reported_);
    const Field fields[] = {{"slots", slots}};
    telemetry_->log(LogLevel::info, "slots_owned", fields);
}

}  // namespace sagaz::inline v0::relay
