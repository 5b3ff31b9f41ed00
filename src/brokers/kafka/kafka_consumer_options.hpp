#pragma once

#include "brokers/kafka/kafka_options.hpp"

#include <sagaz/consumer.hpp>

namespace sagaz::inline v0::kafka {

/// Throws `invalid`: `broker_option` as for a producer, `option_range`, `group_missing`,
/// `topic_missing`.
void check(const ConsumerOptions& options);

/// The client's configuration for checked options: theirs first, then what the promises rest on.
Conf make_conf(const ConsumerOptions& options);

}  // namespace sagaz::inline v0::kafka
