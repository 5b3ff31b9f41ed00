#pragma once

#include "stores/sqlite/database.hpp"
#include "stores/sqlite/parked.hpp"
#include "stores/sqlite/statements.hpp"

#include <sagaz/sqlite.hpp>
#include <sagaz/store.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace sagaz::inline v0::sqlite {

/// The log of one destination in an SQLite file: the Store port over one connection of its own.
/// What makes it safe is argued where the SQL is, in statements.cpp.
class SqliteStore final : public Store {
public:
    SqliteStore(std::string path, Options options);

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
    using Body = std::function<void(Database&)>;

    /// Runs `body` in a read transaction, or in a write transaction that also beats and, once it
    /// is committed, has made everything before it durable. Throws `incarnation_changed` when the
    /// file is not the one that was attached to, or not as it was left. After an error in a write
    /// the connection is not used again: it may or may not have happened.
    void read(const Body& body);
    void write(const Body& body);

    Database& attached();
    void check_guard(Database& database);
    Attached introduce(Database& database);
    void forget();
    Opening opening_at(std::int64_t sequence);
    Loaded::SlotCursor load_cursor(Database& database, std::int16_t slot,
                                   std::int64_t sequence) const;
    std::int64_t delivered_upto(Database& database) const;
    bool owns(Database& database, std::int16_t slot, std::int64_t epoch) const;

    std::string path_;
    Options options_;
    Statements statements_;
    ParkedStatements parked_;
    std::string label_;
    std::unique_ptr<Database> database_;
    Id relay_{};
    Id incarnation_{};              ///< Zero: not attached.
    std::int64_t beat_{};           ///< As this store wrote it last.
    std::int64_t last_position_{};  ///< The highest sequence seen since the attach.
    std::uint64_t flushed_{};       ///< All up to this id is on the disk.
    bool was_set_back_{};           ///< Found so: the next attach gives the file a new token.
    ReadRequest request_;           ///< The read under way.
};

}  // namespace sagaz::inline v0::sqlite
