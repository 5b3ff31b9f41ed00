// The publisher's shell: one thread, which owns store and broker, and what callers, Outboxes and
// tickets share with it.
//
// Who may touch what. `mutex_` guards the news for the thread (what was handed over or given back,
// switch and stop); it is held for a few pushes only, never while anything waits. What decides that
// a call costs nothing is in atomics: they may be a moment old, since the step judges again.
// Everything else belongs to the thread. Tickets and Outboxes hold the shell by shared_ptr and may
// outlive the publisher, whose destructor has ended the thread by then.
#include "core/clock.hpp"
#include "core/holds.hpp"
#include "publisher/driver.hpp"
#include "publisher/metrics.hpp"

#include <sagaz/optimistic_publisher.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <iterator>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace sagaz::inline v0 {
namespace {

using core::Instant;
using std::chrono::steady_clock;

class SteadyClock final : public core::Clock {
public:
    Instant now() const override { return steady_clock::now(); }
};

RowRef row_of(const Ticket::Entry& entry) { return {entry.slot, entry.position, entry.event_id}; }

// One call that waits for its answer. Shared with the callback, which may come after the wait.
struct Waiter {
    std::mutex mutex;
    std::condition_variable told;
    std::optional<Published> answer;
};

}  // namespace

class OptimisticPublisher::Shell final : public core::Holds {
public:
    Shell(std::unique_ptr<PublisherStore> store, std::unique_ptr<Broker> broker,
          const OptimisticOptions& options, Telemetry* telemetry)
        : options_(options),
          reporter_(telemetry),
          on_(options.enabled),
          store_(std::move(store)),
          broker_(std::move(broker)) {
        driver_.emplace(*store_, *broker_, options_, clock_, telemetry);
        thread_ = std::thread([this] { run(); });
        thread_id_ = thread_.get_id();
    }

    const OptimisticOptions& options() const noexcept { return options_; }

    // ---- for any thread

    std::optional<Milliseconds> hold() noexcept override {
        if (!on_.load(std::memory_order_relaxed) || is_stuck()) return std::nullopt;
        switch (mode_.load(std::memory_order_relaxed)) {
            case Mode::sends: return options_.grace;
            case Mode::tries: return is_a_try() ? std::optional{options_.grace} : std::nullopt;
            case Mode::broken: break;
        }
        return std::nullopt;
    }

    void give_back(std::span<const Ticket::Entry> entries) noexcept override {
        if (ended_.load(std::memory_order_relaxed)) return;
        try {
            const std::scoped_lock lock(mutex_);
            for (const auto& entry : entries) {
                if (returned_.size() >= options_.queue_max) break;
                returned_.push_back(row_of(entry));
            }
            wake();
        } catch (const std::exception&) {
            return;  // Without memory: the hold runs out.
        }
    }

    Published publish(Ticket&& handed) noexcept {
        const Instant end = clock_.now() + options_.timeout;
        Ticket ticket{std::move(handed)};
        if (const auto known = known_answer(ticket)) return *known;
        try {
            const auto waiter = std::make_shared<Waiter>();
            Callback callback = [waiter](Published published) {
                const std::scoped_lock lock(waiter->mutex);
                waiter->answer = published;
                waiter->told.notify_one();
            };
            if (const auto full = queue(ticket, callback)) return *full;
            std::unique_lock lock(waiter->mutex);
            waiter->told.wait_until(lock, end, [&] { return waiter->answer.has_value(); });
            return waiter->answer.value_or(Published{false, LeftReason::timeout});
        } catch (const std::exception&) {
            return left(ticket, LeftReason::queue_full);  // No memory.
        }
    }

    void submit(Ticket&& handed, Callback callback) noexcept {
        Ticket ticket{std::move(handed)};
        auto known = known_answer(ticket);
        if (!known) known = queue(ticket, callback);
        if (known) tell(callback, *known);
    }

    void enable(bool on) noexcept {
        const std::scoped_lock lock(mutex_);
        if (stop_by_) return;
        on_ = on;
        wake();
    }

    void stop(Milliseconds deadline) noexcept {
        on_ = false;
        {
            const std::scoped_lock lock(mutex_);
            if (!stop_by_) stop_by_ = clock_.now() + std::max(deadline, Milliseconds{0});
            wake();
        }
        if (std::this_thread::get_id() == thread_id_) return;  // In a callback.
        const std::scoped_lock lock(join_);
        if (thread_.joinable()) thread_.join();
    }

private:
    enum class Mode { sends, tries, broken };
    struct Request {
        core::HandedOver handed;
        Callback callback;
    };

