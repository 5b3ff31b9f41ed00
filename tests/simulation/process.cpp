#include "process.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>

#include <algorithm>

namespace sagaz::simulation {

void Process::schedule(Duration wait) {
    const Instant when = std::max(scheduler_.now() + wait, frozen_until_);
    scheduler_.at(when, [self = shared_from_this(), mine = ++appointment_] {
        if (mine == self->appointment_) self->act();
    });
}

void Process::act() {
    if (over_ || acting_) return;
    if (scheduler_.now() < frozen_until_) return schedule(Duration{});
    acting_ = true;
    if (std::exchange(stop_asked_, false)) begin_stop();
    Turn done;
    try {
        done = turn();
    } catch (const Error& error) {
        error_ = fmt::format("{} stopped: {}: {}", who_, error.code(), error.what());
        trace_.line(who_, fmt::format(R"("what":"failed","code":"{}")", error.code()));
        done.ended = true;
    }
    acting_ = false;
    ++turns_;
    if (doomed_ || done.ended) return end();
    const Duration own_time = microseconds{random_.between(1, 100)};
    schedule(std::max(own_time, done.wait));
}

void Process::end() {
    over_ = true;
    trace_.line(who_, R"("what":"over")");
    vanish();
}

void Process::kill() {
    if (over_) return;
    trace_.line(who_, R"("what":"killed")");
    if (acting_) {
        doomed_ = true;  // inside a slow call; it will not come back from it
    } else {
        end();
    }
}

void Process::freeze(Duration time) {
    if (over_) return;
    trace_.line(who_, fmt::format(R"("what":"frozen","ms":{})",
                                  std::chrono::duration_cast<milliseconds>(time).count()));
    frozen_until_ = std::max(frozen_until_, scheduler_.now() + time);
    freeze_clients(frozen_until_);
    wake();
}

void Process::stop() {
    if (over_) return;
    trace_.line(who_, R"("what":"stopping")");
    stop_asked_ = was_stopped_ = true;
    wake();
}

}  // namespace sagaz::simulation
