// What became of a transaction whose COMMIT was not answered.
//
// SQLite. One writer at a time: the first statement takes the write lock, so when it succeeds the
// transaction that appended is over (or is the caller's own, which may not be asked about), and
// none begins before the second one unless the caller's transaction holds the lock, in which case
// nothing changes at all. AUTOINCREMENT gives a committed id out once, so an id that another event
// has was never committed by ours. Where nothing has the id, the row may have been delivered and
// removed if the cursor has passed it; above the cursor nothing is ever removed. The token stays
// the file's through a crash, since a crash of the process takes nothing back from a file; a copy
// of the file, or one put back, has another.
#include "outbox/resolve.hpp"

#include "core/replaced.hpp"

#include <sagaz/error.hpp>

#include <array>
#include <string_view>
#include <utility>

namespace sagaz::inline v0::outbox {
namespace {

constexpr std::array kWords{
    std::pair{std::string_view{"committed"}, CommitOutcome::committed},
    std::pair{std::string_view{"aborted"}, CommitOutcome::aborted},
    std::pair{std::string_view{"wait"}, CommitOutcome::wait},
    std::pair{std::string_view{"lost"}, CommitOutcome::lost},
    std::pair{std::string_view{"unknown"}, CommitOutcome::unknown},
};

[[noreturn]] void throw_unexpected() {
    throw Error(ErrorKind::fatal, "unexpected_answer",
                "the database's answer is none of the outcomes", "update sagaz");
}

CommitOutcome outcome_of(const Rows& rows) {
    if (rows.size() != 1 || rows[0].size() != 1 || !rows[0][0]) throw_unexpected();
    for (const auto& [word, outcome] : kWords) {
        if (*rows[0][0] == word) return outcome;
    }
    throw_unexpected();
}

template <class Write>
std::string array_of(const Ticket& ticket, Write write) {
    std::string text = "{";
    for (const auto& entry : ticket.entries()) {
        if (text.size() > 1) text += ',';
        text += write(entry);
    }
    return text + '}';
}

CommitOutcome resolve_postgres(Transaction& transaction, const std::string& schema,
                               const Ticket& ticket) {
    using Entry = Ticket::Entry;
    const Id& memory = ticket.entries().front().incarnation;
    const std::string token = memory.text();
    const auto ids = array_of(ticket, [](const Entry& entry) { return entry.event_id.text(); });
    const auto positions =
        array_of(ticket, [](const Entry& entry) { return std::to_string(entry.position); });
    const auto transactions =
        array_of(ticket, [](const Entry& entry) { return std::to_string(entry.transaction); });
    const auto slots =
        array_of(ticket, [](const Entry& entry) { return std::to_string(entry.slot); });
    return outcome_of(transaction.execute(
        {.sql = "SELECT " + schema +
                ".resolve($1::text::uuid, $2::text::uuid[], $3::text::bigint[], "
                "$4::text::xid8[], $5::text::smallint[])",
         .parameters = {{token, memory.is_zero(), false},
                        {ids, false, false},
                        {positions, false, false},
                        {transactions, false, false},
                        {slots, false, false}}}));
}

// ?1 event id, ?2 id, ?3 token
constexpr std::string_view kSqlite = R"(
SELECT CASE
    WHEN EXISTS (SELECT 1 FROM {t}_outbox o WHERE o.id = ?2 AND o.event_id = ?1)
      OR EXISTS (SELECT 1 FROM {t}_parked p WHERE p.direction = 'outbox' AND p.event_id = ?1)
        THEN 'committed'
    WHEN NOT EXISTS (SELECT 1 FROM {t}_incarnation i WHERE i.token = ?3) THEN 'lost'
    WHEN EXISTS (SELECT 1 FROM {t}_outbox o WHERE o.id = ?2)
      OR CAST(?2 AS INTEGER) > (SELECT max(max(c.position, c.last_id)) FROM {t}_cursor c)
        THEN 'aborted'
    ELSE 'unknown' END)";

std::string for_tables(std::string_view text, const std::string& prefix) {
    return core::replaced(text, "{t}", prefix);
}

// One entry at a time; any of them that is there, or that certainly is not, answers for all.
CommitOutcome resolve_sqlite(Transaction& transaction, const std::string& schema,
                             const Ticket& ticket) {
    const std::string prefix = "main." + schema;
    transaction.execute({.sql = for_tables("DELETE FROM {t}_incarnation WHERE one = 0", prefix)});
    const std::string sql = for_tables(kSqlite, prefix);
    CommitOutcome outcome = CommitOutcome::aborted;
    for (const auto& entry : ticket.entries()) {
        const std::string id = entry.event_id.text();
        const std::string position = std::to_string(entry.position);
        const std::string token = entry.incarnation.text();
        const CommitOutcome one = outcome_of(transaction.execute(
            {.sql = sql,
             .parameters = {{id, false, false}, {position, false, false}, {token, false, false}}}));
        if (one == CommitOutcome::committed) return one;
        if (one != CommitOutcome::aborted) outcome = one;
    }
    return outcome;
}

}  // namespace

CommitOutcome resolve(Transaction& transaction, const std::string& schema, const Ticket& ticket) {
    if (ticket.entries().empty()) return CommitOutcome::unknown;
    return transaction.dialect() == Dialect::sqlite ? resolve_sqlite(transaction, schema, ticket)
                                                    : resolve_postgres(transaction, schema, ticket);
}

}  // namespace sagaz::inline v0::outbox
