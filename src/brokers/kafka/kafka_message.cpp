#include "brokers/kafka/kafka_message.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string_view>

namespace sagaz::inline v0::kafka {

namespace {

std::string bytes(const void* data, std::size_t size) {
    return data == nullptr ? std::string{} : std::string{static_cast<const char*>(data), size};
}

// Null without one. Of a header that stands twice, the first counts.
const std::string* value_of(const Message& message, std::string_view name) {
    const auto& headers = message.event.headers;
    const auto found = std::find_if(headers.begin(), headers.end(),
                                    [&](const Header& header) { return header.name == name; });
    return found == headers.end() ? nullptr : &found->value;
}

Id uuid_or_zero(const std::string& text) {
    if (text.size() != 36) return {};
    try {
        return Id::parse(text);
    } catch (const Error&) {
        return {};
    }
}

// Offsets begin anew when a topic is made again or its log is cut, and the inbox must not take the
// message that has the place now for the one that had it. The time tells them apart.
std::string id_by_place(const Message& message) {
    std::string id = message.source_topic + "-" + std::to_string(message.partition) + "-" +
                     std::to_string(message.position);
    if (message.time != Time{}) {
        const auto since = message.time.time_since_epoch();
        id += "-" + std::to_string(std::chrono::floor<Milliseconds>(since).count());
    }
    return id;
}

}  // namespace

void read_headers(Message& message, std::span<const std::string> id_headers) {
    Event& event = message.event;
    for (const std::string& name : id_headers) {
        const std::string* value = value_of(message, name);
        if (value == nullptr || value->empty()) continue;
        message.id = *value;
        break;
    }
    event.id = uuid_or_zero(message.id);
    if (message.id.empty()) message.id = id_by_place(message);
    if (const auto* type = value_of(message, "ce_type")) event.event_type = *type;
    if (const auto* subject = value_of(message, "ce_subject")) event.aggregate_id = *subject;
    const auto* content = value_of(message, "content-type");
    event.content_type = content == nullptr ? std::string{} : *content;
}

Message read_message(const rd_kafka_message_t& record, std::span<const std::string> id_headers) {
    Message message;
    message.source_topic = rd_kafka_topic_name(record.rkt);
    message.partition = record.partition;
    message.position = record.offset;
    rd_kafka_timestamp_type_t type{};
    const std::int64_t milliseconds = rd_kafka_message_timestamp(&record, &type);
    if (type != RD_KAFKA_TIMESTAMP_NOT_AVAILABLE) message.time = Time{Milliseconds{milliseconds}};
    message.event.topic = message.source_topic;
    if (record.key != nullptr) message.event.key = bytes(record.key, record.key_len);
    message.event.payload = bytes(record.payload, record.len);
    rd_kafka_headers_t* headers = nullptr;
    if (rd_kafka_message_headers(&record, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char* name = nullptr;
        const void* value = nullptr;
        std::size_t size = 0;
        for (std::size_t n = 0; rd_kafka_header_get_all(headers, n, &name, &value, &size) ==
                                RD_KAFKA_RESP_ERR_NO_ERROR;
             ++n) {
            message.event.headers.push_back({name, bytes(value, size)});
        }
    }
    read_headers(message, id_headers);
    return message;
}

}  // namespace sagaz::inline v0::kafka
