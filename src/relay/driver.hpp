#pragma once

#include "core/clock.hpp"
#include "core/relay_step.hpp"

#include <sagaz/broker.hpp>
#include <sagaz/relay.hpp>
#include <sagaz/store.hpp>
#include <sagaz/telemetry.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

/// Carries out the commands of a RelayStep against a real or a simulated store and broker: one
/// command a turn, in the caller's thread.
namespace sagaz::inline v0::relay {

struct Turn {
    bool ended{};             ///< The step is done; no further turn.
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

    /// Parked events are tried again through a broker that `open` makes when one is first tried.
    void retry_by(std::function<std::unique_ptr<Broker>()> open);

    /// Carries out one command. Errors that time can heal are taken in and retried after a
    /// backoff; throws `invalid` and `fatal` ones.
    Turn turn();

    core::RelayStep& step() noexcept { return step_; }
    const core::RelayStep& step() const noexcept { return step_; }
    const Id& relay() const noexcept { return relay_; }
    const std::string& store_error() const noexcept { return store_error_; }

private:
    void run(core::command::Attach&);
    void run(core::command::Observe& observe);
    void run(core::command::Acquire& acquire);
    void run(core::command::Load& load);
    void run(core::command::OpenWindow&);
    void run(core::command::FindLate& find);
    void run(core::command::StartRead& start);
    void run(core::command::FinishRead&);
    void run(core::command::Flush& flush);
    void run(core::command::Publish& publish);
    void run(core::command::Poll& poll);
    void run(core::command::StoreCursors& cursors);
    void run(core::command::LookAt& look);
    void run(core::command::MarkDelivered& mark);
    void run(core::command::Release& release);
    void run(core::command::Leave&);
    void run(core::command::Tidy& tidy);
    void run(core::command::Measure&);
    void run(core::command::Reclaim& reclaim);
    void run(core::command::KeepInbox& keep);
    void run(core::command::LookAtParked& look);
    void run(core::command::ReadParked& read);
    void run(core::command::Retry& retry);
    void run(core::command::PollRetry& poll);
    void run(core::command::AbandonRetry&);
    void run(core::command::SettleParked& settle);
    void run(core::command::Abandon& abandon);
    void run(core::command::Wait& wait);
    void run(core::command::End&);
    void begin_metrics();
    bool open_retry_broker();
    void take_receipts(std::vector<Receipt> receipts);
    void take_store_error(const Error& error);
    void watch_destination();
    void log_refusals(std::span<const Receipt> receipts);
    void report();
    void report_publishing();
    void report_slots();

    Store& store_;
    Broker& broker_;
    core::Clock& clock_;
    Telemetry* telemetry_;
    Id relay_;
    core::RelayStep step_;
    std::string store_error_;
    std::function<std::unique_ptr<Broker>()> open_for_parked_;
    std::unique_ptr<Broker> retry_broker_;
    std::string retry_error_;
    Turn turn_{};
    std::uint64_t sampled_token_{};  ///< One envelope at a time is timed, for the metric.
    core::Instant sampled_at_{};
    core::Counters reported_{};
    std::uint64_t dropped_reported_{};  ///< Headers, of the encoder of the last attach.
    std::size_t slots_reported_{};
};

}  // namespace sagaz::inline v0::relay
