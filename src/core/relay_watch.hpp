#pragma once

#include "core/clock.hpp"

#include <sagaz/store.hpp>

#include <cstdint>
#include <map>
#include <span>
#include <vector>

/// Which relays live, as one of them sees it, and how many slots each should have.
///
/// A relay lives while its counter moves, by the observer's own monotonic clock. One that has not
/// been seen to move yet may be left over from a process that was killed: it counts for a short
/// time, so that relays that start together share from the first look on, and no longer, so that
/// the dead keep nobody waiting.
namespace sagaz::inline v0::core {

class RelayWatch {
public:
    RelayWatch(const Id& self, Duration lease) : self_(self), lease_(lease) {}

    /// Takes what `observe` returned; `counted` is the time since the last look that counts.
    void observed(std::span<const RelayView> relays, Duration counted);
    void forget();

    /// Those that live, this one among them, by id: later ones are younger.
    const std::vector<Id>& living() const noexcept { return living_; }
    /// For how long they have been the same.
    Duration unchanged_for() const noexcept { return unchanged_for_; }
    /// True when it looked at the slots a moment ago, so that it would take a free one at once.
    bool is_awake(const Id& relay) const;

    /// Nobody who lives is silent for longer.
    Duration proof() const noexcept;

    /// What one of the living should have of `slots`: their even share by rank, so that all who see
    /// the same relays agree. Nothing for those beyond the number of slots: they stand by.
    std::size_t share_of(const Id& relay, std::size_t slots) const;
    std::size_t rank_of(const Id& relay) const;

private:
    struct Pulse {
        std::int64_t beat{};
        Duration silent{};
        bool has_moved{};
    };

    Id self_;
    Duration lease_;
    std::map<Id, Pulse> pulses_;
    std::vector<Id> living_{self_};
    Duration unchanged_for_{};
};

/// The longest time between two beats of a relay that has all that it should have.
Duration beat_interval(Duration lease) noexcept;

}  // namespace sagaz::inline v0::core
