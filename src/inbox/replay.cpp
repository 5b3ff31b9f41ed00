// A parked message is handled again by one transaction that takes it out of `parked`, sets its mark
// and runs the handler. So wherever a process dies it is either parked as before, or marked with
// its effects and parked no more; of two that take it at once one passes it over. Its key's order
// holds, since only the first of a key is due, and what comes meanwhile is parked behind (migration
// 0007).
#include "inbox/run.hpp"

#include <chrono>

namespace sagaz::inline v0::inbox {

using core::Blame;
using core::InboxStage;

std::optional<Run::Plain> Run::replay(const std::function<void(const Message&)>& handle) {
    std::optional<Due> due;
    double seconds = 0;
    const auto trouble = attempt([&](InboxStage& stage) {
        due.reset();
        unit_.begin();
        due = take_due(unit_, options_, scripts_);
        if (!due) return unit_.rollback();
        if (due->settlement == Settlement::processed) {
            stage = InboxStage::handler;
            const auto start = std::chrono::steady_clock::now();
            handle(due->message);
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
            seconds = took.count();
        }
        stage = InboxStage::commit;
        unit_.commit();
    });
    Plain plain;
    if (trouble) {
        unit_.rollback();
        if (!due) return again(*trouble);
        plain = after_replay(*trouble, due->message);
    } else if (!due) {
        return std::nullopt;
    } else {
        plain.settlement = due->settlement;
    }
    reporter_.settled(plain.settlement, due->message.event.event_type, plain.reason, seconds);
    return plain;
}

Run::Plain Run::after_replay(const Trouble& trouble, const Message& message) {
    if (trouble.blame != Blame::message) return again(trouble);
    reporter_.failed(message.event.event_type);
    Delivery::Counted counted;
    const auto uncounted = attempt([&](InboxStage& stage) {
        unit_.begin();
        counted = refuse_due(unit_, options_, scripts_, message.id, trouble.cause);
        stage = InboxStage::commit;
        unit_.commit();
    });
    if (uncounted) {
        unit_.rollback();
        return again(trouble);
    }
    if (trouble.was_ended && counted.settlement == Settlement::duplicate) throw_ended();
    Plain plain{counted.settlement, {}, {}, trouble.cause};
    if (plain.settlement == Settlement::retry_later) {
        plain.retry_in =
            core::retry_wait(counted.attempts, options_.retry_initial, options_.retry_max);
    }
    return plain;
}

}  // namespace sagaz::inline v0::inbox
