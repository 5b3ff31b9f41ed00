#include "publisher/metrics.hpp"

#include <array>
#include <chrono>

namespace sagaz::inline v0 {
namespace {

constexpr std::string_view kAttempts = "outbox_optimistic_send_attempts_total";
constexpr std::string_view kSuccess = "outbox_optimistic_send_success_total";
constexpr std::string_view kFailures = "outbox_optimistic_send_failures_total";
constexpr std::string_view kSkipped = "outbox_optimistic_send_skipped_total";
constexpr std::string_view kLatency = "outbox_optimistic_send_latency_seconds";

constexpr std::array<std::string_view, core::kLeftReasons> kWords{
    "disabled",    "late",         "behind",     "not_committed", "timeout",    "refused",
    "unavailable", "breaker_open", "queue_full", "in_doubt",      "not_durable"};

}  // namespace

std::string_view word_of(LeftReason reason) noexcept {
    const auto place = static_cast<std::size_t>(reason);
    return place < kWords.size() ? kWords[place] : "unknown";
}

namespace publisher {

void Reporter::begin() const noexcept {
    count(kAttempts, 0);
    count(kSuccess, 0);
    for (std::size_t n = 0; n < core::kLeftReasons; ++n) {
        const auto reason = static_cast<LeftReason>(n);
        count(core::is_skip(reason) ? kSkipped : kFailures, reason, 0);
    }
}

void Reporter::left(LeftReason reason, std::size_t events) const noexcept {
    if (events == 0) return;
    if (core::is_skip(reason)) {
        count(kSkipped, reason, events);
    } else {
        count(kAttempts, events);
        count(kFailures, reason, events);
    }
}

void Reporter::report(const core::PublishCounts& counts) const noexcept {
    if (telemetry_ == nullptr) return;
    for (std::size_t n = 0; n < counts.left.size(); ++n) {
        left(static_cast<LeftReason>(n), counts.left[n]);
    }
    if (counts.sent.empty()) return;
    count(kAttempts, counts.sent.size());
    count(kSuccess, counts.sent.size());
    for (const core::Duration took : counts.sent) {
        telemetry_->observe(kLatency, std::chrono::duration<double>(took).count(), {});
    }
}

void Reporter::log(LogLevel level, std::string_view event,
                   std::span<const Field> fields) const noexcept {
    if (telemetry_ != nullptr) telemetry_->log(level, event, fields);
}

void Reporter::count(std::string_view metric, std::size_t by) const noexcept {
    if (telemetry_ != nullptr) telemetry_->count(metric, static_cast<double>(by), {});
}

void Reporter::count(std::string_view metric, LeftReason reason, std::size_t by) const noexcept {
    if (telemetry_ == nullptr) return;
    const Field label{"reason", word_of(reason)};
    telemetry_->count(metric, static_cast<double>(by), {&label, 1});
}

}  // namespace publisher

}  // namespace sagaz::inline v0
