// The events that were taken off the log, and the statements that bring them back. Each change is
// one transaction that begins as the writer and checks the owner first. What is parked was parked
// by a commit of ours, which is on the disk, so nothing has to be waited for before it is sent.
#include "stores/sqlite/parked.hpp"

#include "core/replaced.hpp"
#include "stores/sqlite/row_batch.hpp"
#include "stores/sqlite/sqlite_store.hpp"

namespace sagaz::inline v0::sqlite {
namespace {

// ?1 destination, ?2 slot, ?3 topic, ?4 key, ?5 type, ?6 rows
constexpr std::string_view kLook =
    "SELECT {columns} WHERE p.direction = 'outbox' AND p.destination = ?1 "
    "AND p.consumer_name = '' AND p.slot = ?2 AND coalesce(p.topic, '') = ?3 AND p.key = ?4 "
    "AND (?3 <> '' OR p.event_type = ?5) ORDER BY p.position LIMIT ?6";

// ?1 destination, ?2 slot, ?3 whether with a key
constexpr std::string_view kLookAlone =
    "SELECT {columns} WHERE p.direction = 'outbox' AND p.destination = ?1 "
    "AND p.consumer_name = '' AND p.slot = ?2 AND p.state = 'waiting' "
    "AND (?3 OR p.key IS NULL) ORDER BY due_ms, p.position LIMIT 100";

constexpr std::string_view kLookColumns =
    "p.slot, p.position, p.event_id, p.state = 'dead', p.attempts, "
    "max(0, coalesce(CAST(round((julianday(p.next_attempt_at) - julianday('now')) * 86400000.0) "
    "AS INTEGER), 0)) AS due_ms, coalesce(length(CAST(p.payload AS BLOB)), 0) "
    "FROM @schema@_parked p";

// ?1 slot, ?2 position, ?3 event id, ?4 destination. In the columns of a read of the log.
constexpr std::string_view kRead =
    "SELECT p.position, p.event_id, 0, "
    "CAST(round((julianday(coalesce(p.created_at, p.parked_at)) - 2440587.5) * 86400000.0) "
    "AS INTEGER), p.topic, p.key, p.event_type, p.content_type, p.payload, p.headers, "
    "p.aggregate_id FROM @schema@_parked p WHERE p.direction = 'outbox' AND p.slot = ?1 "
    "AND p.position = ?2 AND p.event_id = ?3 AND p.destination = ?4 AND p.consumer_name = ''";

// ?1 destination, ?2 slot, ?3 position, ?4 event id
constexpr std::string_view kRemove =
    "DELETE FROM @schema@_parked WHERE direction = 'outbox' AND destination = ?1 "
    "AND consumer_name = '' AND slot = ?2 AND position = ?3 AND event_id = ?4";

// ?1 to ?4 as above, ?5 attempts, ?6 dead, ?7 retry in ms, ?8 reason, ?9 detail
constexpr std::string_view kCount =
    "UPDATE @schema@_parked SET attempts = ?5, "
    "state = CASE WHEN ?6 THEN 'dead' ELSE 'waiting' END, next_attempt_at = CASE WHEN NOT ?6 THEN "
    "strftime('%Y-%m-%dT%H:%M:%fZ', "
    "julianday('now') + ?7 / 86400000.0) END, reason = ?8, detail = ?9 "
    "WHERE direction = 'outbox' AND destination = ?1 AND consumer_name = '' AND slot = ?2 "
    "AND position = ?3 AND event_id = ?4 AND state = 'waiting' AND attempts = ?5 - 1";

std::vector<ParkedEvent> events_of(Query& rows, std::size_t key) {
    std::vector<ParkedEvent> events;
    while (rows.step()) {
        ParkedEvent event;
        event.row = {static_cast<std::int16_t>(rows.number_at(0)), rows.number_at(1),
                     Id::parse(rows.text_at(2))};
        event.key = key;
        event.dead = rows.number_at(3) != 0;
        event.attempts = static_cast<std::int32_t>(rows.number_at(4));
        event.due_in = Milliseconds{rows.number_at(5)};
        event.bytes = static_cast<std::size_t>(rows.number_at(6));
        events.push_back(event);
    }
    return events;
}

void append(std::vector<ParkedEvent>& to, std::vector<ParkedEvent> from) {
    to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

ParkedStatements::ParkedStatements(std::string_view schema)
    : look(finished_statement(core::replaced(kLook, "{columns}", kLookColumns), schema)),
      look_alone(finished_statement(core::replaced(kLookAlone, "{columns}", kLookColumns), schema)),
      read(finished_statement(kRead, schema)),
      remove(finished_statement(kRemove, schema)),
      count(finished_statement(kCount, schema)) {}

ParkedLook SqliteStore::look_at_parked(const ParkedQuery& query) {
    ParkedLook found;
    read([&](Database& database) {
        for (std::size_t n = 0; n < query.keys.size(); ++n) {
            const StoppedKey& key = query.keys[n];
            auto rows = database.query(parked_.look);
            rows.text(options_.destination)
                .number(key.slot)
                .text(key.topic)
                .text(key.key)
                .text(key.event_type)
                .number(static_cast<std::int64_t>(query.rows_max));
            append(found.of_keys, events_of(rows, n));
        }
        for (const std::int16_t slot : query.alone) {
            auto rows = database.query(parked_.look_alone);
            rows.text(options_.destination).number(slot).number(query.alone_with_key ? 1 : 0);
            append(found.alone, events_of(rows, 0));
        }
    });
    found.flushed = flushed_;
    return found;
}

std::unique_ptr<Batch> SqliteStore::read_parked(std::span<const RowRef> rows) {
    auto batch = std::make_unique<RowBatch>();
    read([&](Database& database) {
        for (const RowRef& row : rows) {
            auto found = database.query(parked_.read);
            found.number(row.slot)
                .number(row.position)
                .text(row.event_id.text())
                .text(options_.destination);
            batch->take(found, row);
        }
    });
    return batch;
}

bool SqliteStore::settle_parked(const OwnedSlot& slot, std::span<const ParkedOutcome> outcomes) {
    bool is_owned = false;
    write([&](Database& database) {
        is_owned = owns(database, slot.slot, slot.epoch);
        if (!is_owned) return;
        for (const ParkedOutcome& outcome : outcomes) {
            auto change = database.query(outcome.accepted ? parked_.remove : parked_.count);
            change.text(options_.destination)
                .number(slot.slot)
                .number(outcome.row.position)
                .text(outcome.row.event_id.text());
            if (!outcome.accepted) {
                change.number(outcome.attempts)
                    .number(outcome.dead ? 1 : 0)
                    .number(outcome.retry_in.count())
                    .text(outcome.reason)
                    .text(outcome.detail);
            }
            change.run();
        }
    });
    return is_owned;
}

}  // namespace sagaz::inline v0::sqlite
