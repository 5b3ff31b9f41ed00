#pragma once

#include <sagaz/broker.hpp>
#include <sagaz/postgres.hpp>
#include <sagaz/relay.hpp>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

/// Several relays on one database, each in a thread of its own, over a broker that remembers.
namespace sagaz::test {

/// Where all relays of a test send to. Payloads are numbers that grow with each event of a key.
class Destination {
    template <class Look>
    auto read(Look look) const {
        const std::scoped_lock lock(mutex_);
        return look();
    }

public:
    void arrive(const Envelope& envelope) {
        const std::scoped_lock lock(mutex_);
        const int number = std::stoi(std::string(envelope.payload));
        if (!arrived_.insert(number).second) {
            ++repeats_;
            return;
        }
        at_[number] = std::chrono::steady_clock::now();
        int& newest = newest_[std::string(envelope.key.value_or(""))];
        inversions_ += number < newest ? 1 : 0;
        newest = std::max(newest, number);
    }

    std::size_t arrived() const {
        return read([&] { return arrived_.size(); });
    }
    std::size_t repeats() const {
        return read([&] { return repeats_; });
    }
    std::size_t inversions() const {
        return read([&] { return inversions_; });
    }
    bool has(int number) const {
        return read([&] { return arrived_.contains(number); });
    }
    std::chrono::steady_clock::time_point when(int number) const {
        return read([&] { return at_.at(number); });
    }

private:
    mutable std::mutex mutex_;
    std::set<int> arrived_;
    std::map<int, std::chrono::steady_clock::time_point> at_;
    std::map<std::string, int> newest_;
    std::size_t repeats_{};
    std::size_t inversions_{};
};

class Messenger final : public Broker {
public:
    explicit Messenger(Destination& destination) : destination_(destination) {}

    std::size_t publish(std::span<const Envelope> envelopes) override {
        for (const Envelope& envelope : envelopes) {
            destination_.arrive(envelope);
            receipts_.push_back({envelope.token, Receipt::State::accepted, "", ""});
        }
        return envelopes.size();
    }
    std::vector<Receipt> poll(Milliseconds) override { return std::exchange(receipts_, {}); }
    std::string down() const override { return ""; }
    void abandon(Milliseconds) override {}

private:
    Destination& destination_;
    std::vector<Receipt> receipts_;
};

/// A relay in a thread; the destructor stops it in good order.
class Member {
public:
    Member(const std::string& url, const std::string& schema, Destination& destination,
           RelayOptions options = {})
        : relay_(postgres::open(url, {.schema = schema}), std::make_unique<Messenger>(destination),
                 options),
          thread_([this](const std::stop_token& stop) { relay_.run(stop); }) {}

    int slots() const { return relay_.status().slots_owned; }

private:
    Relay relay_;
    std::jthread thread_;
};

using Members = std::vector<std::unique_ptr<Member>>;

inline std::vector<int> slots_of(const Members& members) {
    std::vector<int> slots;
    for (const auto& member : members) slots.push_back(member->slots());
    return slots;
}

}  // namespace sagaz::test
