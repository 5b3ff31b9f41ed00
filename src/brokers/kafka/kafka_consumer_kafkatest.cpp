// The consumer against a real Apache Kafka, which fences members and moves partitions by rules of
// its own. Whole processes are killed and frozen in tests/chaos/consumers.sh. Without Java or Maven
// nothing of this can be shown, and the banner says so; kafka_consumer_test.cpp has the mock.
#include "brokers/kafka/kafka_consumer_fixture.hpp"
#include "tests/support/kafka_server.hpp"

#include <sagaz/kafka.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace sagaz::kafka {

namespace {

using namespace std::chrono_literals;

constexpr int kPartitions = 4;

class Listener final : public Telemetry {
public:
    void count(std::string_view, double, std::span<const Field>) noexcept override {}
    void gauge(std::string_view, double, std::span<const Field>) noexcept override {}
    void observe(std::string_view, double, std::span<const Field>) noexcept override {}
    void log(LogLevel, std::string_view event, std::span<const Field> fields) noexcept override {
        const std::lock_guard lock{mutex_};
        text_ += event;
        for (const Field& field : fields) text_ += " " + std::string{field.value};
        text_ += '\n';
    }
    std::string text() const {
        const std::lock_guard lock{mutex_};
        return text_;
    }

private:
    mutable std::mutex mutex_;
    std::string text_;
};

// Set by main; borrowed by the tests.
tests::KafkaServer* server_of_all = nullptr;

class KafkaConsumerServerTest : public GroupOnATopic {
protected:
    KafkaConsumerServerTest()
        : GroupOnATopic(server_of_all->bootstrap(), server_of_all->create_topic(kPartitions),
                        kPartitions, 1'000ms) {}

    bool all_of_the_log_is_handled() {
        const auto all = log();
        return ledger_.wait_for(
            [&](const std::vector<Place>& places) { return once_each(places) == all; });
    }

    void expect_nothing_skipped() {
        EXPECT_EQ(once_each(ledger_.places()), log());
        EXPECT_EQ(ledger_.skipped(), std::vector<Place>{});
    }
};

TEST_F(KafkaConsumerServerTest, F75_ANewGroupHandlesWhatWasThereBeforeIt) {
    produce(200);
    Running running{options(), into_the_ledger()};
    ASSERT_TRUE(all_of_the_log_is_handled());
    running.stop();
    EXPECT_EQ(ledger_.places().size(), 200U) << "each once";
    EXPECT_EQ(committed(), ends()) << "stopping commits";
    expect_nothing_skipped();
}

// The session would keep the partitions for half an hour.
TEST_F(KafkaConsumerServerTest, StoppingLeavesTheGroupSoThatOthersGoOnAtOnce) {
    ConsumerOptions patient = options();
    patient.session_timeout = 30min;
    patient.handler_max = 30min;
    produce(50);
    Running first{patient, into_the_ledger()};
    ASSERT_TRUE(ledger_.wait_for(50));
    first.stop();
    produce(50);
    Running second{patient, into_the_ledger()};
    ASSERT_TRUE(all_of_the_log_is_handled());
    second.stop();
    EXPECT_EQ(ledger_.places().size(), 100U) << "stopping commits: each once";
    expect_nothing_skipped();
}

// A handler that does not return for longer than `handler_max` is what a frozen process is to the
// group: it loses its partitions, and its commits are refused when it comes back.
TEST_F(KafkaConsumerServerTest, F69_AConsumerThatWasTooSlowComesBackFencedAndGoesOn) {
    ConsumerOptions slow = options();
    slow.handler_max = 1'000ms;
    produce(100);
    std::atomic<bool> is_frozen{};
    std::atomic<bool> thaw{};
    Place frozen_at{};
    std::optional<Running> first;
    first.emplace(slow, [&](const Message& message) -> Reply {
        if (ledger_.places().size() == 10 && !is_frozen) {
            frozen_at = {message.partition, message.position};
            is_frozen = true;
            is_frozen.notify_all();
            thaw.wait(false);
        }
        ledger_.add(message);
        return Settlement::processed;
    });
    is_frozen.wait(false);
    ASSERT_TRUE(ledger_.wait_for(10));
    Running second{options(), into_the_ledger()};
    ASSERT_TRUE(all_of_the_log_is_handled()) << "the other takes over without it";
    thaw = true;
    thaw.notify_all();
    // Both had it in hand: the inbox would make the second a duplicate.
    ASSERT_TRUE(ledger_.wait_for([&](const std::vector<Place>& places) {
        return std::count(places.begin(), places.end(), frozen_at) > 1;
    }));
    second.stop();
    produce(100);
    ASSERT_TRUE(all_of_the_log_is_handled()) << "the first is a member again";
    EXPECT_TRUE(all_of_the_log_is_committed());
    first->stop();
    expect_nothing_skipped();
}

TEST_F(KafkaConsumerServerTest, F74_ARebalanceStormUnderLoadSkipsNothing) {
    const auto handler = [&](const Message& message) -> Reply {
        ledger_.add(message);
        if (message.position % 11 == 5 && ledger_.places().size() % 2 == 0) {
            return {Settlement::retry_later, 10ms};
        }
        return Settlement::processed;
    };
    std::vector<std::unique_ptr<Running>> members;
    std::size_t wanted = 0;
    for (int round = 0; round < 12; ++round) {
        produce(300);
        members.push_back(std::make_unique<Running>(options(), handler));
        wanted += 150;
        ASSERT_TRUE(ledger_.wait_for(wanted));
        if (members.size() > 3) {
            members.front()->stop();
            members.erase(members.begin());
        }
    }
    ASSERT_TRUE(all_of_the_log_is_handled());
    EXPECT_TRUE(all_of_the_log_is_committed());
    for (auto& member : members) member->stop();
    expect_nothing_skipped();
}

// Retention took what was not handled: nothing brings it back, but somebody has to know.
TEST_F(KafkaConsumerServerTest, SaysSoWhenTheServerDeletedWhatWasNotHandled) {
    ConsumerOptions narrow = options();
    narrow.queue_max = 1;
    narrow.stopped_keys_max = 0;
    Listener listener;
    std::atomic<bool> is_held{true};
    produce(40);
    Running running{narrow,
                    [&](const Message& message) -> Reply {
                        if (message.partition == 0 && is_held) return Settlement::in_progress;
                        ledger_.add(message);
                        return Settlement::processed;
                    },
                    &listener};
    ASSERT_TRUE(eventually([&] { return running.consumer().status().waiting == 1; }));
    produce(2'000);
    const auto end = ends()[0];
    server_of_all->delete_records(topic_, 0, end - 10);
    is_held = false;
    ASSERT_TRUE(ledger_.wait_for([&](const std::vector<Place>& places) {
        return std::count(places.begin(), places.end(), Place{0, end - 1}) > 0;
    })) << "it goes on with what is there";
    EXPECT_TRUE(eventually([&] { return committed() == ends(); }));
    running.stop();
    EXPECT_NE(listener.text().find("consumer_offset_gone"), std::string::npos) << listener.text();
    EXPECT_FALSE(ledger_.skipped().empty()) << "the server had deleted nothing yet";
}

// Its offsets begin anew below the group's, with other messages.
TEST_F(KafkaConsumerServerTest, ATopicThatIsMadeAgainIsReadFromItsFirstMessage) {
    std::set<std::string> ids;
    std::mutex mutex;
    Running running{options(), [&](const Message& message) -> Reply {
                        const std::lock_guard lock{mutex};
                        ids.insert(message.id);
                        return Settlement::processed;
                    }};
    const auto handled = [&] {
        const std::lock_guard lock{mutex};
        return ids.size();
    };
    produce(400);
    ASSERT_TRUE(eventually([&] { return handled() == 400; }));
    ASSERT_TRUE(all_of_the_log_is_committed());
    server_of_all->delete_topic(topic_);
    ASSERT_TRUE(eventually([&] {
        try {
            server_of_all->create_topic_named(topic_, kPartitions);
            return true;
        } catch (const std::exception&) {
            return false;
        }
    }));
    produce(40);
    EXPECT_TRUE(eventually([&] { return handled() == 440; })) << handled();
    EXPECT_TRUE(all_of_the_log_is_committed());
    running.stop();
}

TEST_F(KafkaConsumerServerTest, AServerThatIsKilledUnderLoadIsWaitedForAndSkipsNothing) {
    produce(3'000);
    Running first{options(), into_the_ledger()};
    Running second{options(), into_the_ledger()};
    ASSERT_TRUE(ledger_.wait_for(500));
    server_of_all->kill();
    server_of_all->restart();
    produce(500);
    ASSERT_TRUE(all_of_the_log_is_handled());
    EXPECT_TRUE(all_of_the_log_is_committed());
    first.stop();
    second.stop();
    expect_nothing_skipped();
}

}  // namespace

}  // namespace sagaz::kafka

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    if (!sagaz::tests::KafkaServer::available()) return 0;
    sagaz::tests::KafkaServer server{"group.min.session.timeout.ms=100"};
    sagaz::kafka::server_of_all = &server;
    std::printf("on a real Apache Kafka at %s\n", server.bootstrap().c_str());
    return RUN_ALL_TESTS();
}
