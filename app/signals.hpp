#pragma once

#include <atomic>
#include <functional>
#include <stop_token>
#include <thread>

namespace sagaz::inline v0::app {

/// Turns SIGTERM and SIGINT into a stop request for as long as it lives. Only this object's thread
/// takes them: call `block` before the process has any other thread, since threads inherit it.
///
/// The second signal ends the process at once, with 128 + its number: nothing is lost, since what
/// is not stored is sent again.
class StopOnSignal {
public:
    /// Blocks the two signals in this thread and in those that it starts from now on.
    static void block();

    /// `on_first` is called in this object's thread with the signal's number.
    explicit StopOnSignal(std::function<void(int)> on_first = {});
    ~StopOnSignal();
    StopOnSignal(const StopOnSignal&) = delete;
    StopOnSignal& operator=(const StopOnSignal&) = delete;

    std::stop_token token() const { return stop_.get_token(); }

    /// For a stop that no signal asked for.
    void request_stop() { stop_.request_stop(); }

    /// The first signal; 0 until there was one.
    int signal() const noexcept { return signal_; }

private:
    void wait(const std::stop_token& end);

    std::stop_source stop_;
    std::function<void(int)> on_first_;
    std::atomic<int> signal_{};
    std::jthread thread_;
};

}  // namespace sagaz::inline v0::app
