#include "brokers/kafka/kafka_errors.hpp"

#include "brokers/kafka/isolation.hpp"
#include "brokers/kafka/topic_name.hpp"
#include "brokers/kafka/window.hpp"

#include <gtest/gtest.h>

#include <string>

namespace sagaz::kafka {

namespace {

using State = Receipt::State;

struct Row {
    rd_kafka_resp_err_t error;
    State state;
    const char* reason;
};

constexpr Row kRows[] = {
    {RD_KAFKA_RESP_ERR_NO_ERROR, State::accepted, ""},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, State::refused, "payload_too_large"},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, State::refused, "payload_too_large"},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, State::refused, "invalid_record"},
    {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, State::refused, "policy_violation"},
    {RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, State::refused, "invalid_topic"},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, State::refused, "unknown_topic"},
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, State::refused, "unknown_topic"},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, State::refused, "not_authorized"},
    // Outages and breaks: never refused.
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, State::unknown, ""},
    {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, State::unknown, ""},
    {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, State::unknown, ""},
    {RD_KAFKA_RESP_ERR__PURGE_QUEUE, State::unknown, ""},
    {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, State::unknown, ""},
    {RD_KAFKA_RESP_ERR__FATAL, State::unknown, ""},
    {RD_KAFKA_RESP_ERR__TRANSPORT, State::unknown, ""},
    {RD_KAFKA_RESP_ERR_UNKNOWN, State::unknown, ""},
};

class KafkaErrors : public ::testing::TestWithParam<Row> {};

}  // namespace

TEST_P(KafkaErrors, MeanThis) {
    const Verdict said = verdict(GetParam().error);
    EXPECT_EQ(said.state, GetParam().state);
    EXPECT_STREQ(said.reason, GetParam().reason);
    // Whoever refuses says what to change.
    EXPECT_EQ(refusal_detail(said.reason, "seen").starts_with("seen; "),
              said.state == State::refused);
}
INSTANTIATE_TEST_SUITE_P(Rows, KafkaErrors, ::testing::ValuesIn(kRows), [](const auto& row) {
    std::string name = rd_kafka_err2name(row.param.error);
    return name[0] == '_' ? "Local" + name : name;
});

TEST(TopicName, FollowsKafkasRule) {
    for (const char* good : {"orders", "a.b_c-D9", "...", "0"}) EXPECT_TRUE(is_topic_name(good));
    EXPECT_TRUE(is_topic_name(std::string(249, 'x')));
    for (const char* bad : {"", ".", "..", "a b", "a/b", "ü", "a\n"}) {
        EXPECT_FALSE(is_topic_name(bad)) << bad;
    }
    EXPECT_FALSE(is_topic_name(std::string(250, 'x')));
}

TEST(Window, HoldsTheOldestUntilItIsSettled) {
    Window window{3, 100};
    const auto now = Window::Clock::now();
    for (std::uint64_t token = 7; token < 10; ++token) window.add(token, 10, now);
    EXPECT_FALSE(window.has_room_for(1));
    EXPECT_EQ(window.settle(2), 9U);
    EXPECT_FALSE(window.has_room_for(1)) << "the ring is bounded by its oldest";
    EXPECT_EQ(window.settle(0), 7U);
    EXPECT_EQ(window.oldest(), 1U);
    EXPECT_TRUE(window.has_room_for(1));
    EXPECT_EQ(window.settle(1), 8U);
    EXPECT_TRUE(window.empty());
    window.add(11, 500, now);  // Above the byte limit: alone.
    EXPECT_FALSE(window.has_room_for(1));
    EXPECT_EQ(window.settle(3), 11U);
    EXPECT_TRUE(window.has_room_for(1'000));
}

TEST(WindowDeathTest, DiesOfASecondReceipt) {
    Window window{3, 100};
    window.add(7, 10, Window::Clock::now());
    window.settle(0);
    EXPECT_DEATH(window.settle(0), "broken promise");
}

TEST(Isolation, LastsUntilEverySuspectHasItsAnswerAndHalvesTheBatchOfTheInnocent) {
    Isolation isolation;
    isolation.begin(2);
    EXPECT_TRUE(isolation.batching().single);
    isolation.answered(false);
    EXPECT_FALSE(isolation.done());
    isolation.answered(false);
    EXPECT_TRUE(isolation.done());
    isolation.end();
    EXPECT_FALSE(isolation.batching().single);
    EXPECT_EQ(isolation.batching().bytes_max, Isolation::kBatchBytes / 2);
    for (int n = 0; n < 20; ++n) {
        isolation.begin(1);
        isolation.answered(false);
        isolation.end();
    }
    EXPECT_EQ(isolation.batching().bytes_max, Isolation::kBatchBytesMin);
}

TEST(Isolation, KeepsTheBatchSizeWhenOneWasGuilty) {
    Isolation isolation;
    isolation.begin(2);
    isolation.answered(true);
    isolation.answered(false);
    isolation.end();
    EXPECT_EQ(isolation.batching().bytes_max, 0U);
}

}  // namespace sagaz::kafka
