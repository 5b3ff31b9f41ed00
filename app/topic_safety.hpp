#pragma once

#include <optional>
#include <string>
#include <vector>

/// What a cluster says of topics, and whether an event that it acknowledged is safe there.
namespace sagaz::inline v0::app {

struct TopicLook {
    std::string name{};
    bool exists{};
    int replicas{};        ///< Of the partition that has the fewest.
    int in_sync{};         ///< The same.
    int without_leader{};  ///< Partitions.
    std::optional<int> min_in_sync{};
    std::optional<bool> unclean{};  ///< unclean.leader.election.enable
    std::string trouble{};          ///< Why its configuration is not known.
};

struct ClusterLook {
    int brokers{};
    std::optional<bool> makes_topics{};  ///< auto.create.topics.enable; none: not known.
    std::string trouble{};               ///< Why that is not known.
    std::vector<TopicLook> topics{};
};

struct TopicTrouble {
    std::string seen{};
    std::string what_to_do{};
};

/// What is wrong with how safely the topics keep what they acknowledge; empty when nothing is.
/// `acks=all` is fixed (src/brokers/kafka): an event counts as published when every replica that is
/// in sync has it. How many that are at least is the topic's to say. A cluster of one broker has no
/// choice and is not blamed for it.
std::vector<TopicTrouble> weak_topics(const ClusterLook& cluster);

}  // namespace sagaz::inline v0::app
