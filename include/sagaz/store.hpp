#pragma once

#include <sagaz/event.hpp>
#include <sagaz/export.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// The Store port: what a relay asks of a database. Users open one (sagaz::postgres::open) and
/// hand it over; only a new database backend implements it, proved by the conformance suite.
///
/// The log is read by snapshots. A relay takes a snapshot `target` and delivers exactly the rows
/// that are visible in `target` and not in `done`, in the order of their positions; when none is
/// left, `done := target`. A transaction that committed late (its rows have positions below ones
/// already delivered) is thus delivered without waiting for the oldest transaction.
namespace sagaz::inline v0 {

/// Which transactions had finished at one moment (PostgreSQL's `pg_snapshot`): all below `xmin`,
/// none at or above `xmax`, and between them all but those in `running`.
struct SAGAZ_EXPORT Snapshot {
    std::uint64_t xmin{1};
    std::uint64_t xmax{1};
    std::vector<std::uint64_t> running{};  ///< Ascending.

    /// True when `transaction` had finished (committed or not) before the snapshot was taken.
    bool sees(std::uint64_t transaction) const noexcept;

    /// Reads and writes PostgreSQL's text form, "10:20:10,14". Throws `fatal` for anything else.
    static Snapshot parse(std::string_view text);
    std::string text() const;

    bool operator==(const Snapshot&) const = default;
};

/// How far one slot has come, as it is stored: delivered are all rows visible in `done`, and of
/// those visible in `target` the ones at or below `position`.
struct Cursor {
    std::int64_t n{};  ///< Grows with each store; the newest row counts.
    Snapshot done{};
    Snapshot target{};
    std::uint64_t done_ceiling{};  ///< Above every transaction id given out when `done` was taken.
    std::uint64_t target_ceiling{};  ///< The same for `target`. Zero: not known.
    std::int64_t position{};
    std::int64_t last{};  ///< The highest position delivered up to `done`.

    bool operator==(const Cursor&) const = default;
};

/// One event of the log. The views belong to its batch.
struct Row {
    std::int16_t slot{};
    bool held{};  ///< An optimistic publisher may still send it.
    std::uint64_t transaction{};
    std::int64_t position{};
    Id event_id{};
    Time created_at{};
    std::string_view topic{};  ///< Empty: the template of the settings.
    std::optional<std::string_view> key{};
    std::string_view event_type{};
    std::string_view content_type{};
    std::string_view payload{};
    std::string_view headers{};  ///< JSON: an object, or an array of [name, value]; may be empty.
    std::optional<std::string_view> aggregate_id{};
};

/// Rows and the memory behind their views. Immutable once returned.
class SAGAZ_EXPORT Batch {
public:
    Batch() = default;
    virtual ~Batch();
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

