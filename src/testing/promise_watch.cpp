#include <sagaz/testing/broker_conformance.hpp>

#include <algorithm>
#include <utility>

namespace sagaz::inline v0::testing {

PromiseWatch::PromiseWatch(std::unique_ptr<Broker> watched) : watched_(std::move(watched)) {}
PromiseWatch::~PromiseWatch() = default;

std::size_t PromiseWatch::publish(std::span<const Envelope> envelopes) {
    const std::size_t count = watched_->publish(envelopes);
    if (count > envelopes.size()) violations_.push_back("publish took more than it was given");
    for (const Envelope& envelope : envelopes.first(std::min(count, envelopes.size()))) {
        Taken taken;
        if (envelope.key) taken.key = Key{envelope.topic, *envelope.key};
        taken_.emplace(envelope.token, std::move(taken));
    }
    return count;
}

std::vector<Receipt> PromiseWatch::poll(Milliseconds deadline) {
    std::vector<Receipt> receipts = watched_->poll(deadline);
    // Within one poll receipts come in any order: acceptances are judged first.
    bool broken = false;
    for (const Receipt& receipt : receipts) {
        if (receipt.state == Receipt::State::accepted) judge(receipt);
    }
    for (const Receipt& receipt : receipts) {
        if (receipt.state == Receipt::State::accepted) continue;
        broken = true;
        judge(receipt);
    }
    if (broken && !taken_.empty()) {
        violations_.push_back("a break left " + std::to_string(taken_.size()) +
                              " envelopes without a receipt (promise 3)");
    }
    return receipts;
}

void PromiseWatch::judge(const Receipt& receipt) {
    const std::string token = std::to_string(receipt.token);
    const auto found = taken_.find(receipt.token);
    if (found == taken_.end()) {
        violations_.push_back(settled_.contains(receipt.token)
                                  ? "a second receipt for " + token + " (promise 1)"
                                  : "a receipt for " + token + ", which was not taken (promise 1)");
        return;
    }
    if (const auto& key = found->second.key) {
        std::uint64_t& highest = accepted_[*key];
        if (receipt.state == Receipt::State::accepted) {
            highest = std::max(highest, receipt.token);
        } else if (highest > receipt.token) {
            violations_.push_back(std::to_string(highest) + " was accepted although " + token +
                                  " of its key was not (promise 2)");
        }
    }
    if (receipt.state == Receipt::State::refused && receipt.reason.empty()) {
        violations_.push_back(token + " was refused without a reason");
    }
    settled_.insert(receipt.token);
    taken_.erase(found);
}

}  // namespace sagaz::inline v0::testing
