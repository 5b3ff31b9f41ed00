// Order: `publish` appends under the topic's lock in the order of the envelopes, so nothing is
// overtaken; it never fails, so no break is needed.
#include "brokers/idle.hpp"

#include <sagaz/brokers.hpp>

#include <chrono>
#include <mutex>
#include <utility>

namespace sagaz::inline v0::memory {

struct Topic::State {
    mutable std::mutex mutex;
    std::vector<Message> messages;
};

Topic::Topic() : state_(std::make_unique<State>()) {}
Topic::~Topic() = default;

std::vector<Message> Topic::messages() const {
    const std::lock_guard lock{state_->mutex};
    return state_->messages;
}

std::size_t Topic::size() const {
    const std::lock_guard lock{state_->mutex};
    return state_->messages.size();
}

namespace {

Message to_message(const Envelope& envelope) {
    Message message;
    message.source_topic = envelope.topic;
    message.event.topic = envelope.topic;
    if (envelope.key) message.event.key = std::string{*envelope.key};
    message.event.payload = envelope.payload;
    for (const HeaderView& header : envelope.headers) {
        if (header.name == "ce_id") message.id = header.value;
        if (header.name == "ce_type") message.event.event_type = header.value;
        if (header.name == "content-type") message.event.content_type = header.value;
        message.event.headers.push_back({std::string{header.name}, std::string{header.value}});
    }
    message.time = std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
    return message;
}

}  // namespace

class MemoryBroker final : public Broker {
public:
    explicit MemoryBroker(Topic& topic) : topic_(topic) {}

    std::size_t publish(std::span<const Envelope> envelopes) override {
        const std::lock_guard lock{topic_.state_->mutex};
        for (const Envelope& envelope : envelopes) {
            Message message = to_message(envelope);
            message.position = static_cast<std::int64_t>(topic_.state_->messages.size());
            topic_.state_->messages.push_back(std::move(message));
            receipts_.push_back({envelope.token, Receipt::State::accepted, {}, {}});
        }
        return envelopes.size();
    }

    std::vector<Receipt> poll(Milliseconds deadline) override {
        if (receipts_.empty()) wait_idle(deadline);
        return std::exchange(receipts_, {});
    }

    std::string down() const override { return {}; }

    void abandon(Milliseconds) override {}  // Nothing is ever on its way.

private:
    Topic& topic_;
    std::vector<Receipt> receipts_;
};

std::unique_ptr<Broker> open(Topic& topic) { return std::make_unique<MemoryBroker>(topic); }

}  // namespace sagaz::inline v0::memory