    std::vector<Row> rows{};  ///< By slot, and by position within a slot.
    std::size_t bytes{};      ///< Memory that the batch holds, about.
};

enum class OnRefused { park_key, park_event };

/// What shapes bytes and order. Lives in the database so that two processes cannot disagree.
struct Settings {
    std::int16_t slot_count{16};
    std::string topic_template{"events.{event_type}"};
    std::string source{};  ///< `ce_source`.
    OnRefused on_refused{OnRefused::park_key};
};

struct Attached {
    Id incarnation{};  ///< The database's memory; a crash or a promotion changes it.
    Settings settings{};
};

/// Written with every heartbeat, for `sagaz status`.
struct Report {
    std::uint64_t published{};   ///< Since this relay started.
    std::string down_reason{};   ///< Empty: the destination is up.
    std::int64_t down_for_ms{};  ///< For how long it has been down.
};

/// A slot as `observe` saw it.
struct SlotView {
    std::int16_t slot{};
    std::int64_t epoch{};
    std::optional<Id> owner{};
    std::int64_t owner_beat{-1};  ///< The owner's heartbeat counter; -1: it has none.
};

/// A relay of the destination as `observe` saw it.
struct RelayView {
    Id relay{};
    std::int64_t beat{};  ///< Its heartbeat counter.
};

struct OwnedSlot {
    std::int16_t slot{};
    std::int64_t epoch{};
    bool operator==(const OwnedSlot&) const = default;
};

/// A (topic, key) that must not be sent because an earlier event of it is parked.
struct StoppedKey {
    std::int16_t slot{};
    std::string topic{};  ///< As it was written; empty: the template's for `event_type`.
    std::string key{};
    std::string event_type{};  ///< Only needed when `topic` is empty.
};

struct Loaded {
    struct SlotCursor {
        std::int16_t slot{};
        Cursor cursor{};
    };
    std::vector<SlotCursor> cursors{};  ///< One for each slot asked for.
    std::vector<StoppedKey> stopped{};
    std::uint64_t gate{};  ///< Log position by which all that the cursors' targets see is written.
};

struct Opening {
    Snapshot target{};
    std::uint64_t ceiling{};       ///< Above every transaction id given out so far.
    std::int64_t last_position{};  ///< No row visible in `target` has a higher position.
    std::uint64_t gate{};          ///< Log position by which all that `target` sees is written.
    std::uint64_t flushed{};       ///< Log position by which all is on disk.
};

/// What one look at ownership tells.
struct Observed {
    std::vector<SlotView> slots{};    ///< Every slot of the destination.
    std::vector<RelayView> relays{};  ///< The relays that made themselves known and did not leave.
    Opening opening{};  ///< As of `open_window`, so that a relay at rest needs one statement.
};

/// Asks which late transactions have rows of `slot` in (after, upto]: any of `transactions`, and
/// any in [range_min, range_end).
struct LateQuery {
    std::int16_t slot{};
    std::int64_t after{};
    std::int64_t upto{};
    std::vector<std::uint64_t> transactions{};
    std::uint64_t range_min{};
    std::uint64_t range_end{};
};

struct LateTransaction {
    std::int16_t slot{};
    std::uint64_t transaction{};
    bool operator==(const LateTransaction&) const = default;
};

/// Rows of `slot` in (after, upto] that are visible in `target` and not in `done`, by position;
/// when `late` is not empty, only those of these transactions.
struct SlotRange {
    std::int16_t slot{};
    const Snapshot* done{};
    const Snapshot* target{};
    std::int64_t after{};
    std::int64_t upto{};
    std::vector<std::uint64_t> late{};
};

struct ReadRequest {
    std::vector<SlotRange> ranges{};  ///< By slot, each once.
    std::size_t rows_max{};   ///< A soft limit over all slots: equal positions are never split.
    std::size_t bytes_max{};  ///< The same for payload bytes; at least one row a slot comes.
};

struct ReadResult {
    struct Progress {
        std::int16_t slot{};
        std::int64_t read_to{};  ///< Every row of the range up to here has been returned.
    };
    std::unique_ptr<Batch> batch{};
    std::vector<Progress> progress{};  ///< One for each range of the request, in its order.
    std::uint64_t flushed{};
};

/// A cursor to store, if the slot is still owned in this epoch.
struct CursorMove {
    std::int16_t slot{};
    std::int64_t epoch{};
    Cursor cursor{};
};

/// An event to take off the log, in the same statement as the cursor that passes it.
struct Parking {
    std::int16_t slot{};
    std::int64_t position{};
    Id event_id{};
    std::string reason{};
    std::string detail{};
};

struct RowRef {
    std::int16_t slot{};
    std::int64_t position{};
    Id event_id{};
};

enum class HoldState { held, released, gone };

/// What a relay asks of the events that it parked.
struct ParkedQuery {
    std::vector<StoppedKey> keys{};     ///< The first events of each, in the order of positions.
    std::size_t rows_max{1};            ///< Of each key.
    std::vector<std::int16_t> alone{};  ///< Slots: the next of their events to be tried by itself.
    bool alone_with_key{};  ///< Those with a key too (`park_event`), not only those without.
};

/// A parked event without its bytes.
struct ParkedEvent {
    RowRef row{};
    std::size_t key{};        ///< Its place in `ParkedQuery::keys`; for one alone nothing.
    bool dead{};              ///< Waits for a person.
    std::int32_t attempts{};  ///< Refusals so far.
    Milliseconds due_in{};    ///< Not to be tried before; zero: now.
    std::size_t bytes{};      ///< Of its payload.
};

struct ParkedLook {
    std::vector<ParkedEvent> of_keys{};  ///< By key, then by position.
    std::vector<ParkedEvent> alone{};    ///< Waiting ones only, the first due first.
    std::uint64_t gate{};  ///< All of them may be sent once the log is on disk up to here.
    std::uint64_t flushed{};
};

/// What became of a parked event that was tried.
struct ParkedOutcome {
    RowRef row{};
    bool accepted{};          ///< It is no longer parked. The rest is for one that was refused.
    bool dead{};              ///< It was the last attempt.
    std::int32_t attempts{};  ///< With this one. Another number below it means: somebody replayed.
    Milliseconds retry_in{};
    std::string reason{};
    std::string detail{};
};

/// What is committed and not yet delivered, over all slots of the destination.
struct Backlog {
    std::int64_t pending{};
    double oldest_age_seconds{};
    std::int64_t parked_waiting{};
    std::int64_t parked_dead{};
    std::optional<Time> clock{};  ///< The database's when it answered; none: it is this host's.
    std::optional<double> wraparound{};  ///< Transaction ids used up, of 1; none: they do not end.
};

/// What `reclaim` may remove of what is delivered.
struct ReclaimLimits {
    Milliseconds retention{0};     ///< Nothing younger.
    Milliseconds age{3'600'000};   ///< Nor, of the part that is still being written, than this.
    std::int32_t rows_max{1'000};  ///< Rows of a slot deleted one by one in a call, at most.
};

struct Reclaimed {
    std::int32_t truncations{};  ///< Segments emptied.
    std::int64_t deleted{};      ///< Rows deleted by age.
    bool blocked{};   ///< Something delivered could not be removed: somebody else is using it.
    bool has_more{};  ///< Call again soon.
};

/// What `keep_inbox` may remove, and how.
struct InboxLimits {
    Milliseconds retention{2'592'000'000};  ///< Marks set since so long stay; an hour at least.
    Milliseconds patience{50};              ///< For a lock, behind which consumers may wait.
    std::string place{};                    ///< `InboxKept::place` of the call before.
};

/// What one call of `keep_inbox` did, which is one of these.
struct InboxKept {
    std::string made{};      ///< A partition for days to come.
    std::string dropped{};   ///< A partition past the retention, with its marks.
    std::int64_t removed{};  ///< Marks.
    bool blocked{};          ///< Somebody holds what was to be changed.
    std::string place{};     ///< Where to go on; empty, with nothing made or dropped: all is done.
};

/// A destination's log in a database. One object belongs to one thread. Every call ends within
/// the store's own deadline (`postgres::Options::statement_timeout`) and throws `sagaz::Error`:
///
/// - `unavailable`: not reachable or not ready; call again later. The store reconnects itself.
/// - `unavailable`, code `incarnation_changed`: the database lost its memory; forget everything
///   read from it and `attach` again.
/// - `invalid` or `fatal`: a person must look (schema missing, permission, wrong version).
///
/// Every call but `attach` acts only within the incarnation of the last `attach`.
class SAGAZ_EXPORT Store {
public:
    Store() = default;
    virtual ~Store();
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    /// Connects, checks the schema, makes `relay` known, and learns the incarnation.
    virtual Attached attach(const Id& relay) = 0;

