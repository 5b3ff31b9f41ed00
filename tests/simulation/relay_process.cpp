#include "relay_process.hpp"

#include <sagaz/error.hpp>

#include <algorithm>

namespace sagaz::simulation {

RelayProcess::RelayProcess(const Setup& setup)
    : Process(setup.world.scheduler, setup.world.trace, setup.who, setup.seed),
      drain_timeout_(setup.options.drain_timeout),
      clock_(setup.world.scheduler) {
    store_ = std::make_unique<SimStore>(setup.world, setup.store, who_, random_.next());
    broker_ = std::make_unique<SimBroker>(setup.destination, who_, random_.next());
    const Id id = random_.id();
    driver_ = std::make_unique<relay::Driver>(*store_, *broker_, setup.options, clock_, nullptr, id,
                                              random_.next());
    driver_->retry_by([this, &destination = setup.destination] {
        if (random_.chance(300)) throw Error(ErrorKind::invalid, "broker_option", "no file", "");
        auto broker = std::make_unique<SimBroker>(destination, who_ + "-retry", random_.next());
        broker->freeze(frozen_until());
        retry_broker_ = broker.get();
        return broker;
    });
    broker_->wake_by([this] {
        // A relay that waits in `poll` gets its receipts at once.
        if (broker_ && broker_->poll_wait() > Duration{}) wake();
    });
}

Process::Turn RelayProcess::turn() {
    broker_->forget_poll();
    const relay::Turn turn = driver_->turn();
    return {turn.ended, std::max(turn.wake_at - scheduler_.now(), broker_->poll_wait())};
}

void RelayProcess::begin_stop() {
    driver_->step().stop(scheduler_.now(), scheduler_.now() + drain_timeout_);
}

void RelayProcess::freeze_clients(Instant until) {
    broker_->freeze(until);
    if (retry_broker_ != nullptr) retry_broker_->freeze(until);
}

void RelayProcess::vanish() {
    driver_.reset();
    retry_broker_ = nullptr;
    broker_.reset();
    store_.reset();
}

}  // namespace sagaz::simulation
