#pragma once

#include "history.hpp"
#include "scheduler.hpp"
#include "trace.hpp"

#include <sagaz/store.hpp>

#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace sagaz::simulation {

/// What goes wrong between a relay and its database; in parts of a thousand calls.
struct StoreFaults {
    int fails_before{};  ///< The connection is lost before the statement took effect.
    int fails_after{};   ///< It took effect; the answer is lost.
    int slow{};          ///< Time passes before and after the statement, others act meanwhile.
    Duration slow_max{milliseconds{300}};
    int short_reads{};  ///< Reads that return less than they might.
    bool pooler{};      ///< The connection outlives a crash of the database, as through pgbouncer.
    bool writes_wait_for_disk{true};  ///< The relay's own statements commit synchronously.
    bool takes_xids{};                ///< `open_window` takes a transaction id to know the ceiling.
    bool ignores_token{};             ///< A wrong store, to prove that the model needs the guard.
    bool ignores_epoch{};             ///< The same for the owner's epoch.
    bool reclaims_what_was_read{};    ///< The same for removing by a cursor that is not stored.
    bool reclaims_by_one_slot{};      ///< The same for removing by the cursor of one slot.
    bool keeps_done{};                ///< The same for cursors of another cluster.
};

/// What is left of the faults when all is healed.
inline StoreFaults healed(const StoreFaults& faults) {
    return {.pooler = faults.pooler,
            .ignores_token = faults.ignores_token,
            .ignores_epoch = faults.ignores_epoch,
            .reclaims_what_was_read = faults.reclaims_what_was_read,
            .reclaims_by_one_slot = faults.reclaims_by_one_slot,
            .keeps_done = faults.keeps_done};
}

/// A row as a store returns it; the views are into `row`.
Row view_of(const LogRow& row, bool held);

/// Answers a relay from a SimDatabase, literally: it executes the request it is given, so that a
/// wrong one loses rows as it would in production. Each call is one atomic statement, guarded by
/// the incarnation's token, and by owner and epoch where it changes a slot.
class SimStore final : public Store {
public:
    struct World {
        Scheduler& scheduler;
        SimDatabase& database;
        History& history;
        Trace& trace;
    };

    SimStore(const World& world, const StoreFaults& faults, std::string who, std::uint64_t seed)
        : world_(world), faults_(faults), who_(std::move(who)), random_(seed) {}

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

    /// No more faults.
    void heal() { faults_ = healed(faults_); }

private:
    template <class Effect>
    auto call(std::string_view name, bool is_attach, Effect effect);
    void pass_time();
    void check_connection();
    void check_token() const;
    [[noreturn]] void lose_connection();
    void commit();
    bool owns(std::int16_t slot, std::int64_t epoch) const;
    bool is_held(const LogRow& row) const;
    Opening look_around();
    ReadResult execute_read(const ReadRequest& request);
    bool is_delivered(const LogRow& row) const;
    bool empty_segment(std::int64_t segment);

    World world_;
    StoreFaults faults_;
    std::string who_;
    Random random_;
    Id relay_{};
    std::optional<Id> token_;
    std::uint64_t connected_to_{};        ///< The database's generation; 0: not connected.
    std::optional<ReadRequest> reading_;  ///< Sent; its snapshots are still the caller's.
    std::optional<ReadResult> read_;
    std::set<EventIndex> rows_read_;  ///< Only for `reclaims_what_was_read`.
};

}  // namespace sagaz::simulation