    /// Beats the relay's heart and returns every slot, every relay and a window. One statement.
    virtual Observed observe(const Report& report) = 0;

    /// Takes those of `slots` whose owner, epoch and beat are still as seen; skips contended ones.
    virtual std::vector<OwnedSlot> acquire(std::span<const SlotView> slots) = 0;

    /// Reads what a new owner must know; a statement later than the take-over.
    virtual Loaded load(std::span<const OwnedSlot> slots) = 0;

    virtual Opening open_window() = 0;

    /// Looks for late rows; once a window. Index only.
    virtual std::vector<LateTransaction> find_late(std::span<const LateQuery> queries) = 0;

    /// Sends a read and returns; nothing else may be called before `finish_read`. The snapshots
    /// of the request must live until then.
    virtual void start_read(const ReadRequest& request) = 0;
    virtual ReadResult finish_read() = 0;

    /// The log position by which all is on disk. With `force` it first makes it pass everything
    /// written before the call; that waits for the disk.
    virtual std::uint64_t flushed(bool force) = 0;

    /// Stores cursors and parks events: one statement, all or nothing for each slot. Returns the
    /// slots that are still owned; the others were taken over and nothing of theirs was stored.
    /// Parking an event that is parked already changes nothing: the answer of an earlier try may
    /// have been lost.
    virtual std::vector<std::int16_t> store(std::span<const CursorMove> moves,
                                            std::span<const Parking> parked) = 0;

