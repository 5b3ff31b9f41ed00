#pragma once

#include "stores/postgres/connection.hpp"
#include "stores/postgres/statements.hpp"

#include <sagaz/postgres.hpp>

#include <cstdint>
#include <functional>
#include <string>

namespace sagaz::inline v0::postgres {

/// Up to where the log is safe by the chosen durability; the same for a relay's store and a
/// publisher's. Of a synchronous standby only a wait tells, as a commit waits: the server's own
/// views of what a standby has are not for every login.
class DurabilityGate {
public:
    explicit DurabilityGate(Durability durability)
        : waits_for_standby_(durability == Durability::standby) {}

    /// What is safe of what is on the server's disk up to `flushed`.
    std::uint64_t safe(std::uint64_t flushed) const noexcept {
        return waits_for_standby_ ? standby_has_ : flushed;
    }
    /// As `Store::flushed`. `run` carries out one guarded statement on `connection`; what it throws
    /// passes through: an answer that does not come in time proves nothing. Throws `unavailable`
    /// (`standby_missing`) when commits wait for nobody, or somebody cancelled the wait.
    std::uint64_t flushed(bool force, const Statements& statements, Connection& connection,
                          const std::function<Result(const std::string&)>& run);
    /// The log may be another one.
    void forget() noexcept { standby_has_ = 0; }

private:
    void wait_for_standby(Connection& connection, const std::function<Result()>& flush);

    bool waits_for_standby_;
    std::uint64_t standby_has_{};
};

}  // namespace sagaz::inline v0::postgres
