#pragma once

#include <sagaz/store.hpp>

#include <cstdint>
#include <memory>
#include <vector>

/// How one slot's log is read: by windows between two snapshots.
///
/// Why nothing is missed. A window delivers exactly the rows visible in `target` and not in
/// `done`; windows join (`done := target`), so every committed row falls into exactly one. Rows
/// are found in two places. *Main*: positions above `last`, the highest position delivered up to
/// `done`. *Late*: positions at or below `last` whose transaction was still running at `done`.
/// Those transactions are
///   - the ones listed as running in `done`, and
///   - the ones at or above `done.xmax`, which PostgreSQL does not list: `xmax` is one past the
///     last transaction *finished*, not past the last one begun.
/// The second kind has a ceiling. A row takes its transaction id before its position (the order of
/// the columns), positions come from a sequence without cache, and a row at or below `last` took
/// its position before the row at `last` did, which was committed when `done` was taken. So its
/// transaction id had been given out by then: it is below the next id at that moment, which
/// `Opening::ceiling` reads for free. Without the ceiling the search would walk the whole backlog.
///
/// Why order holds. Two transactions that write one key are ordered by a row lock, take their
/// positions under it, and PostgreSQL ends a transaction's visibility before it lets its locks go.
/// So if both are in one window, position order is commit order; if only one is, it is the earlier.
/// Late rows of several transactions are merged by position for the same reason.
namespace sagaz::inline v0::core {

using SharedSnapshot = std::shared_ptr<const Snapshot>;

/// Where a slot's reading stands. A value; the memory of it dies with the database's.
class SlotWindow {
public:
    SlotWindow(std::int16_t slot, const Cursor& cursor, std::uint64_t gate);

    /// True when the last window was read to its end: `open` may be called.
    bool is_closed() const noexcept { return stage_ == Stage::closed; }

    /// True for a window inherited from a stored cursor: it needs the end that `open` brings.
    bool needs_end() const noexcept { return stage_ == Stage::inherited; }

    /// Starts the next window, or gives an inherited one its end.
    void open(const Opening& opening, const SharedSnapshot& target);

    /// True when late rows must be looked for before reading.
    bool needs_late_query() const noexcept { return stage_ == Stage::search; }
    LateQuery late_query() const;
    /// Answers `late_query`: the transactions that have late rows here.
    void found_late(std::vector<std::uint64_t> transactions);

    /// True when `range` may be read.
    bool wants_rows() const noexcept { return stage_ == Stage::late || stage_ == Stage::main; }
    SlotRange range() const;
    /// Rows up to `read_to` have come, the last of them at `highest` (0: none).
    void advance(std::int64_t read_to, std::int64_t highest);

    const SharedSnapshot& target() const noexcept { return target_; }
    std::uint64_t target_ceiling() const noexcept { return target_ceiling_; }
    std::int64_t last() const noexcept { return last_; }
    /// Rows of this window may be published once the log is on disk up to here.
    std::uint64_t gate() const noexcept { return gate_; }

private:
    enum class Stage { closed, inherited, search, late, main };

    void begin();
    void close();

    std::int16_t slot_;
    Stage stage_{Stage::closed};
    SharedSnapshot done_;
    SharedSnapshot target_;
    std::uint64_t done_ceiling_{};
    std::uint64_t target_ceiling_{};
    std::int64_t after_{};    ///< Rows of the window up to here have been read.
    std::int64_t last_{};     ///< Highest position delivered up to done.
    std::int64_t highest_{};  ///< Highest position delivered in all.
    std::int64_t end_{};      ///< No row visible in target lies above.
    std::uint64_t gate_{};
    std::vector<std::uint64_t> late_;
};

}  // namespace sagaz::inline v0::core
