#include "brokers/kafka/kafka_consumer_options.hpp"

#include "brokers/kafka/kafka_message.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sagaz::kafka {

namespace {

using namespace std::chrono_literals;

ConsumerOptions good() {
    ConsumerOptions options;
    options.bootstrap_servers = "localhost:9092";
    options.group = "billing";
    options.topics = {"orders"};
    return options;
}

// The code and all that a refusal says; empty when the options are taken.
std::string refusal(const ConsumerOptions& options) {
    try {
        check(options);
        return {};
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        return std::string{error.code()} + ": " + error.what() + " | " + std::string{error.hint()};
    }
}

std::string with_client(const std::string& name, const std::string& value = "1") {
    ConsumerOptions options = good();
    options.client[name] = value;
    return refusal(options);
}

std::string value_of(const Conf& conf, const char* name) {
    char value[256] = "";
    std::size_t size = sizeof value;
    EXPECT_EQ(rd_kafka_conf_get(conf.get(), name, value, &size), RD_KAFKA_CONF_OK) << name;
    return value;
}

Message with_headers(std::vector<Header> headers) {
    Message message;
    message.source_topic = "orders";
    message.partition = 3;
    message.position = 1042;
    message.event.headers = std::move(headers);
    read_headers(message, ConsumerOptions{}.id_headers);
    return message;
}

}  // namespace

TEST(KafkaConsumerOptions, F68_NothingIsCommittedByTheClientItself) {
    const Conf conf = make_conf(good());
    EXPECT_EQ(value_of(conf, "enable.auto.commit"), "false");
    EXPECT_EQ(value_of(conf, "enable.auto.offset.store"), "false");
    for (const char* name : {"enable.auto.commit", "enable.auto.offset.store",
                             "auto.commit.interval.ms", "auto.commit.enable"}) {
        EXPECT_NE(with_client(name).find("cannot be set: an offset is committed when"),
                  std::string::npos)
            << name;
    }
}

TEST(KafkaConsumerOptions, F75_ANewGroupStartsAtTheEarliestMessageAndNothingChangesThat) {
    // The client's older word for earliest.
    EXPECT_EQ(value_of(make_conf(good()), "auto.offset.reset"), "smallest");
    EXPECT_NE(with_client("auto.offset.reset", "latest").find("must not skip"), std::string::npos);
}

TEST(KafkaConsumerOptions, ForbidWhatThePromisesRestOnAndSayWhy) {
    for (const char* name :
         {"group.id", "group.instance.id", "isolation.level", "max.poll.interval.ms",
          "partition.assignment.strategy", "session.timeout.ms", "queued.min.messages",
          "bootstrap.servers", "plugin.library.paths", "debug", "acks", "linger.ms"}) {
        EXPECT_NE(
            with_client(name).find(std::string{"broker_option: '"} + name + "' cannot be set: "),
            std::string::npos)
            << name << ": " << with_client(name);
    }
}

TEST(KafkaConsumerOptions, TakeTransportTlsSaslAndFetchSizes) {
    for (const auto& [name, value] :
         std::map<std::string, std::string>{{"socket.timeout.ms", "3000"},
                                            {"security.protocol", "sasl_ssl"},
                                            {"sasl.mechanism", "SCRAM-SHA-512"},
                                            {"sasl.password", "x"},
                                            {"fetch.wait.max.ms", "50"},
                                            {"fetch.min.bytes", "1"},
                                            {"max.partition.fetch.bytes", "100000"},
                                            {"heartbeat.interval.ms", "500"}}) {
        EXPECT_EQ(with_client(name, value), "");
    }
    EXPECT_NE(with_client("fetch.wait.max").find("did you mean 'fetch.wait.max.ms'?"),
              std::string::npos);
}

TEST(KafkaConsumerOptions, RefuseWhatCannotBeRight) {
    ConsumerOptions options = good();
    options.group.clear();
    EXPECT_TRUE(refusal(options).starts_with("group_missing"));
    options = good();
    options.topics.clear();
    EXPECT_TRUE(refusal(options).starts_with("topic_missing"));
    options.topics = {"^orders.*"};
    EXPECT_TRUE(refusal(options).starts_with("broker_option"));
    options = good();
    options.bootstrap_servers.clear();
    EXPECT_TRUE(refusal(options).starts_with("broker_option"));
    options = good();
    options.handler_max = options.session_timeout - 1ms;
    EXPECT_TRUE(refusal(options).starts_with("option_range"));
    options = good();
    options.retry_max = options.retry_initial - 1ms;
    EXPECT_TRUE(refusal(options).starts_with("option_range"));
    options = good();
    options.queue_max = 0;
    EXPECT_TRUE(refusal(options).starts_with("option_range"));
    options = good();
    options.stopped_keys_max = 1'001;
    EXPECT_TRUE(refusal(options).starts_with("option_range"));
    options = good();
    options.ahead_max = 0;
    EXPECT_TRUE(refusal(options).starts_with("option_range"));
    EXPECT_EQ(refusal(good()), "");
}

TEST(KafkaMessage, TakesItsIdFromTheFirstHeaderThatHasOne) {
    EXPECT_EQ(with_headers({{"event_id", "d"}, {"message_id", "b"}, {"ce_id", ""}}).id, "b");
    EXPECT_EQ(with_headers({{"event_id", "d"}, {"id", "c"}}).id, "c");
    EXPECT_EQ(with_headers({{"ce_id", "a"}, {"ce_id", "z"}}).id, "a");
}

TEST(KafkaMessage, HasItsPlaceAsIdWhenNoHeaderHasOne) {
    EXPECT_EQ(with_headers({{"x", "y"}}).id, "orders-3-1042");
    EXPECT_TRUE(with_headers({}).event.id.is_zero());
}

TEST(KafkaMessage, IsAnotherOneAtTheSamePlaceOfATopicThatWasMadeAgain) {
    Message first;
    first.source_topic = "orders";
    first.partition = 0;
    first.position = 5;
    first.time = Time{1'764'287'000'123ms};
    Message second = first;
    second.time += 1ms;
    read_headers(first, ConsumerOptions{}.id_headers);
    read_headers(second, ConsumerOptions{}.id_headers);
    EXPECT_EQ(first.id, "orders-0-5-1764287000123");
    EXPECT_NE(first.id, second.id);
}

TEST(KafkaMessage, ReadsWhatTheRelayWrote) {
    const std::string id = "0193a5c8-7f1e-7c3a-8f00-0123456789ab";
    const Message message = with_headers({{"ce_id", id},
                                          {"ce_type", "OrderPlaced"},
                                          {"ce_subject", "42"},
                                          {"content-type", "text/plain"}});
    EXPECT_EQ(message.event.id.text(), id);
    EXPECT_EQ(message.event.event_type, "OrderPlaced");
    EXPECT_EQ(message.event.aggregate_id, "42");
    EXPECT_EQ(message.event.content_type, "text/plain");
    EXPECT_EQ(message.event.headers.size(), 4U);
}

}  // namespace sagaz::kafka
