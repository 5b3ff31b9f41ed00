#pragma once

#include "app/relay_process.hpp"

#include <functional>
#include <memory>
#include <string>

namespace sagaz::inline v0::app::demo {

/// A relay process that is started again whenever it has ended, as an orchestrator would.
class KeptRelay {
public:
    /// `say` gets a sentence each time it was started again.
    KeptRelay(RelayPlan plan, std::function<void(const std::string&)> say);

    /// Call it often. Throws `unavailable` (`relay_process`) when the relay ends at once each time.
    void keep();

    /// For the end: as `RelayProcess::stop`, and nothing when it has ended already.
    void stop(std::chrono::milliseconds deadline);

    pid_t pid() const { return process_->pid(); }

private:
    using Clock = std::chrono::steady_clock;

    void start();

    RelayPlan plan_;
    std::function<void(const std::string&)> say_;
    std::unique_ptr<RelayProcess> process_;
    Clock::time_point started_;
    bool has_ended_{};
    int short_lives_{};
};

}  // namespace sagaz::inline v0::app::demo