    /// Looks at parked events; cheap, however many there are. Several of `keys` may be words for
    /// one (topic, key). Slots that were lost meanwhile are not told: `settle_parked` does that.
    virtual ParkedLook look_at_parked(const ParkedQuery& query) = 0;

    /// The rows of parked events, in the order of `rows`, without those that are gone.
    virtual std::unique_ptr<Batch> read_parked(std::span<const RowRef> rows) = 0;

    /// Takes accepted events out of the parked ones and counts a refused one's attempt: one
    /// statement, if the slot is still owned. Returns whether it is; otherwise nothing changed.
    /// Doing it twice changes nothing more, nor does it undo what an operator did meanwhile.
    virtual bool settle_parked(const OwnedSlot& slot, std::span<const ParkedOutcome> outcomes) = 0;

    /// What has become of held rows, in the order of `rows`.
    virtual std::vector<HoldState> look_at(std::span<const RowRef> rows) = 0;

    /// Says of rows that had been held that the destination accepted them from a relay, while
    /// another held row keeps the stored cursor before them: so that no optimistic publisher waits
    /// for them meanwhile (`PublisherStore::confirm`). They stay in the log, where
    /// `Outbox::resolve` finds them; `look_at` says `gone`. Whoever owns their slot now, what was
    /// accepted was accepted. Never waits for anybody: a row that somebody else has locked is left
    /// out. Doing it twice changes nothing, and without it others only wait.
    virtual void mark_delivered(std::span<const RowRef> rows) = 0;

    /// Gives slots back, if still owned in that epoch.
    virtual void release(std::span<const OwnedSlot> slots) = 0;

    /// Gives back every slot of this relay and takes the relay itself off the list, so that the
    /// others need not wait for its silence. One statement, the last one but `attach`.
    virtual void leave() = 0;

    /// Deletes cursors that no longer count. Cheap; called every few seconds.
    virtual void tidy(std::span<const OwnedSlot> slots) = 0;

    /// Gives back the space of what every slot's *stored* cursor has passed: one small piece, and
    /// never waits for anybody. Any relay may call it at any time; whom it serves is the log.
    virtual Reclaimed reclaim(const ReclaimLimits& limits) = 0;

    /// Keeps the consumers' marks of this database: makes and drops partitions, removes what is
    /// past the retention. One small piece a call. Any relay may call it at any time.
    virtual InboxKept keep_inbox(const InboxLimits& limits) = 0;

    /// Measures the backlog for the metrics; cheap whatever its size, so it may be an estimate.
    virtual Backlog measure() = 0;
};

}  // namespace sagaz::inline v0
