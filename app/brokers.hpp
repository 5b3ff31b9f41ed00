#pragma once

#include <chrono>
#include <memory>
#include <string>

namespace sagaz::inline v0 {
class Broker;
}  // namespace sagaz::inline v0

namespace sagaz::inline v0::app {

struct BrokerTarget;

/// The one place that knows which class stands behind which URL.
std::unique_ptr<Broker> open_broker(const BrokerTarget& target);

/// Empty when the destination answers within `deadline`; otherwise why not. For Kafka the answer is
/// its metadata, so a listening port alone does not count.
std::string why_unreachable(const BrokerTarget& target, std::chrono::milliseconds deadline);

}  // namespace sagaz::inline v0::app
