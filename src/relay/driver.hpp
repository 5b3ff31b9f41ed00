#pragma once

#include "core/clock.hpp"
#include "core/relay_step.hpp"

#include <sagaz/broker.hpp>
#include <sagaz/relay.hpp>
#include <sagaz/store.hpp>
#include <sagaz/telemetry.hpp>

#include <cstdint>
#include <string>
#include <string_view>

/// Carries out the commands of a RelayStep against a real or a simulated store and broker: one
/// command a turn, in the caller's thread.
namespace sagaz::inline v0::relay {

struct Turn {
    bool ended{};            ///< The step is done; no further turn.
    core::Instant wake_at{};  ///< Nothing to do before; in the past: at once.
};

class Driver {
public:
    /// Borrows everything; `telemetry` may be null.
    Driver(Store& store, Broker& broker, const RelayOptions& options, core::Clock& clock,
           Telemetry* telemetry);

    /// With a given identity and seed, for the simulator.
    Driver(Store& store, Broker& broker, const RelayOptions& options, core::Clock& clock,
           Telemetry* telemetry, const Id& relay, std::uint64_t seed);

    /// Carries out one command. Errors that time can heal are taken in and retried after a
    /// backoff; throws `invalid` and `fatal` ones.
    Turn turn();

    core::RelayStep& step() noexcept { return step_; }
    const core::RelayStep& step() const noexcept { return step_; }
    const Id& relay() const noexcept { return relay_; }
    const std::string& store_error() const noexcept { return store_error_; }
    std::string_view last_command() const noexcept { return last_command_; }

private:
    Turn perform(core::Command command);
    void take_receipts(std::vector<Receipt> receipts);
    void take_store_error(const Error& error);
    void watch_destination();
    void report();

    Store& store_;
    Broker& broker_;
    core::Clock& clock_;
    Telemetry* telemetry_;
    Id relay_;
    core::RelayStep step_;
    std::string store_error_;
    std::string_view last_command_;
    core::Counters reported_{};
    std::uint64_t dropped_reported_{};
    std::size_t slots_reported_{};
};

}  // namespace sagaz::inline v0::relay
