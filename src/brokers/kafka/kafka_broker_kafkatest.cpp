// The broker against a real Apache Kafka, one node for the whole binary. Without Java or Maven the
// conformance suite runs on librdkafka's mock cluster instead, and the banner says so.
#include "brokers/kafka/kafka_broker.hpp"
#include "tests/support/kafka_mock.hpp"
#include "tests/support/kafka_reader.hpp"
#include "tests/support/kafka_server.hpp"

#include <sagaz/testing/broker_conformance.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

namespace sagaz::kafka {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using State = Receipt::State;
using testing::Courier;
using testing::PromiseWatch;
using testing::Sample;

constexpr auto kPatience = 120'000ms;

// Set by main; borrowed by the tests.
tests::KafkaServer* server_of_all = nullptr;

Options options_for(std::map<std::string, std::string> client = {}) {
    Options options;
    options.bootstrap_servers = server_of_all->bootstrap();
    options.client = std::move(client);
    return options;
}

// The topic takes less than the client lets pass, so poison is refused by the server itself.
class OnTheServer final : public testing::Destination {
public:
    std::unique_ptr<Broker> open() override {
        return kafka::open(options_for({{"message.max.bytes", "4000000"}}));
    }
    std::string topic() override { return topic_; }
    std::vector<Message> arrived() override {
        return tests::read_topic(server_of_all->bootstrap(), topic_);
    }
    Sample poison() override { return {topic_, "key-0", {}, std::string(2'000'000, 'x')}; }
    void cut() override { server_of_all->kill(); }
    void heal() override { server_of_all->restart(); }

private:
    std::string topic_ = server_of_all->create_topic(4, {{"max.message.bytes", "1500000"}});
};

class InTheMock final : public testing::Destination {
public:
    InTheMock() { mock_.create_topic("orders", 4); }
    std::unique_ptr<Broker> open() override {
        Options options;
        options.bootstrap_servers = mock_.bootstrap();
        options.client["message.max.bytes"] = "2000000";
        return kafka::open(std::move(options));
    }
    std::string topic() override { return "orders"; }
    std::vector<Message> arrived() override {
        return tests::read_topic(mock_.bootstrap(), "orders");
    }

private:
    tests::KafkaMock mock_{1};
};

class KafkaServerTest : public ::testing::Test {
protected:
    static std::vector<Sample> numbered(const std::string& topic, std::size_t count,
                                        std::size_t keys = 1) {
        std::vector<Sample> samples;
        samples.reserve(count);
        for (std::size_t n = 0; n < count; ++n) {
            samples.push_back({topic, "k" + std::to_string(n % keys), {}, std::to_string(n)});
        }
        return samples;
    }

