#pragma once

#include <sagaz/broker.hpp>
#include <sagaz/export.hpp>

#include <map>
#include <memory>
#include <string>

namespace sagaz::inline v0::kafka {

struct Options {
    /// Comma-separated host:port.
    std::string bootstrap_servers{};
    /// Passed to librdkafka after a check against an allow-list: transport, TLS, SASL, sizes and
    /// linger. What the relay's promises rest on (acks, idempotence, partitioner, time-outs of
    /// messages) cannot be set; trying throws `invalid` (`broker_option`).
    std::map<std::string, std::string> client{};
    /// Messages in the client at most, 1 to 10,000,000. More than fill one request a broker only
    /// take memory, about a kilobyte each beside their payload.
    std::size_t queue_max{2'000};
    std::size_t queue_max_bytes{std::size_t{16} << 20};  ///< Their bytes at most.
};

/// Opens a Kafka destination: idempotent, acks=all, gapless, murmur2_random partitions.
/// Does not connect here; throws `invalid` (`broker_option`) for options that cannot be right.
SAGAZ_EXPORT std::unique_ptr<Broker> open(Options options);

/// The same for an `OptimisticPublisher`, where each event counts by itself: a message leaves at
/// once instead of waiting a millisecond for others (`linger.ms` 0, unless `client` says it).
/// Under load messages gather in requests all the same, while the one before is on its way.
SAGAZ_EXPORT std::unique_ptr<Broker> open_for_publisher(Options options);

}  // namespace sagaz::inline v0::kafka
