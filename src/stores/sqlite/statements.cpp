// The store's SQL.
//
// Why the order of ids is the order of commits. SQLite lets one connection write at a time, and a
// transaction's ids are given out while it is that one: every id of a later commit is above every
// id of an earlier one. An id of a transaction that rolled back is given out again, since
// sqlite_sequence rolls back with it; nobody had seen it. AUTOINCREMENT keeps the id of a *deleted*
// row from coming again, and a trigger refuses ids that a caller chose. So a row's id stands for
// its transaction in the port's snapshots, a snapshot is the last id given out, nothing is ever
// running in one, and nothing commits late.
//
// Why a power cut loses nothing that was published. `synchronous` belongs to the connection that
// commits: under NORMAL a commit is in the log (-wal) but not on the disk, yet everybody reads it.
// A commit of ours is under FULL: it syncs the whole log, so all that was committed before it is on
// the disk, in the log or, if a checkpoint moved it, in the database, which a checkpoint syncs
// before it lets the log be overwritten (but for `synchronous` OFF, which SqliteTransaction
// refuses). So `flushed` is the last id that our last commit found, or that was there when we began
// to sync the log through SQLite's own handle of it. That takes no lock: a commit instead would
// wait for the application's transactions, and they for it at every window. A killed process
// changes nothing of this: what it wrote is the system's to keep.
//
// Why what is remembered is of this file. Rows, ids and cursors are one file and go back in time
// together, so what a file holds always fits together; only a relay's memory of another state of
// it can hurt. Three things bring another state about. The file is replaced: the path leads to
// another inode, looked at before each use and again after a commit or a sync, before anything is
// published by it. The file is set back in place (a restore, a lost -wal): the relay's own beat,
// which every commit of ours raises, is not the one it wrote last. Somebody else found out first,
// or changed the settings: the token is another. Each makes every call `incarnation_changed`; the
// relay forgets and reads anew. (One that copied the file and restored it between two beats,
// within about two seconds and under a running relay, is not noticed. Stop relays to restore.) A
// copy that is opened somewhere else has another inode than it remembers and gets a new token, so
// a ticket of the original is never judged by the copy.
//
// Why two relays may share the file. Every change is one transaction that begins as the writer, so
// what it checks (owner, epoch, beat, token) is still so when it commits. A process frozen in one
// holds the writers up until it goes on or dies; the wait for it is bounded, and no transaction of
// ours spans two calls.
#include "stores/sqlite/statements.hpp"

#include "core/replaced.hpp"
#include "stores/sqlite/migration.hpp"