    std::optional<LeftReason> why_not(const Ticket& ticket) const noexcept {
        if (!on_.load(std::memory_order_relaxed)) return LeftReason::disabled;
        const Mode mode = mode_.load(std::memory_order_relaxed);
        if (mode == Mode::broken || is_stuck()) return LeftReason::breaker_open;
        if (ticket.holds_) return std::nullopt;
        // While the breaker is half open only one append at a time takes a hold.
        return mode == Mode::sends ? LeftReason::late : LeftReason::breaker_open;
    }

    // A call of store or broker has taken longer than a caller may wait (a network that swallows
    // everything), so the step could not open the breaker yet.
    bool is_stuck() const noexcept {
        const auto since = busy_since_.load(std::memory_order_relaxed);
        return since != 0 &&
               clock_.now().time_since_epoch() - Instant::duration{since} > options_.timeout;
    }

    // While the breaker is half open one append takes a hold, and the next not before that one may
    // have been answered.
    bool is_a_try() noexcept {
        const Instant now = clock_.now();
        auto next = try_at_.load(std::memory_order_relaxed);
        return now.time_since_epoch().count() >= next &&
               try_at_.compare_exchange_strong(next,
                                               (now + options_.timeout).time_since_epoch().count());
    }

    std::optional<Published> known_answer(const Ticket& ticket) noexcept {
        if (ticket.entries_.empty()) return Published{true, {}};
        if (const auto reason = why_not(ticket)) return left(ticket, *reason);
        return std::nullopt;
    }

    // The ticket gives its holds back when it is destroyed.
    Published left(const Ticket& ticket, LeftReason reason) noexcept {
        reporter_.left(reason, ticket.entries_.size());
        return {false, reason};
    }

    // None when it was taken, ticket and callback; the answer when there is no room.
    std::optional<Published> queue(Ticket& ticket, Callback& callback) noexcept {
        try {
            Request request{handed_of(ticket), {}};
            const std::size_t events = request.handed.events.size();
            const std::scoped_lock lock(mutex_);
            if (stop_by_) return left(ticket, LeftReason::disabled);
            if (in_step_ + queued_ + events > options_.queue_max) {
                return left(ticket, LeftReason::queue_full);
            }
            request.handed.call = next_call_++;
            requests_.push_back(std::move(request));
            requests_.back().callback.swap(callback);
            queued_ += events;
            ticket.holds_.reset();
            wake();
            return std::nullopt;
        } catch (const std::exception&) {
            return left(ticket, LeftReason::queue_full);  // No memory.
        }
    }

    core::HandedOver handed_of(const Ticket& ticket) const {
        core::HandedOver handed;
        handed.events.reserve(ticket.entries_.size());
        for (const auto& entry : ticket.entries_) {
            handed.events.push_back({row_of(entry), entry.order, entry.bytes});
        }
        handed.at = clock_.now();
        // A little earlier than the caller stops to wait, so that it is told the reason.
        const auto spare = std::min<Milliseconds>(options_.timeout / 10, Milliseconds{5});
        handed.deadline = handed.at + options_.timeout - spare;
        handed.hold_ends = ticket.hold_ends_;
        return handed;
    }

    void tell(const Callback& callback, Published published) noexcept {
        if (!callback) return;
        try {
            callback(published);
        } catch (...) {  // Whatever a user's callback throws.
            reporter_.log(LogLevel::error, "publisher_callback_threw", {});
        }
    }

    void wake() noexcept {  // With the lock.
        has_news_ = true;
        news_.notify_one();
    }

    // ---- for the thread

    void run() noexcept {
        for (bool ended = false; !ended;) {
            try {
                ended = take_turns();
            } catch (const std::exception& error) {
                ended = !recover(error.what());
            } catch (...) {
                ended = !recover("not a standard exception");
            }
        }
        ended_ = true;
        drop_requests();
        drop_calls(LeftReason::disabled);
        driver_.reset();
        broker_.reset();
        store_.reset();
    }

    bool take_turns() {
        for (;;) {
            collect();
            busy_since_ = clock_.now().time_since_epoch().count();
            const publisher::Turn turn = driver_->turn();
            note();
            for (const core::Answer& answer : driver_->step().take_answers()) tell(answer);
            if (turn.ended) return true;
            if (turn.wake_at <= clock_.now()) continue;
            busy_since_ = 0;
            sleep(turn.wake_at);
        }
    }

    void collect() {
        bool stops = false;
        {
            const std::scoped_lock lock(mutex_);
            if (!has_news_ && taken_.empty()) return;
            has_news_ = false;
            std::ranges::move(requests_, std::back_inserter(taken_));
            requests_.clear();
            in_step_ += std::exchange(queued_, 0);
            returning_.swap(returned_);
            stops = stop_by_.has_value();
        }
        core::PublishStep& step = driver_->step();
        if (stops) {
            step.stop(clock_.now(), *stop_by_);  // Not changed any more once it is set.
        } else if (on_ != step.is_on()) {
            step.enable(on_);
        }
        step.give_back(returning_);
        returning_.clear();
        while (!taken_.empty()) {
            Request& request = taken_.front();
            if (request.callback) calls_[request.handed.call] = std::move(request.callback);
            step.take(request.handed);
            taken_.pop_front();
        }
    }

