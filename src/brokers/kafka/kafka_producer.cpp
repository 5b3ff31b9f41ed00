#include "brokers/kafka/kafka_producer.hpp"

#include "brokers/kafka/kafka_errors.hpp"

#include <sagaz/error.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <system_error>
#include <utility>

namespace sagaz::inline v0::kafka {

namespace {

using Ties = Producer::Ties;

ProducerEvents* events_of(void* opaque) { return static_cast<Ties*>(opaque)->events; }

// True while this thread is within `send`: a message that fails there was never in the client, so
// nothing can overtake it.
thread_local bool is_sending = false;

// In the thread that found out what became of the message. The error alone does not tell: from
// librdkafka 2.1 on it is not set yet where the server blamed single records.
rd_kafka_resp_err_t on_acknowledgement(rd_kafka_t*, rd_kafka_message_t* message, void* opaque) {
    const bool accepted = message->err == RD_KAFKA_RESP_ERR_NO_ERROR &&
                          rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_PERSISTED;
    if (!accepted && !is_sending) static_cast<Ties*>(opaque)->lifeline.cut();
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t on_new(rd_kafka_t* client, const rd_kafka_conf_t*, void* opaque, char*,
                           std::size_t) {
    return rd_kafka_interceptor_add_on_acknowledgement(client, "sagaz", on_acknowledgement, opaque);
}

int open_socket(int domain, int type, int protocol, void* opaque) {
    return static_cast<Ties*>(opaque)->lifeline.open(domain, type, protocol);
}

int close_socket(int socket, void* opaque) {
    return static_cast<Ties*>(opaque)->lifeline.close(socket);
}

void on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
    ProducerEvents* events = events_of(opaque);
    if (events == nullptr) return;
    Delivery delivery;
    delivery.sequence = std::bit_cast<std::uintptr_t>(message->_private);
    delivery.error = message->err;
    delivery.persisted = rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_PERSISTED;
    delivery.topic = message->rkt;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR && message->rkt != nullptr) {
        delivery.topic_name = rd_kafka_topic_name(message->rkt);
    }
    delivery.partition = message->partition;
    events->on_delivery(delivery);
}

void on_error(rd_kafka_t*, int error, const char* text, void* opaque) {
    ProducerEvents* events = events_of(opaque);
    if (events != nullptr) events->on_error(static_cast<rd_kafka_resp_err_t>(error), text);
}

// The client would write to standard error otherwise. What matters arrives as an error, too.
void drop_log(const rd_kafka_t*, int, const char*, const char*) {}

rd_kafka_vu_t vu(rd_kafka_vtype_t type) {
    rd_kafka_vu_t value{};
    value.vtype = type;
    return value;
}

rd_kafka_vu_t bytes(rd_kafka_vtype_t type, const void* data, std::size_t size) {
    rd_kafka_vu_t value = vu(type);
    value.u.mem.ptr = const_cast<void*>(data);  // The client copies it; see RD_KAFKA_MSG_F_COPY.
    value.u.mem.size = size;
    return value;
}

// A null pointer is Kafka's null, which is a tombstone as a value and no order as a key; empty
// bytes are not.
const void* not_null(std::string_view text) {
    static constexpr char kNothing = 0;
    return text.empty() ? &kNothing : text.data();
}

rd_kafka_headers_t* make_headers(std::span<const HeaderView> headers) {
    rd_kafka_headers_t* made = rd_kafka_headers_new(headers.size());
    for (const HeaderView& header : headers) {
        rd_kafka_header_add(made, header.name.empty() ? "" : header.name.data(),
                            static_cast<ssize_t>(header.name.size()), not_null(header.value),
                            static_cast<ssize_t>(header.value.size()));
    }
    return made;
}

// The first thing that is wrong with one of our topics, in words.
std::string trouble_of(const rd_kafka_metadata_t& metadata) {
    for (int t = 0; t < metadata.topic_cnt; ++t) {
        const rd_kafka_metadata_topic_t& topic = metadata.topics[t];
        const std::string name = "topic '" + std::string{topic.topic} + "'";
        for (int p = 0; p < topic.partition_cnt; ++p) {
            if (topic.partitions[p].leader != -1) continue;
            return "partition " + std::to_string(topic.partitions[p].id) + " of " + name +
                   " has no leader";
        }
        if (topic.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return refusal_detail(verdict(topic.err).reason,
                                  name + ": " + rd_kafka_err2str(topic.err));
        }
    }
    return {};
}

Probe probe(rd_kafka_t* client, Milliseconds connected_within, Milliseconds answered_within) {
    const rd_kafka_metadata_t* metadata = nullptr;
    const auto ask = [&](Milliseconds wait) {
        return rd_kafka_metadata(client, 0, nullptr, &metadata, static_cast<int>(wait.count()));
    };
    rd_kafka_resp_err_t error = ask(connected_within);
    // There is a connection, so one can wait for it.
    if (error == RD_KAFKA_RESP_ERR__TIMED_OUT) error = ask(answered_within);
    Probe probe;
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        probe.answer = Probe::Answer::reached;
        probe.trouble = trouble_of(*metadata);
        rd_kafka_metadata_destroy(metadata);
    } else if (error == RD_KAFKA_RESP_ERR__TRANSPORT) {
        probe.answer = Probe::Answer::unreachable;
    }
    return probe;
}

