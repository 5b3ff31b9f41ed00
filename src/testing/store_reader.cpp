#include "testing/store_reader.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace sagaz::inline v0::testing {
namespace {

ReadRow copy_of(const Row& row) {
    ReadRow copy;
    copy.slot = row.slot;
    copy.position = row.position;
    copy.transaction = row.transaction;
    copy.event_id = row.event_id;
    copy.held = row.held;
    copy.topic = row.topic;
    copy.key = row.key;
    copy.event_type = row.event_type;
    copy.content_type = row.content_type;
    copy.payload = row.payload;
    copy.headers = row.headers;
    copy.aggregate_id = row.aggregate_id;
    copy.created_at = row.created_at;
    return copy;
}

}  // namespace

StoreReader::StoreReader(Store& store) : StoreReader(store, Limits{}) {}

StoreReader::StoreReader(Store& store, Limits limits)
    : store_(store), limits_(limits), relay_(Id::generate()) {
    settings_ = store_.attach(relay_).settings;
    owned_ = store_.acquire(store_.observe({}).slots);
    const Loaded loaded = store_.load(owned_);
    for (const auto& [slot, cursor] : loaded.cursors) {
        windows_.emplace(slot, core::SlotWindow(slot, cursor, loaded.gate));
        n_[slot] = cursor.n;
    }
}

void StoreReader::find_late() {
    std::vector<LateQuery> queries;
    for (const auto& [slot, window] : windows_) {
        if (window.needs_late_query()) queries.push_back(window.late_query());
    }
    if (queries.empty()) return;
    std::map<std::int16_t, std::vector<std::uint64_t>> late;
    for (const auto& found : store_.find_late(queries)) {
        late[found.slot].push_back(found.transaction);
    }
    for (auto& [slot, window] : windows_) {
        if (window.needs_late_query()) window.found_late(late[slot]);
    }
}

bool StoreReader::read_batch(std::vector<ReadRow>& rows) {
    ReadRequest request{{}, limits_.rows_max, limits_.bytes_max};
    for (const auto& [slot, window] : windows_) {
        if (window.wants_rows()) request.ranges.push_back(window.range());
    }
    if (request.ranges.empty()) return false;
    store_.start_read(request);
    const ReadResult result = store_.finish_read();
    ++batches_;
    std::map<std::int16_t, std::int64_t> highest;
    std::size_t bytes = 0;
    for (const Row& row : result.batch->rows) {
        rows.push_back(copy_of(row));
        bytes += row.payload.size();
        highest[row.slot] = row.position;
    }
    bytes_most_ = std::max(bytes_most_, result.batch->bytes);
    payload_bytes_most_ = std::max(payload_bytes_most_, bytes);
    bool has_moved = false;
    for (const auto& progress : result.progress) {
        auto& window = windows_.at(progress.slot);
        const bool moves = progress.read_to > window.range().after;
        has_moved = has_moved || moves;
        window.advance(progress.read_to, highest[progress.slot]);
    }
    if (!has_moved) throw std::runtime_error("a read moved no slot");
    return true;
}

std::vector<ReadRow> StoreReader::read_window() { return read_window(store_.open_window()); }

std::vector<ReadRow> StoreReader::read_window(const Opening& opening) {
    opening_ = opening;
    const auto target = std::make_shared<const Snapshot>(opening_.target);
    for (auto& [slot, window] : windows_) window.open(opening_, target);
    find_late();
    std::vector<ReadRow> rows;
    while (read_batch(rows)) {
    }
    return rows;
}

std::vector<CursorMove> StoreReader::moves() const {
    std::vector<CursorMove> moves;
    for (const auto& owned : owned_) {
        const auto& window = windows_.at(owned.slot);
        Cursor cursor;
        cursor.n = n_.at(owned.slot) + 1;
        cursor.done = cursor.target = *window.target();
        cursor.done_ceiling = cursor.target_ceiling = window.target_ceiling();
        cursor.position = cursor.last = window.last();
        moves.push_back({owned.slot, owned.epoch, cursor});
    }
    return moves;
}

std::vector<std::string> payloads_of(const std::vector<ReadRow>& rows) {
    std::vector<std::string> payloads;
    for (const auto& row : rows) payloads.push_back(row.payload);
    return payloads;
}

}  // namespace sagaz::inline v0::testing
