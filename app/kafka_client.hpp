#pragma once

#include <sagaz/error.hpp>
#include <sagaz/kafka.hpp>

#include <librdkafka/rdkafka.h>

#include <memory>
#include <string>

namespace sagaz::inline v0::app {

struct BrokerTarget;

struct DestroyKafkaClient {
    void operator()(rd_kafka_t* client) const noexcept { rd_kafka_destroy(client); }
};
using KafkaClient = std::unique_ptr<rd_kafka_t, DestroyKafkaClient>;

/// `unavailable` (`broker_unreachable`), with what to do.
Error broker_unreachable(const std::string& why);

kafka::Options kafka_options(const std::string& servers, const BrokerTarget& target);

/// A client that asks a cluster about itself. `words` gets its latest word on a connection, which
/// says more than "no answer", and must outlive it. Null when there is none: `words` says why.
/// Throws `invalid` (`broker_option`).
KafkaClient asking_client(const kafka::Options& options, std::string& words);

}  // namespace sagaz::inline v0::app
