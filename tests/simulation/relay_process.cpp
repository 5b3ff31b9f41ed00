#include "relay_process.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace sagaz::simulation {

RelayProcess::RelayProcess(const Setup& setup)
    : scheduler_(setup.world.scheduler),
      trace_(setup.world.trace),
      drain_timeout_(setup.options.drain_timeout),
      who_(setup.who),
      random_(setup.seed),
      clock_(setup.world.scheduler) {
    store_ = std::make_unique<SimStore>(setup.world, setup.store, who_, random_.next());
    broker_ = std::make_unique<SimBroker>(setup.destination, who_, random_.next());
    const Id id = random_.id();
    driver_ = std::make_unique<relay::Driver>(*store_, *broker_, setup.options, clock_, nullptr, id,
                                              random_.next());
    driver_->retry_by([this, &destination = setup.destination] {
        if (random_.chance(300)) throw Error(ErrorKind::invalid, "broker_option", "no file", "");
        auto broker = std::make_unique<SimBroker>(destination, who_ + "-retry", random_.next());
        broker->freeze(frozen_until_);
        retry_broker_ = broker.get();
        return broker;
    });
    broker_->wake_by([this] {
        // A relay that waits in `poll` gets its receipts at once.
        if (!acting_ && !over_ && broker_->poll_wait() > Duration{}) schedule(Duration{});
    });
}

void RelayProcess::schedule(Duration wait) {
    const Instant when = std::max(scheduler_.now() + wait, frozen_until_);
    scheduler_.at(when, [self = shared_from_this(), mine = ++appointment_] {
        if (mine == self->appointment_) self->act();
    });
}

void RelayProcess::act() {
    if (over_ || acting_) return;
    if (scheduler_.now() < frozen_until_) return schedule(Duration{});
    broker_->forget_poll();
    if (stop_asked_) {
        stop_asked_ = false;
        driver_->step().stop(scheduler_.now(), scheduler_.now() + drain_timeout_);
    }
    acting_ = true;
    relay::Turn turn;
    try {
        turn = driver_->turn();
    } catch (const Error& error) {
        error_ = fmt::format("{} stopped: {}: {}", who_, error.code(), error.what());
        trace_.line(who_, fmt::format(R"("what":"failed","code":"{}")", error.code()));
        turn.ended = true;
    }
    acting_ = false;
    ++turns_;
    if (doomed_ || turn.ended) return end();
    const Duration own_time = microseconds{random_.between(1, 100)};
    const Duration wait = std::max(turn.wake_at - scheduler_.now(), broker_->poll_wait());
    schedule(std::max(own_time, wait));
}

void RelayProcess::end() {
    over_ = true;
    trace_.line(who_, R"("what":"over")");
    driver_.reset();
    retry_broker_ = nullptr;
    broker_.reset();
    store_.reset();
}

void RelayProcess::kill() {
    if (over_) return;
    trace_.line(who_, R"("what":"killed")");
    if (acting_) {
        doomed_ = true;  // inside a slow call; it will not come back from it
    } else {
        end();
    }
}

void RelayProcess::freeze(Duration time) {
    if (over_) return;
    trace_.line(who_, fmt::format(R"("what":"frozen","ms":{})",
                                  std::chrono::duration_cast<milliseconds>(time).count()));
    frozen_until_ = std::max(frozen_until_, scheduler_.now() + time);
    broker_->freeze(frozen_until_);
    if (retry_broker_ != nullptr) retry_broker_->freeze(frozen_until_);
    if (!acting_) schedule(Duration{});
}

void RelayProcess::stop() {
    if (over_) return;
    trace_.line(who_, R"("what":"stopping")");
    stop_asked_ = was_stopped_ = true;
    if (!acting_) schedule(Duration{});
}

void RelayProcess::heal() {
    if (!over_) store_->heal();
}

}  // namespace sagaz::simulation
