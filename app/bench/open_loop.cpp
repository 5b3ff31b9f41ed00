// The producers' threads write `due` and `committed` of their own events only, the relay's thread
// writes `acknowledged`; they are read after the threads have ended, but for the count.
#include "app/bench/open_loop.hpp"

#include "app/bench/bare.hpp"
#include "app/bench/runs.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <exception>
#include <memory>
#include <thread>
#include <unordered_map>

namespace sagaz::inline v0::app::bench {
namespace {

struct Times {
    double due{};
    double committed{};
    double acknowledged{};
};

class Traffic {
public:
    explicit Traffic(std::size_t events) : times_(events) {}

    WatchedBroker::Eyes eyes() {
        return {.on_taken = [this](auto envelopes) { taken(envelopes); },
                .on_receipt = [this](const auto& receipt) { received(receipt); }};
    }
    std::vector<Times>& times() { return times_; }
    bool is_through() const { return acknowledged_ == times_.size(); }

private:
    // A payload begins with the event's number.
    void taken(std::span<const Envelope> envelopes) {
        for (const auto& envelope : envelopes) {
            std::size_t number = 0;
            const auto payload = envelope.payload;
            const auto read =
                std::from_chars(payload.data(), payload.data() + payload.size(), number);
            if (read.ec == std::errc{} && number < times_.size()) {
                numbers_[envelope.token] = number;
            }
        }
    }

    void received(const Receipt& receipt) {
        const auto found = numbers_.find(receipt.token);
        if (found == numbers_.end()) return;
        auto& times = times_[found->second];
        if (receipt.state == Receipt::State::accepted && times.acknowledged == 0) {
            times.acknowledged = seconds_now();
            ++acknowledged_;
        }
        numbers_.erase(found);
    }

    std::vector<Times> times_;
    std::unordered_map<std::uint64_t, std::size_t> numbers_;
    std::atomic<std::size_t> acknowledged_{};
};

struct Producer {
    explicit Producer(const Stage& stage) : connection{stage.log.store().url} {
        connection.prepare("append", stage.log.named("SELECT @schema@.append('sagaz-bench', $1, "
                                                     "'OrderPlaced', $2::text)"));
    }
    void append(std::size_t number, std::size_t clients, std::vector<Times>& times, double start,
                int rate, const std::string& filler) {
        for (; number < times.size(); number += clients) {
            auto& each = times[number];
            each.due = start + static_cast<double>(number) / rate;
            const double early = each.due - seconds_now();
            if (early > 0) std::this_thread::sleep_for(std::chrono::duration<double>{early});
            connection.execute("append", {{std::to_string(number % 5'000)},
                                          {std::to_string(number) + " " + filler}});
            each.committed = seconds_now();
        }
    }

    BareConnection connection;
    std::exception_ptr failure{};
};

void produce(const Stage& stage, const OpenLoop& plan, std::vector<Times>& times) {
    std::vector<std::unique_ptr<Producer>> producers;
    producers.reserve(static_cast<std::size_t>(plan.clients));
    for (int n = 0; n < plan.clients; ++n) producers.push_back(std::make_unique<Producer>(stage));
    const auto filler = letters(190);
    const double start = seconds_now() + 0.05;
    {
        std::vector<std::jthread> threads;
        threads.reserve(producers.size());
        for (std::size_t n = 0; n < producers.size(); ++n) {
            threads.emplace_back([&, n] {
                try {
                    producers[n]->append(n, producers.size(), times, start, plan.rate, filler);
                } catch (...) {
                    producers[n]->failure = std::current_exception();
                }
            });
        }
    }
    for (const auto& producer : producers) {
        if (producer->failure) std::rethrow_exception(producer->failure);
    }
}

}  // namespace

double Latencies::quantile(const std::vector<double>& sorted, double part) {
    if (sorted.empty()) return 0;
    const auto place = std::ceil(part * static_cast<double>(sorted.size())) - 1;
    return sorted[static_cast<std::size_t>(std::max(place, 0.0))];
}

Latencies run_open_loop(const Stage& stage, const BrokerTarget& broker, const OpenLoop& plan) {
    Traffic traffic{static_cast<std::size_t>(plan.rate * (plan.seconds + plan.warm_up))};
    const auto slots = stage.log.number("SELECT count(*) FROM @schema@.slot");
    {
        RunningRelay relay{stage, broker, traffic.eyes()};
        relay.wait_until_it_owns(static_cast<std::int16_t>(slots));
        produce(stage, plan, traffic.times());
        wait_until(stage, "everything is acknowledged", [&] { return traffic.is_through(); });
    }
    Latencies latencies;
    const auto first = static_cast<std::ptrdiff_t>(plan.rate * plan.warm_up);
    for (auto each = traffic.times().begin() + first; each != traffic.times().end(); ++each) {
        latencies.to_commit.push_back((each->committed - each->due) * 1e3);
        latencies.to_acknowledgement.push_back((each->acknowledged - each->due) * 1e3);
    }
    std::sort(latencies.to_commit.begin(), latencies.to_commit.end());
    std::sort(latencies.to_acknowledgement.begin(), latencies.to_acknowledgement.end());
    return latencies;
}

void add_quantiles(Report& report, const std::string& what, const std::vector<double>& sorted) {
    report.add(what + ", p50", "ms", Latencies::quantile(sorted, 0.5));
    report.add(what + ", p95", "ms", Latencies::quantile(sorted, 0.95));
    report.add(what + ", p99", "ms", Latencies::quantile(sorted, 0.99));
    report.add(what + ", max", "ms", Latencies::quantile(sorted, 1));
}

}  // namespace sagaz::inline v0::app::bench
