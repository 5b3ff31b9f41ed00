#pragma once

#include "app/bench/runs.hpp"
#include "app/commands.hpp"

#include <sagaz/broker.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

struct rd_kafka_s;

namespace sagaz::inline v0::app::bench {

struct DestroyKafkaClient {
    void operator()(rd_kafka_s* client) const noexcept;
};
using KafkaClient = std::unique_ptr<rd_kafka_s, DestroyKafkaClient>;

/// A topic of four partitions, made by this object and removed with it. One of that name that is
/// there already is removed first. Throws `unavailable` (`bench_failed`).
class KafkaTopic {
public:
    KafkaTopic(const BrokerTarget& target, std::string name);
    ~KafkaTopic();
    KafkaTopic(const KafkaTopic&) = delete;
    KafkaTopic& operator=(const KafkaTopic&) = delete;

private:
    KafkaClient client_;
    std::string name_;
};

/// Messages in memory, and the least that librdkafka needs to send them.
class KafkaFeed {
public:
    static constexpr std::size_t kKept = 100'000;  ///< Messages; they are sent again in turns.

    void keep(std::span<const Envelope> envelopes);

    /// Sends `count` messages and waits until all are acknowledged: idempotent, acks=all, every
    /// setting of throughput as librdkafka has it.
    Cost produce(const BrokerTarget& target, std::int64_t count) const;

private:
    struct Kept {
        std::string topic;
        std::optional<std::string> key;
        std::vector<std::pair<std::string, std::string>> headers;
        std::string payload;
    };
    std::vector<Kept> messages_;
};

/// The least that librdkafka needs for a message of 200 bytes: from the call that takes it to its
/// acknowledgement, at a steady rate and without lingering, in milliseconds, sorted.
std::vector<double> round_trips(const BrokerTarget& target, const std::string& topic, int rate,
                                double seconds);

}  // namespace sagaz::inline v0::app::bench
