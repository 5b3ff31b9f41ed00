#pragma once

#include "core/clock.hpp"
#include "core/publish_step.hpp"
#include "publisher/metrics.hpp"

#include <sagaz/broker.hpp>
#include <sagaz/publisher_store.hpp>

#include <cstdint>
#include <string>

/// Carries out the commands of a PublishStep against a real or a simulated store and broker: one
/// command a turn, in the caller's thread.
namespace sagaz::inline v0::publisher {

struct Turn {
    bool ended{};             ///< The step is done; no further turn.
    core::Instant wake_at{};  ///< Nothing to do before; in the past: at once.
};

class Driver {
public:
    /// Borrows everything; `telemetry` may be null. The jitter of waits is that of the clock's
    /// time.
    Driver(PublisherStore& store, Broker& broker, const OptimisticOptions& options,
           core::Clock& clock, Telemetry* telemetry);

    /// Carries out one command. Errors of store and broker are taken in; what else is thrown (no
    /// memory) leaves the step in no state to go on from.
    Turn turn();

    /// Forgets everything and begins anew; what the client still has is given up. What was handed
    /// over is not answered.
    void reset();

    core::PublishStep& step() noexcept { return *step_; }

private:
    void run(core::command::Attach&);
    void run(core::command::Confirm& confirm);
    void run(core::command::Flush& flush);
    void run(core::command::Publish& publish);
    void run(core::command::Poll& poll);
    void run(core::command::Settle& settle);
    void run(core::command::Abandon& abandon);
    void run(core::command::Wait& wait);
    void run(core::command::End&);
    void take_receipts(std::span<const Receipt> receipts);
    void take_store_error(const Error& error);
    void take_broker_error(const Error& error);
    void watch_destination();
    void watch_breaker();

    PublisherStore& store_;
    Broker& broker_;
    OptimisticOptions options_;
    core::Clock& clock_;
    Reporter reporter_;
    std::uint64_t seed_;
    std::optional<core::PublishStep> step_;
    std::string store_error_;
    core::Breaker::State breaker_{core::Breaker::State::closed};
    bool at_broker_{};  ///< The command under way is the broker's.
    Turn turn_{};
};

}  // namespace sagaz::inline v0::publisher
