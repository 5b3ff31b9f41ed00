#pragma once

#include "relay/driver.hpp"
#include "sim_broker.hpp"
#include "sim_store.hpp"

#include <memory>
#include <string>

namespace sagaz::simulation {

/// One relay: the product's driver on a simulated store and broker. It acts one command at a time,
/// so others act between any two of its calls, and inside the slow ones.
class RelayProcess : public std::enable_shared_from_this<RelayProcess> {
public:
    struct Setup {
        SimStore::World world;
        Destination& destination;
        RelayOptions options{};
        StoreFaults store{};
        std::string who{};
        std::uint64_t seed{};
    };

    explicit RelayProcess(const Setup& setup);

    void start() { schedule(Duration{}); }
    /// As SIGKILL: it never acts again; what it sent may still arrive.
    void kill();
    /// As SIGSTOP for a while.
    void freeze(Duration time);
    /// As SIGTERM.
    void stop();
    void heal();

    bool is_over() const { return over_; }
    bool is_staying() const { return !over_ && !was_stopped_; }  ///< Nobody told it to end.
    const std::string& error() const { return error_; }
    std::uint64_t turns() const { return turns_; }
    const std::string& who() const { return who_; }

private:
    struct VirtualClock final : core::Clock {
        explicit VirtualClock(const Scheduler& from) : scheduler(from) {}
        core::Instant now() const override { return scheduler.now(); }
        const Scheduler& scheduler;
    };

    void schedule(Duration wait);
    void act();
    void end();

    Scheduler& scheduler_;
    Trace& trace_;
    Milliseconds drain_timeout_;
    std::string who_;
    Random random_;
    VirtualClock clock_;
    std::unique_ptr<SimStore> store_;
    std::unique_ptr<SimBroker> broker_;
    SimBroker* retry_broker_{};  ///< The driver's, once it has opened it.
    std::unique_ptr<relay::Driver> driver_;
    std::uint64_t appointment_{};  ///< Only the newest one counts.
    std::uint64_t turns_{};
    Instant frozen_until_{};
    bool acting_{};
    bool doomed_{};
    bool stop_asked_{};
    bool was_stopped_{};
    bool over_{};
    std::string error_;
};

}  // namespace sagaz::simulation
