// The producers' threads write `due`, `begun` and `committed` of their own events only; the threads
// of the relay and of the publisher write `acknowledged`, whoever is first. They are read after the
// threads have ended, but for the count.
#include "app/bench/open_loop.hpp"

#include "app/bench/bare.hpp"
#include "app/bench/runs.hpp"
#include "app/url.hpp"

#include <sagaz/kafka.hpp>
#include <sagaz/optimistic_publisher.hpp>
#include <sagaz/outbox.hpp>
#include <sagaz/postgres.hpp>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <exception>
#include <future>
#include <memory>
#include <thread>
#include <unordered_map>

namespace sagaz::inline v0::app::bench {
namespace {

constexpr Milliseconds kPoll{100};

struct Times {
    double due{};
    double begun{};
    double committed{};
    std::atomic<double> acknowledged{};
};

class Traffic {
public:
    explicit Traffic(std::size_t events) : times_(events) {}

    std::vector<Times>& times() { return times_; }
    void acknowledge(std::size_t number) {
        double not_yet = 0;
        if (times_[number].acknowledged.compare_exchange_strong(not_yet, seconds_now())) {
            ++acknowledged_;
        }
    }
    bool is_through() const { return acknowledged_ == times_.size(); }

    std::atomic<std::size_t> sent_by_publisher{};

private:
    std::vector<Times> times_;
    std::atomic<std::size_t> acknowledged_{};
};

/// Of one sender, so of one thread.
class Watcher {
public:
    explicit Watcher(Traffic& traffic) : traffic_{traffic} {}

    WatchedBroker::Eyes eyes() {
        return {.on_taken = [this](auto envelopes) { taken(envelopes); },
                .on_receipt = [this](const auto& receipt) { received(receipt); }};
    }

private:
    // A payload begins with the event's number.
    void taken(std::span<const Envelope> envelopes) {
        for (const auto& envelope : envelopes) {
            std::size_t number = 0;
            const auto payload = envelope.payload;
            const auto read =
                std::from_chars(payload.data(), payload.data() + payload.size(), number);
            if (read.ec == std::errc{} && number < traffic_.times().size()) {
                numbers_[envelope.token] = number;
            }
        }
    }

    void received(const Receipt& receipt) {
        const auto found = numbers_.find(receipt.token);
        if (found == numbers_.end()) return;
        if (receipt.state == Receipt::State::accepted) traffic_.acknowledge(found->second);
        numbers_.erase(found);
    }

    Traffic& traffic_;
    std::unordered_map<std::uint64_t, std::size_t> numbers_;
};

std::unique_ptr<OptimisticPublisher> publisher_for(const Stage& stage, const BrokerTarget& broker,
                                                   WatchedBroker::Eyes eyes) {
    const auto& store = stage.log.store();
    auto destination = kafka::open_for_publisher(
        {.bootstrap_servers = parse_broker_url(broker.url, "--broker").place,
         .client = broker.options});
    return std::make_unique<OptimisticPublisher>(
        postgres::open_publisher(store.url, {.schema = store.schema}),
        std::make_unique<WatchedBroker>(std::move(destination), std::move(eyes)),
        OptimisticOptions{.schema = store.schema});
}

class Producer {
public:
    Producer(const Stage& stage, Path path, Traffic& traffic, OptimisticPublisher* publisher)
        : traffic_{traffic}, publisher_{publisher}, connection_{stage.log.store().url} {
        if (path == Path::sql) {
            connection_.prepare("append",
                                stage.log.named("SELECT @schema@.append('sagaz-bench', $1, "
                                                "'OrderPlaced', $2::text)"));
        } else if (publisher == nullptr) {
            outbox_.emplace(stage.log.store().schema);
        } else {
            outbox_.emplace(*publisher);
        }
    }

    /// The events of this client, each when it is due.
    void run(std::size_t first, std::size_t step, double start, int rate) {
        for (std::size_t number = first; number < traffic_.times().size(); number += step) {
            auto& each = traffic_.times()[number];
            each.due = start + static_cast<double>(number) / rate;
            const double early = each.due - seconds_now();
            if (early > 0) std::this_thread::sleep_for(std::chrono::duration<double>{early});
            append(number, each);
        }
    }

