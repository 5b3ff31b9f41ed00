#pragma once

#include "core/clock.hpp"
#include "core/window.hpp"

#include <sagaz/store.hpp>

#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

/// What a slot has in hand: every row read and not yet settled, in the order of delivery, and the
/// cursor that may be stored.
///
/// Why a crash loses nothing. The stored cursor comes only from `settled_`, which moves only by
/// taking entries off the front, and only entries that are finished: accepted by the broker, gone
/// (their publisher sent and deleted them), or parked by the very statement that stores the cursor.
/// An entry that is not finished stops it, whatever was accepted behind it; after a crash reading
/// starts there again, and what was accepted behind it is repeated.
namespace sagaz::inline v0::core {

/// A batch and how many of its rows are still needed.
struct BatchHold {
    std::unique_ptr<Batch> batch;
    std::size_t rows_needed{};
    std::list<BatchHold>::iterator self{};
};

/// The batches in memory and their size. Rows are viewed through it until `drop`ped.
class BatchPool {
public:
    /// Takes a batch with at least one row.
    BatchHold* keep(std::unique_ptr<Batch> batch);
    /// One row of `hold` is no longer needed; frees the batch with its last.
    void drop(BatchHold* hold);
    std::size_t bytes() const noexcept { return bytes_; }

private:
    std::list<BatchHold> holds_;
    std::size_t bytes_{};
};

enum class EntryState : std::uint8_t {
    ready,     ///< To be published.
    sent,      ///< Handed to the broker.
    finished,  ///< Accepted or gone.
    held,      ///< Left to an optimistic publisher for now.
    deferred,  ///< Behind a held row of its key.
    parking,   ///< Refused, or behind a refused one: leaves with the next stored cursor.
};

struct Entry {
    EntryState state{EntryState::ready};
    const Row* row{};  ///< Null once the bytes are no longer needed.
    BatchHold* hold{};
    std::int64_t position{};
    Id event_id{};
    std::uint64_t gate{};
};

class SlotLedger {
public:
    SlotLedger(std::int16_t slot, Cursor stored);

    /// A window begins: `target` is what it leads to.
    void begin_window(SharedSnapshot target, std::uint64_t ceiling);
    /// All rows of the window are in the ledger.
    void end_window(std::int64_t last);
    /// The next row in the order of delivery. Returns its sequence number.
    std::uint64_t append(const Row& row, BatchHold* hold, std::uint64_t gate);

    bool contains(std::uint64_t sequence) const noexcept {
        return sequence >= front_ && sequence - front_ < entries_.size();
    }
    Entry& entry(std::uint64_t sequence) { return entries_[sequence - front_]; }
    std::uint64_t front() const noexcept { return front_; }
    std::uint64_t end() const noexcept { return front_ + entries_.size(); }
    bool empty() const noexcept { return entries_.empty(); }
    std::size_t size() const noexcept { return entries_.size(); }

    /// The row's bytes are no longer needed.
    void forget_bytes(Entry& entry, BatchPool& pool);
    /// Accepted by the broker, or gone.
    void finish(std::uint64_t sequence, BatchPool& pool);
    /// To be parked with the next stored cursor.
    void park(std::uint64_t sequence, std::string reason, std::string detail, BatchPool& pool);

    /// True when a store would move the cursor by at least one event.
    bool has_moved() const noexcept { return moved_; }
    /// True when the stored cursor lags behind, if only by empty windows.
    bool is_behind() const noexcept { return settled_ != stored_; }
    bool has_parking_in_front() const;
    /// True when no event was sent that the cursor to store does not pass: whoever reads on from it
    /// repeats nothing.
    bool is_clean() const;

    struct Settling {
        Cursor cursor{};
        std::uint64_t through{};  ///< Entries below this sequence are settled by it.
        std::vector<Parking> parked{};
    };
    /// The cursor to store now, with the events to park: at most `parked_max`.
    Settling settling(std::size_t parked_max);
    /// `settling` was stored.
    void stored(const Settling& settling, BatchPool& pool);

    /// Lets go of every batch; the ledger is done for.
    void clear(BatchPool& pool);

private:
    struct Mark {
        std::uint64_t before{};  ///< The entry it stands in front of.
        bool begins{};
        SharedSnapshot snapshot{};
        std::uint64_t ceiling{};
        std::int64_t last{};
    };

    static void pass(const Mark& mark, Cursor& cursor);
    void settle_front();
    /// The end of the entries that share the position of `from`, in its window. A cursor passes
    /// all of them or none: it knows positions, not rows, and after a logical copy or a bad setval
    /// two rows can have one.
    std::uint64_t whole_position(std::uint64_t from, std::uint64_t limit) const;
    bool settle_position(std::uint64_t through, std::size_t parked_max, Settling& settling) const;
    void run_ahead(Settling& settling) const;  ///< Only in planted builds.

    std::int16_t slot_;
    std::deque<Entry> entries_;
    std::uint64_t front_{};
    std::deque<Mark> marks_;
    SharedSnapshot open_target_;
    std::uint64_t open_ceiling_{};
    std::map<std::uint64_t, std::pair<std::string, std::string>> reasons_;
    Cursor settled_;  ///< What may be stored without parking anything more.
    Cursor stored_;
    std::int64_t n_;  ///< Used by the last try to store, successful or not.
    bool moved_{};
};

}  // namespace sagaz::inline v0::core
