#include "tests/support/kafka_reader.hpp"

#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace sagaz::tests {

namespace {

using namespace std::chrono_literals;

constexpr int kTimeoutMs = 20'000;
constexpr auto kPatience = 60s;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error("reading: " + what); }

void must(rd_kafka_resp_err_t error, const char* what) {
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        fail(std::string{what} + ": " + rd_kafka_err2str(error));
}

class Consumer {
public:
    explicit Consumer(const std::string& bootstrap, const std::string& group = "sagaz-reader") {
        char text[512] = "";
        rd_kafka_conf_t* conf = rd_kafka_conf_new();
        const std::pair<const char*, const char*> settings[] = {
            {"bootstrap.servers", bootstrap.c_str()},
            {"group.id", group.c_str()},
            {"enable.auto.commit", "false"},
            {"auto.offset.reset", "error"},
            {"check.crcs", "true"},
            {"fetch.wait.max.ms", "50"},
        };
        for (const auto& [name, value] : settings) {
            if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK) {
                fail(text);
            }
        }
        rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
        client_.reset(rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text));
        if (!client_) fail(text);
        rd_kafka_poll_set_consumer(client_.get());
    }

    // A cluster that just made the topic, thawed or started again needs a moment: everything that
    // is asked of it is asked again until `kPatience` is over.
    template <class Ask>
    static void insist(const char* what, Ask ask) {
        const auto end = std::chrono::steady_clock::now() + kPatience;
        for (rd_kafka_resp_err_t error = ask(); error != RD_KAFKA_RESP_ERR_NO_ERROR;
             error = ask()) {
            if (std::chrono::steady_clock::now() > end) must(error, what);
            std::this_thread::sleep_for(50ms);
        }
    }

    int partitions(const std::string& topic) {
        int count = 0;
        rd_kafka_topic_t* handle = rd_kafka_topic_new(client_.get(), topic.c_str(), nullptr);
        insist("metadata", [&] {
            const rd_kafka_metadata_t* metadata = nullptr;
            const auto error = rd_kafka_metadata(client_.get(), 0, handle, &metadata, kTimeoutMs);
            if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return error;
            if (metadata->topic_cnt == 1) count = metadata->topics[0].partition_cnt;
            rd_kafka_metadata_destroy(metadata);
            return count > 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
        });
        rd_kafka_topic_destroy(handle);
        return count;
    }

    // Every partition from its start to where it ends now.
    std::vector<Message> read(const std::string& topic) {
        const int count = partitions(topic);
        std::vector<std::vector<Message>> read(static_cast<std::size_t>(count));
        std::vector<std::int64_t> ends(read.size());
        std::size_t open = 0;
        rd_kafka_topic_partition_list_t* assignment = rd_kafka_topic_partition_list_new(count);
        for (std::int32_t p = 0; p < count; ++p) {
            std::int64_t low = 0;
            std::int64_t& high = ends[static_cast<std::size_t>(p)];
            insist("offsets", [&] {
                return rd_kafka_query_watermark_offsets(client_.get(), topic.c_str(), p, &low,
                                                        &high, kTimeoutMs);
            });
            if (low >= high) continue;
            ++open;
            rd_kafka_topic_partition_list_add(assignment, topic.c_str(), p)->offset = low;
        }
        const auto assigned = rd_kafka_assign(client_.get(), assignment);
        rd_kafka_topic_partition_list_destroy(assignment);
        must(assigned, "assign");
        const auto end = std::chrono::steady_clock::now() + kPatience;
        while (open > 0) {
            rd_kafka_message_t* message = rd_kafka_consumer_poll(client_.get(), 200);
            if (std::chrono::steady_clock::now() > end) fail("no end of " + topic);
            if (message == nullptr) continue;
            if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                const auto p = static_cast<std::size_t>(message->partition);
                if (message->offset < ends[p]) read[p].push_back(to_message(topic, *message));
                if (message->offset + 1 == ends[p]) --open;
            }
            rd_kafka_message_destroy(message);
        }
        std::vector<Message> all;
        for (auto& of_partition : read) {
            std::move(of_partition.begin(), of_partition.end(), std::back_inserter(all));
        }
        return all;
    }

    // Of the group; it is not joined.
    std::vector<std::int64_t> committed(const std::string& topic, int count) {
        std::vector<std::int64_t> offsets;
        offsets.reserve(static_cast<std::size_t>(count));
        rd_kafka_topic_partition_list_t* list = rd_kafka_topic_partition_list_new(count);
        for (std::int32_t p = 0; p < count; ++p) {
            rd_kafka_topic_partition_list_add(list, topic.c_str(), p);
        }
        insist("committed offsets",
               [&] { return rd_kafka_committed(client_.get(), list, kTimeoutMs); });
        for (int n = 0; n < count; ++n) {
            offsets.push_back(std::max<std::int64_t>(list->elems[n].offset, 0));
        }
        rd_kafka_topic_partition_list_destroy(list);
        return offsets;
    }

private:
    struct Deleter {
        void operator()(rd_kafka_t* client) const noexcept {
            rd_kafka_consumer_close(client);
            rd_kafka_destroy(client);
        }
    };

    static Message to_message(const std::string& topic, const rd_kafka_message_t& from) {
        Message message;
        message.source_topic = topic;
        message.partition = from.partition;
        message.position = from.offset;
        message.event.topic = topic;
        if (from.key != nullptr) {
            message.event.key = std::string{static_cast<const char*>(from.key), from.key_len};
        }
        if (from.payload == nullptr) fail("a tombstone, which nobody wrote");
        message.event.payload.assign(static_cast<const char*>(from.payload), from.len);
        rd_kafka_headers_t* headers = nullptr;
        if (rd_kafka_message_headers(&from, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return message;
        const char* name = nullptr;
        const void* value = nullptr;
        std::size_t size = 0;
        for (std::size_t n = 0; rd_kafka_header_get_all(headers, n, &name, &value, &size) ==
                                RD_KAFKA_RESP_ERR_NO_ERROR;
             ++n) {
            message.event.headers.push_back(
                {name,
                 value == nullptr ? "(null)" : std::string{static_cast<const char*>(value), size}});
            if (message.event.headers.back().name == "ce_id") {
                message.id = message.event.headers.back().value;
            }
        }
        return message;
    }

    std::unique_ptr<rd_kafka_t, Deleter> client_;
};

}  // namespace

std::vector<Message> read_topic(const std::string& bootstrap, const std::string& topic) {
    return Consumer{bootstrap}.read(topic);
}

std::vector<std::int64_t> committed_offsets(const std::string& bootstrap, const std::string& group,
                                            const std::string& topic, int partitions) {
    return Consumer{bootstrap, group}.committed(topic, partitions);
}

}  // namespace sagaz::tests