namespace sagaz::inline v0::sqlite {
namespace {

// Stands for {now}.
constexpr std::string_view kNow = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";

// ------------------------------------------------------------------------------------- attaching

constexpr std::string_view kFindVersions =
    "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '@schema@_schema_version'";

constexpr std::string_view kVersions =
    "SELECT version, compatible_from FROM @schema@_schema_version ORDER BY version DESC LIMIT 1";

// ?1 device, ?2 inode, ?3 whether the file is known to have been set back. The first to attach
// only writes down which file this is.
constexpr std::string_view kRenewToken = R"(
UPDATE @schema@_incarnation
SET token = CASE WHEN inode IS NULL AND NOT ?3 THEN token
                 ELSE (SELECT v.id FROM @schema@_uuid_v7 v) END,
    device = ?1, inode = ?2
WHERE device IS NOT ?1 OR inode IS NOT ?2 OR ?3)";

constexpr std::string_view kToken = "SELECT token FROM @schema@_incarnation";

// ?1 relay, ?2 destination, ?3 label, ?4 version
constexpr std::string_view kIntroduce =
    "INSERT INTO @schema@_relay (id, destination, label, version) VALUES (?1, ?2, ?3, ?4) "
    "ON CONFLICT (id) DO UPDATE SET beat = beat + 1, label = excluded.label, "
    "version = excluded.version, beat_at = {now} RETURNING beat";

constexpr std::string_view kSettings = "SELECT key, value FROM @schema@_setting";

// ?1 relay. What tells that the file is the one that this relay wrote last.
constexpr std::string_view kGuard =
    "SELECT i.token, (SELECT r.beat FROM @schema@_relay r WHERE r.id = ?1) "
    "FROM @schema@_incarnation i";

// ?1 relay. Also what makes a commit write something, and so sync.
constexpr std::string_view kBeat = "UPDATE @schema@_relay SET beat = beat + 1 WHERE id = ?1";

constexpr std::string_view kSequence =
    "SELECT coalesce((SELECT s.seq FROM sqlite_sequence s WHERE s.name = '@schema@_outbox'), 0)";

// ------------------------------------------------------------------------------------- ownership

// ?1 relay, ?2 published, ?3 down reason, ?4 down for ms
constexpr std::string_view kReport =
    "UPDATE @schema@_relay SET beat_at = {now}, report = json_object('published', ?2, "
    "'down_reason', ?3, 'down_for_ms', ?4) WHERE id = ?1";

// ?1 destination
constexpr std::string_view kSlots =
    "SELECT s.slot, s.epoch, s.owner, coalesce(r.beat, -1) FROM @schema@_slot s "
    "LEFT JOIN @schema@_relay r ON r.id = s.owner WHERE s.destination = ?1 ORDER BY s.slot";

// ?1 destination. The ones that beat last, if there were more than anybody runs.
constexpr std::string_view kRelays =
    "SELECT id, beat FROM @schema@_relay WHERE destination = ?1 ORDER BY beat_at DESC LIMIT 1000";

// ?1 relay, ?2 destination, ?3 slot, ?4 epoch, ?5 owner, ?6 beat. A relay's own slots, which it has
// forgotten, are taken whatever its beat.
constexpr std::string_view kAcquire =
    "UPDATE @schema@_slot SET owner = ?1, epoch = epoch + 1 "
    "WHERE destination = ?2 AND slot = ?3 AND epoch = ?4 AND owner IS ?5 "
    "AND (owner IS ?1 OR coalesce((SELECT r.beat FROM @schema@_relay r WHERE r.id = owner), -1) "
    "= ?6) RETURNING epoch";

// ?1 relay, ?2 destination, ?3 slot, ?4 epoch
constexpr std::string_view kRelease =
    "UPDATE @schema@_slot SET owner = NULL "
    "WHERE owner = ?1 AND destination = ?2 AND slot = ?3 AND epoch = ?4";

// ?1 relay, ?2 destination. Whatever its epoch: nobody else makes this relay an owner.
constexpr std::string_view kGiveBack =
    "UPDATE @schema@_slot SET owner = NULL WHERE owner = ?1 AND destination = ?2";

// ?1 relay
constexpr std::string_view kForgetRelay = "DELETE FROM @schema@_relay WHERE id = ?1";

constexpr std::string_view kOwns =
    "SELECT 1 FROM @schema@_slot "
    "WHERE owner = ?1 AND destination = ?2 AND slot = ?3 AND epoch = ?4";

// ?1 destination, ?2 slot
constexpr std::string_view kCursor =
    "SELECT n, done, target, coalesce(done_ceiling, 0), coalesce(target_ceiling, 0), position, "
    "last_id FROM @schema@_cursor WHERE destination = ?1 AND slot = ?2 ORDER BY n DESC LIMIT 1";

// ?1 destination, ?2 slot
constexpr std::string_view kStopped =
    "SELECT DISTINCT coalesce(topic, ''), key, "
    "CASE WHEN coalesce(topic, '') = '' THEN event_type ELSE '' END FROM @schema@_parked "
    "WHERE direction = 'outbox' AND destination = ?1 AND consumer_name = '' AND slot = ?2 "
    "AND key IS NOT NULL";

// ------------------------------------------------------------------------------------ the window

// ?1 slot, ?2 after, ?3 upto: the ids there, each of which is its row's transaction.
constexpr std::string_view kFindLate =
    "SELECT o.id FROM @schema@_outbox o WHERE o.slot = ?1 AND o.id > ?2 AND o.id <= ?3 "
    "ORDER BY o.id";

// ?1 slot, ?2 after, ?3 upto. By the primary key, so no plan but a walk from `after`.
constexpr std::string_view kRead =
    "SELECT o.id, o.event_id, coalesce(o.held_until > {now}, 0), "
    "CAST(round((julianday(o.created_at) - 2440587.5) * 86400000.0) AS INTEGER), o.topic, o.key, "
    "o.event_type, o.content_type, o.payload, o.headers, o.aggregate_id FROM @schema@_outbox o "
    "WHERE o.slot = ?1 AND o.id > ?2 AND o.id <= ?3 ORDER BY o.id";

// --------------------------------------------------------------------------------------- storing

// ?1 destination, ?2 slot, ?3 n, ?4 epoch, ?5 done, ?6 target, ?7 position, ?8 last_id,
// ?9 done_ceiling, ?10 target_ceiling, ?11 incarnation
constexpr std::string_view kStore =
    "INSERT INTO @schema@_cursor (destination, slot, n, epoch, done, target, position, last_id, "
    "done_ceiling, target_ceiling, incarnation) "
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, nullif(?9, 0), nullif(?10, 0), ?11)";

