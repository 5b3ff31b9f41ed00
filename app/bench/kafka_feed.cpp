#include "app/bench/kafka_feed.hpp"

#include "app/url.hpp"

#include <sagaz/error.hpp>

#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

namespace sagaz::inline v0::app::bench {
namespace {

constexpr int kAnswerMax = 15'000;  // ms
constexpr int kFlushMax = 300'000;  // ms

[[noreturn]] void fail(const std::string& seen) {
    throw Error{ErrorKind::unavailable, "bench_failed", seen,
                "see the Kafka server's log; its topics must be allowed to this client"};
}

void drop_log(const rd_kafka_t* /*client*/, int /*level*/, const char* /*what*/,
              const char* /*text*/) {}

void set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
    char problem[512] = "";
    if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), problem, sizeof problem) !=
        RD_KAFKA_CONF_OK) {
        fail(problem);
    }
}

void count_failures(rd_kafka_t* /*client*/, const rd_kafka_message_t* message, void* opaque) {
    auto& delivered = *static_cast<std::array<std::int64_t, 2>*>(opaque);
    ++delivered[message->err == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : 1];
}

using Delivered = void (*)(rd_kafka_t*, const rd_kafka_message_t*, void*);

/// `opaque` is for `delivered`; without them the client is not for messages.
KafkaClient make_client(const BrokerTarget& target, void* opaque, Delivered delivered,
                        const char* linger = nullptr) {
    char problem[512] = "";
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", parse_broker_url(target.url, "--broker").place);
    for (const auto& [name, value] : target.options) set(conf, name, value);
    rd_kafka_conf_set_log_cb(conf, drop_log);
    if (delivered != nullptr) {
        set(conf, "enable.idempotence", "true");
        set(conf, "acks", "all");
        set(conf, "partitioner", "murmur2_random");
        if (linger != nullptr) set(conf, "linger.ms", linger);
        rd_kafka_conf_set_opaque(conf, opaque);
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    }
    KafkaClient client{rd_kafka_new(RD_KAFKA_PRODUCER, conf, problem, sizeof problem)};
    if (!client) {
        rd_kafka_conf_destroy(conf);
        fail(problem);
    }
    return client;
}

struct DestroyQueue {
    void operator()(rd_kafka_queue_t* queue) const noexcept { rd_kafka_queue_destroy(queue); }
};
struct DestroyEvent {
    void operator()(rd_kafka_event_t* event) const noexcept { rd_kafka_event_destroy(event); }
};
using Queue = std::unique_ptr<rd_kafka_queue_t, DestroyQueue>;
using Answer = std::unique_ptr<rd_kafka_event_t, DestroyEvent>;

// The server's answer to an operation on one topic.
rd_kafka_resp_err_t answer_of(rd_kafka_queue_t* queue, bool created) {
    const Answer answer{rd_kafka_queue_poll(queue, kAnswerMax)};
    if (!answer) return RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (rd_kafka_event_error(answer.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return rd_kafka_event_error(answer.get());
    }
    std::size_t count = 0;
    const auto* const* const topics =
        created ? rd_kafka_CreateTopics_result_topics(
                      rd_kafka_event_CreateTopics_result(answer.get()), &count)
                : rd_kafka_DeleteTopics_result_topics(
                      rd_kafka_event_DeleteTopics_result(answer.get()), &count);
    return count == 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_topic_result_error(topics[0]);
}

rd_kafka_resp_err_t create_topic(rd_kafka_t* client, const std::string& name) {
    char problem[512] = "";
    const Queue queue{rd_kafka_queue_new(client)};
    rd_kafka_NewTopic_t* topic = rd_kafka_NewTopic_new(name.c_str(), 4, 1, problem, sizeof problem);
    if (topic == nullptr) fail(problem);
    rd_kafka_CreateTopics(client, &topic, 1, nullptr, queue.get());
    rd_kafka_NewTopic_destroy(topic);
    return answer_of(queue.get(), true);
}

rd_kafka_resp_err_t delete_topic(rd_kafka_t* client, const std::string& name) {
    const Queue queue{rd_kafka_queue_new(client)};
    rd_kafka_DeleteTopic_t* topic = rd_kafka_DeleteTopic_new(name.c_str());
    rd_kafka_DeleteTopics(client, &topic, 1, nullptr, queue.get());
    rd_kafka_DeleteTopic_destroy(topic);
    return answer_of(queue.get(), false);
}

}  // namespace

void DestroyKafkaClient::operator()(rd_kafka_s* client) const noexcept { rd_kafka_destroy(client); }

KafkaTopic::KafkaTopic(const BrokerTarget& target, std::string name)
    : client_{make_client(target, nullptr, nullptr)}, name_{std::move(name)} {
    auto answer = create_topic(client_.get(), name_);
    if (answer == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        delete_topic(client_.get(), name_);
        // The server removes it in its own time.
        for (int tries = 0; answer != RD_KAFKA_RESP_ERR_NO_ERROR && tries < 50; ++tries) {
            std::this_thread::sleep_for(std::chrono::milliseconds{200});
            answer = create_topic(client_.get(), name_);
        }
    }
    if (answer != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fail("topic " + name_ + " cannot be made: " + rd_kafka_err2str(answer));
    }
}

KafkaTopic::~KafkaTopic() { delete_topic(client_.get(), name_); }

void KafkaFeed::keep(std::span<const Envelope> envelopes) {
    for (const auto& envelope : envelopes) {
        if (messages_.size() == kKept) return;
        Kept kept{std::string{envelope.topic}, {}, {}, std::string{envelope.payload}};
        if (envelope.key) kept.key = std::string{*envelope.key};
        for (const auto& header : envelope.headers) {
            kept.headers.emplace_back(header.name, header.value);
        }
        messages_.push_back(std::move(kept));
    }
}

