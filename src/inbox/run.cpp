// Why an effect happens once. The mark is a row with a unique key, inserted in the transaction of
// the effects before the handler runs. A second transaction with the same key waits in that INSERT:
// when the first commits it finds the row and does nothing, when the first rolls back, or its
// process dies, it inserts its own and goes on. There is no moment at which an effect is committed
// without its mark, or a mark without its effect, wherever a process dies: before COMMIT reaches
// the server neither is there, after it both are. Whether the answer to COMMIT arrives changes
// nothing: the message is not acknowledged, comes again, and meets the mark or does not.
//
// In a batch the marks may be ahead of their handlers, so that they cost one statement and not one
// each. Until every handler has run the transaction cannot be committed by anybody, a handler
// included: the server refuses it (inbox_mark_all of migration 0002). After a handler that throws
// the round is rolled back, and from then on each mark is set right before its handler.
//
// The acknowledgement comes after the commit, so a message may come again but is never lost. An
// attempt is counted in a transaction of its own after the rollback; if that fails, an attempt goes
// uncounted, which costs one more try.
#include "inbox/run.hpp"

#include "core/text.hpp"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

namespace sagaz::inline v0::inbox {
namespace {

using core::BatchRound;
using core::Blame;
using core::InboxStage;

constexpr std::string_view kUnfinished = "an attempt began and its end is not known";
constexpr int kNoLimit = std::numeric_limits<int>::max();

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// A transaction that begins with its first statement, so that the two can be sent together.
class Beginning final : public Transaction {
public:
    explicit Beginning(UnitOfWork& unit) : unit_(unit) {}