// ?1 destination, ?2 slot, ?3 position, ?4 event id, ?5 reason, ?6 detail, ?7 n of the cursor,
// which must be the newest: an older one passes what may have been sent since. In the transaction
// of the cursor that passes the event, so a stale owner parks nothing, and nothing falls in
// between. What stands behind another one has no attempt, and no time of its own.
constexpr std::string_view kPark =
    "INSERT INTO @schema@_parked (direction, destination, position, event_id, slot, reason, "
    "detail, attempts, next_attempt_at, created_at, topic, key, event_type, content_type, "
    "aggregate_type, aggregate_id, saga_id, headers, payload) "
    "SELECT 'outbox', ?1, o.id, o.event_id, o.slot, ?5, ?6, ?5 <> 'behind_parked', "
    "CASE WHEN ?5 <> 'behind_parked' THEN {now} END, o.created_at, o.topic, "
    "o.key, o.event_type, o.content_type, o.aggregate_type, "
    "o.aggregate_id, o.saga_id, o.headers, o.payload FROM @schema@_outbox o "
    "WHERE o.slot = ?2 AND o.id = ?3 AND o.event_id = ?4 AND NOT EXISTS (SELECT 1 "
    "FROM @schema@_cursor c WHERE c.destination = ?1 AND c.slot = ?2 AND c.n > ?7) "
    "ON CONFLICT DO NOTHING";

// ?1 slot, ?2 position, ?3 event id. '-infinity', which sorts before every time, marks a row that a
// relay sent: for others it is gone.
constexpr std::string_view kLookAt =
    "SELECT coalesce(o.held_until > {now}, 0) FROM @schema@_outbox o "
    "WHERE o.slot = ?1 AND o.id = ?2 AND o.event_id = ?3 AND o.held_until IS NOT '-infinity'";

constexpr std::string_view kMarkDelivered =
    "UPDATE @schema@_outbox SET held_until = '-infinity' "
    "WHERE slot = ?1 AND id = ?2 AND event_id = ?3 AND held_until > '-infinity'";

// ---------------------------------------------------------------------------------------- tidying

// ?1 destination, ?2 slot
constexpr std::string_view kTidyCursors =
    "DELETE FROM @schema@_cursor WHERE destination = ?1 AND slot = ?2 AND n < "
    "(SELECT k.n FROM @schema@_cursor k WHERE k.destination = ?1 AND k.slot = ?2 "
    "ORDER BY k.n DESC LIMIT 1 OFFSET 2)";