Cost KafkaFeed::produce(const BrokerTarget& target, std::int64_t count) const {
    std::array<std::int64_t, 2> delivered{};
    const Stopwatch stopwatch;
    const auto client = make_client(target, &delivered, count_failures);
    rd_kafka_topic_t* topic =
        rd_kafka_topic_new(client.get(), messages_.front().topic.c_str(), nullptr);
    std::array<rd_kafka_vu_t, 5> values{};
    values[0] = {.vtype = RD_KAFKA_VTYPE_RKT, .u = {.rkt = topic}};
    values[1] = {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u = {.i = 0}};  // the memory stays: no copy
    for (std::int64_t n = 0; n < count; ++n) {
        const auto& kept = messages_[static_cast<std::size_t>(n) % messages_.size()];
        rd_kafka_headers_t* headers = rd_kafka_headers_new(kept.headers.size());
        for (const auto& [name, value] : kept.headers) {
            rd_kafka_header_add(headers, name.data(), static_cast<ssize_t>(name.size()),
                                value.data(), static_cast<ssize_t>(value.size()));
        }
        values[2].vtype = RD_KAFKA_VTYPE_VALUE;
        values[2].u.mem = {const_cast<char*>(kept.payload.data()), kept.payload.size()};
        values[3].vtype = RD_KAFKA_VTYPE_HEADERS;
        values[3].u.headers = headers;
        values[4].vtype = RD_KAFKA_VTYPE_KEY;
        if (kept.key) values[4].u.mem = {const_cast<char*>(kept.key->data()), kept.key->size()};
        const std::size_t used = kept.key ? 5 : 4;
        while (true) {
            rd_kafka_error_t* error = rd_kafka_produceva(client.get(), values.data(), used);
            if (error == nullptr) break;
            const auto code = rd_kafka_error_code(error);
            rd_kafka_error_destroy(error);
            if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) fail(rd_kafka_err2str(code));
            rd_kafka_poll(client.get(), 10);
        }
        if (n % 256 == 0) rd_kafka_poll(client.get(), 0);
    }
    const auto end = rd_kafka_flush(client.get(), kFlushMax);
    rd_kafka_topic_destroy(topic);
    const auto cost = stopwatch.cost();
    if (end != RD_KAFKA_RESP_ERR_NO_ERROR || delivered[0] != count) {
        fail(std::to_string(delivered[0]) + " of " + std::to_string(count) +
             " messages were acknowledged");
    }
    return cost;
}

namespace {

struct RoundTrips {
    std::vector<double> sent;
    std::vector<double> took;  ///< Of the client's callback alone.
};

void take_time(rd_kafka_t* /*client*/, const rd_kafka_message_t* message, void* opaque) {
    auto& all = *static_cast<RoundTrips*>(opaque);
    const auto number = reinterpret_cast<std::uintptr_t>(message->_private);
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR || number >= all.sent.size()) return;
    all.took.push_back((seconds_now() - all.sent[number]) * 1e3);
}

}  // namespace

std::vector<double> round_trips(const BrokerTarget& target, const std::string& topic, int rate,
                                double seconds) {
    RoundTrips all;
    all.sent.resize(static_cast<std::size_t>(rate * seconds));
    all.took.reserve(all.sent.size());
    const auto payload = letters(200);
    const auto client = make_client(target, &all, take_time, "0");
    std::array<rd_kafka_vu_t, 5> values{};
    values[0] = {.vtype = RD_KAFKA_VTYPE_TOPIC, .u = {.cstr = topic.c_str()}};
    values[1].vtype = RD_KAFKA_VTYPE_KEY;
    values[2].vtype = RD_KAFKA_VTYPE_OPAQUE;
    values[3] = {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u = {.i = RD_KAFKA_MSG_F_COPY}};
    values[4].vtype = RD_KAFKA_VTYPE_VALUE;
    values[4].u.mem = {const_cast<char*>(payload.data()), payload.size()};
    const auto send = [&](std::size_t number) {
        const auto key = std::to_string(number % 5'000);
        values[1].u.mem = {const_cast<char*>(key.data()), key.size()};
        values[2].u.ptr = reinterpret_cast<void*>(number);
        rd_kafka_error_t* error = rd_kafka_produceva(client.get(), values.data(), values.size());
        if (error == nullptr) return;
        const auto code = rd_kafka_error_code(error);
        rd_kafka_error_destroy(error);
        fail(rd_kafka_err2str(code));
    };
    send(all.sent.size());  // Connects; not counted.
    if (rd_kafka_flush(client.get(), kFlushMax) != RD_KAFKA_RESP_ERR_NO_ERROR) fail("no answer");
    {
        const std::jthread answers{[&](const std::stop_token& stop) {
            while (!stop.stop_requested()) rd_kafka_poll(client.get(), 20);
        }};
        const double start = seconds_now() + 0.05;
        for (std::size_t n = 0; n < all.sent.size(); ++n) {
            const double early = start + static_cast<double>(n) / rate - seconds_now();
            if (early > 0) std::this_thread::sleep_for(std::chrono::duration<double>{early});
            all.sent[n] = seconds_now();
            send(n);
        }
    }
    if (rd_kafka_flush(client.get(), kFlushMax) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        all.took.size() != all.sent.size()) {
        fail(std::to_string(all.took.size()) + " messages were acknowledged");
    }
    std::sort(all.took.begin(), all.took.end());
    return std::move(all.took);
}

}  // namespace sagaz::inline v0::app::bench
