// The relay's shell: one thread, the caller's. It gives the step the time, carries out one command
// a turn, and sleeps when there is nothing to do. Another thread may read the status.

#include "core/clock.hpp"
#include "relay/driver.hpp"

#include <sagaz/error.hpp>
#include <sagaz/relay.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

namespace sagaz::inline v0 {
namespace {

class SteadyClock final : public core::Clock {
public:
    core::Instant now() const override { return std::chrono::steady_clock::now(); }
};

}  // namespace

class Relay::Shell {
public:
    Shell(std::unique_ptr<Store> store, std::unique_ptr<Broker> broker, const RelayOptions& options,
          Telemetry* telemetry, OpenBroker open_for_parked)
        : store_(std::move(store)),
          broker_(std::move(broker)),
          options_(options),
          driver_(*store_, *broker_, options, clock_, telemetry) {
        if (open_for_parked) driver_.retry_by(std::move(open_for_parked));
    }

    /// True when everything committed at the start was drained; without `drain_by` never.
    bool run(const std::stop_token& stop, std::optional<core::Instant> drain_by) {
        const core::Instant began = clock_.now();
        // A turn may wait long for a statement; the time to stop runs meanwhile.
        std::atomic<core::Instant> asked{core::Instant::max()};
        const std::stop_callback note_when{stop, [&] { asked = clock_.now(); }};
        bool drained = false;
        bool stopping = false;
        for (;;) {
            const core::Instant now = clock_.now();
            drained = drained || (drain_by && driver_.step().is_drained(began));
            const bool ends = stop.stop_requested() || drained || (drain_by && now >= *drain_by);
            if (ends && !stopping) {
                stopping = true;
                driver_.step().stop(now, std::min(asked.load(), now) + options_.drain_timeout);
            }
            const relay::Turn turn = driver_.turn();
            note(began, stopping);
            if (turn.ended) return drained;
            if (turn.wake_at > clock_.now())
                sleep(turn.wake_at, stopping ? std::stop_token{} : stop);
        }
    }

    RelayStatus status() const {
        const std::scoped_lock lock(mutex_);
        RelayStatus status = status_;
        const auto ago = clock_.now() - turned_at_;
        status.turned_ms_ago = std::chrono::duration_cast<Milliseconds>(ago).count();
        return status;
    }

private:
    void sleep(core::Instant until, const std::stop_token& stop) {
        std::unique_lock lock(sleep_mutex_);
        wake_.wait_until(lock, stop, until, [] { return false; });
    }

    void note(core::Instant began, bool stopping) {
        const core::RelayStep& step = driver_.step();
        const core::Instant now = clock_.now();
        const std::scoped_lock lock(mutex_);
        ++status_.turns;
        turned_at_ = now;
        status_.published = step.counters().accepted;
        status_.parked = step.counters().parked;
        status_.slots_owned = static_cast<std::int16_t>(step.slots_owned());
        status_.store_up = step.store_is_up();
        if (status_.store_error != driver_.store_error()) {
            status_.store_error = driver_.store_error();
        }
        if (status_.destination_down != step.destination_down()) {
            status_.destination_down = step.destination_down();
        }
        status_.destination_down_ms =
            std::chrono::duration_cast<Milliseconds>(step.down_for(now)).count();
        // A relay that stops gives its slots back and can no longer tell: the last look counts.
        if (!stopping) status_.drained = step.is_drained(began);
    }

    SteadyClock clock_;
    std::unique_ptr<Store> store_;
    std::unique_ptr<Broker> broker_;
    RelayOptions options_;
    relay::Driver driver_;
    std::mutex sleep_mutex_;
    std::condition_variable_any wake_;
    mutable std::mutex mutex_;
    RelayStatus status_;
    core::Instant turned_at_{clock_.now()};
};

Relay::Relay(std::unique_ptr<Store> store, std::unique_ptr<Broker> broker, RelayOptions options,
             Telemetry* telemetry, OpenBroker open_for_parked)
    : shell_(std::make_unique<Shell>(std::move(store), std::move(broker), options, telemetry,
                                     std::move(open_for_parked))) {}

Relay::~Relay() = default;

void Relay::run(std::stop_token stop) { shell_->run(stop, std::nullopt); }

bool Relay::drain(Milliseconds deadline) {
    return shell_->run(std::stop_token{}, std::chrono::steady_clock::now() + deadline);
}

RelayStatus Relay::status() const { return shell_->status(); }

}  // namespace sagaz::inline v0
