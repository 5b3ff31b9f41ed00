#pragma once

#include "app/bench/bench.hpp"

#include <sagaz/broker.hpp>
#include <sagaz/relay.hpp>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <thread>

/// Relays at work: in this process, as in a service that embeds one, or as the executable.
namespace sagaz::inline v0::app::bench {

/// What something took: time that passed, and time of this process on a processor.
struct Cost {
    double seconds{};
    double cpu_seconds{};
};

class Stopwatch {
public:
    Stopwatch();
    Cost cost() const;

private:
    double from_{};
    double cpu_from_{};
};

double seconds_now();

/// Watches what goes to a destination and what it says.
class WatchedBroker final : public Broker {
public:
    struct Eyes {
        std::function<void(std::span<const Envelope>)> on_taken{};
        std::function<void(const Receipt&)> on_receipt{};
    };
    WatchedBroker(std::unique_ptr<Broker> inner, Eyes eyes)
        : inner_{std::move(inner)}, eyes_{std::move(eyes)} {}

    std::size_t publish(std::span<const Envelope> envelopes) override;
    std::vector<Receipt> poll(Milliseconds deadline) override;
    std::string down() const override { return inner_->down(); }
    void abandon(Milliseconds deadline) override { inner_->abandon(deadline); }

private:
    std::unique_ptr<Broker> inner_;
    Eyes eyes_;
};

/// Where a relay of a benchmark sends to: Kafka, or `null:` without one.
BrokerTarget destination(const Stage& stage, bool to_kafka);

/// Delivers all that is pending, by a relay with the executable's metrics; its start and its end
/// are part of the cost. Throws when not exactly `events` were published.
Cost drain_here(const Stage& stage, const BrokerTarget& broker, std::int64_t events,
                WatchedBroker::Eyes eyes = {});

/// A relay that runs in a thread of its own until this object ends.
class RunningRelay {
public:
    using Adjust = std::function<void(RelayOptions&)>;
    RunningRelay(const Stage& stage, const BrokerTarget& broker, WatchedBroker::Eyes eyes = {},
                 const Adjust& adjust = {});
    ~RunningRelay();

    /// Returns when it owns every slot.
    void wait_until_it_owns(std::int16_t slots);
    /// Returns when it has published so many events.
    void wait_until_it_published(std::int64_t events);
    std::int64_t published() const { return static_cast<std::int64_t>(relay_->status().published); }

private:
    void look() const;

    const Stage& stage_;
    std::unique_ptr<Relay> relay_;
    std::exception_ptr failure_;
    std::atomic<bool> ended_{};
    std::jthread thread_;
};

/// The most memory of a relay process while it delivers all that is pending, in bytes.
double memory_of_relay(const Stage& stage, const BrokerTarget& broker);

/// Calls `fact` until it is true; throws `bench_failed` naming `what` after ten minutes.
void wait_until(const Stage& stage, const std::string& what, const std::function<bool()>& fact);

}  // namespace sagaz::inline v0::app::bench
