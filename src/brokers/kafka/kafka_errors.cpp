#include "brokers/kafka/kafka_errors.hpp"

#include <algorithm>
#include <iterator>

namespace sagaz::inline v0::kafka {

namespace {

struct Row {
    rd_kafka_resp_err_t error;
    Verdict verdict;
};

constexpr auto kRefused = Receipt::State::refused;

// Refused is what no repetition can cure. Not here on purpose, hence unknown: a missing leader, too
// few replicas, a full disk, a time-out, a fence (outages and breaks); cluster-wide denials, an
// unsupported compression or a clock that the server does not believe (they would park everything,
// and a person cures them all at once); a checksum error (the wire's fault).
constexpr Row kTable[] = {
    {RD_KAFKA_RESP_ERR_NO_ERROR, {Receipt::State::accepted, "", false}},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, {kRefused, "payload_too_large", true}},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, {kRefused, "payload_too_large", true}},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, {kRefused, "invalid_record", true}},
    {RD_KAFKA_RESP_ERR_POLICY_VIOLATION, {kRefused, "policy_violation", true}},
    {RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, {kRefused, "invalid_topic", false}},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, {kRefused, "unknown_topic", false}},
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, {kRefused, "unknown_topic", false}},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, {kRefused, "not_authorized", false}},
};

struct Advice {
    std::string_view reason;
    std::string_view what_to_do;
};

constexpr Advice kAdvice[] = {
    {"payload_too_large",
     "send less, or raise each of message.max.bytes in broker.options, max.message.bytes of the "
     "topic and message.max.bytes of the servers"},
    {"invalid_record",
     "see the server's log: a compacted topic, for one, takes no event without a key"},
    {"policy_violation", "see the policy that the servers were given"},
    {"invalid_topic", "a topic has 1 to 249 letters, digits, dots, underscores and dashes"},
    {"unknown_topic", "create the topic, or correct the event's"},
    {"not_authorized", "allow this relay's user to write to the topic and to describe it"},
};

}  // namespace

std::string refusal_detail(std::string_view reason, std::string_view seen) {
    const auto* const found = std::find_if(std::begin(kAdvice), std::end(kAdvice),
                                           [&](const Advice& row) { return row.reason == reason; });
    std::string detail{seen};
    if (found != std::end(kAdvice)) detail.append("; ").append(found->what_to_do);
    return detail;
}

Verdict verdict(rd_kafka_resp_err_t error) {
    for (const Row& row : kTable) {
        if (row.error == error) return row.verdict;
    }
    return {};
}

}  // namespace sagaz::inline v0::kafka
