#pragma once

#include "random.hpp"
#include "scheduler.hpp"

#include <sagaz/store.hpp>

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

/// A small PostgreSQL, as a log sees it: what is true of the real one and matters to a relay, and
/// nothing else. Its rules are those of procarray.c, sequence.c and xlog.c; model_pgtest.cpp runs
/// the same script on it and on a real server:
///
/// - A transaction takes its id at its first write. `next_xid` grows for subtransactions too,
///   which snapshots of `pg_current_snapshot()` do not list.
/// - A snapshot's `xmax` is one past the last transaction that *completed*; running transactions
///   at or above it are not in its list.
/// - A sequence value is given out once and never rolled back. Its WAL record runs ahead by up to
///   32, so after a crash values are skipped; if that record was lost, values come again.
/// - A commit is in the WAL, then visible, then its row locks go. With synchronous_commit on, the
///   flush lies between the first two; with off, it comes later.
/// - A crash forgets all WAL that was not flushed, empties unlogged tables, and goes on with the
///   transaction id after the highest one in what is left.
namespace sagaz::simulation {

using Lsn = std::uint64_t;
using EventIndex = std::size_t;

/// What became of an event's transaction. `committed` and `lost` are judged by the WAL.
enum class Fate { open, rolled_back, committed, lost };

struct NewEvent {
    std::string topic{};
    std::optional<std::string> key{};
    std::string payload{};
    std::string headers{};
    Duration hold{};  ///< Zero: not held.
};

/// A row of the outbox, and the truth about its event: never removed from the model's memory.
struct LogRow {
    EventIndex index{};
    std::int16_t slot{};
    std::uint64_t xid{};
    std::int64_t position{};
    Id event_id{};
    Time created_at{};
    Instant appended_at{};
    std::string topic{};
    std::optional<std::string> key{};
    std::string payload{};
    std::string headers{};
    Instant held_until{};  ///< By the database's clock.
    Fate fate{Fate::open};
    bool visible{};
    bool deleted{};
    bool reclaimed{};  ///< Removed after delivery; `delete_lsn` is of that.
    Lsn insert_lsn{};
    Lsn commit_lsn{};  ///< Zero: no commit record yet.
    Lsn delete_lsn{};
    Lsn mark_lsn{};  ///< Marked as sent by a relay; zero: it is not.
};

struct ParkedEvent {
    EventIndex event{};
    std::int16_t slot{};
    std::string reason{};
    bool dead{};
    std::int32_t attempts{};
    Instant due{};
};

/// Everything but the outbox: small enough to be kept twice, as it is and as it is on disk.
struct Tables {
    struct Slot {
        std::optional<Id> owner{};
        std::int64_t epoch{};
    };
    std::vector<Slot> slots{};
    std::map<Id, std::int64_t> beats{};
    std::vector<std::map<std::int64_t, Cursor>> cursors{};
    std::vector<ParkedEvent> parked{};
};

class SimDatabase {
public:
    using Tx = std::size_t;  ///< A session's transaction; says nothing of its xid.

    SimDatabase(Scheduler& scheduler, std::uint64_t seed, Settings settings);

    // ---- transactions of producers
    Tx begin();
    std::uint64_t take_xid(Tx tx);
    /// True when the row lock on `key` is the transaction's now. Otherwise `granted` is called
    /// once it is, or once a crash has ended the wait.
    bool lock(Tx tx, const std::string& key, std::function<void()> granted);
    /// An INSERT locks the log before it takes a position, and keeps the lock to its end.
    void lock_log(Tx tx) { sessions_[tx].holds_log = true; }
    std::int64_t next_position();
    EventIndex insert(Tx tx, const NewEvent& event, std::int64_t position);
    void savepoint(Tx tx);
    void rollback_to_savepoint(Tx tx);
    /// The commit in its parts; between any two of them others may act.
    Lsn write_commit(Tx tx);
    void become_visible(Tx tx);
    void release_locks(Tx tx);
    void abort(Tx tx);  ///< At once, locks included.

    // ---- what a statement can see
    Snapshot snapshot() const;
    std::uint64_t next_xid() const { return next_xid_; }
    /// A statement that takes an xid only to know one; its transaction ends with it.
    std::uint64_t burn_xid();
    std::int64_t last_position() const { return sequence_; }
    Lsn insert_lsn() const { return insert_lsn_; }
    Lsn flushed_lsn() const { return flushed_lsn_; }
    const Tables& tables() const { return tables_; }
    const Settings& settings() const { return settings_; }
    std::optional<Id> token() const { return token_; }
    Instant now() const { return scheduler_.now(); }
    /// By which holds are judged; it may jump, and what relays measure does not.
    Instant wall_clock() const { return scheduler_.now() + clock_offset_; }
    void set_clock(Duration by) { clock_offset_ += by; }
    std::uint64_t generation() const { return generation_; }  ///< Grows with every crash.
    bool is_up() const { return up_; }
    const std::deque<LogRow>& rows() const { return rows_; }
    const LogRow& row(EventIndex index) const { return rows_[index]; }
    /// Visible rows of a slot in (after, upto], by position.
    using Live = std::set<std::pair<std::int64_t, EventIndex>>;
    const Live& live(std::int16_t slot) const { return live_[static_cast<std::size_t>(slot)]; }
    std::optional<EventIndex> find_live(std::int16_t slot, std::int64_t position,
                                        const Id& id) const;
    std::optional<EventIndex> find_event(const Id& id) const;
    std::int16_t slot_of(const std::optional<std::string>& key, const Id& event_id) const;
    const Cursor& newest_cursor(std::int16_t slot) const;
    bool is_parked(EventIndex event) const { return parked_.contains(event); }
    bool is_durable(const LogRow& row) const;

