#pragma once

#include "app/topic_safety.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace sagaz::inline v0::app {

struct BrokerTarget;

/// What the cluster says of itself and of `topics`, without making one: it is asked for all that it
/// has. Throws `unavailable` (`broker_unreachable`) when there is no answer; takes three times
/// `deadline` at most.
ClusterLook look_at_cluster(const BrokerTarget& target, const std::vector<std::string>& topics,
                            std::chrono::milliseconds deadline);

}  // namespace sagaz::inline v0::app
