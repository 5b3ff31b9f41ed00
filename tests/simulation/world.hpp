#pragma once

#include "history.hpp"
#include "producers.hpp"
#include "publisher_process.hpp"
#include "sim_broker.hpp"
#include "sim_store.hpp"

#include <sagaz/relay.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace sagaz::simulation {

/// Everything that a run is made of, drawn from its seed: a random subset of the faults, so that
/// each is also met without the others.
struct Plan {
    std::uint64_t seed{};
    Settings settings{};
    RelayOptions options{};
    Business business{};
    StoreFaults store{};
    BrokerFaults broker{};
    OptimisticOptions optimistic{};
    int publishers{};
    Duration publishers_after{};  ///< Their start.
    int clock_rate_max{};         ///< Of publishers' clocks: so many thousandths fast or slow.
    int relays{1};
    Duration busy{seconds{3}};  ///< Faults come during this time; then all is healed.
    Duration wal_writer{milliseconds{200}};
    int crashes{};
    int restores{};  ///< Into a new cluster, whose transaction ids begin anew.
    int outages{};
    int kills{};
    int freezes{};
    int stops{};   ///< Of a relay, in good order, with a new one afterwards.
    int joins{};   ///< One more relay.
    int leaves{};  ///< One relay less, in good order.
    bool calm{};   ///< Nothing but these three happens: then nothing may repeat.
    int publisher_kills{};
    int publisher_freezes{};
    int publisher_stops{};
    int switches{};     ///< Optimistic sending is switched off, and on again.
    int clock_jumps{};  ///< Of the database's clock.
    int replays{};      ///< Of a parked event, by an operator.
    int discards{};     ///< The same.
};

Plan plan_of(std::uint64_t seed);

/// How much really happened, so that a run which meets nothing is seen.
struct Tally {
    std::uint64_t events{};
    std::uint64_t arrived{};
    std::uint64_t repeats{};
    std::uint64_t parked{};   ///< At the end.
    std::uint64_t retried{};  ///< Were parked and arrived.
    std::uint64_t discarded{};
    std::uint64_t rolled_back{};
    std::uint64_t lost_in_crashes{};  ///< Events whose transactions did not survive.
    std::uint64_t sent_by_publishers{};
    std::uint64_t tickets_published{};
    PublisherProcess::LeftCounts left{};  ///< Tickets, by reason.
    std::uint64_t marked{};               ///< Held events that a relay said it had sent.
    std::uint64_t reclaimed{};            ///< Events removed from the log after delivery.
    std::uint64_t takeovers{};
    std::uint64_t moves{};  ///< Slots that one living relay gave to another.
    std::uint64_t breaks{};
    std::uint64_t crashes{};
    std::uint64_t restores{};
    std::uint64_t turns{};

    std::uint64_t tickets_left() const;
    std::uint64_t left_for(LeftReason reason) const {
        return left[static_cast<std::size_t>(reason)];
    }
    void add(const Tally& other);
};

struct Result {
    std::vector<std::string> violations{};
    std::uint64_t trace_hash{};
    std::uint64_t trace_lines{};
    std::vector<std::string> last_lines{};
    Tally tally{};
    std::uint64_t idle_turns{};  ///< Of one relay in the second after the end, nothing to do.
};

/// Runs one plan to its end: a busy time with faults, then healing, then draining.
Result run(const Plan& plan);

/// The last trace lines of the run under way, for a process that is about to abort.
const std::deque<std::string>* lines_of_current_run();

}  // namespace sagaz::simulation
