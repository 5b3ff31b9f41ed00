#include "core/inbox_step.hpp"

#include <algorithm>

namespace sagaz::inline v0::core {

Blame blame_of(InboxStage stage, ErrorKind kind, std::string_view code) noexcept {
    if (kind == ErrorKind::fatal || code == "connection_lost") return Blame::call;
    if (kind == ErrorKind::conflict) return Blame::database;
    switch (stage) {
        case InboxStage::marks:
            // A time-out that suits one message may be short for all of them.
            if (code == "statement_canceled") return Blame::competitor;
            [[fallthrough]];
        case InboxStage::statement:
            if (code == "transaction_failed") return Blame::message;
            return code == "lock_not_available" ? Blame::competitor : Blame::call;
        case InboxStage::handler:
            if (code == "statement_canceled" || kind == ErrorKind::invalid) return Blame::message;
            return Blame::database;
        case InboxStage::commit: return kind == ErrorKind::invalid ? Blame::message : Blame::call;
    }
    return Blame::call;
}

std::optional<Settlement> settlement_of(std::string_view word) noexcept {
    for (const auto settlement : {Settlement::processed, Settlement::duplicate, Settlement::parked,
                                  Settlement::retry_later, Settlement::in_progress}) {
        if (word == word_of(settlement)) return settlement;
    }
    return std::nullopt;
}

Milliseconds retry_wait(int attempts, Milliseconds initial, Milliseconds max) noexcept {
    Milliseconds wait = std::min(initial, max);
    for (int n = 1; n < attempts && wait < max && wait.count() > 0; ++n)
        wait = std::min(wait * 2, max);
    return wait;
}

BatchRound next_round(BatchRound round, InboxStage stage, Blame blame) noexcept {
    const bool is_one_handlers = stage == InboxStage::handler && blame == Blame::message;
    if (round == BatchRound::together && is_one_handlers) return BatchRound::with_savepoints;
    return BatchRound::one_by_one;
}

void HeldKeys::hold(const Message& message) {
    if (message.event.key) keys_.emplace(message.source_topic, *message.event.key);
}

bool HeldKeys::holds(const Message& message) const {
    return message.event.key && keys_.contains({message.source_topic, *message.event.key});
}

}  // namespace sagaz::inline v0::core
