#include "app/verify/sources.hpp"

#include <sagaz/error.hpp>

#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

// Where the end is. The high watermark of every partition is asked for once, before anything is
// read. A partition is finished when a message at or past that mark came, or when the client says
// it is at the partition's end (which also covers marks that no message will ever have: control
// records, compacted offsets). Reading stops when all are finished, so a topic that is written to
// meanwhile does not keep it going.
namespace sagaz::verify {

namespace {

struct DestroyClient {
    void operator()(rd_kafka_t* client) const noexcept { rd_kafka_destroy(client); }
};
struct DestroyMessage {
    void operator()(rd_kafka_message_t* message) const noexcept {
        rd_kafka_message_destroy(message);
    }
};
struct DestroyList {
    void operator()(rd_kafka_topic_partition_list_t* list) const noexcept {
        rd_kafka_topic_partition_list_destroy(list);
    }
};
using Client = std::unique_ptr<rd_kafka_t, DestroyClient>;
using Message = std::unique_ptr<rd_kafka_message_t, DestroyMessage>;
using List = std::unique_ptr<rd_kafka_topic_partition_list_t, DestroyList>;

constexpr int kAskMs = 15'000;

[[noreturn]] void unreachable(const std::string& seen) {
    throw Error(ErrorKind::unavailable, "broker_unreachable", seen,
                "Check --broker, and that the Kafka cluster answers.");
}

[[noreturn]] void unreadable(const std::string& seen) {
    throw Error(ErrorKind::unavailable, "topic_unreadable", seen,
                "Check the topic's name, and that every partition has a leader.");
}

Client open(const KafkaSource& source) {
    std::unique_ptr<rd_kafka_conf_t, decltype(&rd_kafka_conf_destroy)> conf(rd_kafka_conf_new(),
                                                                            rd_kafka_conf_destroy);
    char text[512] = {};
    const auto set = [&](const std::string& name, const std::string& value) {
        if (rd_kafka_conf_set(conf.get(), name.c_str(), value.c_str(), text, sizeof text) !=
            RD_KAFKA_CONF_OK) {
            throw Error(ErrorKind::invalid, "broker_option", name + ": " + text,
                        "Correct or remove this option of the broker.");
        }
    };
    set("fetch.wait.max.ms", "50");  // The end of a partition is told by an answer without rows.
    for (const auto& [name, value] : source.client) set(name, value);
    // After the given options, since the account rests on these.
    set("bootstrap.servers", source.bootstrap_servers);
    set("group.id", "sagaz-verify");  // required by the client; nothing is subscribed or committed
    set("enable.auto.commit", "false");
    set("enable.auto.offset.store", "false");
    set("auto.offset.reset", "error");
    set("enable.partition.eof", "true");
    set("queued.max.messages.kbytes", "32768");
    set("fetch.message.max.bytes", "4194304");
    // What matters comes back as errors; the client's own lines would only repeat it.
    rd_kafka_conf_set_log_cb(conf.get(), nullptr);
    Client client(rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), text, sizeof text));
    if (!client) {
        throw Error(ErrorKind::invalid, "broker_option", text, "Correct the broker's options.");
    }
    conf.release();  // the client's now
    rd_kafka_poll_set_consumer(client.get());
    return client;
}

std::vector<std::int32_t> partitions_of(rd_kafka_t* client, const std::string& topic) {
    std::unique_ptr<rd_kafka_topic_t, decltype(&rd_kafka_topic_destroy)> handle(
        rd_kafka_topic_new(client, topic.c_str(), nullptr), rd_kafka_topic_destroy);
    const rd_kafka_metadata_t* raw = nullptr;
    const rd_kafka_resp_err_t error = rd_kafka_metadata(client, 0, handle.get(), &raw, kAskMs);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        unreachable("the cluster did not answer about " + topic + ": " + rd_kafka_err2str(error));
    }
    const std::unique_ptr<const rd_kafka_metadata_t, decltype(&rd_kafka_metadata_destroy)> metadata(
        raw, rd_kafka_metadata_destroy);
    std::vector<std::int32_t> partitions;
    for (int t = 0; t < metadata->topic_cnt; ++t) {
        const rd_kafka_metadata_topic_t& found = metadata->topics[t];
        if (topic != found.topic) continue;
        if (found.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            unreadable(topic + ": " + rd_kafka_err2str(found.err));
        }
        for (int p = 0; p < found.partition_cnt; ++p) partitions.push_back(found.partitions[p].id);
    }
    if (partitions.empty()) unreadable(topic + " has no partition");
    return partitions;
}

