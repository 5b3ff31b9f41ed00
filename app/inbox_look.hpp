#pragma once

#include "app/store_look.hpp"

#include <sagaz/error.hpp>
#include <sagaz/event.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// What `inbox` wants to know of the consumers in a database. There is no index on the time of a
/// mark, since it would cost every message a write: what would need one is estimated, and says so.
namespace sagaz::inline v0::app {

class StoreSession;

enum class CountIs { exact, estimate, at_least };

struct MarksLook {
    std::int64_t count{};
    CountIs count_is{CountIs::exact};            ///< Of the ages too: exact, or an estimate.
    std::optional<double> oldest_age_seconds{};  ///< None without marks.
    std::optional<double> newest_age_seconds{};
};

/// Messages that failed and will come again.
struct AttemptsLook {
    std::int64_t messages{};
    std::int64_t most{};  ///< Attempts of the message that has most; what follows is of its last.
    std::string last_cause{};
    double last_age_seconds{};
};

struct ConsumerLook {
    std::string name{};
    MarksLook marks{};
    AttemptsLook attempts{};
    std::vector<ParkedCount> parked{};
};

/// Up to here the marks of a consumer are counted.
inline constexpr std::int64_t kMarksCounted = 10'000;

/// The consumers that have left anything in the inbox, by name; with `only` just this one. Throws
/// `consumer_unknown` when there is nothing of it.
std::vector<std::string> consumers_in(StoreSession& session,
                                      const std::optional<std::string>& only);

std::vector<ConsumerLook> look_at_inbox(StoreSession& session,
                                        const std::optional<std::string>& only);

/// Topics that messages came from lately: of the newest marks of each consumer, as ids go.
std::vector<std::string> topics_in(StoreSession& session);

/// The database's clock, since 1970.
Milliseconds clock_of(StoreSession& session);

/// How far an id's time may be ahead of the database's clock: the clocks of producers.
inline constexpr Milliseconds kClockAhead{86'400'000};

}  // namespace sagaz::inline v0::app
