#include "telemetry/prometheus.hpp"

#include "telemetry/log.hpp"

#include <sagaz/adapters/metric_table.hpp>

#include <gtest/gtest.h>

#include <algorithm>

namespace sagaz::telemetry {
namespace {

class PrometheusTelemetryTest : public testing::Test {
protected:
    bool has_line(const std::string& line) const {
        const auto page = "\n" + telemetry_.page();
        return page.find("\n" + line + "\n") != std::string::npos;
    }

    LogWriter log_{LogFormat::text, LogLevel::error, [](std::string_view) {}};
    PrometheusTelemetry telemetry_{{.destination = "default", .version = "1.2.3", .values_max = 3},
                                   log_};
};
using PrometheusTelemetryDeathTest = PrometheusTelemetryTest;

TEST_F(PrometheusTelemetryTest, ShowsEveryMetricOfTheContractByItsName) {
    // The contract's list, written out: dashboards hold on to these words.
    const std::array names{"outbox_pending_events",
                           "outbox_oldest_pending_age_seconds",
                           "outbox_published_events_total",
                           "outbox_publish_attempts_total",
                           "outbox_publish_failures_total",
                           "outbox_dead_letter_events_total",
                           "outbox_parked_events",
                           "outbox_publish_duration_seconds",
                           "outbox_end_to_end_latency_seconds",
                           "outbox_batch_size",
                           "outbox_headers_dropped_total",
                           "outbox_slots_owned",
                           "outbox_slots_without_owner",
                           "outbox_store_up",
                           "outbox_destination_up",
                           "outbox_last_publish_timestamp_seconds",
                           "outbox_segment_truncations_total",
                           "outbox_reclaim_blocked_seconds",
                           "outbox_relay_turn_age_seconds",
                           "outbox_database_clock_skew_seconds",
                           "outbox_database_wraparound_ratio",
                           "outbox_build_info",
                           "consumer_inbox_processed_total",
                           "consumer_inbox_duplicates_total",
                           "consumer_inbox_processing_duration_seconds",
                           "consumer_inbox_failures_total",
                           "consumer_inbox_parked_total",
                           "outbox_optimistic_send_attempts_total",
                           "outbox_optimistic_send_success_total",
                           "outbox_optimistic_send_failures_total",
                           "outbox_optimistic_send_skipped_total",
                           "outbox_optimistic_send_latency_seconds"};
    ASSERT_EQ(metric_table().size(), names.size());
    for (const auto* const name : names) {
        const auto* const info = find_metric(name);
        ASSERT_NE(info, nullptr) << name;
        EXPECT_FALSE(info->help.empty()) << name;
        EXPECT_EQ(info->type == MetricType::counter, std::string_view{name}.ends_with("_total"))
            << name;
        EXPECT_EQ(info->type == MetricType::histogram, !info->buckets.empty()) << name;
        EXPECT_TRUE(std::is_sorted(info->buckets.begin(), info->buckets.end())) << name;
    }
}

TEST_F(PrometheusTelemetryTest, PutsTheDestinationOnEverySeries) {
    const Field topic{"topic", "orders"};
    telemetry_.count("outbox_published_events_total", 5, {&topic, 1});
    telemetry_.count("outbox_published_events_total", 2, {&topic, 1});
    telemetry_.gauge("outbox_slots_owned", 16, {});
    telemetry_.observe("outbox_batch_size", 7, {});

    EXPECT_TRUE(
        has_line(R"(outbox_published_events_total{destination="default",topic="orders"} 7)"));
    EXPECT_TRUE(has_line(R"(outbox_slots_owned{destination="default"} 16)"));
    EXPECT_TRUE(has_line(R"(outbox_batch_size_bucket{destination="default",le="5"} 0)"));
    EXPECT_TRUE(has_line(R"(outbox_batch_size_bucket{destination="default",le="10"} 1)"));
    EXPECT_TRUE(has_line(R"(outbox_build_info{destination="default",version="1.2.3"} 1)"));
}

TEST_F(PrometheusTelemetryTest, LeavesOutTheFamiliesThatAreNotKnownNow) {
    telemetry_.gauge("outbox_pending_events", 7, {});
    telemetry_.gauge("outbox_slots_owned", 16, {});
    constexpr std::array<std::string_view, 1> kUnknown{"outbox_pending_events"};
    const auto page = telemetry_.page(kUnknown);
    EXPECT_EQ(page.find("outbox_pending_events"), std::string::npos);
    EXPECT_NE(page.find("outbox_slots_owned"), std::string::npos);
    EXPECT_TRUE(has_line(R"(outbox_pending_events{destination="default"} 7)"));
}

TEST_F(PrometheusTelemetryTest, StartsPlainCountersAtZero) {
    EXPECT_TRUE(has_line(R"(outbox_publish_attempts_total{destination="default"} 0)"));
}

TEST_F(PrometheusTelemetryTest, PutsNoLabelOnAPublishersSeriesButTheReason) {
    EXPECT_EQ(telemetry_.page().find("outbox_optimistic_send_attempts_total{"), std::string::npos);
    telemetry_.count("outbox_optimistic_send_attempts_total", 0, {});
    const Field reason{"reason", "breaker_open"};
    telemetry_.count("outbox_optimistic_send_failures_total", 2, {&reason, 1});
    telemetry_.observe("outbox_optimistic_send_latency_seconds", 0.0007, {});

    EXPECT_TRUE(has_line("outbox_optimistic_send_attempts_total 0"));
    EXPECT_TRUE(has_line(R"(outbox_optimistic_send_failures_total{reason="breaker_open"} 2)"));
    EXPECT_TRUE(has_line(R"(outbox_optimistic_send_latency_seconds_bucket{le="0.001"} 1)"));
}

TEST_F(PrometheusTelemetryTest, CountsTopicsPastTheCapAsOther) {
    for (const auto* const name : {"a", "b", "c", "d", "e", "a"}) {
        const Field topic{"topic", name};
        telemetry_.count("outbox_published_events_total", 1, {&topic, 1});
    }
    EXPECT_TRUE(has_line(R"(outbox_published_events_total{destination="default",topic="a"} 2)"));
    EXPECT_TRUE(
        has_line(R"(outbox_published_events_total{destination="default",topic="other"} 2)"));
    EXPECT_EQ(telemetry_.page().find("topic=\"d\""), std::string::npos);
}

TEST_F(PrometheusTelemetryDeathTest, StopsAtANameThatIsNotInTheTable) {
    EXPECT_DEATH(telemetry_.count("outbox_made_up_total", 1, {}), "broken promise");
    const Field key{"key", "42"};
    EXPECT_DEATH(telemetry_.count("outbox_publish_attempts_total", 1, {&key, 1}), "broken promise");
}

}  // namespace
}  // namespace sagaz::telemetry
