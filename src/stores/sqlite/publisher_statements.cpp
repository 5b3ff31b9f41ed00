#include "stores/sqlite/publisher_statements.hpp"

#include "stores/sqlite/statements.hpp"

namespace sagaz::inline v0::sqlite {
namespace {

// ?1 device, ?2 inode: the file's token, where a relay has attached to this very file.
constexpr std::string_view kToken =
    "SELECT i.token FROM @schema@_incarnation i WHERE i.device IS ?1 AND i.inode IS ?2";

// ?1 slot, ?2 position, ?3 event id, ?4 margin in milliseconds: whether the hold lasts for longer.
constexpr std::string_view kAsked =
    "SELECT coalesce(o.held_until > strftime('%Y-%m-%dT%H:%M:%fZ', 'now', "
    "(?4 / 1000.0) || ' seconds'), 0), o.topic, o.key, o.event_type FROM @schema@_outbox o "
    "WHERE o.slot = ?1 AND o.id = ?2 AND o.event_id = ?3";

// ?1 the id up to which all is delivered, ?2 an id. By the primary key. What a relay marked as sent
// is delivered, too.
constexpr std::string_view kUndelivered =
    "SELECT o.id, o.event_id, o.topic, o.key, o.event_type FROM @schema@_outbox o "
    "WHERE o.id > ?1 AND o.id < ?2 AND o.key IS NOT NULL AND o.held_until IS NOT '-infinity' "
    "ORDER BY o.id";

// ?1 destination, ?2 slot, ?3 topic as it was written, ?4 key, ?5 an id, ?6 rows. By the index.
constexpr std::string_view kParked =
    "SELECT p.position, p.event_id, p.event_type FROM @schema@_parked p "
    "WHERE p.direction = 'outbox' AND p.destination = ?1 AND p.consumer_name = '' AND p.slot = ?2 "
    "AND p.topic IS ?3 AND p.key = ?4 AND p.position < ?5 ORDER BY p.position LIMIT ?6";

// ?1 slot, ?2 position, ?3 event id
constexpr std::string_view kRemove =
    "DELETE FROM @schema@_outbox WHERE slot = ?1 AND id = ?2 AND event_id = ?3";

// The same. What is over, or was marked by a relay, stays as it is.
constexpr std::string_view kLeave =
    "UPDATE @schema@_outbox SET held_until = {now} "
    "WHERE slot = ?1 AND id = ?2 AND event_id = ?3 AND held_until > {now}";

}  // namespace

PublisherStatements::PublisherStatements(std::string_view schema)
    : token(finished_statement(kToken, schema)),
      asked(finished_statement(kAsked, schema)),
      undelivered(finished_statement(kUndelivered, schema)),
      parked(finished_statement(kParked, schema)),
      remove(finished_statement(kRemove, schema)),
      leave(finished_statement(kLeave, schema)) {}

}  // namespace sagaz::inline v0::sqlite
