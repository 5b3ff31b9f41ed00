// How the store reads rows.
//
// Late rows are looked for where they can be. A transaction takes its id before its rows take
// theirs, and `open_window` reads the sequence before the next transaction id: so a transaction at
// or above a window's ceiling has rows above that window's last position only. Remembering one such
// pair a segment tells from which segment on the rows of a transaction may lie; mostly that is the
// newest one, and the leaf is named. Only after an attach, while transactions run that began
// before it, is the whole ring asked.
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
#include "stores/postgres/field.hpp"
#include "stores/postgres/postgres_store.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <limits>

namespace sagaz::inline v0::postgres {
namespace {

constexpr std::int64_t kPayloadMaxAtLeast = 512;
constexpr std::int64_t kTimesMean = 4;
constexpr std::int64_t kNoLimit = std::numeric_limits<std::int32_t>::max();

constexpr std::int64_t kUnknown = -1;
constexpr auto kSegmentsInRing = static_cast<std::int64_t>(kSegments);
constexpr std::int64_t kLeavesApart = 3;  // up to so many leaves a statement each beats the ring

std::size_t leaf_of(std::int64_t segment) { return static_cast<std::size_t>(segment % kSegments); }
std::int64_t segment_of(std::int64_t position) { return position >> kSegmentBits; }
std::int64_t end_of(std::int64_t segment) { return ((segment + 1) << kSegmentBits) - 1; }

}  // namespace

// ------------------------------------------------------------------------------------ late rows

void PostgresStore::remember_start(const Opening& opening) {
    const std::int64_t segment = segment_of(opening.last_position + 1);
    if (!starts_.empty() && starts_.back().segment == segment) return;
    if (starts_.size() == kSegments) starts_.erase(starts_.begin());
    starts_.push_back({opening.ceiling, segment});
}

std::optional<std::int64_t> PostgresStore::first_segment_of(std::uint64_t transaction) const {
    const auto after = std::ranges::upper_bound(starts_, transaction, {}, &Start::ceiling);
    if (after == starts_.begin()) return std::nullopt;
    return std::prev(after)->segment;
}

// Where rows of the transactions asked for may be, as leaves; mostly the newest one or two.
std::vector<std::size_t> PostgresStore::leaves_for(std::span<const LateQuery> queries) const {
    std::uint64_t oldest = std::numeric_limits<std::uint64_t>::max();
    std::int64_t upto = 0;
    for (const auto& query : queries) {
        for (const auto transaction : query.transactions) oldest = std::min(oldest, transaction);
        if (query.range_min < query.range_end) oldest = std::min(oldest, query.range_min);
        upto = std::max(upto, query.upto);
    }
    const auto first = first_segment_of(oldest);
    if (!first || segment_of(upto) - *first >= kLeavesApart) return {kWholeRing};
    std::vector<std::size_t> leaves;
    for (auto segment = *first; segment <= segment_of(upto); ++segment) {
        leaves.push_back(leaf_of(segment));
    }
    if (leaves.empty()) leaves.push_back(leaf_of(*first));
    return leaves;
}

std::vector<LateTransaction> PostgresStore::find_late(std::span<const LateQuery> queries) {
    std::vector<LateTransaction> pairs;
    for (const auto& query : queries) {
        for (const auto transaction : query.transactions)
            pairs.push_back({query.slot, transaction});
    }
    Parameters parameters = guarded();
    parameters.array(queries, [](const LateQuery& query) { return wide(query.slot); })
        .array(queries, [](const LateQuery& query) { return query.after; })
        .array(queries, [](const LateQuery& query) { return query.upto; })
        .array(queries, [](const LateQuery& query) { return query.range_min; })
        .array(queries, [](const LateQuery& query) { return query.range_end; })
        .array(pairs, [](const LateTransaction& pair) { return wide(pair.slot); })
        .array(pairs, [](const LateTransaction& pair) { return pair.transaction; });
    std::vector<LateTransaction> late;
    for (const std::size_t leaf : leaves_for(queries)) {
        const Result rows = run(statements_.find_late[leaf], parameters);
        for (int n = 0; n < PQntuples(rows.get()); ++n) {
            if (PQgetisnull(rows.get(), n, 0) != 0) continue;
            const auto slot = static_cast<std::int16_t>(std::stoi(PQgetvalue(rows.get(), n, 0)));
            const LateTransaction found{slot, std::stoull(PQgetvalue(rows.get(), n, 1))};
            if (std::ranges::find(late, found) == late.end()) late.push_back(found);
        }
    }
    return late;
}

// ------------------------------------------------------------------------------------- the steps

// The ranges in the lowest segment that any of them needs.
PostgresStore::Step PostgresStore::next_plain() {
    std::int64_t lowest = std::numeric_limits<std::int64_t>::max();
    for (const auto& progress : progress_) {
        if (progress.kind() == Kind::late || progress.is_done()) continue;
        lowest = std::min(lowest, segment_of(progress.after + 1));
    }
    Step step;
    for (auto& progress : progress_) {
        if (progress.kind() == Kind::late || progress.is_done()) continue;
        if (segment_of(progress.after + 1) != lowest) continue;
        progress.upto = std::min(progress.range->upto, end_of(lowest));
        step.ranges.push_back(&progress);
    }
    if (!step.ranges.empty()) step.leaf = leaf_of(lowest);
    return step;
}

// The same for late rows, which begin where the oldest transaction asked for may have begun. Where
// that is not known, or as many segments away as there are (the sequence has jumped), all are read
// from the whole ring.
PostgresStore::Step PostgresStore::next_late() {
    Step step{Kind::late, kWholeRing, {}};
    std::int64_t lowest = std::numeric_limits<std::int64_t>::max();
    for (auto& progress : progress_) {
        if (progress.kind() == Kind::plain || progress.is_done()) continue;
        const auto first = first_segment_of(*std::ranges::min_element(progress.range->late));
        if (first) progress.after = std::max(progress.after, end_of(*first - 1));
        if (progress.is_done()) continue;
        const auto next = segment_of(progress.after + 1);
        const bool is_near = first && segment_of(progress.range->upto) - next < kSegmentsInRing;
        lowest = is_near ? std::min(lowest, next) : kUnknown;
        progress.upto = progress.range->upto;
        step.ranges.push_back(&progress);
    }
    if (step.ranges.empty() || lowest == kUnknown) return step;
    step.leaf = leaf_of(lowest);
    std::erase_if(step.ranges, [&](const Progress* progress) {
        return segment_of(progress->after + 1) != lowest;
    });
    for (Progress* progress : step.ranges) {
        progress->upto = std::min(progress->range->upto, end_of(lowest));
    }
    return step;
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

void PostgresStore::send_read(const Step& step, Limits limits) {
    Parameters parameters = guarded();
    parameters.number(limits.payload_max)
        .number(limits.rows_each)
        .array(step.ranges, [](const Progress* p) { return wide(p->range->slot); })
        .array(step.ranges, [](const Progress* p) { return std::optional{p->range->done->text()}; })
        .array(step.ranges,
               [](const Progress* p) { return std::optional{p->range->target->text()}; })
        .array(step.ranges, [](const Progress* p) { return p->after; })
        .array(step.ranges, [](const Progress* p) { return p->upto; });
    if (step.kind == Kind::plain) {
        connection_.send(statements_.read[step.leaf], parameters, Format::binary);
        return;
    }
    std::vector<LateTransaction> pairs;
    for (const Progress* progress : step.ranges) {
        for (const auto transaction : progress->range->late) {
            pairs.push_back({progress->range->slot, transaction});
        }
    }
    parameters.array(pairs, [](const LateTransaction& pair) { return wide(pair.slot); })
        .array(pairs, [](const LateTransaction& pair) { return pair.transaction; });
    connection_.send(statements_.read_late[step.leaf], parameters, Format::binary);
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
void PostgresStore::collect(ResultBatch& batch, const Step& step, Limits limits) {
    for (Progress* progress : step.ranges) progress->returned = 0;
    const std::size_t before = batch.rows.size();
    const auto taken = batch.take(connection_.receive());
    read_flushed_ = durability_.safe(taken.flushed);
    Progress* current = nullptr;
    for (std::size_t n = before; n < batch.rows.size(); ++n) {
        const Row& row = batch.rows[n];
        if (current == nullptr || current->range->slot != row.slot) {
            current = &progress_of(row.slot);
        }
        ++current->returned;
        current->last = row.position;
    }
    for (Progress* progress : step.ranges) {
        const bool has_more = progress->returned >= limits.rows_each;
        progress->after = has_more ? progress->last : progress->upto;
    }
    std::vector<ResultBatch::Cut> large;
    for (const auto& cut : taken.cuts) {
        progress_of(cut.slot).after = cut.position - 1;
        if (cut.is_first) large.push_back(cut);
    }
    read_large(batch, step, large);
}

void PostgresStore::read_large(ResultBatch& batch, const Step& step,
                               std::span<const ResultBatch::Cut> cuts) {
    if (cuts.empty()) return;
    Step alone{step.kind, step.leaf, {}};
    for (const auto& cut : cuts) {
        Progress& progress = progress_of(cut.slot);
        progress.upto = cut.position;
        alone.ranges.push_back(&progress);
    }
    constexpr Limits kAlone{1, kNoLimit};
    send_read(alone, kAlone);
    collect(batch, alone, kAlone);
}

// Moves every range on to just before the next row that exists in it.
void PostgresStore::skip_empty_distance() {
    std::vector<Progress*> asked;
    for (auto& progress : progress_) {
        if (progress.kind() == Kind::plain && !progress.is_done()) asked.push_back(&progress);
    }
    if (asked.empty()) return;
    const Result rows =
        run(statements_.next_position,
            guarded()
                .array(asked, [](const Progress* p) { return wide(p->range->slot); })
                .array(asked, [](const Progress* p) { return p->after; })
                .array(asked, [](const Progress* p) { return p->range->upto; }));
    for (int n = 0; n < PQntuples(rows.get()); ++n) {
        const auto slot = static_cast<std::int16_t>(std::stoi(PQgetvalue(rows.get(), n, 0)));
        Progress& progress = progress_of(slot);
        const bool has_row = PQgetisnull(rows.get(), n, 1) == 0;
        progress.after =
            has_row ? std::stoll(PQgetvalue(rows.get(), n, 1)) - 1 : progress.range->upto;
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
    step_ = next_plain();
    Step late = next_late();
    limits_ = limits_for(step_.ranges.size() + late.ranges.size());
    if (step_.ranges.empty() && !late.ranges.empty()) step_ = std::move(late);
    send_read(step_, limits_);
}

ReadResult PostgresStore::finish_read() {
    auto batch = std::make_unique<ResultBatch>();
    const auto read = [&](const Step& step) {
        send_read(step, limits_);
        collect(*batch, step, limits_);
    };
    collect(*batch, step_, limits_);
    if (step_.kind == Kind::plain) {
        if (const Step late = next_late(); !late.ranges.empty()) read(late);
    }
    while (batch->rows.empty() && !is_all_done()) {
        skip_empty_distance();
        Step step = next_plain();
        if (step.ranges.empty()) step = next_late();
        if (step.ranges.empty()) break;
        read(step);
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

}  // namespace sagaz::inline v0::postgres
