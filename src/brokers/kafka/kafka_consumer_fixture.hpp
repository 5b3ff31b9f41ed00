#pragma once

#include "tests/support/kafka_reader.hpp"

#include <sagaz/consumer.hpp>
#include <sagaz/kafka.hpp>
#include <sagaz/testing/broker_conformance.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace sagaz::kafka {

/// Message `n` of a topic has key `n % kKeys` and `n` as its payload.
constexpr std::size_t kKeys = 20;

constexpr auto kPatience = std::chrono::milliseconds{60'000};

/// Partition and position.
using Place = std::pair<std::int32_t, std::int64_t>;

/// Sorted, each once.
inline std::vector<Place> once_each(std::vector<Place> places) {
    std::sort(places.begin(), places.end());
    places.erase(std::unique(places.begin(), places.end()), places.end());
    return places;
}

/// Asks until it is so.
template <class Fact>
bool eventually(Fact fact) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!fact()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
    return true;
}

/// What was handled, in order; filled by a consumer's thread, waited for by the test's.
class Ledger {
public:
    void add(const Message& message) {
        const std::lock_guard lock{mutex_};
        places_.emplace_back(message.partition, message.position);
        numbers_.push_back(std::stoul(message.event.payload));
        changed_.notify_all();
    }

    bool wait_for(std::size_t count) {
        std::unique_lock lock{mutex_};
        return changed_.wait_for(lock, kPatience, [&] { return places_.size() >= count; });
    }

    bool wait_for(const std::function<bool(const std::vector<Place>&)>& fact) {
        std::unique_lock lock{mutex_};
        return changed_.wait_for(lock, kPatience, [&] { return fact(places_); });
    }

    /// What was handled for the first time before all that precedes it in its key was.
    std::vector<Place> skipped() const {
        const std::lock_guard lock{mutex_};
        std::vector<Place> found;
        std::map<std::size_t, std::size_t> next;
        for (std::size_t n = 0; n < numbers_.size(); ++n) {
            const std::size_t number = numbers_[n];
            std::size_t& expected = next.try_emplace(number % kKeys, number % kKeys).first->second;
            if (number > expected) found.push_back(places_[n]);
            expected = std::max(expected, number + kKeys);
        }
        return found;
    }

    std::vector<Place> places() const {
        const std::lock_guard lock{mutex_};
        return places_;
    }

private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Place> places_;
    std::vector<std::size_t> numbers_;  // Of these.
};

/// A consumer in a thread of its own.
class Running {
public:
    Running(ConsumerOptions options, MessageHandler handler, Telemetry* telemetry = nullptr)
        : consumer_(std::move(options), telemetry),
          thread_([this, handler = std::move(handler)](const std::stop_token& stop) {
              try {
                  consumer_.run(stop, handler);
              } catch (...) {
                  thrown_ = std::current_exception();
              }
          }) {}

    void request_stop() { thread_.request_stop(); }
    /// Rethrows what `run` threw.
    void join() {
        thread_.join();
        if (thrown_) std::rethrow_exception(thrown_);
    }
    void stop() {
        request_stop();
        join();
    }
    const Consumer& consumer() const { return consumer_; }

private:
    Consumer consumer_;
    std::exception_ptr thrown_;
    std::jthread thread_;
};

/// One topic and one group on it, on whatever cluster.
class GroupOnATopic : public ::testing::Test {
protected:
    GroupOnATopic(std::string bootstrap, std::string topic, int partitions,
                  std::chrono::milliseconds session_timeout)
        : bootstrap_(std::move(bootstrap)),
          topic_(std::move(topic)),
          partitions_(partitions),
          session_timeout_(session_timeout) {}

    ConsumerOptions options() const {
        using namespace std::chrono_literals;
        ConsumerOptions made;
        made.bootstrap_servers = bootstrap_;
        made.group = "group-of-" + topic_;
        made.topics = {topic_};
        made.session_timeout = session_timeout_;
        made.commit_interval = 20ms;
        made.retry_initial = 10ms;
        made.retry_max = 50ms;
        made.client["fetch.wait.max.ms"] = "50";
        return made;
    }

    /// To all partitions, by their keys.
    void produce(std::size_t count) {
        Options to;
        to.bootstrap_servers = bootstrap_;
        to.client["linger.ms"] = "0";
        const auto broker = kafka::open(to);
        std::vector<testing::Sample> samples;
        for (std::size_t n = 0; n < count; ++n) {
            const std::string number = std::to_string(produced_);
            const std::string key = "k" + std::to_string(produced_++ % kKeys);
            samples.push_back({topic_, key, {{"ce_id", "id-" + number}}, number});
        }
        for (const Receipt& receipt : testing::Courier{*broker}.deliver(samples, kPatience)) {
            ASSERT_EQ(receipt.state, Receipt::State::accepted);
        }
    }

    std::vector<Place> log() const {
        std::vector<Place> places;
        for (const Message& one : tests::read_topic(bootstrap_, topic_)) {
            places.emplace_back(one.partition, one.position);
        }
        return places;
    }

    std::vector<std::int64_t> committed() const {
        return tests::committed_offsets(bootstrap_, options().group, topic_, partitions_);
    }

    /// What is committed when all of the log is settled.
    std::vector<std::int64_t> ends() const {
        std::vector<std::int64_t> ends(static_cast<std::size_t>(partitions_));
        for (const auto& [partition, position] : log()) {
            ends.at(static_cast<std::size_t>(partition)) = position + 1;
        }
        return ends;
    }

    /// Everything that is in the log now, while members run.
    bool all_of_the_log_is_committed() const {
        const auto wanted = ends();
        return eventually([&] { return committed() == wanted; });
    }

    MessageHandler into_the_ledger() {
        return [this](const Message& message) -> Reply {
            ledger_.add(message);
            return Settlement::processed;
        };
    }

    std::string bootstrap_;
    std::string topic_;
    int partitions_;
    std::chrono::milliseconds session_timeout_;
    Ledger ledger_;
    std::size_t produced_{};
};

}  // namespace sagaz::kafka
