#pragma once

#include "random.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

namespace sagaz::simulation {

using Instant = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// Virtual time and who acts when. One thread; things due at the same moment run in an order that
/// the seed decides.
///
/// `run_until` may be called from inside an action: the caller waits, as in a slow statement, while
/// all others go on. The waiting actor must not be scheduled meanwhile; that is its owner's task.
class Scheduler {
public:
    explicit Scheduler(std::uint64_t seed) : random_(seed) {}

    Instant now() const { return now_; }

    void at(Instant when, std::function<void()> action) {
        actions_.push({when < now_ ? now_ : when, random_.next(), std::move(action)});
    }
    void after(Duration wait, std::function<void()> action) { at(now_ + wait, std::move(action)); }

    /// Runs everything due up to `end`, then it is `end`.
    void run_until(Instant end) {
        while (!stopped_ && !actions_.empty() && actions_.top().when <= end) {
            auto action = std::move(const_cast<Due&>(actions_.top()).action);
            if (actions_.top().when > now_) now_ = actions_.top().when;
            actions_.pop();
            action();
        }
        if (now_ < end) now_ = end;
    }
    void run_for(Duration time) { run_until(now_ + time); }

    /// Nothing runs any more: a violation was found and what follows would only hide it.
    void stop() { stopped_ = true; }
    bool is_stopped() const { return stopped_; }

private:
    struct Due {
        Instant when;
        std::uint64_t tie;
        std::function<void()> action;
        bool operator<(const Due& other) const {
            return when != other.when ? when > other.when : tie > other.tie;
        }
    };

    Random random_;
    Instant now_{seconds{1'000'000}};
    std::priority_queue<Due> actions_;
    bool stopped_{};
};

}  // namespace sagaz::simulation
