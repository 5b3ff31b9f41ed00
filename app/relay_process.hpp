#pragma once

#include "app/commands.hpp"

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace sagaz::inline v0::app {

struct RelayPlan {
    StoreTarget store{};
    std::string broker{};  ///< Its URL.
    std::string log{};     ///< The file that its log is appended to.
    std::string admin{"127.0.0.1:0"};
    /// Short, since a relay that is started again waits for the lease of the one that was killed.
    std::chrono::milliseconds lease{500};
    std::vector<std::string> variables{};  ///< More of its configuration: "SAGAZ_...=value".
};

/// A `sagaz relay` of its own, so that it can be killed like one. It hears no Ctrl-C of this
/// terminal. Killed with this object; the kernel does it if the thread that started it ends first.
class RelayProcess {
public:
    /// Throws `unavailable` (`relay_process`) when no process can be started.
    explicit RelayProcess(const RelayPlan& plan);
    ~RelayProcess();
    RelayProcess(const RelayProcess&) = delete;
    RelayProcess& operator=(const RelayProcess&) = delete;

    /// kill -9, and waits for the end.
    void kill_hard();

    /// SIGTERM, and waits for the end, which must be an orderly one. Throws `unavailable`
    /// (`relay_process`) when it is not, or not within `deadline`.
    void stop(std::chrono::milliseconds deadline);

    /// Throws `unavailable` (`relay_process`) when it ended by itself.
    void must_run();
    bool has_ended();

    /// "was killed by signal 9", "ended with exit code 1"; after the end.
    std::string how_it_ended() const;

    /// The most memory that it had so far, in bytes; 0 once it has ended.
    std::size_t memory_peak() const;

    pid_t pid() const { return pid_; }

private:
    [[noreturn]] void fail(const std::string& what) const;

    std::string log_;
    pid_t pid_{};
    int status_{};
};

}  // namespace sagaz::inline v0::app