    // ---- what a statement can do
    /// One statement, its transaction with it: changes the tables, and the WAL will repeat it.
    void write(const std::function<void(Tables&)>& change);
    void remove(EventIndex event);  ///< One DELETE, committed at once.
    void release_hold(EventIndex event);
    void mark_delivered(EventIndex event);
    /// True when a transaction that has not ended has rows in the segment, which locks it.
    bool is_segment_locked(std::int64_t segment) const;
    void truncate(std::int64_t segment);  ///< Committed at once, and on disk.
    void delete_delivered(EventIndex event);
    /// An operator's command, on disk when it returns. False when there was nothing to do.
    bool replay(EventIndex event);
    bool discard(EventIndex event);
    bool was_discarded(EventIndex event) const { return discarded_.contains(event); }
    bool was_parked(EventIndex event) const { return ever_parked_.contains(event); }
    void make_token(const Id& token) { token_ = token; }
    void flush(Lsn upto);

    // ---- faults
    /// Everything not flushed is gone; of the WAL, what lies before `survives` may have made it.
    void crash(Lsn survives);
    void start() { up_ = true; }
    /// What a dump restored into a new cluster brings back: every commit, and transaction ids that
    /// begin anew, below those that came along in rows and cursors. Down until `start`.
    void restore();
    /// True until the cursors that came along have been re-based.
    bool is_foreign() const { return is_foreign_; }
    /// Migration 0003's re-base, in one step; false while somebody else locks the log.
    bool rebase(const Id& token);
    /// Rows as a logical copy leaves them: committed, flushed, positions as given (some equal).
    EventIndex copy_in(const NewEvent& event, std::int64_t position);

private:
    struct Session {
        std::uint64_t xid{};
        std::uint64_t high_xid{};  ///< With those of its subtransactions.
        std::vector<EventIndex> rows{};
        std::vector<std::string> locks{};
        std::size_t savepoint_at{};
        std::uint64_t sub_xid{};
        bool in_savepoint{};
        Lsn commit_lsn{};
        bool holds_log{};
        bool over{};
    };
    struct Record {
        Lsn lsn{};
        std::uint64_t xid{};
        std::int64_t sequence{};
        std::function<void(Tables&)> redo{};
    };
    struct Waiter {
        Tx tx{};
        std::function<void()> granted{};
    };
    struct KeyLock {
        std::optional<Tx> holder{};
        std::vector<Waiter> waiters{};
    };

    Lsn log(Record record, std::uint64_t bytes);
    std::uint64_t give_xid();
    void complete(std::uint64_t xid, std::uint64_t high_xid);
    void show(LogRow& row);
    void note_parked();
    void move(LogRow& row, std::uint64_t xid, std::int64_t position);

    Scheduler& scheduler_;
    Random random_;
    Settings settings_;
    bool up_{true};
    std::uint64_t generation_{1};

    std::uint64_t next_xid_{1000};
    std::uint64_t latest_completed_{999};
    std::set<std::uint64_t> running_;
    std::int64_t sequence_{};
    std::int64_t sequence_logged_{};
    Lsn insert_lsn_{1};
    Lsn flushed_lsn_{1};
    std::deque<Record> unflushed_;
    std::uint64_t durable_next_xid_{1000};
    std::int64_t durable_sequence_{};

    std::vector<Session> sessions_;
    std::map<std::string, KeyLock> locks_;
    std::deque<LogRow> rows_;
    std::vector<Live> live_;
    std::map<Id, EventIndex> by_id_;
    std::set<EventIndex> parked_;
    std::set<EventIndex> ever_parked_;
    std::set<EventIndex> discarded_;
    Tables tables_;
    Tables durable_;
    std::optional<Id> token_;
    bool is_foreign_{};
    Duration clock_offset_{};
};

/// A ring of four small segments, so that a run goes round it.
inline std::int64_t segment_of(std::int64_t position) { return (position >> 3) % 4; }
inline constexpr std::int64_t kSegments = 4;

/// All events have one type, so that an empty topic stands for this one.
inline constexpr std::string_view kEventType = "Simulated";
inline constexpr std::string_view kTemplateTopic = "events.simulated";

inline std::string_view topic_of(const LogRow& row) {
    return row.topic.empty() ? kTemplateTopic : std::string_view(row.topic);
}

/// True when the rows have a common (topic, key), which has an order.
inline bool same_lane(const LogRow& a, const LogRow& b) {
    return a.key && b.key && *a.key == *b.key && topic_of(a) == topic_of(b);
}

/// True when `cursor` counts the row as delivered: visible in done, or visible in target and at or
/// below its position.
bool covers(const Cursor& cursor, const LogRow& row);

}  // namespace sagaz::simulation
