#include "sim_session.hpp"

#include <sagaz/error.hpp>

namespace sagaz::simulation {

void SimSession::lose_connection() {
    connected_to_ = 0;
    throw Error(ErrorKind::unavailable, "store_unavailable", "the simulated connection is lost",
                "wait");
}

void SimSession::pass_time() {
    if (!random_.chance(faults_.slow)) return;
    const auto max = static_cast<std::uint64_t>(faults_.slow_max.count());
    world_.scheduler.run_for(Duration{static_cast<Duration::rep>(random_.below(max))});
}

void SimSession::check_connection() {
    if (!world_.database.is_up()) lose_connection();
    const std::uint64_t generation = world_.database.generation();
    if (connected_to_ != generation && connected_to_ != 0 && !faults_.pooler) lose_connection();
    connected_to_ = generation;
}

void SimSession::check_token(Guard guard) const {
    const bool is_known = token_ || guard == Guard::as_seen;
    if (is_known && (faults_.ignores_token || token_ == world_.database.token())) return;
    throw Error(ErrorKind::unavailable, "incarnation_changed", "the database lost its memory",
                "attach again");
}

void SimSession::commit() {
    if (faults_.writes_wait_for_disk) world_.database.flush(world_.database.insert_lsn());
}

}  // namespace sagaz::simulation
