#include "app/topic_safety.hpp"

namespace sagaz::inline v0::app {
namespace {

std::string count_of(int number, const char* what) {
    return std::to_string(number) + ' ' + what + (number == 1 ? "" : "s");
}

std::string set_min(const TopicLook& topic, int value) {
    return "kafka-configs.sh --alter --entity-type topics --entity-name " + topic.name +
           " --add-config min.insync.replicas=" + std::to_string(value);
}

std::optional<TopicTrouble> trouble_of(const TopicLook& topic, int brokers) {
    if (topic.without_leader > 0) {
        return TopicTrouble{
            topic.name + ": " + count_of(topic.without_leader, "partition") + " without a leader",
            "bring the brokers back that have it: its keys wait until then"};
    }
    if (topic.min_in_sync && *topic.min_in_sync > topic.replicas) {
        return TopicTrouble{topic.name + ": min.insync.replicas is " +
                                std::to_string(*topic.min_in_sync) + " and it has " +
                                count_of(topic.replicas, "replica") + ", so it takes no event",
                            topic.replicas > 1 ? set_min(topic, topic.replicas - 1)
                                               : set_min(topic, 1) + ", or give it more replicas"};
    }
    if (topic.min_in_sync && topic.in_sync < *topic.min_in_sync) {
        return TopicTrouble{topic.name + ": " + count_of(topic.in_sync, "replica") +
                                " in sync and min.insync.replicas is " +
                                std::to_string(*topic.min_in_sync) + ", so it takes no event now",
                            "bring the brokers back that have its replicas"};
    }
    if (brokers < 2) return std::nullopt;
    if (topic.replicas < 2) {
        return TopicTrouble{
            topic.name + ": one replica, so the loss of one broker loses its events",
            "give it three replicas (kafka-reassign-partitions.sh) and "
            "min.insync.replicas=2"};
    }
    if (topic.min_in_sync && *topic.min_in_sync < 2) {
        return TopicTrouble{
            topic.name +
                ": min.insync.replicas is 1, so an event may be acknowledged that "
                "one broker alone has",
            set_min(topic, 2) + (topic.replicas < 3 ? ", after giving it a third replica" : "")};
    }
    if (topic.unclean.value_or(false)) {
        return TopicTrouble{topic.name +
                                ": unclean.leader.election.enable, so a broker that lacks "
                                "acknowledged events may become its leader",
                            "set unclean.leader.election.enable=false for it"};
    }
    return std::nullopt;
}

}  // namespace

std::vector<TopicTrouble> weak_topics(const ClusterLook& cluster) {
    std::vector<TopicTrouble> all;
    for (const auto& topic : cluster.topics) {
        if (!topic.exists) continue;
        if (auto trouble = trouble_of(topic, cluster.brokers)) all.push_back(std::move(*trouble));
    }
    return all;
}

}  // namespace sagaz::inline v0::app
