#include "inbox/metrics.hpp"
#include "publisher/metrics.hpp"

#include <sagaz/adapters/prometheus.hpp>

#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace sagaz {
namespace {

class PrometheusAdapter : public testing::Test {
protected:
    std::string page() const {
        return "\n" + ::prometheus::TextSerializer{}.Serialize(registry_.Collect());
    }
    bool has_line(const std::string& line) const {
        return page().find("\n" + line + "\n") != std::string::npos;
    }

    ::prometheus::Registry registry_;
};

TEST_F(PrometheusAdapter, KeepsTheMetricsInTheUsersRegistry) {
    auto& own = ::prometheus::BuildCounter().Name("shop_orders_total").Register(registry_).Add({});
    own.Increment();
    prometheus::Telemetry telemetry{registry_, {.destination = "main", .version = "1.2.3"}};
    const Field topic{"topic", "orders"};
    telemetry.count("outbox_published_events_total", 5, {&topic, 1});
    telemetry.gauge("outbox_slots_owned", 16, {});
    telemetry.observe("outbox_batch_size", 7, {});

    EXPECT_TRUE(has_line("shop_orders_total 1"));
    EXPECT_TRUE(has_line(R"(outbox_published_events_total{destination="main",topic="orders"} 5)"));
    EXPECT_TRUE(has_line(R"(outbox_slots_owned{destination="main"} 16)"));
    EXPECT_TRUE(has_line(R"(outbox_batch_size_bucket{destination="main",le="5"} 0)"));
    EXPECT_TRUE(has_line(R"(outbox_batch_size_bucket{destination="main",le="10"} 1)"));
    EXPECT_TRUE(has_line(R"(outbox_build_info{destination="main",version="1.2.3"} 1)"));
    EXPECT_TRUE(has_line(R"(outbox_publish_attempts_total{destination="main"} 0)"));
}

TEST_F(PrometheusAdapter, RegistersEveryFamilyOfTheTable) {
    const prometheus::Telemetry telemetry{registry_};
    const auto families = registry_.Collect();
    for (const auto& info : telemetry::metric_table()) {
        // A family without a series is not collected, so its name must be taken instead.
        EXPECT_THROW(
            info.type == telemetry::MetricType::gauge
                ? static_cast<void>(
                      ::prometheus::BuildCounter().Name(std::string{info.name}).Register(registry_))
                : static_cast<void>(
                      ::prometheus::BuildGauge().Name(std::string{info.name}).Register(registry_)),
            std::invalid_argument)
            << info.name;
    }
}

TEST_F(PrometheusAdapter, SharesARegistryBetweenDestinations) {
    prometheus::Telemetry first{registry_, {.destination = "first"}};
    prometheus::Telemetry second{registry_, {.destination = "second"}};
    first.gauge("outbox_destination_up", 1, {});
    second.gauge("outbox_destination_up", 0, {});
    EXPECT_TRUE(has_line(R"(outbox_destination_up{destination="first"} 1)"));
    EXPECT_TRUE(has_line(R"(outbox_destination_up{destination="second"} 0)"));
    EXPECT_EQ(page().find("outbox_build_info{"), std::string::npos);
}

// By the publisher itself, with exactly the labels of the contract.
TEST_F(PrometheusAdapter, KeepsWhatAPublisherReports) {
    prometheus::Telemetry telemetry{registry_};
    const publisher::Reporter reporter{&telemetry};
    EXPECT_EQ(page().find("outbox_optimistic"), std::string::npos) << "this is no publisher's";
    reporter.begin();
    EXPECT_TRUE(has_line("outbox_optimistic_send_success_total 0"));
    EXPECT_TRUE(has_line(R"(outbox_optimistic_send_skipped_total{reason="behind"} 0)"));
    core::PublishCounts counts;
    counts.sent = {std::chrono::microseconds{700}, std::chrono::microseconds{900}};
    counts.left[static_cast<std::size_t>(LeftReason::timeout)] = 1;
    counts.left[static_cast<std::size_t>(LeftReason::late)] = 3;
    reporter.report(counts);
    EXPECT_TRUE(has_line("outbox_optimistic_send_attempts_total 3"));
    EXPECT_TRUE(has_line("outbox_optimistic_send_success_total 2"));
    EXPECT_TRUE(has_line(R"(outbox_optimistic_send_failures_total{reason="timeout"} 1)"));
    EXPECT_TRUE(has_line(R"(outbox_optimistic_send_skipped_total{reason="late"} 3)"));
    EXPECT_TRUE(has_line(R"(outbox_optimistic_send_latency_seconds_bucket{le="0.001"} 2)"));
}

// By the inbox itself: what it reports is what the registry has.
TEST_F(PrometheusAdapter, KeepsWhatTheInboxReports) {
    prometheus::Telemetry telemetry{registry_, {.values_max = 1}};
    const inbox::Reporter reporter{&telemetry, "billing"};
    reporter.settled(Settlement::processed, "OrderPlaced", "", 0.003);
    reporter.settled(Settlement::duplicate, "OrderPlaced", "", 0);
    reporter.settled(Settlement::parked, "OrderPlaced", "max_attempts", 0);
    reporter.failed("OrderPlaced");
    reporter.failed("FromOutside");
    for (const auto* const name : {"processed", "duplicates", "parked", "failures"}) {
        EXPECT_TRUE(has_line(std::string{"consumer_inbox_"} + name +
                             R"(_total{consumer_name="billing",event_type="OrderPlaced"} 1)"))
            << name << page();
    }
    EXPECT_TRUE(
        has_line("consumer_inbox_processing_duration_seconds_bucket"
                 R"({consumer_name="billing",event_type="OrderPlaced",le="0.0025"} 0)"));
    EXPECT_TRUE(
        has_line("consumer_inbox_processing_duration_seconds_bucket"
                 R"({consumer_name="billing",event_type="OrderPlaced",le="0.005"} 1)"));
    EXPECT_TRUE(
        has_line(R"(consumer_inbox_failures_total{consumer_name="billing",event_type="other"} 1)"))
        << "types come from outside";
}

TEST_F(PrometheusAdapter, BeginsAllThatAConsumerCountsOfAnEventTypeAtZero) {
    prometheus::Telemetry telemetry{registry_};
    const inbox::Reporter reporter{&telemetry, "billing"};
    reporter.settled(Settlement::processed, "OrderPlaced", "", 0.003);
    for (const auto* const name : {"duplicates", "parked", "failures"}) {
        EXPECT_TRUE(has_line(std::string{"consumer_inbox_"} + name +
                             R"(_total{consumer_name="billing",event_type="OrderPlaced"} 0)"))
            << name << page();
    }
    EXPECT_EQ(page().find("outbox_published_events_total{"), std::string::npos);
}

TEST_F(PrometheusAdapter, LeavesOutWhatItDoesNotKnow) {
    prometheus::Telemetry telemetry{registry_};
    const auto before = page();
    const Field key{"key", "42"};
    telemetry.count("outbox_made_up_total", 1, {});
    telemetry.gauge("outbox_publish_attempts_total", 1, {});
    telemetry.count("outbox_publish_attempts_total", 1, {&key, 1});
    EXPECT_EQ(page(), before);
}

TEST_F(PrometheusAdapter, CountsValuesPastTheCapAsOther) {
    prometheus::Telemetry telemetry{registry_, {.values_max = 2}};
    for (const auto* const name : {"a", "b", "c", "d", "a"}) {
        const Field topic{"topic", name};
        telemetry.count("outbox_published_events_total", 1, {&topic, 1});
    }
    EXPECT_TRUE(has_line(R"(outbox_published_events_total{destination="default",topic="a"} 2)"));
    EXPECT_TRUE(
        has_line(R"(outbox_published_events_total{destination="default",topic="other"} 2)"));
}

TEST_F(PrometheusAdapter, HandsLogLinesToTheUser) {
    std::vector<std::string> lines;
    prometheus::Telemetry telemetry{
        registry_,
        {.log = [&](LogLevel level, std::string_view event, std::span<const Field> fields) {
            lines.push_back(std::string{event} + "/" + std::to_string(fields.size()));
            if (level == LogLevel::error) throw std::runtime_error{"the log is closed"};
        }}};
    const Field field{"slots", "16"};
    telemetry.log(LogLevel::info, "relay_started", {&field, 1});
    telemetry.log(LogLevel::error, "relay_stopped", {});
    EXPECT_EQ(lines, (std::vector<std::string>{"relay_started/1", "relay_stopped/0"}));
    prometheus::Telemetry{registry_}.log(LogLevel::info, "nowhere", {});
}

}  // namespace
}  // namespace sagaz
