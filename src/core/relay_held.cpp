// What a relay asks and tells about held rows; what becomes of them is Delivery's (held_rows.cpp).
#include "core/relay_step.hpp"

#include <algorithm>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kHeldMax = 500;      ///< Rows of one look.
constexpr std::size_t kMarkedMax = 1'000;  ///< Rows of one mark.
constexpr Duration kLookInterval = 10ms;   ///< At least, between two looks.

}  // namespace

std::optional<Command> RelayStep::look_at_held(Instant now) {
    if (now < std::max(looked_at_ + kLookInterval, delivery_.look_at())) return std::nullopt;
    auto rows = delivery_.ask_held(kHeldMax, now);
    if (rows.empty()) return std::nullopt;
    return command::LookAt{std::move(rows)};
}

void RelayStep::on_looked_at(std::span<const HoldState> states, Instant now) {
    looked_at_ = now;
    delivery_.looked_at(states, now);
}

// As often as cursors are stored, so that one store lies between two looks at what was accepted.
std::optional<Command> RelayStep::mark_delivered(Instant now) {
    const bool is_due = delivery_.has_taken_over() && now - marked_at_ >= options_.store_interval;
    if (!is_due) return std::nullopt;
    marked_at_ = now;
    auto rows = delivery_.to_be_marked(kMarkedMax);
    if (rows.empty()) return std::nullopt;
    return command::MarkDelivered{std::move(rows)};
}

Instant RelayStep::wake_for_held() const {
    const Instant look = delivery_.look_at();
    Instant wake = look == Instant::max() ? look : std::max(look, looked_at_ + kLookInterval);
    if (delivery_.has_taken_over() && !stopping_) {
        wake = std::min(wake, marked_at_ + options_.store_interval);
    }
    return wake;
}

}  // namespace sagaz::inline v0::core
