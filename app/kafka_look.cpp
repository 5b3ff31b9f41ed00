// Metadata of the whole cluster (to ask a broker for one topic by name may make it, where topics
// are made by themselves), then the configuration of those topics that are there and of a broker.
#include "app/kafka_look.hpp"

#include "app/commands.hpp"
#include "app/kafka_client.hpp"
#include "app/kafka_configs.hpp"
#include "app/url.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace sagaz::inline v0::app {
namespace {

struct DestroyMetadata {
    void operator()(const rd_kafka_metadata_t* one) const { rd_kafka_metadata_destroy(one); }
};
using Metadata = std::unique_ptr<const rd_kafka_metadata_t, DestroyMetadata>;

Metadata metadata_of(rd_kafka_t* client, std::chrono::milliseconds deadline,
                     const std::string& words) {
    const rd_kafka_metadata_t* found = nullptr;
    const auto answer =
        rd_kafka_metadata(client, 1, nullptr, &found, static_cast<int>(deadline.count()));
    if (answer != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_poll(client, 0);
        throw broker_unreachable(words.empty() ? rd_kafka_err2str(answer) : words);
    }
    return Metadata{found};
}

TopicLook look_at(const std::string& name, const rd_kafka_metadata_t& all) {
    TopicLook look{.name = name};
    for (int n = 0; n < all.topic_cnt; ++n) {
        const auto& topic = all.topics[n];
        if (name != topic.topic || topic.partition_cnt == 0) continue;
        look.exists = true;
        look.replicas = look.in_sync = topic.partitions[0].replica_cnt;
        for (int p = 0; p < topic.partition_cnt; ++p) {
            const auto& partition = topic.partitions[p];
            look.replicas = std::min(look.replicas, partition.replica_cnt);
            look.in_sync = std::min(look.in_sync, partition.isr_cnt);
            if (partition.leader < 0) ++look.without_leader;
        }
    }
    return look;
}

void add_config(TopicLook& topic, const KafkaConfig& config) {
    topic.trouble = config.trouble;
    if (!config.trouble.empty()) return;
    if (const auto least = config.value("min.insync.replicas"); !least.empty()) {
        topic.min_in_sync = static_cast<int>(std::strtol(least.c_str(), nullptr, 10));
    }
    if (const auto unclean = config.value("unclean.leader.election.enable"); !unclean.empty()) {
        topic.unclean = unclean == "true";
    }
}

}  // namespace

ClusterLook look_at_cluster(const BrokerTarget& target, const std::vector<std::string>& topics,
                            std::chrono::milliseconds deadline) {
    const auto url = parse_broker_url(target.url, "the configuration");
    std::string words;
    const auto client = asking_client(kafka_options(url.place, target), words);
    if (!client) throw broker_unreachable(words);
    const auto metadata = metadata_of(client.get(), deadline, words);
    ClusterLook look{.brokers = metadata->broker_cnt};
    std::vector<std::string> there;
    for (const auto& topic : topics) {
        look.topics.push_back(look_at(topic, *metadata));
        if (look.topics.back().exists) there.push_back(topic);
    }
    const auto configs = configs_of(client.get(), RD_KAFKA_RESOURCE_TOPIC, there, deadline, words);
    for (auto& topic : look.topics) {
        if (topic.exists) add_config(topic, configs.find(topic.name)->second);
    }
    if (there.size() == topics.size() || metadata->broker_cnt == 0) return look;
    const auto broker = std::to_string(metadata->brokers[0].id);
    const auto config =
        configs_of(client.get(), RD_KAFKA_RESOURCE_BROKER, std::vector{broker}, deadline, words);
    look.trouble = config.find(broker)->second.trouble;
    if (look.trouble.empty()) {
        look.makes_topics =
            config.find(broker)->second.value("auto.create.topics.enable") == "true";
    }
    return look;
}

}  // namespace sagaz::inline v0::app