    std::exception_ptr failure{};

private:
    void append(std::size_t number, Times& times) {
        const auto key = std::to_string(number % 5'000);
        const auto payload = std::to_string(number) + " " + filler_;
        times.begun = seconds_now();
        if (!outbox_) {
            connection_.execute("append", {{key}, {payload}});
            times.committed = seconds_now();
            return;
        }
        connection_.run("BEGIN");
        auto* native = connection_.native();
        auto ticket = outbox_->append(
            native,
            {.topic = "sagaz-bench", .key = key, .event_type = "OrderPlaced", .payload = payload});
        connection_.run("COMMIT");
        times.committed = seconds_now();
        if (publisher_ == nullptr) return;
        publisher_->submit(std::move(ticket), [&traffic = traffic_](Published published) {
            if (published) ++traffic.sent_by_publisher;
        });
    }

    Traffic& traffic_;
    OptimisticPublisher* publisher_;
    BareConnection connection_;
    std::optional<Outbox> outbox_;
    std::string filler_{letters(190)};
};

void append_all(const Stage& stage, const OpenLoop& plan, Traffic& traffic,
                OptimisticPublisher* publisher) {
    std::vector<std::unique_ptr<Producer>> producers;
    producers.reserve(static_cast<std::size_t>(plan.clients));
    for (int n = 0; n < plan.clients; ++n) {
        producers.push_back(std::make_unique<Producer>(stage, plan.path, traffic, publisher));
    }
    const double start = seconds_now() + 0.05;
    {
        std::vector<std::jthread> threads;
        threads.reserve(producers.size());
        for (std::size_t n = 0; n < producers.size(); ++n) {
            threads.emplace_back([&, n] {
                try {
                    producers[n]->run(n, producers.size(), start, plan.rate);
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

void produce(const Stage& stage, const OpenLoop& plan, Traffic& traffic,
             OptimisticPublisher* publisher) {
    append_all(stage, plan, traffic, publisher);
    wait_until(stage, "everything is acknowledged", [&] { return traffic.is_through(); });
    if (publisher != nullptr) publisher->stop(Milliseconds{5'000});  // Its callbacks count.
}

}  // namespace

double Latencies::quantile(const std::vector<double>& sorted, double part) {
    if (sorted.empty()) return 0;
    const auto place = std::ceil(part * static_cast<double>(sorted.size())) - 1;
    return sorted[static_cast<std::size_t>(std::max(place, 0.0))];
}

Latencies run_open_loop(const Stage& stage, const BrokerTarget& broker, const OpenLoop& plan) {
    Traffic traffic{static_cast<std::size_t>(plan.rate * (plan.seconds + plan.warm_up))};
    Watcher relays{traffic};
    Watcher publishers{traffic};
    const auto slots = stage.log.number("SELECT count(*) FROM @schema@.slot");
    const auto wal_from = stage.log.wal_written();
    {
        RunningRelay relay{stage, broker, relays.eyes(), [&](RelayOptions& options) {
                               if (plan.path == Path::poll) options.poll_interval = kPoll;
                           }};
        relay.wait_until_it_owns(static_cast<std::int16_t>(slots));
        std::unique_ptr<OptimisticPublisher> publisher;
        if (plan.path == Path::optimistic) {
            publisher = publisher_for(stage, broker, publishers.eyes());
        }
        produce(stage, plan, traffic, publisher.get());
    }
    Latencies latencies;
    const auto first = static_cast<std::ptrdiff_t>(plan.rate * plan.warm_up);
    for (auto each = traffic.times().begin() + first; each != traffic.times().end(); ++each) {
        const double acknowledged = each->acknowledged;
        latencies.to_commit.push_back((each->committed - each->due) * 1e3);
        latencies.transaction.push_back((each->committed - each->begun) * 1e3);
        latencies.after_commit.push_back(std::max(acknowledged - each->committed, 0.0) * 1e3);
        latencies.to_acknowledgement.push_back((acknowledged - each->due) * 1e3);
    }
    for (auto* list : {&latencies.to_commit, &latencies.transaction, &latencies.after_commit,
                       &latencies.to_acknowledgement}) {
        std::sort(list->begin(), list->end());
    }
    const auto events = static_cast<double>(traffic.times().size());
    latencies.wal_bytes = static_cast<double>(stage.log.wal_written() - wal_from) / events;
    latencies.optimistic_share = static_cast<double>(traffic.sent_by_publisher) / events;
    return latencies;
}

std::vector<double> beside_transactions(const Stage& stage, const OpenLoop& plan,
                                        const std::function<std::vector<double>()>& measure) {
    Traffic traffic{static_cast<std::size_t>(plan.rate * plan.seconds)};
    auto producing =
        std::async(std::launch::async, [&] { append_all(stage, plan, traffic, nullptr); });
    auto measured = measure();
    producing.get();
    return measured;
}

void add_quantiles(Report& report, const std::string& what, const std::vector<double>& sorted) {
    report.add(what + ", p50", "ms", Latencies::quantile(sorted, 0.5));
    report.add(what + ", p95", "ms", Latencies::quantile(sorted, 0.95));
    report.add(what + ", p99", "ms", Latencies::quantile(sorted, 0.99));
    report.add(what + ", max", "ms", Latencies::quantile(sorted, 1));
}

}  // namespace sagaz::inline v0::app::bench
