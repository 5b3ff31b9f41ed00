#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

/// The metrics that others hold on to, one row each, for who writes a `Telemetry` of another
/// system than Prometheus. Those of a relay also carry `destination`, those of an inbox
/// `consumer_name`, those of an optimistic publisher nothing more.
namespace sagaz::inline v0::telemetry {

enum class MetricType { counter, gauge, histogram };

/// One family. All views are of constants.
struct MetricInfo {
    std::string_view name{};
    MetricType type{MetricType::counter};
    std::string_view label{};  ///< The one label beside `bearer`; empty: none.
    std::string_view help{};
    std::span<const double> buckets{};       ///< Upper bounds, for histograms.
    std::string_view bearer{"destination"};  ///< Whose it is: the label that every series carries;
                                             ///< empty: none.
};

namespace table {

using enum MetricType;

// Seconds, from a local broker's acknowledgement to one that is nearly gone.
inline constexpr std::array kPublishSeconds{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                            0.1,    0.25,  0.5,    1.0,   2.5,  5.0,   10.0};
// Seconds, up to the age that an outage of the broker brings.
inline constexpr std::array kLatencySeconds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,   0.25,
                                            0.5,   1.0,    2.5,   5.0,  10.0,  60.0, 300.0, 1800.0};
inline constexpr std::array kBatchEvents{1.0,    2.0,    5.0,     10.0,    25.0,
                                         50.0,   100.0,  250.0,   500.0,   1000.0,
                                         2500.0, 5000.0, 10000.0, 25000.0, 100000.0};

// Seconds, from a row written to a handler that calls others.
inline constexpr std::array kHandlerSeconds{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                            0.25,   0.5,   1.0,    2.5,   5.0,  10.0,  30.0, 60.0};

inline constexpr std::string_view kConsumer = "consumer_name";
inline constexpr std::string_view kNobody = "";

inline constexpr std::array kTable{
    MetricInfo{"outbox_pending_events",
               gauge,
               "",
               "Committed events not yet delivered, of the whole database: aggregate with max.",
               {}},
    MetricInfo{"outbox_oldest_pending_age_seconds",
               gauge,
               "",
               "Age of the oldest event not yet delivered, of the whole database.",
               {}},
    MetricInfo{"outbox_published_events_total",
               counter,
               "topic",
               "Events acknowledged by the destination.",
               {}},
    MetricInfo{"outbox_publish_attempts_total",
               counter,
               "",
               "Events handed to the destination's client, repeats included.",
               {}},
    MetricInfo{"outbox_publish_failures_total",
               counter,
               "reason",
               "Events that the destination did not acknowledge.",
               {}},
    MetricInfo{"outbox_dead_letter_events_total",
               counter,
               "reason",
               "Events that became dead: they need a person.",
               {}},
    MetricInfo{"outbox_parked_events", gauge, "state", "Events taken off the log, by state.", {}},
    MetricInfo{"outbox_publish_duration_seconds", histogram, "",
               "From handing a batch to the destination's client to its last acknowledgement.",
               kPublishSeconds},
    MetricInfo{"outbox_end_to_end_latency_seconds", histogram, "",
               "From the append to the destination's acknowledgement, by the events' created_at.",
               kLatencySeconds},
    MetricInfo{"outbox_batch_size", histogram, "", "Events of one read.", kBatchEvents},
    MetricInfo{"outbox_headers_dropped_total",
               counter,
               "",
               "Headers of events that were not sent: their names are sagaz's own.",
               {}},
    MetricInfo{"outbox_slots_owned", gauge, "", "Slots that this relay owns.", {}},
    MetricInfo{"outbox_slots_without_owner",
               gauge,
               "",
               "Slots that no living relay owns, as this one sees it: aggregate with max.",
               {}},
    MetricInfo{"outbox_store_up", gauge, "", "1 while the database can be reached, else 0.", {}},
    MetricInfo{
        "outbox_destination_up", gauge, "", "1 while the destination can be reached, else 0.", {}},
    MetricInfo{"outbox_last_publish_timestamp_seconds",
               gauge,
               "",
               "When the destination last acknowledged an event, in seconds since 1970.",
               {}},
    MetricInfo{"outbox_segment_truncations_total",
               counter,
               "",
               "Segments of the log emptied after delivery.",
               {}},
    MetricInfo{"outbox_reclaim_blocked_seconds",
               gauge,
               "",
               "For how long somebody else's lock has kept a delivered segment from being emptied.",
               {}},
    MetricInfo{"outbox_relay_turn_age_seconds",
               gauge,
               "",
               "Since when the relay's loop has not turned: some milliseconds, or it hangs.",
               {}},
    MetricInfo{"outbox_database_clock_skew_seconds",
               gauge,
               "",
               "The database's clock minus this relay's, past what the answer's way explains.",
               {}},
    MetricInfo{"outbox_database_wraparound_ratio",
               gauge,
               "",
               "Age of the server's oldest transaction id, of the 2^31 at which it stops.",
               {}},
    MetricInfo{
        "outbox_build_info", gauge, "version", "1, labelled with the version that runs.", {}},
    MetricInfo{"consumer_inbox_processed_total",
               counter,
               "event_type",
               "Messages whose effects were committed.",
               {},
               kConsumer},
    MetricInfo{"consumer_inbox_duplicates_total",
               counter,
               "event_type",
               "Messages that had been processed before.",
               {},
               kConsumer},
    MetricInfo{"consumer_inbox_processing_duration_seconds", histogram, "event_type",
               "The handler's time for a message that was processed.", kHandlerSeconds, kConsumer},
    MetricInfo{"consumer_inbox_failures_total",
               counter,
               "event_type",
               "Attempts that a handler failed and that count.",
               {},
               kConsumer},
    MetricInfo{"consumer_inbox_parked_total",
               counter,
               "event_type",
               "Messages answered as parked, repeats included.",
               {},
               kConsumer},
    MetricInfo{"outbox_optimistic_send_attempts_total",
               counter,
               "",
               "Events that the publisher tried to send: successes and failures.",
               {},
               kNobody},
    MetricInfo{"outbox_optimistic_send_success_total",
               counter,
               "",
               "Events acknowledged in time.",
               {},
               kNobody},
    MetricInfo{"outbox_optimistic_send_failures_total",
               counter,
               "reason",
               "Events left to the relay because of trouble.",
               {},
               kNobody},
    MetricInfo{"outbox_optimistic_send_skipped_total",
               counter,
               "reason",
               "Events left to the relay without trouble.",
               {},
               kNobody},
    MetricInfo{"outbox_optimistic_send_latency_seconds", histogram, "",
               "From the hand-over of an event to its acknowledgement.", kPublishSeconds, kNobody},
};

}  // namespace table

/// Every metric of this version.
inline std::span<const MetricInfo> metric_table() noexcept { return table::kTable; }

/// Null when there is no such metric.
inline const MetricInfo* find_metric(std::string_view name) noexcept {
    const auto* const found =
        std::find_if(table::kTable.begin(), table::kTable.end(),
                     [&](const MetricInfo& info) { return info.name == name; });
    return found == table::kTable.end() ? nullptr : found;
}

}  // namespace sagaz::inline v0::telemetry
