// How the store reads rows.
//
// One statement reads one segment of the ring, by the leaf's name, for all slots of the request
// that are in the lowest segment needed. Where a segment has nothing for any of them, one probe
// finds the next id that exists, so a jump of the sequence costs two statements, not a walk.
//
// The bytes of a batch are bounded without a running sum in SQL, which would copy every row once
// more: a payload over `payload_max` is left out by the statement (it reads as null), and the rows
// of a slot end before it. rows x payload_max is within bytes_max. Where nothing came before the
// large payload, its position is read alone; so one row a slot comes whatever its size.
// payload_max follows the mean size seen of late, so a log of large payloads is read in batches
// too.
#include "core/assert.hpp"
#include "stores/postgres/error_table.hpp"
#include "stores/postgres/postgres_store.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <limits>

namespace sagaz::inline v0::postgres {
namespace {

constexpr std::int64_t kPayloadMaxAtLeast = 512;
constexpr std::int64_t kTimesMean = 4;
constexpr std::int64_t kNoLimit = std::numeric_limits<std::int32_t>::max();

std::int64_t segment_of(std::int64_t position) { return position >> kSegmentBits; }
std::int64_t end_of(std::int64_t segment) { return ((segment + 1) << kSegmentBits) - 1; }

}  // namespace

// The ranges in the lowest segment that any of them needs.
PostgresStore::Asked PostgresStore::next_plain() {
    std::int64_t lowest = std::numeric_limits<std::int64_t>::max();
    for (const auto& progress : progress_) {
        if (progress.kind() == Kind::late || progress.is_done()) continue;
        lowest = std::min(lowest, segment_of(progress.after + 1));
    }
    Asked asked;
    for (auto& progress : progress_) {
        if (progress.kind() == Kind::late || progress.is_done()) continue;
        if (segment_of(progress.after + 1) != lowest) continue;
        progress.upto = std::min(progress.range->upto, end_of(lowest));
        asked.push_back(&progress);
    }
    return asked;
}

PostgresStore::Asked PostgresStore::next_late() {
    Asked asked;
    for (auto& progress : progress_) {
        if (progress.kind() == Kind::plain || progress.is_done()) continue;
        progress.upto = progress.range->upto;
        asked.push_back(&progress);
    }
    return asked;
}

PostgresStore::Limits PostgresStore::limits_for(std::size_t ranges) const {
    const auto rows_max = static_cast<std::int64_t>(std::max<std::size_t>(request_.rows_max, 1));
    const auto bytes_max = static_cast<std::int64_t>(request_.bytes_max);
    Limits limits;
    limits.payload_max = std::max(bytes_max / rows_max, kTimesMean * payload_mean_);
    limits.payload_max = std::clamp(limits.payload_max, kPayloadMaxAtLeast, kNoLimit);
    const auto count = static_cast<std::int64_t>(std::max<std::size_t>(ranges, 1));
    const auto rows = std::min(rows_max, bytes_max / limits.payload_max);
    limits.rows_each = std::max<std::int64_t>(1, rows / count);
    return limits;
}

void PostgresStore::send_read(const Asked& asked, Kind kind, Limits limits) {
    const auto slot = [](const Progress* progress) {
        return static_cast<std::int64_t>(progress->range->slot);
    };
    Parameters parameters = guarded();
    parameters.number(limits.payload_max)
        .number(limits.rows_each)
        .array(asked, slot)
        .array(asked, [](const Progress* p) { return std::optional{p->range->done->text()}; })
        .array(asked, [](const Progress* p) { return std::optional{p->range->target->text()}; })
        .array(asked, [](const Progress* p) { return p->after; })
        .array(asked, [](const Progress* p) { return p->upto; });
    if (kind == Kind::plain) {
        const std::int64_t segment = asked.empty() ? 0 : segment_of(asked.front()->after + 1);
        const auto leaf = static_cast<std::size_t>(segment % kSegments);
        connection_.send(statements_.read[leaf], parameters, Format::binary);
        return;
    }
    std::vector<LateTransaction> pairs;
    for (const Progress* progress : asked) {
        for (const auto transaction : progress->range->late) {
            pairs.push_back({progress->range->slot, transaction});
        }
    }
    parameters
        .array(pairs,
               [](const LateTransaction& pair) { return static_cast<std::int64_t>(pair.slot); })
        .array(pairs, [](const LateTransaction& pair) { return pair.transaction; });
    connection_.send(statements_.read_late, parameters, Format::binary);
}

PostgresStore::Progress& PostgresStore::progress_of(std::int16_t slot) {
    const auto found = std::ranges::find_if(
        progress_, [&](const Progress& progress) { return progress.range->slot == slot; });
    SAGAZ_ASSERT(found != progress_.end());
    return *found;
}

bool PostgresStore::is_all_done() const {
    return std::ranges::all_of(progress_, [](const Progress& p) { return p.is_done(); });
}

// Receives the statement under way and moves its ranges on.
void PostgresStore::collect(ResultBatch& batch, const Asked& asked, Limits limits) {
    for (Progress* progress : asked) progress->returned = 0;
    const std::size_t before = batch.rows.size();
    const auto taken = batch.take(connection_.receive());
    read_flushed_ = taken.flushed;
    Progress* current = nullptr;
    for (std::size_t n = before; n < batch.rows.size(); ++n) {
        const Row& row = batch.rows[n];
        if (current == nullptr || current->range->slot != row.slot) {
            current = &progress_of(row.slot);
        }
        ++current->returned;
        current->last = row.position;
    }
    for (Progress* progress : asked) {
        const bool has_more = progress->returned >= limits.rows_each;
        progress->after = has_more ? progress->last : progress->upto;
    }
    std::vector<ResultBatch::Cut> large;
    for (const auto& cut : taken.cuts) {
        progress_of(cut.slot).after = cut.position - 1;
        if (cut.is_first) large.push_back(cut);
    }
    read_large(batch, large);
}

void PostgresStore::read_large(ResultBatch& batch, std::span<const ResultBatch::Cut> cuts) {
    if (cuts.empty()) return;
    Asked asked;
    for (const auto& cut : cuts) {
        Progress& progress = progress_of(cut.slot);
        progress.upto = cut.position;
        asked.push_back(&progress);
    }
    const Limits limits{1, kNoLimit};
    send_read(asked, asked.front()->kind(), limits);
    collect(batch, asked, limits);
}

// Moves every range on to just before the next row that exists in it.
void PostgresStore::skip_empty_distance() {
    Asked asked;
    for (auto& progress : progress_) {
        if (progress.kind() == Kind::plain && !progress.is_done()) asked.push_back(&progress);
    }
    if (asked.empty()) return;
    const Result rows =
        run(statements_.next_position,
            guarded()
                .array(asked,
                       [](const Progress* p) { return static_cast<std::int64_t>(p->range->slot); })
                .array(asked, [](const Progress* p) { return p->after; })
                .array(asked, [](const Progress* p) { return p->range->upto; }));
    for (int n = 0; n < PQntuples(rows.get()); ++n) {
        const auto slot = static_cast<std::int16_t>(std::stoi(PQgetvalue(rows.get(), n, 0)));
        Progress& progress = progress_of(slot);
        const bool has_row = PQgetisnull(rows.get(), n, 1) == 0;
        progress.after = has_row ? std::stoll(PQgetvalue(rows.get(), n, 1)) - 1
                                 : progress.range->upto;
    }
}

// Rises at once and falls slowly.
void PostgresStore::learn_payload_size(const ResultBatch& batch) {
    if (batch.rows.empty()) return;
    const auto mean = static_cast<std::int64_t>(batch.payload_bytes() / batch.rows.size());
    payload_mean_ = std::max(mean, (7 * payload_mean_ + mean) / 8);
}

void PostgresStore::start_read(const ReadRequest& request) {
    request_ = request;
    progress_.clear();
    for (const auto& range : request_.ranges) progress_.push_back({&range, range.after, 0, 0, 0});
    // With nothing left to read the statement still tells how far the log is flushed.
    asked_ = next_plain();
    const Asked late = next_late();
    limits_ = limits_for(asked_.size() + late.size());
    const bool is_late_only = asked_.empty() && !late.empty();
    if (is_late_only) asked_ = late;
    send_read(asked_, is_late_only ? Kind::late : Kind::plain, limits_);
}

ReadResult PostgresStore::finish_read() {
    auto batch = std::make_unique<ResultBatch>();
    const bool was_plain = asked_.empty() || asked_.front()->kind() == Kind::plain;
    collect(*batch, asked_, limits_);
    if (was_plain) {
        if (const Asked late = next_late(); !late.empty()) {
            send_read(late, Kind::late, limits_);
            collect(*batch, late, limits_);
        }
    }
    while (batch->rows.empty() && !is_all_done()) {
        skip_empty_distance();
        const Asked plain = next_plain();
        if (plain.empty()) break;
        send_read(plain, Kind::plain, limits_);
        collect(*batch, plain, limits_);
    }
    batch->sort();
    learn_payload_size(*batch);
    ReadResult result;
    for (const auto& progress : progress_) {
        result.progress.push_back(
            {progress.range->slot, std::min(progress.after, progress.range->upto)});
    }
    result.flushed = read_flushed_;
    result.batch = std::move(batch);
    return result;
}

// What has become of held rows: they are few and close together, so mostly one statement.
std::vector<HoldState> PostgresStore::look_at(std::span<const RowRef> rows) {
    std::vector<HoldState> states(rows.size(), HoldState::gone);
    for (std::int64_t leaf = 0; leaf < kSegments; ++leaf) {
        std::vector<std::size_t> places;
        for (std::size_t n = 0; n < rows.size(); ++n) {
            if (segment_of(rows[n].position) % kSegments == leaf) places.push_back(n);
        }
        if (places.empty()) continue;
        const Result found =
            run(statements_.look_at[static_cast<std::size_t>(leaf)],
                guarded()
                    .array(places,
                           [&](std::size_t n) { return static_cast<std::int64_t>(rows[n].slot); })
                    .array(places, [&](std::size_t n) { return rows[n].position; })
                    .array(places,
                           [&](std::size_t n) { return std::optional{rows[n].event_id.text()}; }));
        for (std::size_t n = 0; n < places.size(); ++n) {
            const int row = static_cast<int>(n);
            if (PQgetisnull(found.get(), row, 0) != 0) continue;
            const bool is_held = *PQgetvalue(found.get(), row, 0) == 't';
            states[places[n]] = is_held ? HoldState::held : HoldState::released;
        }
    }
    return states;
}

}  // namespace sagaz::inline v0::postgres
