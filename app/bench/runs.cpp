#include "app/bench/runs.hpp"

#include "app/brokers.hpp"
#include "app/relay_process.hpp"
#include "app/store.hpp"
#include "telemetry/log.hpp"
#include "telemetry/prometheus.hpp"

#include <sagaz/error.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace sagaz::inline v0::app::bench {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kLongest{600'000};
constexpr milliseconds kLook{2};

double cpu_now() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

[[noreturn]] void fail(const std::string& seen) {
    throw Error{ErrorKind::unavailable, "bench_failed", seen,
                "run it again with --only; see the servers' logs"};
}

// What is delivered again and again must stay in the log.
RelayOptions keeping_delivered() {
    RelayOptions options;
    options.retention = std::chrono::hours{24};
    return options;
}

std::unique_ptr<Broker> watched(const BrokerTarget& target, WatchedBroker::Eyes eyes) {
    auto broker = open_broker(target);
    if (!eyes.on_taken && !eyes.on_receipt) return broker;
    return std::make_unique<WatchedBroker>(std::move(broker), std::move(eyes));
}

RelayOptions adjusted(RelayOptions options, const RunningRelay::Adjust& adjust) {
    if (adjust) adjust(options);
    return options;
}

}  // namespace

double seconds_now() {
    return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

Stopwatch::Stopwatch() : from_{seconds_now()}, cpu_from_{cpu_now()} {}

Cost Stopwatch::cost() const { return {seconds_now() - from_, cpu_now() - cpu_from_}; }

std::size_t WatchedBroker::publish(std::span<const Envelope> envelopes) {
    const std::size_t taken = inner_->publish(envelopes);
    if (eyes_.on_taken) eyes_.on_taken(envelopes.first(taken));
    return taken;
}

std::vector<Receipt> WatchedBroker::poll(Milliseconds deadline) {
    auto receipts = inner_->poll(deadline);
    if (eyes_.on_receipt) std::for_each(receipts.begin(), receipts.end(), eyes_.on_receipt);
    return receipts;
}

BrokerTarget destination(const Stage& stage, bool to_kafka) {
    return to_kafka ? *stage.kafka : BrokerTarget{.url = "null:"};
}

Cost drain_here(const Stage& stage, const BrokerTarget& broker, std::int64_t events,
                WatchedBroker::Eyes eyes) {
    telemetry::LogWriter log{telemetry::LogFormat::text, LogLevel::error};
    telemetry::PrometheusTelemetry metrics{{}, log};
    const Stopwatch stopwatch;
    Relay relay{open_store(stage.log.store()), watched(broker, std::move(eyes)),
                keeping_delivered(), &metrics};
    const bool drained = relay.drain(kLongest);
    const Cost cost = stopwatch.cost();
    const auto published = static_cast<std::int64_t>(relay.status().published);
    if (!drained || published != events) {
        fail("the relay published " + std::to_string(published) + " of " + std::to_string(events) +
             " events");
    }
    return cost;
}

RunningRelay::RunningRelay(const Stage& stage, const BrokerTarget& broker, WatchedBroker::Eyes eyes,
                           const Adjust& adjust)
    : stage_{stage},
      relay_{std::make_unique<Relay>(open_store(stage.log.store()),
                                     watched(broker, std::move(eyes)),
                                     adjusted(keeping_delivered(), adjust))},
      thread_{[this](const std::stop_token& stop) {
          try {
              relay_->run(stop);
          } catch (...) {
              failure_ = std::current_exception();
          }
          ended_ = true;
      }} {}

RunningRelay::~RunningRelay() {
    thread_.request_stop();
    thread_.join();
}

void RunningRelay::look() const {
    if (!ended_) return;
    if (failure_) std::rethrow_exception(failure_);
    fail("the relay ended by itself");
}

void RunningRelay::wait_until_it_owns(std::int16_t slots) {
    wait_until(stage_, "the relay owns its slots", [&] {
        look();
        return relay_->status().slots_owned == slots;
    });
}

void RunningRelay::wait_until_it_published(std::int64_t events) {
    wait_until(stage_, "the relay has published", [&] {
        look();
        return published() >= events;
    });
}

double memory_of_relay(const Stage& stage, const BrokerTarget& broker) {
    RelayProcess relay{{.store = stage.log.store(),
                        .broker = broker.url,
                        .log = stage.folder + "/relay.log",
                        .lease = milliseconds{10'000},
                        .variables = {"SAGAZ_RELAY_RETENTION=1d"}}};
    wait_until(stage, "the relay process has delivered", [&] {
        relay.must_run();
        std::this_thread::sleep_for(milliseconds{100});
        return stage.log.pending() == 0;
    });
    const std::size_t peak = relay.memory_peak();
    relay.stop(milliseconds{25'000});
    return static_cast<double>(peak);
}

void wait_until(const Stage& stage, const std::string& what, const std::function<bool()>& fact) {
    for (const auto end = Clock::now() + kLongest; !fact();) {
        if (stage.stop.stop_requested()) throw Interrupted{};
        if (Clock::now() >= end) fail("timed out waiting until " + what);
        std::this_thread::sleep_for(kLook);
    }
}

}  // namespace sagaz::inline v0::app::bench
