#include "app/signals.hpp"

#include <unistd.h>

#include <csignal>
#include <ctime>

namespace sagaz::inline v0::app {
namespace {

sigset_t stop_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

}  // namespace

void StopOnSignal::block() {
    const auto set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

StopOnSignal::StopOnSignal(std::function<void(int)> on_first)
    : on_first_{std::move(on_first)}, thread_{[this](const std::stop_token& end) { wait(end); }} {}

StopOnSignal::~StopOnSignal() = default;  // the thread looks for its end five times a second

void StopOnSignal::wait(const std::stop_token& end) {
    const auto set = stop_signals();
    const timespec patience{0, 200'000'000};
    while (!end.stop_requested()) {
        const int number = sigtimedwait(&set, nullptr, &patience);
        if (number <= 0) {
            continue;
        }
        if (signal_ != 0) {
            _exit(128 + number);
        }
        signal_ = number;
        stop_.request_stop();
        if (on_first_) {
            on_first_(number);
        }
    }
}

}  // namespace sagaz::inline v0::app
