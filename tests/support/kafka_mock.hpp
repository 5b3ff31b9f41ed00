#pragma once

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <memory>
#include <string>
#include <vector>

namespace sagaz::tests {

/// Request types of the protocol, for errors to inject
/// (https://kafka.apache.org/protocol.html#protocol_api_keys).
inline constexpr int kApiProduce = 0;
inline constexpr int kApiMetadata = 3;
inline constexpr int kApiOffsetCommit = 8;
inline constexpr int kApiOffsetFetch = 9;
inline constexpr int kApiInitProducerId = 22;

/// librdkafka's mock cluster in this process, on loopback ports: for failures on command. It keeps
/// its logs until destroyed. It does not check sequence numbers: it shows what a client sends, not
/// what a server would refuse.
class KafkaMock {
public:
    explicit KafkaMock(int brokers = 1);
    ~KafkaMock();
    KafkaMock(const KafkaMock&) = delete;
    KafkaMock& operator=(const KafkaMock&) = delete;

    std::string bootstrap() const;
    void create_topic(const std::string& topic, int partitions);
    /// What the cluster says of the topic from now on; NO_ERROR: it is well again.
    void topic_error(const std::string& topic, rd_kafka_resp_err_t error);
    /// The next requests of this type fail so, one after the other. __TRANSPORT cuts the
    /// connection.
    void fail_next(int api, const std::vector<rd_kafka_resp_err_t>& errors);
    void clear_failures(int api);
    /// Answers take this long; the append is at once.
    void delay(int broker, int milliseconds);
    void down(int broker);
    void up(int broker);
    /// -1: none.
    void leader(const std::string& topic, int partition, int broker);

private:
    struct Deleter {
        void operator()(rd_kafka_t* client) const noexcept { rd_kafka_destroy(client); }
    };

    std::unique_ptr<rd_kafka_t, Deleter> client_;
    rd_kafka_mock_cluster_t* cluster_;
};

}  // namespace sagaz::tests
