#pragma once

#include "stores/postgres/connection.hpp"
#include "stores/postgres/durability_gate.hpp"
#include "stores/postgres/guarded.hpp"
#include "stores/postgres/parked.hpp"
#include "stores/postgres/rebaser.hpp"
#include "stores/postgres/row_decoder.hpp"
#include "stores/postgres/statements.hpp"

#include <sagaz/postgres.hpp>
#include <sagaz/store.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sagaz::inline v0::postgres {

/// The log of one destination in PostgreSQL: the Store port over one connection of its own. What
/// makes it safe is argued where the SQL is, in statements.cpp.
class PostgresStore final : public Store {
public:
    PostgresStore(const std::string& url, Options options);

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
    /// Which of the two read statements a range needs.
    enum class Kind { plain, late };

    /// One range of the read under way, and how far it has come.
    struct Progress {
        const SlotRange* range{};
        std::int64_t after{};     ///< All up to here has been returned or is not there.
        std::int64_t upto{};      ///< Where the statement under way ends for this range.
        std::int64_t returned{};  ///< Rows of the last statement, and the last one's position.
        std::int64_t last{};

        bool is_done() const { return after >= range->upto; }
        Kind kind() const { return range->late.empty() ? Kind::plain : Kind::late; }
    };

    /// One read statement: of a leaf or, for late rows that may be anywhere, of the whole ring.
    struct Step {
        Kind kind{Kind::plain};
        std::size_t leaf{};
        std::vector<Progress*> ranges{};
    };

    /// Rows of transactions at or above `ceiling` lie in this segment or a later one.
    struct Start {
        std::uint64_t ceiling{};
        std::int64_t segment{};
    };

    struct GivenUp {
        std::int64_t epoch{};
        std::int64_t n{};
    };

    struct Limits {
        std::int64_t rows_each{};
        std::int64_t payload_max{};
    };

    /// Runs one guarded statement, as `answer_to`.
    Result run(const std::string& sql, const Parameters& parameters);
    Parameters guarded() const;     ///< $1
    Parameters identified() const;  ///< $1 to $3: and who asks, for which destination
    Loaded::SlotCursor decode_cursor(const PGresult* rows, int n) const;

    std::vector<std::int16_t> store_now(std::span<const CursorMove> moves,
                                        std::span<const Parking> parked);
    std::vector<std::int16_t> store_or_give_up(std::span<const CursorMove> moves,
                                               std::span<const Parking> parked);
    void bar_given_up(std::span<const CursorMove> moves);

    /// Runs the statement of each leaf that `rows` are in, and hands over which of them those are.
    void on_each_leaf(
        std::span<const RowRef> rows, const std::array<std::string, kSegments>& statements,
        const std::function<void(std::span<const std::size_t>, const PGresult*)>& take);

    Opening take_opening(const PGresult* row);
    void remember_start(const Opening& opening);
    std::optional<std::int64_t> first_segment_of(std::uint64_t transaction) const;
    std::vector<std::size_t> leaves_for(std::span<const LateQuery> queries) const;

    Step next_plain();
    Step next_late();
    void send_read(const Step& step, Limits limits);
    void collect(ResultBatch& batch, const Step& step, Limits limits);
    void read_large(ResultBatch& batch, const Step& step, std::span<const ResultBatch::Cut> cuts);
    void skip_empty_distance();
    Progress& progress_of(std::int16_t slot);
    bool is_all_done() const;
    Limits limits_for(std::size_t ranges) const;
    void learn_payload_size(const ResultBatch& batch);

    Options options_;
    Statements statements_;
    ParkedStatements parked_;
    Connection connection_;
    Rebaser rebaser_;
    DurabilityGate durability_{options_.durability};
    std::string label_;
    Id relay_{};
    Id incarnation_{};
    std::int64_t last_position_{};                 ///< Of the last window of this incarnation.
    bool sequence_went_back_{};                    ///< Seen, and not yet re-based since.
    std::map<std::int16_t, std::int64_t> tidied_;  ///< By slot: no cursor below this n is left.
    std::vector<Start> starts_;  ///< Of this incarnation, one a segment, ascending.
    /// By slot: the newest store with parked events that had no answer and may yet be carried out.
    std::map<std::int16_t, GivenUp> given_up_;

    // The read under way.
    ReadRequest request_;
    std::vector<Progress> progress_;
    Step step_;
    Limits limits_{};
    std::uint64_t read_flushed_{};
    std::int64_t payload_mean_{};  ///< Of late, in bytes.
};

}  // namespace sagaz::inline v0::postgres
