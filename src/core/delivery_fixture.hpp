#pragma once

#include "core/delivery.hpp"
#include "core/test_rows.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

namespace sagaz::inline v0::core {

/// A Delivery of one slot, whose events are known by their positions.
class DeliveryTest : public testing::Test {
protected:
    DeliveryTest() { own(OnRefused::park_key); }

    void own(OnRefused policy) {
        Settings settings;
        settings.on_refused = policy;
        delivery_.configure(settings);
        delivery_.add({0, 1}, Cursor{}, 0);
    }

    /// Publishes what is ready and returns the positions, in order.
    std::vector<std::int64_t> publish() {
        std::vector<std::int64_t> positions;
        const auto envelopes = delivery_.prepare(100, 0);
        for (const Envelope& envelope : envelopes) {
            const auto id = std::string(envelope.headers[1].value);
            positions.push_back(std::stoll(id.substr(34), nullptr, 16));
            tokens_[positions.back()] = envelope.token;
        }
        delivery_.published(envelopes.size());
        return positions;
    }

    Receipt accepted(std::int64_t position) {
        return {tokens_.at(position), Receipt::State::accepted, "", ""};
    }
    Receipt refused(std::int64_t position) {
        return {tokens_.at(position), Receipt::State::refused, "payload_too_large", ""};
    }
    Receipt unknown(std::int64_t position) {
        return {tokens_.at(position), Receipt::State::unknown, "", ""};
    }

    SlotLedger::Settling settling() { return delivery_.find(0)->ledger.settling(100); }

    using Positions = std::vector<std::int64_t>;
    Instant now_{std::chrono::seconds{100}};
    Delivery delivery_{std::chrono::milliseconds{1500}};
    std::map<std::int64_t, std::uint64_t> tokens_;
};

}  // namespace sagaz::inline v0::core
