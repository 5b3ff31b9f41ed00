#pragma once

#include "sim_session.hpp"

#include <sagaz/store.hpp>

#include <deque>
#include <optional>
#include <set>

namespace sagaz::simulation {

/// A row as a store returns it; the views are into `row`.
Row view_of(const LogRow& row, bool held);

/// A batch that owns copies, so that the sanitizers see a view that outlives it.
class SimBatch final : public Batch {
public:
    void add(const LogRow& row, bool held) {
        rows.push_back(view_of(rows_.emplace_back(row), held));
        bytes += row.payload.size() + 200;
    }

private:
    std::deque<LogRow> rows_;
};

/// Answers a relay from a SimDatabase, literally: it executes the request it is given, so that a
/// wrong one loses rows as it would in production. Each call is one atomic statement, guarded by
/// the incarnation's token, and by owner and epoch where it changes a slot.
class SimStore final : public Store, public SimSession {
public:
    using SimSession::SimSession;

    Attached attach(const Id& relay) override;
    Observed observe(const Report& report) override;
    std::vector<OwnedSlot> acquire(std::span<const SlotView> slots) override;
    Loaded load(std::span<const OwnedSlot> slots) override;
    Opening open_window() override;
    std::vector<LateTransaction> find_late(std::span<const LateQuery> queries) override;
    void start_read(const ReadRequest& request) override;
    ReadResult finish_read() override;
    std::uint64_t flushed(bool force) override;
    std::vector<std::int16_t> store(std::span<const CursorMove> moves,
                                    std::span<const Parking> parked) override;
    ParkedLook look_at_parked(const ParkedQuery& query) override;
    std::unique_ptr<Batch> read_parked(std::span<const RowRef> rows) override;
    bool settle_parked(const OwnedSlot& slot, std::span<const ParkedOutcome> outcomes) override;
    std::vector<HoldState> look_at(std::span<const RowRef> rows) override;
    void mark_delivered(std::span<const RowRef> rows) override;
    void release(std::span<const OwnedSlot> slots) override;
    void leave() override;
    void tidy(std::span<const OwnedSlot> slots) override;
    Backlog measure() override;
    Reclaimed reclaim(const ReclaimLimits& limits) override;
    InboxKept keep_inbox(const InboxLimits& limits) override;

private:
    bool owns(std::int16_t slot, std::int64_t epoch) const;
    Opening look_around();
    ReadResult execute_read(const ReadRequest& request);
    bool is_delivered(const LogRow& row) const;
    bool empty_segment(std::int64_t segment);

    Id relay_{};
    std::optional<ReadRequest> reading_;  ///< Sent; its snapshots are still the caller's.
    std::optional<ReadResult> read_;
    std::set<EventIndex> rows_read_;  ///< Only for `reclaims_what_was_read`.
};

}  // namespace sagaz::simulation
