#pragma once

#include "stores/postgres/connection.hpp"

#include <sagaz/postgres.hpp>

#include <string>

namespace sagaz::inline v0::postgres {

/// Has the log re-based after a restore (migration 0004), which takes as long as the backlog is
/// large. So on a connection of its own, which waits for it over several calls while the relay
/// goes on to beat and to answer; when the relay ends, the server finishes what it began, or undoes
/// it.
class Rebaser {
public:
    Rebaser(const std::string& url, const Options& options);

    /// Returns when the log is re-based, by this or by somebody else; `forced`: by this, though no
    /// cursor is in doubt. Throws `unavailable` (`rebasing`) while it is under way: call again.
    void run(bool forced);

private:
    std::string schema_;
    Connection connection_;
    bool is_running_{};
    bool is_forced_{};
};

}  // namespace sagaz::inline v0::postgres
