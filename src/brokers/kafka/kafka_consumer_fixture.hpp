#pragma once

#include <sagaz/consumer.hpp>

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
        std::this_thread::yield();
    }
    return true;
}

/// What was handled, in order; filled by a consumer's thread, waited for by the test's.
class Ledger {
public:
    void add(const Message& message) {
        const std::lock_guard lock{mutex_};
        places_.emplace_back(message.partition, message.position);
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

    /// What was handled for the first time before all that precedes it in its partition was.
    std::vector<Place> skipped() const {
        std::vector<Place> found;
        std::map<std::int32_t, std::int64_t> next;
        for (const auto& [partition, position] : places()) {
            if (position > next[partition]) found.emplace_back(partition, position);
            next[partition] = std::max(next[partition], position + 1);
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

}  // namespace sagaz::kafka
