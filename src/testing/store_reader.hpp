#pragma once

#include "core/window.hpp"

#include <sagaz/store.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

/// A relay's reading and nothing else of it, for tests of stores: owns slots, reads windows to
/// their end and keeps what it read.
namespace sagaz::inline v0::testing {

/// A copy of a row, since a row's views die with its batch.
struct ReadRow {
    std::int16_t slot{};
    std::int64_t position{};
    std::uint64_t transaction{};
    Id event_id{};
    bool held{};
    std::string topic{};
    std::optional<std::string> key{};
    std::string event_type{};
    std::string content_type{};
    std::string payload{};
    std::string headers{};
    std::optional<std::string> aggregate_id{};
    Time created_at{};
};

class StoreReader {
public:
    struct Limits {
        std::size_t rows_max{1'000};
        std::size_t bytes_max{std::size_t{1} << 20};
    };

    /// Attaches `store` as a relay of its own, takes every slot it can get, and reads the cursors.
    explicit StoreReader(Store& store);
    StoreReader(Store& store, Limits limits);

    /// Opens a window on every slot and reads it to its end. Rows in the order they came.
    std::vector<ReadRow> read_window();
    /// The same for a window that was opened already.
    std::vector<ReadRow> read_window(const Opening& opening);

    /// Moves that store what has been read so far.
    std::vector<CursorMove> moves() const;

    const Id& relay() const { return relay_; }
    const Settings& settings() const { return settings_; }
    const std::vector<OwnedSlot>& owned() const { return owned_; }
    const Opening& opening() const { return opening_; }
    std::size_t batches() const { return batches_; }
    std::size_t bytes_most() const { return bytes_most_; }  ///< Memory of one batch, at most.
    std::size_t payload_bytes_most() const { return payload_bytes_most_; }  ///< Of one batch.

private:
    void find_late();
    bool read_batch(std::vector<ReadRow>& rows);

    Store& store_;
    Limits limits_;
    Id relay_;
    Settings settings_{};
    std::vector<OwnedSlot> owned_;
    std::map<std::int16_t, core::SlotWindow> windows_;
    std::map<std::int16_t, std::int64_t> n_;
    Opening opening_{};
    std::size_t batches_{};
    std::size_t bytes_most_{};
    std::size_t payload_bytes_most_{};
};

/// The payloads of rows, in their order.
std::vector<std::string> payloads_of(const std::vector<ReadRow>& rows);

}  // namespace sagaz::inline v0::testing
