#pragma once

#include "stores/postgres/connection.hpp"

#include <sagaz/postgres.hpp>

#include <cstdint>
#include <functional>

namespace sagaz::inline v0::postgres {

/// Up to where the log is safe by the chosen durability. Of a synchronous standby only a wait
/// tells, as a commit waits: the server's own views of what a standby has are not for every login.
class StandbyGate {
public:
    explicit StandbyGate(Durability durability) : is_asked_(durability == Durability::standby) {}

    bool is_asked() const noexcept { return is_asked_; }
    /// What is safe of what is on the server's disk up to `flushed`.
    std::uint64_t safe(std::uint64_t flushed) const noexcept {
        return is_asked_ ? standby_has_ : flushed;
    }
    /// Runs `flush`, which is `Statements::flush_standby`, on `connection`. Throws `unavailable`
    /// (`standby_missing`) when commits wait for nobody, or somebody cancelled this one's wait; and
    /// what `flush` throws: an answer that does not come in time proves nothing.
    void wait(Connection& connection, const std::function<Result()>& flush);
    /// The log may be another one.
    void forget() noexcept { standby_has_ = 0; }

private:
    bool is_asked_;
    std::uint64_t standby_has_{};
};

}  // namespace sagaz::inline v0::postgres
