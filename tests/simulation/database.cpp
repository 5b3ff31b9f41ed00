#include "database.hpp"

#include "core/assert.hpp"

#include <algorithm>
#include <utility>

namespace sagaz::simulation {

constexpr std::int64_t kSequenceAhead = 32;  // SEQ_LOG_VALS of sequence.c
constexpr std::uint64_t kRecordBytes = 64;

SimDatabase::SimDatabase(Scheduler& scheduler, std::uint64_t seed, Settings settings)
    : scheduler_(scheduler), random_(seed), settings_(std::move(settings)) {
    const auto slots = static_cast<std::size_t>(settings_.slot_count);
    live_.resize(slots);
    tables_.slots.resize(slots);
    tables_.cursors.resize(slots);
    for (auto& cursors : tables_.cursors) cursors[0] = Cursor{};
    durable_ = tables_;
}

// ---------------------------------------------------------------------- transactions of producers

SimDatabase::Tx SimDatabase::begin() {
    sessions_.emplace_back();
    return sessions_.size() - 1;
}

std::uint64_t SimDatabase::give_xid() { return next_xid_++; }

std::uint64_t SimDatabase::take_xid(Tx tx) {
    Session& session = sessions_[tx];
    if (session.xid == 0) {
        session.xid = session.high_xid = give_xid();
        running_.insert(session.xid);
    }
    return session.xid;
}

void SimDatabase::complete(std::uint64_t xid, std::uint64_t high_xid) {
    running_.erase(xid);
    latest_completed_ = std::max(latest_completed_, high_xid);
}

bool SimDatabase::lock(Tx tx, const std::string& key, std::function<void()> granted) {
    SAGAZ_ASSERT(!sessions_[tx].over);
    KeyLock& lock = locks_[key];
    if (lock.holder && *lock.holder != tx) {
        lock.waiters.push_back({tx, std::move(granted)});
        return false;
    }
    if (!lock.holder) {
        lock.holder = tx;
        sessions_[tx].locks.push_back(key);
    }
    return true;
}

std::int64_t SimDatabase::next_position() {
    ++sequence_;
    if (sequence_ > sequence_logged_) {
        sequence_logged_ = sequence_ + kSequenceAhead;
        log({.sequence = sequence_logged_}, kRecordBytes);
    }
    return sequence_;
}

EventIndex SimDatabase::insert(Tx tx, const NewEvent& event, std::int64_t position) {
    Session& session = sessions_[tx];
    SAGAZ_ASSERT(session.xid != 0 && !session.over);
    if (session.in_savepoint && session.sub_xid == 0) {
        session.sub_xid = session.high_xid = give_xid();
    }
    LogRow row;
    row.index = rows_.size();
    row.xid = session.xid;
    row.position = position;
    row.event_id = random_.id();
    row.slot = slot_of(event.key, row.event_id);
    row.topic = event.topic;
    row.key = event.key;
    row.payload = event.payload;
    row.headers = event.headers;
    row.appended_at = scheduler_.now();
    row.created_at = Time{std::chrono::duration_cast<microseconds>(
        scheduler_.now().time_since_epoch() + std::chrono::hours(480'000))};
    if (event.hold > Duration{}) row.held_until = wall_clock() + event.hold;
    row.insert_lsn = log({.xid = session.high_xid}, kRecordBytes + event.payload.size());
    session.rows.push_back(row.index);
    by_id_[row.event_id] = row.index;
    rows_.push_back(std::move(row));
    return rows_.size() - 1;
}

void SimDatabase::savepoint(Tx tx) {
    Session& session = sessions_[tx];
    session.in_savepoint = true;
    session.savepoint_at = session.rows.size();
    session.sub_xid = 0;
}

void SimDatabase::rollback_to_savepoint(Tx tx) {
    Session& session = sessions_[tx];
    while (session.rows.size() > session.savepoint_at) {
        rows_[session.rows.back()].fate = Fate::rolled_back;
        session.rows.pop_back();
    }
    // XidCacheRemoveRunningXids: an aborted subtransaction counts as completed, though its
    // parent, with a lower id, runs on.
    latest_completed_ = std::max(latest_completed_, session.sub_xid);
    session.in_savepoint = false;
}

Lsn SimDatabase::write_commit(Tx tx) {
    Session& session = sessions_[tx];
    if (session.xid == 0) return 0;
    session.commit_lsn = log({.xid = session.high_xid}, kRecordBytes);
    for (const EventIndex index : session.rows) {
        rows_[index].commit_lsn = session.commit_lsn;
        rows_[index].fate = Fate::committed;
    }
    return session.commit_lsn;
}

void SimDatabase::show(LogRow& row) {
    row.visible = true;
    if (!row.deleted && !row.reclaimed)
        live_[static_cast<std::size_t>(row.slot)].emplace(row.position, row.index);
}

void SimDatabase::become_visible(Tx tx) {
    Session& session = sessions_[tx];
    if (session.xid == 0) return;
    complete(session.xid, session.high_xid);
    for (const EventIndex index : session.rows) show(rows_[index]);
}

void SimDatabase::release_locks(Tx tx) {
    Session& session = sessions_[tx];
    session.over = true;
    for (const std::string& key : session.locks) {
        KeyLock& lock = locks_[key];
        lock.holder.reset();
        if (lock.waiters.empty()) continue;
        const auto next =
            lock.waiters.begin() + static_cast<std::ptrdiff_t>(random_.below(lock.waiters.size()));
        Waiter waiter = std::move(*next);
        lock.waiters.erase(next);
        lock.holder = waiter.tx;
        sessions_[waiter.tx].locks.push_back(key);
        scheduler_.after(Duration{}, std::move(waiter.granted));
    }
    session.locks.clear();
}

void SimDatabase::abort(Tx tx) {
    Session& session = sessions_[tx];
    for (const EventIndex index : session.rows) rows_[index].fate = Fate::rolled_back;
    if (session.xid != 0) {
        log({.xid = session.high_xid}, kRecordBytes);
        complete(session.xid, session.high_xid);
    }
    release_locks(tx);
}

// ------------------------------------------------------------------------- what a statement sees

Snapshot SimDatabase::snapshot() const {
    Snapshot snapshot;
    snapshot.xmax = latest_completed_ + 1;
    snapshot.xmin = snapshot.xmax;
    for (const std::uint64_t xid : running_) {
        if (xid >= snapshot.xmax) break;
        snapshot.running.push_back(xid);
    }
    if (!snapshot.running.empty()) snapshot.xmin = snapshot.running.front();
    return snapshot;
}

std::uint64_t SimDatabase::burn_xid() {
    const std::uint64_t xid = give_xid();
    complete(xid, xid);
    return xid;
}

std::optional<EventIndex> SimDatabase::find_live(std::int16_t slot, std::int64_t position,
                                                 const Id& id) const {
    if (slot < 0 || slot >= settings_.slot_count) return std::nullopt;
    const Live& rows = live(slot);
    for (auto at = rows.lower_bound({position, 0}); at != rows.end() && at->first == position;
         ++at) {
        if (rows_[at->second].event_id == id) return at->second;
    }
    return std::nullopt;
}

std::optional<EventIndex> SimDatabase::find_event(const Id& id) const {
    const auto at = by_id_.find(id);
    if (at == by_id_.end()) return std::nullopt;
    return at->second;
}

std::int16_t SimDatabase::slot_of(const std::optional<std::string>& key, const Id& event_id) const {
    const std::uint64_t hash =
        key ? Random::mix(hash_bytes(*key)) : std::to_integer<std::uint64_t>(event_id.bytes[15]);
    return static_cast<std::int16_t>(hash % static_cast<std::uint64_t>(settings_.slot_count));
}

const Cursor& SimDatabase::newest_cursor(std::int16_t slot) const {
    return tables_.cursors[static_cast<std::size_t>(slot)].rbegin()->second;
}

bool SimDatabase::is_durable(const LogRow& row) const {
    return row.fate == Fate::committed && row.commit_lsn <= flushed_lsn_;
}

// -------------------------------------------------------------------------- what a statement does

Lsn SimDatabase::log(Record record, std::uint64_t bytes) {
    insert_lsn_ += bytes;
    record.lsn = insert_lsn_;
    unflushed_.push_back(std::move(record));
    return insert_lsn_;
}

void SimDatabase::write(const std::function<void(Tables&)>& change) {
    const std::uint64_t xid = give_xid();
    change(tables_);
    note_parked();
    log({.xid = xid, .redo = change}, kRecordBytes);
    complete(xid, xid);
}

void SimDatabase::note_parked() {
    parked_.clear();
    for (const ParkedEvent& parked : tables_.parked) {
        parked_.insert(parked.event);
        ever_parked_.insert(parked.event);
    }
}

bool SimDatabase::replay(EventIndex event) {
    const auto can_be = [event](const ParkedEvent& parked) {
        return parked.event == event && (parked.dead || parked.attempts > 0);
    };
    if (std::ranges::none_of(tables_.parked, can_be)) return false;
    write([event](Tables& tables) {
        for (ParkedEvent& parked : tables.parked) {
            if (parked.event != event) continue;
            parked.dead = false;
            parked.attempts = 0;
            parked.due = Instant{};
        }
    });
    flush(insert_lsn_);
    return true;
}

bool SimDatabase::discard(EventIndex event) {
    if (!parked_.contains(event)) return false;
    discarded_.insert(event);
    write([event](Tables& tables) {
        std::erase_if(tables.parked,
                      [event](const ParkedEvent& parked) { return parked.event == event; });
    });
    flush(insert_lsn_);
    return true;
}

void SimDatabase::remove(EventIndex event) {
    LogRow& row = rows_[event];
    const std::uint64_t xid = give_xid();
    row.deleted = true;
    row.delete_lsn = log({.xid = xid}, kRecordBytes);
    live_[static_cast<std::size_t>(row.slot)].erase({row.position, event});
    complete(xid, xid);
}

bool SimDatabase::is_segment_locked(std::int64_t segment) const {
    return std::any_of(sessions_.begin(), sessions_.end(), [&](const Session& session) {
        return !session.over &&
               std::any_of(session.rows.begin(), session.rows.end(), [&](EventIndex index) {
                   return segment_of(rows_[index].position) == segment;
               });
    });
}

void SimDatabase::truncate(std::int64_t segment) {
    for (Live& rows : live_) {
        for (auto at = rows.begin(); at != rows.end();) {
            if (segment_of(at->first) != segment) {
                ++at;
                continue;
            }
            rows_[at->second].reclaimed = true;
            at = rows.erase(at);
        }
    }
    burn_xid();
    // A commit that removes files waits for the disk, whatever synchronous_commit says.
    flush(log({}, kRecordBytes));
}

void SimDatabase::delete_delivered(EventIndex event) {
    LogRow& row = rows_[event];
    const std::uint64_t xid = give_xid();
    row.reclaimed = true;
    row.delete_lsn = log({.xid = xid}, kRecordBytes);
    live_[static_cast<std::size_t>(row.slot)].erase({row.position, event});
    complete(xid, xid);
}

void SimDatabase::release_hold(EventIndex event) {
    rows_[event].held_until = Instant{};
    burn_xid();
}

void SimDatabase::mark_delivered(EventIndex event) {
    const std::uint64_t xid = give_xid();
    rows_[event].held_until = Instant{};
    rows_[event].mark_lsn = log({.xid = xid}, kRecordBytes);
    complete(xid, xid);
}

void SimDatabase::flush(Lsn upto) {
    flushed_lsn_ = std::max(flushed_lsn_, std::min(upto, insert_lsn_));
    while (!unflushed_.empty() && unflushed_.front().lsn <= flushed_lsn_) {
        Record& record = unflushed_.front();
        if (record.xid != 0) durable_next_xid_ = std::max(durable_next_xid_, record.xid + 1);
        durable_sequence_ = std::max(durable_sequence_, record.sequence);
        if (record.redo) record.redo(durable_);
        unflushed_.pop_front();
    }
}

// ---------------------------------------------------------------------------------------- faults

void SimDatabase::crash(Lsn survives) {
    flush(survives);
    up_ = false;
    ++generation_;
    token_.reset();
    running_.clear();
    for (auto& [key, lock] : std::exchange(locks_, {})) {
        for (Waiter& waiter : lock.waiters) {
            scheduler_.after(Duration{}, std::move(waiter.granted));
        }
    }
    for (Session& session : sessions_) session.over = true;
    for (LogRow& row : rows_) {
        const bool survived = row.commit_lsn != 0 && row.commit_lsn <= flushed_lsn_;
        if (row.fate == Fate::open) row.fate = Fate::lost;
        if (row.fate == Fate::committed && !survived) {
            row.fate = Fate::lost;
            live_[static_cast<std::size_t>(row.slot)].erase({row.position, row.index});
        }
        if (row.fate != Fate::committed) continue;
        if (row.deleted && row.delete_lsn > flushed_lsn_) row.deleted = false;
        if (row.reclaimed && row.delete_lsn > flushed_lsn_) row.reclaimed = false;
        if (row.mark_lsn > flushed_lsn_) row.mark_lsn = 0;
        show(row);
    }
    unflushed_.clear();
    tables_ = durable_;
    note_parked();
    // Positions in the log come again, too: a gate of before the crash would open by itself.
    insert_lsn_ = flushed_lsn_;
    next_xid_ = durable_next_xid_;
    latest_completed_ = next_xid_ - 1;
    sequence_ = sequence_logged_ = durable_sequence_;
}

void SimDatabase::restore() {
    crash(insert_lsn_);
    constexpr std::uint64_t kFirstOfACluster = 700;
    next_xid_ = durable_next_xid_ = kFirstOfACluster;
    latest_completed_ = next_xid_ - 1;
    is_foreign_ = true;
}

void SimDatabase::move(LogRow& row, std::uint64_t xid, std::int64_t position) {
    auto& live = live_[static_cast<std::size_t>(row.slot)];
    live.erase({row.position, row.index});
    row.xid = xid;
    row.position = position;
    live.emplace(row.position, row.index);
}

bool SimDatabase::rebase(const Id& token) {
    for (const Session& session : sessions_) {
        if (!session.over && session.holds_log) return false;
    }
    constexpr std::uint64_t kSeenByAll = 3;
    const Snapshot now = snapshot();
    const std::uint64_t xid = give_xid();
    const std::int64_t base = sequence_;
    std::map<std::int64_t, std::vector<EventIndex>> undelivered;
    for (const auto& live : live_) {
        for (const auto& [position, event] : live) {
            const Cursor& cursor = newest_cursor(rows_[event].slot);
            const bool is_proved =
                (position <= cursor.last && cursor.done.sees(rows_[event].xid)) ||
                (position <= cursor.position && cursor.target.sees(rows_[event].xid));
            if (is_proved) {
                rows_[event].xid = kSeenByAll;
            } else {
                undelivered[position].push_back(event);
            }
        }
    }
    for (const auto& [position, events] : undelivered) {
        for (const EventIndex event : events) move(rows_[event], xid, next_position());
    }
    complete(xid, xid);
    write([now, xid, base](Tables& tables) {
        for (std::size_t n = 0; n < tables.slots.size(); ++n) {
            tables.slots[n] = {std::nullopt, tables.slots[n].epoch + 1};
            const std::int64_t newest = tables.cursors[n].rbegin()->first;
            tables.cursors[n][newest + 1] = {newest + 1, now, now, xid, xid, base, base};
        }
    });
    flush(insert_lsn_);
    token_ = token;
    is_foreign_ = false;
    return true;
}

EventIndex SimDatabase::copy_in(const NewEvent& event, std::int64_t position) {
    const Tx tx = begin();
    take_xid(tx);
    sequence_ = sequence_logged_ = std::max(sequence_, position);
    log({.sequence = sequence_}, kRecordBytes);
    const EventIndex index = insert(tx, event, position);
    flush(write_commit(tx));
    become_visible(tx);
    release_locks(tx);
    return index;
}

bool covers(const Cursor& cursor, const LogRow& row) {
    return cursor.done.sees(row.xid) ||
           (cursor.target.sees(row.xid) && row.position <= cursor.position);
}

}  // namespace sagaz::simulation
