#include "inbox/metrics.hpp"

#include <array>

namespace sagaz::inline v0::inbox {

void Reporter::count(const MetricInfo& metric, std::string_view event_type) const noexcept {
    if (telemetry_ == nullptr) return;
    const std::array labels{Field{"consumer_name", consumer_name_},
                            Field{"event_type", event_type}};
    telemetry_->count(metric.name, 1, labels);
}

void Reporter::failed(std::string_view event_type) const noexcept { count(kFailures, event_type); }

void Reporter::settled(Settlement settlement, std::string_view event_type, std::string_view reason,
                       double seconds) const noexcept {
    if (telemetry_ == nullptr) return;
    const std::array labels{Field{"consumer_name", consumer_name_},
                            Field{"event_type", event_type}};
    switch (settlement) {
        case Settlement::processed:
            count(kProcessed, event_type);
            telemetry_->observe(kDuration.name, seconds, labels);
            break;
        case Settlement::duplicate: count(kDuplicates, event_type); break;
        case Settlement::parked: {
            count(kParked, event_type);
            const std::array fields{labels[0], labels[1], Field{"reason", reason}};
            telemetry_->log(LogLevel::warning, "message_parked", fields);
            break;
        }
        case Settlement::retry_later:
        case Settlement::in_progress: break;
    }
}

}  // namespace sagaz::inline v0::inbox
