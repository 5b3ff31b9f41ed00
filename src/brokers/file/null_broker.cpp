#include "brokers/idle.hpp"

#include <sagaz/brokers.hpp>

#include <utility>

namespace sagaz::inline v0::null {

namespace {

class NullBroker final : public Broker {
public:
    std::size_t publish(std::span<const Envelope> envelopes) override {
        receipts_.reserve(receipts_.size() + envelopes.size());
        for (const Envelope& envelope : envelopes) {
            receipts_.push_back({envelope.token, Receipt::State::accepted, {}, {}});
        }
        return envelopes.size();
    }

    std::vector<Receipt> poll(Milliseconds deadline) override {
        if (receipts_.empty()) wait_idle(deadline);
        return std::exchange(receipts_, {});
    }

    std::string down() const override { return {}; }

    void abandon(Milliseconds) override {}

private:
    std::vector<Receipt> receipts_;
};

}  // namespace

std::unique_ptr<Broker> open() { return std::make_unique<NullBroker>(); }

}  // namespace sagaz::inline v0::null
