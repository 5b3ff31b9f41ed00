#include "stores/postgres/row_decoder.hpp"

#include "core/assert.hpp"
#include "stores/postgres/guarded.hpp"
#include "stores/postgres/statements.hpp"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

namespace sagaz::inline v0::postgres {
namespace {

// PostgreSQL counts microseconds from 2000-01-01.
constexpr std::chrono::microseconds kPostgresEpoch{946'684'800'000'000};
constexpr char kJsonbVersion = 1;

std::int16_t read_slot(const PGresult* result, int row) {
    return static_cast<std::int16_t>(binary_at<std::uint16_t>(result, row, column::slot));
}

std::int64_t read_position(const PGresult* result, int row) {
    return static_cast<std::int64_t>(binary_at<std::uint64_t>(result, row, column::position));
}

std::string_view read_text(const PGresult* result, int row, int column) {
    return {PQgetvalue(result, row, column),
            static_cast<std::size_t>(PQgetlength(result, row, column))};
}

std::optional<std::string_view> read_optional(const PGresult* result, int row, int column) {
    if (PQgetisnull(result, row, column) != 0) return std::nullopt;
    return read_text(result, row, column);
}

// jsonb travels as a version byte and its text.
std::string_view read_json(const PGresult* result, int row, int column) {
    std::string_view json = read_text(result, row, column);
    if (json.empty()) return json;
    SAGAZ_ASSERT(json.front() == kJsonbVersion);
    json.remove_prefix(1);
    return json;
}

bool is_before(const Row& a, const Row& b) {
    return std::tie(a.slot, a.position) < std::tie(b.slot, b.position);
}

}  // namespace

Row decode_row(const PGresult* result, int row) {
    Row decoded;
    decoded.slot = read_slot(result, row);
    decoded.held =
        PQgetlength(result, row, column::held) == 1 && *PQgetvalue(result, row, column::held) != 0;
    decoded.transaction = binary_at<std::uint64_t>(result, row, column::transaction);
    decoded.position = read_position(result, row);
    SAGAZ_ASSERT(PQgetlength(result, row, column::event_id) == sizeof(decoded.event_id.bytes));
    std::memcpy(decoded.event_id.bytes.data(), PQgetvalue(result, row, column::event_id),
                sizeof(decoded.event_id.bytes));
    const auto created = binary_at<std::uint64_t>(result, row, column::created_at);
    decoded.created_at =
        Time{std::chrono::microseconds{static_cast<std::int64_t>(created)} + kPostgresEpoch};
    decoded.topic = read_text(result, row, column::topic);
    decoded.key = read_optional(result, row, column::key);
    decoded.event_type = read_text(result, row, column::event_type);
    decoded.content_type = read_text(result, row, column::content_type);
    decoded.payload = read_text(result, row, column::payload);
    decoded.headers = read_json(result, row, column::headers);
    decoded.aggregate_id = read_optional(result, row, column::aggregate_id);
    return decoded;
}

ResultBatch::Taken ResultBatch::take(Result result) {
    const PGresult* raw = result.get();
    const int count = PQntuples(raw);
    if (count == 0) throw incarnation_changed();
    Taken taken;
    rows.reserve(rows.size() + static_cast<std::size_t>(count));
    const Cut* cut = nullptr;
    for (int n = 0; n < count; ++n) {
        const std::int16_t slot = read_slot(raw, n);
        if (slot < 0) {
            taken.flushed = static_cast<std::uint64_t>(read_position(raw, n));
            continue;
        }
        if (cut != nullptr && cut->slot == slot) continue;
        if (PQgetisnull(raw, n, column::payload) != 0) {
            // Left out for its size. The slot ends before it, on a whole position.
            const std::int64_t position = read_position(raw, n);
            while (!rows.empty() && rows.back().slot == slot && rows.back().position == position) {
                payload_bytes_ -= rows.back().payload.size() + rows.back().headers.size();
                rows.pop_back();
            }
            const bool is_first = rows.empty() || rows.back().slot != slot;
            taken.cuts.push_back({slot, position, is_first});
            cut = &taken.cuts.back();
            continue;
        }
        rows.push_back(decode_row(raw, n));
        payload_bytes_ += rows.back().payload.size() + rows.back().headers.size();
    }
    bytes += PQresultMemorySize(raw);
    results_.push_back(std::move(result));
    return taken;
}

void ResultBatch::sort() {
    if (!std::ranges::is_sorted(rows, is_before)) std::ranges::stable_sort(rows, is_before);
}

}  // namespace sagaz::inline v0::postgres
