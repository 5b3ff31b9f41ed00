#include "app/demo/arrivals.hpp"

namespace sagaz::inline v0::app::demo {
namespace {

Message message_of(const verify::Arrival& arrival) {
    Message message;
    message.event.topic = arrival.topic;
    if (arrival.key) {
        message.event.key.emplace(*arrival.key);
    }
    message.event.payload = arrival.payload;
    for (const auto& [name, value] : arrival.headers) {
        message.event.headers.push_back({std::string{name}, std::string{value}});
        if (name == "ce_type") {
            message.event.event_type = value;
        } else if (name == "ce_id") {
            message.id = value;
        }
    }
    message.source_topic = arrival.topic;
    message.partition = arrival.partition;
    message.position = arrival.offset;
    return message;
}

}  // namespace

std::optional<Message> Arrivals::next() {
    std::optional<Message> message;
    reader_.next([&](const verify::Arrival& arrival) { message = message_of(arrival); });
    return message;
}

}  // namespace sagaz::inline v0::app::demo
