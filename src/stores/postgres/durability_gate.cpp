#include "stores/postgres/durability_gate.hpp"

#include "stores/postgres/field.hpp"

#include <sagaz/error.hpp>

namespace sagaz::inline v0::postgres {

std::uint64_t DurabilityGate::flushed(bool force, const Statements& statements,
                                      Connection& connection,
                                      const std::function<Result(const std::string&)>& run) {
    if (waits_for_standby_) {
        if (force) wait_for_standby(connection, [&] { return run(statements.flush_standby); });
        return standby_has_;
    }
    if (force) run(statements.flush);
    return number_at<std::uint64_t>(run(statements.flushed).get(), 0, 0);
}

void DurabilityGate::wait_for_standby(Connection& connection,
                                      const std::function<Result()>& flush) {
    connection.take_cancelled_wait();
    const Result row = flush();
    const bool was_waited_for = is_true(row.get(), 0, 2);
    if (!was_waited_for || connection.take_cancelled_wait()) {
        throw Error(ErrorKind::unavailable, "standby_missing",
                    was_waited_for ? "the wait for the standby was cancelled"
                                   : "commits wait for no standby",
                    "set synchronous_standby_names in PostgreSQL, or durability to local");
    }
    standby_has_ = number_at<std::uint64_t>(row.get(), 0, 0);
}

}  // namespace sagaz::inline v0::postgres
