#pragma once

#include "app/commands.hpp"
#include "app/store.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// The parked events and messages as `sagaz parked` finds them.
namespace sagaz::inline v0::app {

/// Which of them a command is about, as SQL.
class ParkedCondition {
public:
    explicit ParkedCondition(const ParkedFilter& filter) : filter_{filter} {}

    /// " and ..." for each thing that was asked, of the table `p`. Adds to `values`.
    std::string sql(const StoreSession& session, std::vector<std::string>& values) const;
    /// The same for a person who reads the audit.
    std::string json() const;
    /// What may be changed at all: the messages of the inbox of a consumer that was named, or
    /// events.
    std::string changeable() const;
    /// Of those, what a replay changes. So a second one changes nothing.
    std::string replayable() const;
    const std::optional<std::string>& consumer() const { return filter_.consumer; }

private:
    const ParkedFilter& filter_;
};

struct ParkedTally {
    std::int64_t changed{};
    std::int64_t unchanged{};  ///< Replay: waiting already, and never refused since.
    std::int64_t blocked{};    ///< Replay: behind a dead one of their key that was not replayed.
    std::int64_t messages{};   ///< Of an inbox whose consumer was not named: left alone.
};

/// Counts what `replay` and `discard` would do, or do it; each is one transaction with its audit.
ParkedTally look_at_parked(StoreSession& session, const ParkedCondition& condition);
ParkedTally replay_parked(StoreSession& session, const ParkedCondition& condition,
                          std::int64_t rate);
ParkedTally discard_parked(StoreSession& session, const ParkedCondition& condition);

}  // namespace sagaz::inline v0::app
