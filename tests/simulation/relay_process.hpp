#pragma once

#include "process.hpp"
#include "relay/driver.hpp"
#include "sim_broker.hpp"
#include "sim_store.hpp"

#include <memory>
#include <string>

namespace sagaz::simulation {

/// One relay: the product's driver on a simulated store and broker.
class RelayProcess final : public Process {
public:
    struct Setup {
        SimSession::World world;
        Destination& destination;
        RelayOptions options{};
        StoreFaults store{};
        std::string who{};
        std::uint64_t seed{};
    };

    explicit RelayProcess(const Setup& setup);

    void heal() {
        if (!is_over()) store_->heal();
    }

private:
    struct VirtualClock final : core::Clock {
        explicit VirtualClock(const Scheduler& from) : scheduler(from) {}
        core::Instant now() const override { return scheduler.now(); }
        const Scheduler& scheduler;
    };

    Turn turn() override;
    void begin_stop() override;
    void freeze_clients(Instant until) override;
    void vanish() override;

    Milliseconds drain_timeout_;
    VirtualClock clock_;
    std::unique_ptr<SimStore> store_;
    std::unique_ptr<SimBroker> broker_;
    SimBroker* retry_broker_{};  ///< The driver's, once it has opened it.
    std::unique_ptr<relay::Driver> driver_;
};

}  // namespace sagaz::simulation