// ?1 relay
constexpr std::string_view kTidyRelays =
    "DELETE FROM @schema@_relay WHERE julianday(beat_at) < julianday('now') - 1 AND id <> ?1 "
    "AND NOT EXISTS (SELECT 1 FROM @schema@_slot s WHERE s.owner = @schema@_relay.id)";

// ?1 destination. What is parked is counted as far as a person would care.
constexpr std::string_view kMeasure = R"(
SELECT b.pending_events, b.oldest_pending_age_seconds,
       (SELECT count(*) FROM (SELECT 1 FROM @schema@_parked p
                              WHERE p.direction = 'outbox' AND p.destination = ?1
                                AND p.state = 'waiting' LIMIT 100000)),
       (SELECT count(*) FROM (SELECT 1 FROM @schema@_parked p
                              WHERE p.direction = 'outbox' AND p.destination = ?1
                                AND p.state = 'dead' LIMIT 100000))
FROM @schema@_backlog b)";

// ------------------------------------------------------------------------------------- reclaiming
//
// Here a row is delivered when its id is at or below what the newest stored cursor of every slot
// has passed. The ids that are removed are never given out again, see above.

constexpr std::string_view kEverySlot = "SELECT destination, slot FROM @schema@_slot";

// ?1 the id up to which all is delivered, ?2 the retention and ?3 the age in milliseconds, ?4 the
// id from which on rows go by age, ?5 how many of the lowest ids are looked at.
constexpr std::string_view kFindDelivered =
    "SELECT f.id FROM (SELECT o.id, o.created_at FROM @schema@_outbox o WHERE o.id <= ?1 "
    "ORDER BY o.id LIMIT ?5) f "
    "WHERE julianday(f.created_at) <= julianday('now') "
    "- max(?2, CASE WHEN f.id < ?4 THEN 0 ELSE ?3 END) / 86400000.0";

constexpr std::string_view kDeleteDelivered = "DELETE FROM @schema@_outbox WHERE id IN (";

// ---------------------------------------------------------------------------------------- building

std::string finished(std::string_view text, std::string_view schema) {
    return with_schema(core::replaced(text, "{now}", kNow), schema);
}

}  // namespace

std::string finished_statement(std::string_view text, std::string_view schema) {
    return finished(text, schema);
}

Statements::Statements(std::string_view schema)
    : find_versions(finished(kFindVersions, schema)),
      versions(finished(kVersions, schema)),
      renew_token(finished(kRenewToken, schema)),
      token(finished(kToken, schema)),
      introduce(finished(kIntroduce, schema)),
      settings(finished(kSettings, schema)),
      guard(finished(kGuard, schema)),
      beat(finished(kBeat, schema)),
      sequence(finished(kSequence, schema)),
      report(finished(kReport, schema)),
      slots(finished(kSlots, schema)),
      acquire(finished(kAcquire, schema)),
      relays(finished(kRelays, schema)),
      release(finished(kRelease, schema)),
      give_back(finished(kGiveBack, schema)),
      forget_relay(finished(kForgetRelay, schema)),
      cursor(finished(kCursor, schema)),
      stopped(finished(kStopped, schema)),
      find_late(finished(kFindLate, schema)),
      read(finished(kRead, schema)),
      owns(finished(kOwns, schema)),
      store(finished(kStore, schema)),
      park(finished(kPark, schema)),
      look_at(finished(kLookAt, schema)),
      mark_delivered(finished(kMarkDelivered, schema)),
      tidy_cursors(finished(kTidyCursors, schema)),
      tidy_relays(finished(kTidyRelays, schema)),
      measure(finished(kMeasure, schema)),
      every_slot(finished(kEverySlot, schema)),
      find_delivered(finished(kFindDelivered, schema)),
      delete_delivered(
          finished(std::string(kDeleteDelivered) + std::string(kFindDelivered) + ")", schema)) {}

}  // namespace sagaz::inline v0::sqlite