    Rows execute(const Statement& statement) override {
        if (std::exchange(has_begun_, true)) return unit_.execute(statement);
        return unit_.begin_with(statement);
    }
    Dialect dialect() const noexcept override { return unit_.dialect(); }

private:
    UnitOfWork& unit_;
    bool has_begun_{};
};

}  // namespace

Run::Trouble Run::trouble_of(const std::exception& thrown, InboxStage stage) const {
    const auto error = unit_.error_of(thrown);
    const bool was_ended = stage == InboxStage::handler && !unit_.is_open();
    if (!error) return {stage, Blame::message, core::as_cause(thrown.what()), false, was_ended};
    return {stage, core::blame_of(stage, error->kind(), error->code()),
            core::as_cause(error->what()), error->kind() == ErrorKind::conflict, was_ended};
}

std::vector<Run::Plain> Run::run(std::span<const Message> messages, const Handle& handle) {
    handle_ = &handle;
    messages_ = messages;
    plain_.resize(messages.size());
    seconds_.resize(messages.size());
    deliveries_.reserve(messages.size());
    for (const auto& message : messages) deliveries_.emplace_back(message, options_, scripts_);

    const bool is_alone =
        messages.size() == 1 || options_.count_attempts == CountAttempts::before_handler;
    BatchRound round = is_alone ? BatchRound::one_by_one : BatchRound::together;
    while (round != BatchRound::one_by_one && !messages.empty()) {
        const auto trouble = round == BatchRound::together ? all_together() : all_with_savepoints();
        if (!trouble) {
            report();
            return std::move(plain_);
        }
        unit_.rollback();
        expect_no_marks(*trouble, 0, messages.size());
        round = core::next_round(round, trouble->stage, trouble->blame);
    }
    all_one_by_one();
    report();
    return std::move(plain_);
}

// ------------------------------------------------------------------------------------- the rounds

void Run::all_one_by_one() {
    core::HeldKeys held;
    for (std::size_t n = 0; n < messages_.size(); ++n) {
        if (held.holds(messages_[n])) {
            plain_[n] = wait_for_key();
            continue;
        }
        one(n);
        if (!plain_[n].is_settled()) held.hold(messages_[n]);
    }
}

std::optional<Run::Trouble> Run::all_together() {
    return attempt([&](InboxStage& stage) {
        core::HeldKeys held;
        is_ahead_ = false;
        unit_.begin();
        for (std::size_t n = 0; n < messages_.size();) {
            for (const std::size_t end = mark_some(n, held, stage); n < end; ++n) {
                handle(n, stage);
                if (unit_.was_ended().value_or(false)) throw_ended_early();
            }
        }
        close_marks(stage);
        unit_.commit();
    });
}

// It fails in another transaction than that of the marks, which a handler may have opened: so it is
// said before marks are set again too, as they would be guarded anew.
void Run::close_marks(InboxStage& stage) {
    stage = InboxStage::commit;
    if (std::exchange(is_ahead_, false)) unit_.command(kCloseMarks);
}

std::size_t Run::mark_some(std::size_t first, core::HeldKeys& held, InboxStage& stage) {
    if (held.holds(messages_[first])) {
        plain_[first] = wait_for_key();
        return first + 1;
    }
    const auto rest = std::span<const Delivery>(deliveries_).subspan(first);
    // Whoever cannot tell that a handler ended the transaction would go on outside of it.
    const bool can_tell = unit_.was_ended().has_value();
    auto count = can_tell ? Delivery::together(rest, unit_.dialect()) : 1;
    for (std::size_t n = 1; n < count; ++n) {
        if (held.holds(messages_[first + n])) count = n;
    }
    close_marks(stage);
    std::size_t end = first + 1;
    if (count < 2) {
        stage = InboxStage::statement;
        mark(first, unit_);
    } else {
        stage = InboxStage::marks;
        is_ahead_ = true;
        const auto settlements = Delivery::mark_all(unit_, rest.first(count));
        end = first + settlements.size();
        for (std::size_t n = first; n < end; ++n) plain_[n] = marked(n, settlements[n - first]);
    }
    if (!plain_[end - 1].is_settled()) held.hold(messages_[end - 1]);
    return end;
}

std::optional<Run::Trouble> Run::all_with_savepoints() {
    std::vector<std::pair<std::size_t, Trouble>> failed;
    std::optional<Trouble> end;  // what ends the round
    const auto trouble = attempt([&](InboxStage& stage) {
        core::HeldKeys held;
        unit_.begin();
        for (std::size_t n = 0; n < messages_.size(); ++n) {
            if (held.holds(messages_[n])) {
                plain_[n] = wait_for_key();
                continue;
            }
            unit_.command("SAVEPOINT sagaz");
            auto inner = attempt([&](InboxStage& within) { handle_marked(n, unit_, within); });
            if (inner && (inner->blame != Blame::message || inner->was_ended)) {
                end = std::move(inner);
                return;
            }
            if (inner) {
                unit_.command("ROLLBACK TO SAVEPOINT sagaz");
                failed.emplace_back(n, std::move(*inner));
            }
            unit_.command("RELEASE SAVEPOINT sagaz");
            if (inner || !plain_[n].is_settled()) held.hold(messages_[n]);
        }
        stage = InboxStage::commit;
        unit_.commit();
    });
    if (end || trouble) return end ? end : trouble;
    for (const auto& [n, inner] : failed) plain_[n] = after(inner, n);
    return std::nullopt;
}

// ------------------------------------------------------------------------------------ one message

void Run::one(std::size_t n) {
    if (options_.count_attempts == CountAttempts::before_handler && deliveries_[n].has_id()) {
        // Parked only past the limit: this attempt may still succeed.
        const int most = std::min(options_.max_attempts, kNoLimit - 1) + 1;
        if (const auto trouble = try_to_count(n, kUnfinished, most, 1, plain_[n])) {
            plain_[n] = again(*trouble);
            return;
        }
        if (plain_[n].settlement == Settlement::parked) return;
    }
    const auto trouble = attempt([&](InboxStage& stage) {
        Beginning beginning(unit_);
        handle_marked(n, beginning, stage);
        stage = InboxStage::commit;
        unit_.commit();
    });
    if (!trouble) return;
    unit_.rollback();
    expect_no_marks(*trouble, n, n + 1);
    plain_[n] = after(*trouble, n);
}

void Run::expect_no_marks(const Trouble& trouble, std::size_t first, std::size_t end) {
    if (!trouble.was_ended) return;
    for (std::size_t n = first; n < end; ++n) {
        if (plain_[n].settlement != Settlement::processed) continue;
        if (count(n, trouble.cause, kNoLimit, 0).settlement != Settlement::duplicate) continue;
        throw_ended();
    }
}

void Run::throw_ended() {
    throw Error(ErrorKind::fatal, "transaction_ended",
                "a handler committed the transaction of its mark, and failed after that",
                "take COMMIT out of the handler; delete the mark in consumer_inbox, or set "
                "right by hand what the handler left undone");
}

void Run::throw_ended_early() {
    throw Error(ErrorKind::fatal, "transaction_ended",
                "a handler ended the transaction of its batch",
                "take COMMIT and ROLLBACK out of the handler");
}

void Run::handle_marked(std::size_t n, Transaction& transaction, InboxStage& stage) {
    mark(n, transaction);
    handle(n, stage);
}

void Run::mark(std::size_t n, Transaction& transaction) {
    const Delivery& delivery = deliveries_[n];
    plain_[n] = {};
    if (delivery.has_id()) {
        plain_[n] = marked(n, delivery.mark(transaction, true));
        return;
    }
    delivery.park(transaction, "id_missing", "the message carries no id");
    plain_[n].settlement = Settlement::parked;
    plain_[n].reason = "id_missing";
}

Run::Plain Run::marked(std::size_t n, Settlement settlement) {
    Plain plain;
    plain.settlement = settlement;
    if (settlement == Settlement::parked) plain.reason = deliveries_[n].reason(unit_);
    if (settlement == Settlement::in_progress) plain.retry_in = options_.retry_initial;
    return plain;
}

void Run::handle(std::size_t n, InboxStage& stage) {
    if (plain_[n].settlement != Settlement::processed) return;
    stage = InboxStage::handler;
    const auto start = std::chrono::steady_clock::now();
    (*handle_)(n);
    seconds_[n] = seconds_since(start);
    stage = InboxStage::commit;
    if (options_.keep_duration) deliveries_[n].keep_duration(unit_, seconds_[n]);
}

Run::Plain Run::after(const Trouble& trouble, std::size_t n) {
    const bool is_counted = options_.count_attempts == CountAttempts::before_handler;
    if (trouble.blame != Blame::message) {
        if (is_counted) count(n, trouble.cause, kNoLimit, -1);  // It was no attempt after all.
        return again(trouble);
    }
    reporter_.failed(messages_[n].event.event_type);
    return count(n, trouble.cause, options_.max_attempts, is_counted ? 0 : 1);
}

// Not the message's fault.
Run::Plain Run::again(const Trouble& trouble) const {
    if (trouble.blame == Blame::competitor) {
        return {Settlement::in_progress, {}, options_.retry_initial, trouble.cause};
    }
    const auto wait = trouble.is_conflict ? Milliseconds{0} : options_.retry_initial;
    return {Settlement::retry_later, {}, wait, trouble.cause};
}

Run::Plain Run::count(std::size_t n, std::string_view cause, int attempts_max, int counted) {
    Plain plain;
    if (!try_to_count(n, cause, attempts_max, counted, plain)) return plain;
    return {Settlement::retry_later, {}, options_.retry_initial, std::string(cause)};
}

std::optional<Run::Trouble> Run::try_to_count(std::size_t n, std::string_view cause,
                                              int attempts_max, int counted, Plain& into) {
    Delivery::Counted result;
    auto trouble = attempt([&](InboxStage& stage) {
        unit_.begin();
        result = deliveries_[n].count(unit_, cause, attempts_max, counted, true);
        stage = InboxStage::commit;
        unit_.commit();
    });
    if (trouble) {
        unit_.rollback();
        return trouble;
    }
    into = {result.settlement, {}, {}, std::string(cause)};
    if (into.settlement == Settlement::duplicate) into.reason.clear();
    if (into.settlement == Settlement::retry_later) {
        into.retry_in =
            core::retry_wait(result.attempts, options_.retry_initial, options_.retry_max);
    }
    return std::nullopt;
}

Run::Plain Run::wait_for_key() const {
    return {Settlement::retry_later,
            {},
            options_.retry_initial,
            "an earlier message of its key comes again"};
}

void Run::report() const noexcept {
    for (std::size_t n = 0; n < messages_.size(); ++n) {
        reporter_.settled(plain_[n].settlement, messages_[n].event.event_type, plain_[n].reason,
                          seconds_[n]);
    }
}

}  // namespace sagaz::inline v0::inbox
