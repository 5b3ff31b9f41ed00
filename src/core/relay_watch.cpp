#include "core/relay_watch.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

namespace {

constexpr Duration kAwakeMax = 700ms;  ///< A little more than any relay's calm look takes.

}  // namespace

Duration beat_interval(Duration lease) noexcept {
    return std::clamp<Duration>(lease / 4, 20ms, 2s);
}

Duration RelayWatch::proof() const noexcept {
    return std::min(lease_, beat_interval(lease_) + beat_interval(lease_) / 2);
}

void RelayWatch::observed(std::span<const RelayView> relays, Duration counted) {
    std::map<Id, Pulse> seen;
    std::vector<Id> living{self_};
    for (const RelayView& relay : relays) {
        if (relay.relay == self_) continue;
        const auto known = pulses_.find(relay.relay);
        Pulse pulse{relay.beat, Duration{}, false};
        if (known != pulses_.end()) {
            const bool moves = known->second.beat != relay.beat;
            pulse.silent = moves ? Duration{} : known->second.silent + counted;
            pulse.has_moved = moves || known->second.has_moved;
        }
        if (pulse.silent < (pulse.has_moved ? lease_ : proof())) living.push_back(relay.relay);
        seen.emplace(relay.relay, pulse);
    }
    std::ranges::sort(living);
    unchanged_for_ = living == living_ ? unchanged_for_ + counted : Duration{};
    living_ = std::move(living);
    pulses_ = std::move(seen);
}

void RelayWatch::forget() {
    pulses_.clear();
    living_ = {self_};
    unchanged_for_ = {};
}

bool RelayWatch::is_awake(const Id& relay) const {
    const auto pulse = pulses_.find(relay);
    return pulse != pulses_.end() && pulse->second.has_moved &&
           pulse->second.silent < std::min(kAwakeMax, lease_ / 2);
}

std::size_t RelayWatch::rank_of(const Id& relay) const {
    return static_cast<std::size_t>(std::ranges::find(living_, relay) - living_.begin());
}

std::size_t RelayWatch::share_of(const Id& relay, std::size_t slots) const {
    const std::size_t rank = rank_of(relay);
    if (rank == living_.size()) return 0;
    return slots / living_.size() + (rank < slots % living_.size() ? 1 : 0);
}

}  // namespace sagaz::inline v0::core
