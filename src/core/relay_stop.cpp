// How a relay ends in time: what was sent is settled, the cursors are stored, the slots given back.
#include "core/relay_step.hpp"

#include <algorithm>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

void RelayStep::stop(Instant now, Instant deadline) {
    if (stopping_) return;
    stopping_ = true;
    stop_by_ = deadline;
    // Half the time for the destination, so that half is left for the store.
    give_up_at_ = now + (deadline - now) / 2;
    lease_.stop_claiming();
    retry_.stop();
}

// What was accepted is taken out, so that the next owner need not send it again.
std::optional<Command> RelayStep::finish_retry(Instant now) {
    if (!retry_.is_busy() || now >= give_up_at_) return std::nullopt;
    if (now >= lease_.observe_at()) return observe_command(now);
    if (auto command = try_parked(now)) return command;
    if (!retry_.is_busy()) return std::nullopt;
    return command::Wait{std::min(std::max(retry_.wake_at(), now + 1ms), give_up_at_)};
}

// What was sent is settled only when all before it is: a row before it that was held or not yet
// sent goes out first, and the rows behind it are dropped. So a stop in calm repeats nothing.
std::optional<Command> RelayStep::settle_before_the_end(Instant now) {
    const auto is_clean = [](const auto& log) { return log->ledger.is_clean(); };
    const bool is_settled = std::all_of(delivery_.logs().begin(), delivery_.logs().end(), is_clean);
    if (is_settled || abandoned_ || now >= give_up_at_ || !down_.empty()) {
        delivery_.stop_sending();
        return std::nullopt;
    }
    if (attached_ && store_at_ <= now) {
        if (now >= lease_.observe_at()) return observe_command(now);
        if (has_parking_in_front()) return store_command();
        if (auto command = look_at_held(now)) return command;
        if (auto command = open_gate(now)) return command;
    }
    if (auto command = send(now)) return command;
    return rest(now);
}

Command RelayStep::next_while_stopping(Instant now) {
    const bool late = now >= stop_by_;
    if (reading_) return command::FinishRead{};
    if (auto command = settle_before_the_end(now)) return *std::move(command);
    if (delivery_.in_flight() > 0 && !abandoned_) {
        if (now < give_up_at_ && down_.empty()) {
            return command::Poll{std::min(milliseconds_until(now, give_up_at_), Milliseconds{100})};
        }
        abandoned_ = true;
        return command::Abandon{std::max(milliseconds_until(now, stop_by_) / 2, Milliseconds{100})};
    }
    const bool can_store = attached_ && !late;
    if (can_store && store_at_ > now) return command::Wait{std::min(store_at_, stop_by_)};
    if (can_store) {
        if (auto command = finish_retry(now)) return *std::move(command);
    }
    if (can_store && !left_) {
        auto store = store_command();
        if (!store.moves.empty()) return store;
        return command::Leave{};
    }
    // The database lost its memory, but not who owns the slots: attach, so that they can be left.
    if (has_attached_ && !attached_ && !left_ && !late) {
        if (store_at_ > now) return command::Wait{std::min(store_at_, stop_by_)};
        return command::Attach{};
    }
    return command::End{};
}

}  // namespace sagaz::inline v0::core
