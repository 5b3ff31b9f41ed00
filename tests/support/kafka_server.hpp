#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>

namespace sagaz::tests {

/// A real Apache Kafka in a folder of its own, started by kafka.sh and gone with this object. It
/// takes a few seconds: share one among the tests of a binary, with a fresh topic for each.
class KafkaServer {
public:
    /// Java is there, and the jars are (or can be fetched). False says why on standard error,
    /// loudly: whoever falls back to the mock cluster tests less.
    static bool available();

    /// `properties`: more lines for server.properties. Throws when it does not start.
    explicit KafkaServer(const std::string& properties = {});
    ~KafkaServer();
    KafkaServer(const KafkaServer&) = delete;
    KafkaServer& operator=(const KafkaServer&) = delete;

    const std::string& bootstrap() const { return bootstrap_; }

    /// A new topic with a name of its own, which is returned.
    std::string create_topic(int partitions = 4,
                             const std::map<std::string, std::string>& config = {});
    /// One of that name; throws while the server still deletes an earlier one.
    void create_topic_named(const std::string& topic, int partitions = 4,
                            const std::map<std::string, std::string>& config = {});
    void delete_topic(const std::string& topic);
    /// As retention does: what is before `offset` is gone.
    void delete_records(const std::string& topic, int partition, std::int64_t offset);
    /// Nobody may write to `topic` from now on; without `describe`, nor see that it exists.
    void deny_writing(const std::string& topic, bool describe);

    void kill();     ///< -9
    void freeze();   ///< SIGSTOP
    void thaw();     ///< SIGCONT
    void restart();  ///< After `kill`: same ports, same data.

private:
    void read_state();

    std::string folder_;
    std::string bootstrap_;
    pid_t pid_{};
    int topics_{};
};

}  // namespace sagaz::tests
