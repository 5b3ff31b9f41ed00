#include "app/topic_safety.hpp"

#include <gtest/gtest.h>

namespace sagaz::app {
namespace {

ClusterLook three_brokers() {
    return {.brokers = 3,
            .makes_topics = false,
            .topics = {{.name = "orders",
                        .exists = true,
                        .replicas = 3,
                        .in_sync = 3,
                        .min_in_sync = 2,
                        .unclean = false}}};
}

// The one thing that is seen of it; fails unless there is exactly one.
std::string seen(const ClusterLook& cluster) {
    const auto all = weak_topics(cluster);
    EXPECT_EQ(all.size(), 1U);
    if (all.empty()) return {};
    EXPECT_FALSE(all[0].what_to_do.empty());
    return all[0].seen;
}

TEST(TopicSafety, IsSilentWhenTwoBrokersHaveEveryEvent) {
    EXPECT_TRUE(weak_topics(three_brokers()).empty());
}

TEST(TopicSafety, NamesWhatOneBrokerAloneMayHave) {
    auto cluster = three_brokers();
    cluster.topics[0].min_in_sync = 1;
    EXPECT_NE(seen(cluster).find("one broker alone"), std::string::npos);
    cluster.topics[0].replicas = cluster.topics[0].in_sync = 1;
    EXPECT_NE(seen(cluster).find("one replica"), std::string::npos);
}

TEST(TopicSafety, NamesWhatTakesNoEvent) {
    auto cluster = three_brokers();
    cluster.topics[0].in_sync = 1;
    EXPECT_NE(seen(cluster).find("takes no event now"), std::string::npos);
    cluster.topics[0].min_in_sync = 4;
    EXPECT_NE(seen(cluster).find("takes no event"), std::string::npos);
    cluster.topics[0].without_leader = 1;
    EXPECT_NE(seen(cluster).find("1 partition without a leader"), std::string::npos);
}

TEST(TopicSafety, NamesAnUncleanElection) {
    auto cluster = three_brokers();
    cluster.topics[0].unclean = true;
    EXPECT_NE(seen(cluster).find("unclean"), std::string::npos);
}

TEST(TopicSafety, DoesNotBlameASingleBrokerForBeingAlone) {
    auto cluster = three_brokers();
    cluster.brokers = 1;
    cluster.topics[0].replicas = cluster.topics[0].in_sync = 1;
    cluster.topics[0].min_in_sync = 1;
    cluster.topics[0].unclean = true;
    EXPECT_TRUE(weak_topics(cluster).empty());
    cluster.topics[0].min_in_sync = 2;
    EXPECT_NE(seen(cluster).find("takes no event"), std::string::npos);
}

TEST(TopicSafety, SaysNothingOfWhatIsNotThereOrNotKnown) {
    auto cluster = three_brokers();
    cluster.topics[0].min_in_sync.reset();
    cluster.topics[0].unclean.reset();
    EXPECT_TRUE(weak_topics(cluster).empty());
    cluster.topics[0] = {.name = "missing"};
    EXPECT_TRUE(weak_topics(cluster).empty());
}

}  // namespace
}  // namespace sagaz::app
