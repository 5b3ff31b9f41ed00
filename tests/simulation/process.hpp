#pragma once

#include "random.hpp"
#include "scheduler.hpp"
#include "trace.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace sagaz::simulation {

/// A process that acts one command at a time, so others act between any two of its calls, and
/// inside the slow ones.
class Process : public std::enable_shared_from_this<Process> {
public:
    Process(Scheduler& scheduler, Trace& trace, std::string who, std::uint64_t seed)
        : scheduler_(scheduler), trace_(trace), who_(std::move(who)), random_(seed) {}
    virtual ~Process() = default;
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void start() { schedule(Duration{}); }
    /// As SIGKILL: it never acts again; what it sent may still arrive.
    void kill();
    /// As SIGSTOP for a while.
    void freeze(Duration time);
    /// As SIGTERM.
    void stop();

    bool is_over() const { return over_; }
    bool is_staying() const { return !over_ && !was_stopped_; }  ///< Nobody told it to end.
    const std::string& error() const { return error_; }
    std::uint64_t turns() const { return turns_; }
    const std::string& who() const { return who_; }

protected:
    struct Turn {
        bool ended{};
        Duration wait{};  ///< Nothing to do for so long.
    };

    /// Carries out one command; an Error ends the process.
    virtual Turn turn() = 0;
    virtual void begin_stop() = 0;
    virtual void freeze_clients(Instant until) = 0;
    /// Lets go of its memory and its connections.
    virtual void vanish() = 0;

    /// There is something to do before it said so.
    void wake() {
        if (!acting_ && !over_) schedule(Duration{});
    }
    Instant frozen_until() const { return frozen_until_; }

    Scheduler& scheduler_;
    Trace& trace_;
    std::string who_;
    Random random_;

private:
    void schedule(Duration wait);
    void act();
    void end();

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
