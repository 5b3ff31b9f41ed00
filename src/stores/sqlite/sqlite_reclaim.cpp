// Giving back the space of what is delivered: rows go in small transactions of ours, the lowest ids
// first, and SQLite uses their pages again. What lies more than a segment of PostgreSQL's log
// behind the newest id goes at once, the rest by age; so the file grows with the age and not with
// the log.
#include "stores/sqlite/file_state.hpp"
#include "stores/sqlite/impatience.hpp"
#include "stores/sqlite/sqlite_store.hpp"

#include <sagaz/error.hpp>

#include <algorithm>

namespace sagaz::inline v0::sqlite {
namespace {

constexpr std::int64_t kSegment = std::int64_t{1} << 18;

}  // namespace

// Zero where a cursor is missing, or ahead of the file.
std::int64_t SqliteStore::delivered_upto(Database& database) const {
    std::int64_t upto = sequence_of(database, statements_);
    auto slots = database.query(statements_.every_slot);
    while (slots.step()) {
        auto cursor = database.query(statements_.cursor);
        cursor.text(slots.text_at(0)).number(slots.number_at(1));
        if (!cursor.step()) return 0;
        const std::int64_t delivered =
            delivered_by(Snapshot::parse(cursor.text_at(1)), Snapshot::parse(cursor.text_at(2)),
                         cursor.number_at(5));
        if (delivered > sequence_of(database, statements_)) return 0;
        upto = std::min(upto, delivered);
    }
    return upto;
}

Reclaimed SqliteStore::reclaim(const ReclaimLimits& limits) {
    const auto bind = [&](Database& database, const std::string& sql) {
        auto query = database.query(sql);
        query.number(delivered_upto(database))
            .number(limits.retention.count())
            .number(limits.age.count())
            .number(sequence_of(database, statements_) - kSegment)
            .number(limits.rows_max);
        return query;
    };
    Reclaimed reclaimed;
    bool found = false;
    read([&](Database& database) { found = bind(database, statements_.find_delivered).step(); });
    if (!found) return reclaimed;
    const Impatience impatience(database_, options_.busy_timeout);
    try {
        write([&](Database& database) {
            bind(database, statements_.delete_delivered).run();
            reclaimed.deleted = database.changes();
        });
    } catch (const Error& error) {
        if (error.code() != "busy") throw;
        reclaimed.blocked = true;
    }
    reclaimed.has_more = reclaimed.deleted > 0;
    return reclaimed;
}

}  // namespace sagaz::inline v0::sqlite
