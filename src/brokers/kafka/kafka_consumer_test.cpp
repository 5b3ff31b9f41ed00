// The consumer on librdkafka's mock cluster, which knows groups, rebalances and committed offsets.
// What needs a server's own rules (fences, several processes) is in kafka_consumer_kafkatest.cpp.
#include "brokers/kafka/kafka_consumer_fixture.hpp"
#include "tests/support/kafka_mock.hpp"

#include <sagaz/consumer.hpp>
#include <sagaz/error.hpp>
#include <sagaz/kafka.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sagaz::kafka {

namespace {

using namespace std::chrono_literals;

struct OneMock {
    OneMock() { mock_.create_topic("orders", 2); }
    tests::KafkaMock mock_{1};
};

// The mock lets a group settle for three seconds before it answers, and lets a member that left
// live until its session ends.
class KafkaConsumerTest : public OneMock, public GroupOnATopic {
protected:
    KafkaConsumerTest() : GroupOnATopic(mock_.bootstrap(), "orders", 2, 4'000ms) {}
};

TEST_F(KafkaConsumerTest, F75_ANewGroupHandlesWhatWasThereBeforeItInOrder) {
    produce(40);
    Running running{options(), into_the_ledger()};
    ASSERT_TRUE(ledger_.wait_for(40));
    running.stop();
    const auto places = ledger_.places();
    EXPECT_EQ(once_each(places), log());
    EXPECT_EQ(places.size(), 40U) << "each once";
    std::map<std::int32_t, std::int64_t> next;
    for (const auto& [partition, position] : places) EXPECT_EQ(position, next[partition]++);
    EXPECT_EQ(committed(), ends()) << "stopping commits what is settled";
    EXPECT_EQ(running.consumer().status().settled, 40U);
    EXPECT_EQ(running.consumer().status().partitions, 0U);
}

TEST_F(KafkaConsumerTest, GivesTheHandlerAllThatTheMessageHolds) {
    produce(1);
    std::optional<Message> seen;
    Running running{options(), [&](const Message& message) -> Reply {
                        seen = message;
                        ledger_.add(message);
                        return Settlement::processed;
                    }};
    ASSERT_TRUE(ledger_.wait_for(1));
    running.stop();
    EXPECT_EQ(seen->id, "id-0");
    EXPECT_EQ(seen->source_topic, "orders");
    EXPECT_EQ(seen->event.topic, "orders");
    EXPECT_EQ(seen->event.key, "k0");
    EXPECT_EQ(seen->event.payload, "0");
    EXPECT_EQ(seen->event.headers, (std::vector<Header>{{"ce_id", "id-0"}}));
    EXPECT_EQ(seen->position, 0);
    EXPECT_GT(seen->time, Time{});
}

TEST_F(KafkaConsumerTest, F68_AMessageThatIsNotSettledIsNeverCommittedAndHoldsItsKeyOnly) {
    produce(60);
    std::optional<Place> poison;
    std::optional<std::string> its_key;
    Running running{options(), [&](const Message& message) -> Reply {
                        const Place place{message.partition, message.position};
                        if (message.partition == 0 && message.position == 2) {
                            poison = place;
                            its_key = message.event.key;
                        }
                        EXPECT_TRUE(message.event.key != its_key || place == poison)
                            << "position " << message.position << " overtook it";
                        ledger_.add(message);
                        if (place != poison) return Settlement::processed;
                        return {Settlement::in_progress, 15ms};
                    }};
    // It came again and again, and all of the other keys meanwhile: three of sixty are of its own.
    ASSERT_TRUE(ledger_.wait_for([&](const std::vector<Place>& places) {
        return std::count(places.begin(), places.end(), Place{0, 2}) > 10 &&
               once_each(places).size() == 58;
    }));
    EXPECT_EQ(running.consumer().status().waiting, 1U);
    running.stop();
    EXPECT_EQ(once_each(ledger_.places()).size(), 58U);
    EXPECT_EQ(committed(), (std::vector<std::int64_t>{2, ends()[1]}));
    // Whoever comes next handles it, its key, and again what was done behind it.
    const std::size_t before = ledger_.places().size();
    Running next{options(), into_the_ledger()};
    ASSERT_TRUE(ledger_.wait_for(before + static_cast<std::size_t>(ends()[0]) - 2));
    next.stop();
    EXPECT_EQ(ledger_.skipped(), std::vector<Place>{});
    EXPECT_EQ(once_each(ledger_.places()), log());
    EXPECT_EQ(committed(), ends());
}

TEST_F(KafkaConsumerTest, F68_AMessageThatIsNotSettledHoldsItsPartitionWhenNoKeyMayStopAlone) {
    produce(40);
    const auto all = log();
    const auto in_one =
        std::count_if(all.begin(), all.end(), [](const Place& place) { return place.first == 1; });
    ASSERT_GT(in_one, 3);
    ASSERT_LT(in_one, 37);
    const Place poison{0, 2};
    ConsumerOptions in_order = options();
    in_order.stopped_keys_max = 0;
    Running running{in_order, [&](const Message& message) -> Reply {
                        ledger_.add(message);
                        if (Place{message.partition, message.position} != poison) {
                            return Settlement::processed;
                        }
                        return {Settlement::in_progress, 15ms};
                    }};
    // It came again and again, and all of the other partition meanwhile.
    ASSERT_TRUE(ledger_.wait_for([&](const std::vector<Place>& places) {
        const auto others = std::count_if(places.begin(), places.end(),
                                          [](const Place& place) { return place.first == 1; });
        return std::count(places.begin(), places.end(), poison) > 10 && others == in_one;
    }));
    EXPECT_EQ(running.consumer().status().waiting, 1U);
    running.stop();
    for (const auto& [partition, position] : ledger_.places()) {
        EXPECT_TRUE(partition == 1 || position <= 2) << "position " << position;
    }
    EXPECT_EQ(committed(), (std::vector<std::int64_t>{2, ends()[1]}));
}

TEST_F(KafkaConsumerTest, F67_AMessageWhoseOffsetWasNotCommittedComesAgainToTheNext) {
    produce(20);
    mock_.fail_next(tests::kApiOffsetCommit, std::vector<rd_kafka_resp_err_t>(
                                                 50, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED));
    Running first{options(), into_the_ledger()};
    ASSERT_TRUE(ledger_.wait_for(20));
    first.stop();
    mock_.clear_failures(tests::kApiOffsetCommit);
    ASSERT_EQ(committed(), (std::vector<std::int64_t>{0, 0})) << "as if it had been killed";
    Running second{options(), into_the_ledger()};
    ASSERT_TRUE(ledger_.wait_for(40));
    second.stop();
    EXPECT_EQ(once_each(ledger_.places()), log());
    EXPECT_EQ(committed(), ends());
}

TEST_F(KafkaConsumerTest, ACommitThatFailsIsMadeAgain) {
    produce(20);
    mock_.fail_next(tests::kApiOffsetCommit, {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
                                              RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED});
    Running running{options(), into_the_ledger()};
    ASSERT_TRUE(ledger_.wait_for(20));
    EXPECT_TRUE(all_of_the_log_is_committed()) << "while it runs, without another message";
    running.stop();
}

// The client gives a partition up for good whose committed offset it was refused.
TEST_F(KafkaConsumerTest, ACommittedOffsetThatCannotBeReadIsReadAgain) {
    produce(20);
    for (const auto error :
         {RD_KAFKA_RESP_ERR_NOT_COORDINATOR, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
          RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED}) {
        mock_.fail_next(tests::kApiOffsetFetch, {error});
        const std::size_t before = ledger_.places().size();
        ConsumerOptions fresh = options();
        fresh.group = "billing-" + std::to_string(error);
        Running running{fresh, [&](const Message& message) -> Reply {
                            ledger_.add(message);
                            return Settlement::processed;
                        }};
        EXPECT_TRUE(ledger_.wait_for(before + 20)) << rd_kafka_err2name(error);
        running.stop();
        mock_.clear_failures(tests::kApiOffsetFetch);
    }
}

TEST_F(KafkaConsumerTest, F73_AHandlerThatThrowsMeetsTheSameMessageAgain) {
    produce(10);
    int failures = 0;
    Running running{options(), [&](const Message& message) -> Reply {
                        ledger_.add(message);
                        if (message.partition == 0 && message.position == 0 && ++failures < 5) {
                            throw std::runtime_error("no database");
                        }
                        return Settlement::processed;
                    }};
    ASSERT_TRUE(ledger_.wait_for(14));
    running.stop();
    EXPECT_EQ(once_each(ledger_.places()), log());
    EXPECT_EQ(committed(), ends());
    EXPECT_EQ(running.consumer().status().retried, 4U);
}

TEST_F(KafkaConsumerTest, AFatalErrorOfTheHandlerEndsItWithoutCommittingItsMessage) {
    produce(20);
    Running running{options(), [&](const Message& message) -> Reply {
                        ledger_.add(message);
                        if (message.partition == 0 && message.position == 1) {
                            throw Error(ErrorKind::fatal, "made_up", "cannot go on", "look");
                        }
                        return Settlement::processed;
                    }};
    EXPECT_THROW(running.join(), Error);
    EXPECT_EQ(committed()[0], 1) << "what came before it is committed";
    struct Odd {};
    Running other{options(), [&](const Message& message) -> Reply {
                      EXPECT_FALSE(message.partition == 0 && message.position == 0);
                      if (message.partition == 0) throw Odd{};
                      return Settlement::processed;
                  }};
    EXPECT_THROW(other.join(), Odd);
    EXPECT_EQ(committed()[0], 1);
}

TEST_F(KafkaConsumerTest, StoppingLetsTheHandlerFinishAndTakesNothingMore) {
    produce(20);
    std::optional<Running> running;
    std::mutex ready;
    std::unique_lock hold{ready};
    running.emplace(options(), [&](const Message& message) -> Reply {
        ledger_.add(message);
        const std::lock_guard wait{ready};
        return Settlement::processed;
    });
    ASSERT_TRUE(ledger_.wait_for(1));
    running->request_stop();
    hold.unlock();
    running->join();
    ASSERT_EQ(ledger_.places().size(), 1U);
    const auto offsets = committed();
    EXPECT_EQ(offsets[0] + offsets[1], 1) << "the one that was in hand";
}

TEST_F(KafkaConsumerTest, WaitsForServersThatAreAwayAndStopsWithoutThem) {
    produce(10);
    mock_.down(1);
    ConsumerOptions waiting = options();
    waiting.stop_timeout = 500ms;
    Running running{waiting, into_the_ledger()};
    EXPECT_TRUE(eventually([&] { return !running.consumer().status().trouble.empty(); }));
    mock_.up(1);
    ASSERT_TRUE(ledger_.wait_for(10));
    EXPECT_EQ(running.consumer().status().trouble, "");
    mock_.down(1);
    running.stop();
    mock_.up(1);
}

TEST_F(KafkaConsumerTest, F74_MembersThatComeAndGoUnderLoadSkipNothing) {
    const auto handler = [&](const Message& message) -> Reply {
        ledger_.add(message);
        if (message.position % 7 == 3 && ledger_.places().size() % 2 == 0) {
            return {Settlement::retry_later, 10ms};
        }
        return Settlement::processed;
    };
    produce(200);
    {
        Running first{options(), handler};
        ASSERT_TRUE(ledger_.wait_for(50));
        std::optional<Running> second;
        second.emplace(options(), handler);
        produce(200);
        ASSERT_TRUE(ledger_.wait_for(250));
        first.stop();
        produce(200);
        Running third{options(), handler};
        ASSERT_TRUE(ledger_.wait_for(
            [&](const std::vector<Place>& places) { return once_each(places).size() == 600; }));
        EXPECT_TRUE(all_of_the_log_is_committed());
        second->stop();
        third.stop();
    }
    EXPECT_EQ(ledger_.skipped(), std::vector<Place>{});
    EXPECT_EQ(once_each(ledger_.places()), log());
}

}  // namespace

}  // namespace sagaz::kafka
