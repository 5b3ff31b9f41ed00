#pragma once

#include <sagaz/error.hpp>
#include <sagaz/event.hpp>
#include <sagaz/outcome.hpp>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

/// What the inbox decides, without a database: whose fault a failure is, how a batch goes on, when
/// a message may come again.
namespace sagaz::inline v0::core {

/// Where in a transaction of the inbox something failed.
/// `marks` is a statement for several messages at once.
enum class InboxStage { statement, marks, handler, commit };

/// Whose fault it was, which decides what happens next.
enum class Blame {
    message,     ///< The handler's, for this message: roll back, count an attempt.
    database,    ///< It chose another transaction, or cannot now: again, nothing is counted.
    competitor,  ///< Another transaction handles this message right now.
    call,        ///< Not this message's and not healed by it coming again: the caller is told.
};

/// A lock time-out is the competitor's only in our own statements: in a handler it is for rows we
/// know nothing of. A transaction that has failed before a statement of ours is a handler's, before
/// it in the batch, that did not say so. At the COMMIT `invalid` is the handler's (a deferred
/// constraint, a statement that failed unnoticed), since nothing else of ours waits for it. A
/// handler's statement that the server cancelled took too long, which is the message's doing: it
/// must end in parking.
Blame blame_of(InboxStage stage, ErrorKind kind, std::string_view code) noexcept;

/// The word of the SQL functions for a settlement; every reader and writer uses these.
constexpr std::string_view word_of(Settlement settlement) noexcept {
    switch (settlement) {
        case Settlement::processed: return "processed";
        case Settlement::duplicate: return "duplicate";
        case Settlement::parked: return "parked";
        case Settlement::retry_later: return "retry_later";
        case Settlement::in_progress: return "in_progress";
    }
    return "";
}

/// The settlement behind a word of the SQL functions; none for any other word.
std::optional<Settlement> settlement_of(std::string_view word) noexcept;

/// How long a message waits after its n-th attempt: `initial`, doubling, at most `max`.
Milliseconds retry_wait(int attempts, Milliseconds initial, Milliseconds max) noexcept;

/// How a batch is run. It only ever goes down this list, so it ends.
enum class BatchRound { together, with_savepoints, one_by_one };

/// The round after `round` failed. A message's own fault is found by savepoints; what concerns the
/// transaction as a whole would come back in any transaction of that size.
BatchRound next_round(BatchRound round, InboxStage stage, Blame blame) noexcept;

/// The keys of one batch whose earlier message has to come again: the later ones wait for it.
/// A message without a key has no order.
class HeldKeys {
public:
    void hold(const Message& message);
    bool holds(const Message& message) const;

private:
    std::set<std::pair<std::string, std::string>> keys_;
};

}  // namespace sagaz::inline v0::core
