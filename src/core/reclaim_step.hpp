#pragma once

#include "core/backoff.hpp"
#include "core/clock.hpp"

#include <sagaz/store.hpp>

#include <cstdint>
#include <optional>

/// When a relay asks the store to give back the space of what is delivered.
///
/// Only when to ask is decided here. What may go the store judges by the cursors that are stored,
/// so any relay may ask at any time, several at once too. In calm one does: the owner of the lowest
/// slot, which there is exactly one of. Often while events flow, at once while there is more, with
/// backoff while somebody holds a delivered segment, and once a minute when nothing happens, since
/// what is kept by age or by retention becomes due by itself.
namespace sagaz::inline v0::core {

class ReclaimStep {
public:
    /// `seed` is for the jitter of the backoff.
    explicit ReclaimStep(std::uint64_t seed);

    /// `lowest`: of the slots owned, if any. `delivered`: events so far.
    bool is_due(std::optional<std::int16_t> lowest, std::uint64_t delivered, Instant now);
    void reclaimed(const Reclaimed& reclaimed, std::uint64_t delivered, Instant now);

    /// For how long something delivered could not be removed; zero: it can, or it is not this
    /// relay's task.
    Duration blocked_for(Instant now) const;

private:
    Backoff backoff_;
    bool on_duty_{};
    Instant looked_at_{};
    std::uint64_t delivered_{};     ///< At the last look.
    std::optional<Duration> wait_;  ///< After the last look, whatever is delivered meanwhile.
    std::optional<Instant> blocked_since_;
};

}  // namespace sagaz::inline v0::core
