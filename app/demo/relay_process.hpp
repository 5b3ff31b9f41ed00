#pragma once

#include "app/demo/stage.hpp"

#include <sys/types.h>

#include <chrono>

namespace sagaz::inline v0::app::demo {

/// A `sagaz relay` of its own, from the shop's log to the destination's file, so that it can be
/// killed like one. Killed with this object; the kernel does it if this process dies first.
class RelayProcess {
public:
    /// Throws `unavailable` (`demo_relay`) when no process can be started.
    explicit RelayProcess(const Stage& stage);
    ~RelayProcess();
    RelayProcess(const RelayProcess&) = delete;
    RelayProcess& operator=(const RelayProcess&) = delete;

    /// kill -9, and waits for the end.
    void kill_hard();

    /// SIGTERM, and waits for the end, which must be an orderly one. Throws `unavailable`
    /// (`demo_relay`) when it is not, or not within `deadline`.
    void stop(std::chrono::milliseconds deadline);

    /// Throws `unavailable` (`demo_relay`) when it ended by itself.
    void must_run();

private:
    [[noreturn]] void fail(const std::string& what) const;
    bool has_ended();

    std::string log_;
    pid_t pid_{};
    int status_{};
};

}  // namespace sagaz::inline v0::app::demo
