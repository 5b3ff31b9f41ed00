#include "app/topic_retention.hpp"

#include "app/commands.hpp"
#include "app/kafka_client.hpp"
#include "app/kafka_configs.hpp"
#include "app/url.hpp"

#include <sagaz/error.hpp>

#include <charconv>

namespace sagaz::inline v0::app {
namespace {

// A topic that is compacted and not deleted from keeps the newest message of a key for ever.
TopicRetention retention_in(const std::string& topic, const KafkaConfig& config) {
    TopicRetention found{topic};
    if (!config.trouble.empty()) {
        found.trouble = config.trouble;
        return found;
    }
    const auto kept = config.value("retention.ms");
    std::int64_t milliseconds = 0;
    const auto [end, error] = std::from_chars(kept.data(), kept.data() + kept.size(), milliseconds);
    if (error != std::errc{}) {
        found.trouble = "it has no retention.ms";
    } else if (milliseconds >= 0 &&
               config.value("cleanup.policy").find("delete") != std::string::npos) {
        found.kept = std::chrono::milliseconds{milliseconds};
    }
    return found;
}

}  // namespace

std::vector<TopicRetention> retentions_of(const BrokerTarget& target,
                                          const std::vector<std::string>& topics,
                                          std::chrono::milliseconds deadline) {
    const auto url = parse_broker_url(target.url, "the configuration");
    std::string words;
    const auto client = asking_client(kafka_options(url.place, target), words);
    if (!client) throw broker_unreachable(words);
    const auto configs = configs_of(client.get(), RD_KAFKA_RESOURCE_TOPIC, topics, deadline, words);
    std::vector<TopicRetention> all;
    for (const auto& topic : topics)
        all.push_back(retention_in(topic, configs.find(topic)->second));
    return all;
}

}  // namespace sagaz::inline v0::app