rd_kafka_t* make_client(rd_kafka_conf_t* conf) {
    char text[512] = "";
    rd_kafka_t* client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (client != nullptr) return client;
    throw Error(ErrorKind::invalid, "broker_option",
                "the Kafka client cannot be made: " + std::string{text}, "correct broker.options");
}

}  // namespace

void try_out(Conf conf) {
    char text[512] = "";
    rd_kafka_conf_set(conf.get(), "enable.gapless.guarantee", "false", text, sizeof text);
    rd_kafka_conf_set(conf.get(), "enable.idempotence", "false", text, sizeof text);
    rd_kafka_conf_set_log_cb(conf.get(), drop_log);
    rd_kafka_t* client = make_client(conf.get());
    const rd_kafka_conf_t* owned_by_client = conf.release();
    static_cast<void>(owned_by_client);
    rd_kafka_destroy(client);
}

Producer::Producer(Conf conf, ProducerEvents& events) : ties_(std::make_unique<Ties>()) {
    ties_->events = &events;
    rd_kafka_conf_set_opaque(conf.get(), ties_.get());
    rd_kafka_conf_set_socket_cb(conf.get(), open_socket);
    rd_kafka_conf_set_closesocket_cb(conf.get(), close_socket);
    rd_kafka_conf_interceptor_add_on_new(conf.get(), "sagaz", on_new, ties_.get());
    rd_kafka_conf_set_dr_msg_cb(conf.get(), on_delivery);
    rd_kafka_conf_set_error_cb(conf.get(), on_error);
    rd_kafka_conf_set_log_cb(conf.get(), drop_log);
    // The client owns it now. When it cannot be made, librdkafka has destroyed the interceptors in
    // it, and destroying it would do so again: then it is leaked, some kilobytes. `try_out` at open
    // leaves that to files that vanish later.
    client_.reset(make_client(conf.release()));
    rd_kafka_set_log_queue(client_.get(), nullptr);
}

Producer::~Producer() = default;

rd_kafka_topic_t* Producer::topic(std::string_view name) {
    if (last_topic_ != nullptr && last_name_ == name) return last_topic_;
    auto found = topics_.find(name);
    if (found == topics_.end()) {
        std::string owned{name};
        Topic made{rd_kafka_topic_new(client_.get(), owned.c_str(), nullptr)};
        found = topics_.emplace(std::move(owned), std::move(made)).first;
    }
    last_name_ = found->first;
    last_topic_ = found->second.get();
    return last_topic_;
}

rd_kafka_resp_err_t Producer::send(std::uint64_t sequence, const Envelope& envelope) {
    std::array<rd_kafka_vu_t, 6> values;
    std::size_t count = 0;
    values[count] = vu(RD_KAFKA_VTYPE_RKT);
    values[count++].u.rkt = topic(envelope.topic);
    values[count] = vu(RD_KAFKA_VTYPE_MSGFLAGS);
    values[count++].u.i = RD_KAFKA_MSG_F_COPY;
    values[count] = vu(RD_KAFKA_VTYPE_OPAQUE);
    values[count++].u.ptr = std::bit_cast<void*>(static_cast<std::uintptr_t>(sequence));
    values[count++] =
        bytes(RD_KAFKA_VTYPE_VALUE, not_null(envelope.payload), envelope.payload.size());
    if (envelope.key) {
        values[count++] = bytes(RD_KAFKA_VTYPE_KEY, not_null(*envelope.key), envelope.key->size());
    }
    rd_kafka_headers_t* headers = nullptr;
    if (!envelope.headers.empty()) {
        headers = make_headers(envelope.headers);
        values[count] = vu(RD_KAFKA_VTYPE_HEADERS);
        values[count++].u.headers = headers;
    }
    is_sending = true;
    rd_kafka_error_t* error = rd_kafka_produceva(client_.get(), values.data(), count);
    is_sending = false;
    if (error == nullptr) return RD_KAFKA_RESP_ERR_NO_ERROR;
    const rd_kafka_resp_err_t code = rd_kafka_error_code(error);
    rd_kafka_error_destroy(error);
    if (headers != nullptr) rd_kafka_headers_destroy(headers);
    return code;
}

void Producer::serve(Milliseconds wait) {
    rd_kafka_poll(client_.get(), static_cast<int>(wait.count()));
}

void Producer::purge(bool in_flight) {
    rd_kafka_purge(client_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING |
                                      (in_flight ? RD_KAFKA_PURGE_F_INFLIGHT : 0));
}

void Producer::ask(Milliseconds connected_within, Milliseconds answered_within) {
    try {
        probe_ =
            std::async(std::launch::async, probe, client_.get(), connected_within, answered_within);
    } catch (const std::system_error&) {  // No thread to be had: as if nobody had answered.
        std::promise<Probe> silent;
        silent.set_value({});
        probe_ = silent.get_future();
    }
}

std::optional<Probe> Producer::answer() {
    if (probe_.wait_for(Milliseconds{0}) != std::future_status::ready) return std::nullopt;
    return probe_.get();
}

std::string Producer::fatal() const {
    char text[512] = "";
    const rd_kafka_resp_err_t error = rd_kafka_fatal_error(client_.get(), text, sizeof text);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? std::string{} : std::string{text};
}

}  // namespace sagaz::inline v0::kafka
