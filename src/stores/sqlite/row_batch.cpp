#include "stores/sqlite/row_batch.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>

namespace sagaz::inline v0::sqlite {
namespace {

// Where the columns of Statements::read stand.
namespace column {
enum : int {
    id,
    event_id,
    held,
    created_at,
    topic,
    key,
    event_type,
    content_type,
    payload,
    headers,
    aggregate_id
};
}  // namespace column

bool belongs(const SlotRange& range, std::uint64_t transaction) {
    if (!range.target->sees(transaction) || range.done->sees(transaction)) return false;
    return range.late.empty() || std::ranges::find(range.late, transaction) != range.late.end();
}

}  // namespace

std::string_view RowBatch::keep(std::string_view text) {
    if (text.empty()) return "";
    auto* const place = static_cast<char*>(memory_.allocate(text.size(), 1));
    std::memcpy(place, text.data(), text.size());
    bytes += text.size();
    return {place, text.size()};
}

std::int64_t RowBatch::take(Query& source, const SlotRange& range, Limits limits) {
    std::int64_t read_to = range.after;
    bool is_first = true;
    while (source.step()) {
        const std::int64_t position = source.number_at(column::id);
        if (!belongs(range, static_cast<std::uint64_t>(position))) {
            read_to = position;
            continue;
        }
        const std::string_view payload = source.bytes_at(column::payload);
        const bool fits =
            rows.size() < limits.rows_max && payload_bytes_ + payload.size() <= limits.bytes_max;
        if (!is_first && !fits) return read_to;
        is_first = false;
        Row row;
        row.slot = range.slot;
        row.position = position;
        row.transaction = static_cast<std::uint64_t>(position);
        row.payload = keep(payload);
        payload_bytes_ += payload.size();
        row.event_id = Id::parse(source.text_at(column::event_id));
        row.held = source.number_at(column::held) != 0;
        row.created_at = Time{std::chrono::milliseconds{source.number_at(column::created_at)}};
        row.topic = keep(source.text_at(column::topic));
        if (!source.is_null(column::key)) row.key = keep(source.text_at(column::key));
        row.event_type = keep(source.text_at(column::event_type));
        row.content_type = keep(source.text_at(column::content_type));
        row.headers = keep(source.text_at(column::headers));
        if (!source.is_null(column::aggregate_id)) {
            row.aggregate_id = keep(source.text_at(column::aggregate_id));
        }
        rows.push_back(row);
        bytes += sizeof(Row);
        read_to = position;
    }
    return range.upto;
}

void RowBatch::take(Query& row, const RowRef& which) {
    // A range that any position is in.
    constexpr auto kAll = std::numeric_limits<std::int64_t>::max();
    constexpr auto kNoLimit = std::numeric_limits<std::size_t>::max();
    const Snapshot none{};
    const Snapshot all{kAll, kAll, {}};
    take(row, {which.slot, &none, &all, which.position - 1, which.position, {}},
         {kNoLimit, kNoLimit});
}

}  // namespace sagaz::inline v0::sqlite
