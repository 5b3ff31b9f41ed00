#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace sagaz::inline v0::app {

struct BrokerTarget;

/// For how long a broker keeps the messages of a topic.
struct TopicRetention {
    std::string topic{};
    std::optional<std::chrono::milliseconds> kept{};  ///< None: for ever, or `trouble`.
    std::string trouble{};                            ///< Why it is not known.
};

/// Asks Kafka; in the order of `topics`. Throws `unavailable` (`broker_unreachable`) when there is
/// no answer within `deadline`.
std::vector<TopicRetention> retentions_of(const BrokerTarget& target,
                                          const std::vector<std::string>& topics,
                                          std::chrono::milliseconds deadline);

}  // namespace sagaz::inline v0::app