using Place = std::pair<std::string, std::int32_t>;
using Ends = std::map<Place, std::int64_t>;  // the first offset that is not to be read

/// Assigns every partition that holds something, from its first message, and returns their ends.
Ends assign(rd_kafka_t* client, const KafkaSource& source) {
    Ends ends;
    const List list(rd_kafka_topic_partition_list_new(16));
    for (const std::string& topic : std::set(source.topics.begin(), source.topics.end())) {
        for (const std::int32_t partition : partitions_of(client, topic)) {
            std::int64_t low = 0;
            std::int64_t high = 0;
            const rd_kafka_resp_err_t error = rd_kafka_query_watermark_offsets(
                client, topic.c_str(), partition, &low, &high, kAskMs);
            if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
                unreadable(topic + " partition " + std::to_string(partition) + ": " +
                           rd_kafka_err2str(error));
            }
            if (low >= high) continue;
            rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset = low;
            ends.emplace(Place{topic, partition}, high);
        }
    }
    if (ends.empty()) return ends;
    const rd_kafka_resp_err_t error = rd_kafka_assign(client, list.get());
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) unreadable(rd_kafka_err2str(error));
    return ends;
}

void feed(const rd_kafka_message_t& message, const char* topic, Account& account) {
    std::vector<HeaderView> headers;
    rd_kafka_headers_t* raw = nullptr;
    if (rd_kafka_message_headers(&message, &raw) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char* name = nullptr;
        const void* value = nullptr;
        std::size_t size = 0;
        for (std::size_t n = 0;
             rd_kafka_header_get_all(raw, n, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
             ++n) {
            const auto* bytes = static_cast<const char*>(value);
            headers.push_back(
                {name, bytes == nullptr ? std::string_view{} : std::string_view(bytes, size)});
        }
    }
    Arrival arrival{.topic = topic, .partition = message.partition, .offset = message.offset};
    if (message.key != nullptr) {
        arrival.key = std::string_view(static_cast<const char*>(message.key), message.key_len);
    }
    arrival.headers = headers;
    if (message.payload != nullptr) {
        arrival.payload = std::string_view(static_cast<const char*>(message.payload), message.len);
    }
    account.arrive(arrival);
}

/// True when an error will pass by itself: the client keeps trying, and the bounded silence ends
/// the wait if it does not.
bool heals(rd_kafka_resp_err_t error) {
    switch (error) {
        case RD_KAFKA_RESP_ERR__TRANSPORT:
        case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        case RD_KAFKA_RESP_ERR__RESOLVE:
        case RD_KAFKA_RESP_ERR__TIMED_OUT:
        case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
        case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
        case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT: return true;
        default: return false;
    }
}

}  // namespace

void read_kafka(const KafkaSource& source, Account& account,
                const std::function<void()>& progress) {
    const Client client = open(source);
    Ends unfinished = assign(client.get(), source);
    auto heard = std::chrono::steady_clock::now();
    while (!unfinished.empty()) {
        const Message message(rd_kafka_consumer_poll(client.get(), 250));
        const auto now = std::chrono::steady_clock::now();
        if (!message || heals(message->err)) {
            if (now - heard > source.silence_max) {
                unreachable("no message for " + std::to_string(source.silence_max.count() / 1'000) +
                            " s, with " + std::to_string(unfinished.size()) +
                            " partitions not read to their end");
            }
            continue;
        }
        heard = now;
        const char* topic = message->rkt == nullptr ? "" : rd_kafka_topic_name(message->rkt);
        const auto place = unfinished.find({topic, message->partition});
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            if (place != unfinished.end() && message->offset >= place->second) {
                unfinished.erase(place);
            }
            continue;
        }
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            unreadable(std::string(topic) + " partition " + std::to_string(message->partition) +
                       ": " + rd_kafka_message_errstr(message.get()));
        }
        if (place == unfinished.end()) continue;
        if (message->offset < place->second) feed(*message, topic, account);
        if (message->offset + 1 >= place->second) unfinished.erase(place);
        if (account.messages() % 1'024 == 0) progress();
    }
    rd_kafka_consumer_close(client.get());
}

}  // namespace sagaz::verify
