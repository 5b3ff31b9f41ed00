#pragma once

#include <librdkafka/rdkafka.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

/// What a Kafka says of its configuration, by one DescribeConfigs for all that is asked.
namespace sagaz::inline v0::app {

struct KafkaConfig {
    std::map<std::string, std::string, std::less<>> values{};
    std::string trouble{};  ///< Why there are none.

    /// Empty when it is not there.
    std::string value(std::string_view name) const;
};

/// By name: each of `names` is there. Throws `unavailable` (`broker_unreachable`) when there is no
/// answer within `deadline`; `words` is the client's, as `asking_client` has it.
std::map<std::string, KafkaConfig, std::less<>> configs_of(rd_kafka_t* client,
                                                           rd_kafka_ResourceType_t kind,
                                                           const std::vector<std::string>& names,
                                                           std::chrono::milliseconds deadline,
                                                           const std::string& words);

}  // namespace sagaz::inline v0::app