    void note() noexcept {
        core::PublishStep& step = driver_->step();
        in_step_ = step.events();
        switch (step.breaker()) {
            case core::Breaker::State::closed: mode_ = Mode::sends; break;
            case core::Breaker::State::open: mode_ = Mode::broken; break;
            case core::Breaker::State::half_open:
                if (mode_ == Mode::broken) try_at_ = 0;
                mode_ = Mode::tries;
                break;
        }
    }

    void tell(const core::Answer& answer) noexcept {
        auto call = calls_.extract(answer.call);
        if (!call.empty()) tell(call.mapped(), answer.published);
    }

    void sleep(Instant until) {
        std::unique_lock lock(mutex_);
        news_.wait_until(lock, until, [&] { return has_news_; });
    }

    // Memory ran out somewhere, or a store or broker threw what it must not; what is in hand may be
    // half done: forget it. Nothing is lost, since what was not settled is in the log. False when
    // the thread is to end.
    bool recover(std::string_view error) noexcept {
        busy_since_ = 0;
        const Field fields[] = {{"error", error}};
        reporter_.log(LogLevel::error, "publisher_began_anew", fields);
        drop_calls(LeftReason::unavailable);
        for (;;) {
            {
                std::unique_lock lock(mutex_);
                news_.wait_for(lock, Milliseconds{100}, [&] { return stop_by_.has_value(); });
                if (stop_by_) return false;
                has_news_ = true;
            }
            try {
                driver_->reset();
                note();
                return true;
            } catch (...) {
                continue;  // Still no memory.
            }
        }
    }

    // What came between the last look and the end.
    void drop_requests() noexcept {
        std::vector<Request> requests;
        {
            const std::scoped_lock lock(mutex_);
            requests.swap(requests_);
        }
        for (const Request& request : requests) {
            tell(request.callback, {false, LeftReason::disabled});
        }
    }

    void drop_calls(LeftReason reason) noexcept {
        const Published left{false, reason};
        for (const Request& request : taken_) tell(request.callback, left);
        taken_.clear();
        while (!calls_.empty()) tell({calls_.begin()->first, left});
    }

    const OptimisticOptions options_;
    const publisher::Reporter reporter_;
    SteadyClock clock_;

    std::atomic<bool> on_;
    std::atomic<bool> ended_{};
    std::atomic<Mode> mode_{Mode::sends};
    std::atomic<Instant::rep> try_at_{};
    std::atomic<Instant::rep> busy_since_{};  ///< The turn under way; zero: the thread rests.
    std::atomic<std::size_t> in_step_{};      ///< Events that the step has, or is about to get.

    std::mutex mutex_;
    std::condition_variable news_;
    bool has_news_{true};
    std::vector<Request> requests_;
    std::size_t queued_{};  ///< Their events.
    std::uint64_t next_call_{1};
    std::vector<RowRef> returned_;
    std::optional<Instant> stop_by_;

    std::unique_ptr<PublisherStore> store_;
    std::unique_ptr<Broker> broker_;
    std::optional<publisher::Driver> driver_;
    std::deque<Request> taken_;
    std::vector<RowRef> returning_;
    std::unordered_map<std::uint64_t, Callback> calls_;

    std::mutex join_;
    std::thread thread_;
    std::thread::id thread_id_;
};

OptimisticPublisher::OptimisticPublisher(std::unique_ptr<PublisherStore> store,
                                         std::unique_ptr<Broker> broker, OptimisticOptions options,
                                         Telemetry* telemetry)
    : shell_(std::make_shared<Shell>(std::move(store), std::move(broker),
                                     core::checked(std::move(options)), telemetry)) {}

OptimisticPublisher::~OptimisticPublisher() { shell_->stop(shell_->options().timeout); }

Published OptimisticPublisher::publish_after_commit(Ticket&& ticket) noexcept {
    return shell_->publish(std::move(ticket));
}

void OptimisticPublisher::submit(Ticket&& ticket, Callback callback) noexcept {
    shell_->submit(std::move(ticket), std::move(callback));
}

void OptimisticPublisher::enable(bool on) noexcept { shell_->enable(on); }

void OptimisticPublisher::stop(Milliseconds deadline) noexcept { shell_->stop(deadline); }

Outbox::Outbox(OptimisticPublisher& publisher)
    : schema_(publisher.shell_->options().schema), holds_(publisher.shell_) {}

}  // namespace sagaz::inline v0