    // Per key the first arrivals are the samples of that key in their order, none missing.
    static void expect_in_order(const std::string& topic, std::span<const Sample> samples) {
        std::map<std::string, std::vector<std::string>> wanted;
        std::map<std::string, std::vector<std::string>> seen;
        for (const Sample& sample : samples) wanted[*sample.key].push_back(sample.payload);
        for (const Message& message : tests::read_topic(server_of_all->bootstrap(), topic)) {
            auto& of_key = seen[message.event.key.value_or("")];
            if (std::find(of_key.begin(), of_key.end(), message.event.payload) == of_key.end()) {
                of_key.push_back(message.event.payload);
            }
        }
        EXPECT_EQ(seen, wanted);
    }
};

// The reason for max.in.flight=1, on the server that the argument speaks of. With five in flight
// the messages after the refused one are in the log: the server takes any sequence number from a
// producer that it does not know yet.
TEST_F(KafkaServerTest, F32_ARefusalByTheServerIsNeverOvertaken) {
    const std::string topic = server_of_all->create_topic(1, {{"max.message.bytes", "2000"}});
    PromiseWatch broker{open(options_for({{"linger.ms", "0"}, {"batch.num.messages", "1"}}))};
    auto samples = numbered(topic, 6);
    samples[0].payload.assign(5'000, 'x');
    std::vector<Envelope> envelopes;
    envelopes.reserve(samples.size());
    for (std::size_t n = 0; n < samples.size(); ++n) {
        envelopes.push_back({n, topic, *samples[n].key, {}, samples[n].payload});
    }
    ASSERT_EQ(broker.publish(envelopes), envelopes.size());
    std::size_t receipts = 0;
    for (const auto end = Clock::now() + kPatience; receipts < 6 && Clock::now() < end;) {
        for (const Receipt& receipt : broker.poll(200ms)) {
            ++receipts;
            EXPECT_EQ(receipt.state, receipt.token == 0 ? State::refused : State::unknown);
        }
    }
    EXPECT_EQ(receipts, 6U);
    EXPECT_TRUE(tests::read_topic(server_of_all->bootstrap(), topic).empty());
    EXPECT_TRUE(broker.violations().empty());
}

TEST_F(KafkaServerTest, F42_OnlyTheGuiltyOneOfARefusedBatchIsRefused) {
    const std::string topic = server_of_all->create_topic(1, {{"max.message.bytes", "2000"}});
    PromiseWatch broker{open(options_for({{"linger.ms", "100"}}))};
    auto samples = numbered(topic, 60);
    samples[30].payload.assign(5'000, 'x');
    const auto receipts = Courier{broker}.deliver(samples, kPatience);
    for (std::size_t n = 0; n < receipts.size(); ++n) {
        EXPECT_EQ(receipts[n].state, n == 30 ? State::refused : State::accepted) << n;
    }
    EXPECT_EQ(receipts[30].reason, "payload_too_large");
    samples.erase(samples.begin() + 30);
    expect_in_order(topic, samples);
    for (const std::string& violation : broker.violations()) ADD_FAILURE() << violation;
}

TEST_F(KafkaServerTest, ATopicThatIsSmallerThanTheClientsBatchesCostsNothing) {
    const std::string topic = server_of_all->create_topic(1, {{"max.message.bytes", "20000"}});
    PromiseWatch broker{open(options_for({{"linger.ms", "100"}}))};
    auto samples = numbered(topic, 400);
    for (Sample& sample : samples) sample.payload += std::string(500, 'x');
    for (const Receipt& receipt : Courier{broker}.deliver(samples, kPatience)) {
        ASSERT_EQ(receipt.state, State::accepted) << receipt.detail;
    }
    expect_in_order(topic, samples);
    for (const std::string& violation : broker.violations()) ADD_FAILURE() << violation;
}

TEST_F(KafkaServerTest, F42_RefusesATopicThatDoesNotExist) {
    const std::string topic = server_of_all->create_topic(1);
    PromiseWatch broker{open(options_for({{"topic.metadata.propagation.max.ms", "300"}}))};
    std::vector<Sample> samples = numbered(topic, 3);
    samples[1].topic = topic + ".missing";
    const auto receipts = Courier{broker}.deliver(samples, kPatience);
    EXPECT_EQ(receipts[0].state, State::accepted);
    EXPECT_EQ(receipts[1].state, State::refused);
    EXPECT_EQ(receipts[1].reason, "unknown_topic");
    EXPECT_EQ(receipts[2].state, State::accepted);
    EXPECT_TRUE(broker.violations().empty());
}

TEST_F(KafkaServerTest, F42_RefusesWhatItMayNotWrite) {
    for (const bool describe : {true, false}) {
        const std::string topic = server_of_all->create_topic(1);
        const std::string denied = server_of_all->create_topic(1);
        server_of_all->deny_writing(denied, describe);
        PromiseWatch broker{open(options_for({{"topic.metadata.propagation.max.ms", "300"}}))};
        std::vector<Sample> samples = numbered(topic, 4);
        samples[1].topic = denied;
        samples[2].topic = denied;
        const auto receipts = Courier{broker}.deliver(samples, kPatience);
        EXPECT_EQ(receipts[0].state, State::accepted);
        for (const std::size_t n : {1U, 2U}) {
            EXPECT_EQ(receipts[n].state, State::refused) << receipts[n].detail;
            EXPECT_EQ(receipts[n].reason, "not_authorized");
        }
        EXPECT_EQ(receipts[3].state, State::accepted);
        EXPECT_TRUE(broker.violations().empty());
    }
}

TEST_F(KafkaServerTest, ANullKeyInACompactedTopicIsRefusedAlone) {
    const std::string topic = server_of_all->create_topic(1, {{"cleanup.policy", "compact"}});
    PromiseWatch broker{open(options_for({{"linger.ms", "100"}}))};
    auto samples = numbered(topic, 20);
    samples[7].key.reset();
    const auto receipts = Courier{broker}.deliver(samples, kPatience);
    for (std::size_t n = 0; n < receipts.size(); ++n) {
        EXPECT_EQ(receipts[n].state, n == 7 ? State::refused : State::accepted) << n;
    }
    EXPECT_EQ(receipts[7].reason, "invalid_record");
}

TEST_F(KafkaServerTest, F36_AFrozenServerThatThawsLeavesNoGap) {
    const std::string topic = server_of_all->create_topic(2);
    PromiseWatch broker{open(options_for({{"socket.timeout.ms", "2000"}, {"linger.ms", "0"}}))};
    Courier courier{broker};
    const auto samples = numbered(topic, 300, 5);
    for (const Receipt& receipt : courier.deliver(std::span{samples}.first(50), kPatience)) {
        ASSERT_EQ(receipt.state, State::accepted);
    }
    server_of_all->freeze();
    // Longer than the client's time-out of a request: it gives up what the server will still do.
    EXPECT_FALSE(std::ranges::any_of(
        courier.deliver(std::span{samples}.subspan(50, 50), 6'000ms),
        [](const Receipt& receipt) { return receipt.state == State::refused; }));
    server_of_all->thaw();
    // What a relay would do now: settle what is on its way, then from the first open one.
    broker.abandon(5'000ms);
    while (broker.outstanding() > 0) broker.poll(0ms);
    for (const Receipt& receipt : courier.deliver(std::span{samples}.subspan(50), kPatience)) {
        ASSERT_EQ(receipt.state, State::accepted) << receipt.detail;
    }
    expect_in_order(topic, samples);
    for (const std::string& violation : broker.violations()) ADD_FAILURE() << violation;
}

TEST_F(KafkaServerTest, F30_AServerKilledUnderLoadLosesAndReordersNothing) {
    const std::string topic = server_of_all->create_topic(2);
    PromiseWatch broker{open(options_for({{"linger.ms", "1"}}))};
    const auto samples = numbered(topic, 4'000, 7);
    // The server dies in the middle: after the first receipts, while more is on its way.
    std::vector<Envelope> envelopes;
    envelopes.reserve(2'000);
    for (std::size_t n = 0; n < 2'000; ++n) {
        envelopes.push_back({n, topic, *samples[n].key, {}, samples[n].payload});
    }
    ASSERT_EQ(broker.publish(envelopes), envelopes.size());
    std::vector<bool> accepted(2'000);
    const auto judge = [&](const std::vector<Receipt>& receipts) {
        for (const Receipt& receipt : receipts) {
            ASSERT_NE(receipt.state, State::refused);
            if (receipt.state == State::accepted) accepted.at(receipt.token) = true;
        }
    };
    judge(broker.poll(10'000ms));
    server_of_all->kill();
    judge(broker.poll(500ms));
    server_of_all->restart();
    for (const auto end = Clock::now() + kPatience;
         broker.outstanding() > 0 && Clock::now() < end;) {
        judge(broker.poll(200ms));
    }
    ASSERT_EQ(broker.outstanding(), 0U);
    const auto open = std::find(accepted.begin(), accepted.end(), false) - accepted.begin();
    Courier courier{broker};
    for (const Receipt& receipt :
         courier.deliver(std::span{samples}.subspan(static_cast<std::size_t>(open)), kPatience)) {
        ASSERT_EQ(receipt.state, State::accepted) << receipt.detail;
    }
    expect_in_order(topic, samples);
    EXPECT_EQ(broker.down(), "");
    for (const std::string& violation : broker.violations()) ADD_FAILURE() << violation;
}

}  // namespace

}  // namespace sagaz::kafka

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    if (!sagaz::tests::KafkaServer::available()) {
        sagaz::testing::register_broker_conformance(
            "KafkaMock", {}, [] { return std::make_unique<sagaz::kafka::InTheMock>(); });
        GTEST_FLAG_SET(filter, "KafkaMockConformance.*");
        return RUN_ALL_TESTS();
    }
    sagaz::testing::register_broker_conformance("Kafka", {.refuses = true, .outages = true}, [] {
        return std::make_unique<sagaz::kafka::OnTheServer>();
    });
    sagaz::tests::KafkaServer server;
    sagaz::kafka::server_of_all = &server;
    std::printf("on a real Apache Kafka at %s\n", server.bootstrap().c_str());
    return RUN_ALL_TESTS();
}
