#include "core/slot_ledger.hpp"

#include "core/assert.hpp"
#include "core/plant.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sagaz::inline v0::core {

BatchHold* BatchPool::keep(std::unique_ptr<Batch> batch) {
    SAGAZ_ASSERT(batch && !batch->rows.empty());
    bytes_ += batch->bytes;
    const std::size_t rows = batch->rows.size();
    holds_.push_back(BatchHold{std::move(batch), rows});
    holds_.back().self = std::prev(holds_.end());
    return &holds_.back();
}

void BatchPool::drop(BatchHold* hold) {
    SAGAZ_ASSERT(hold != nullptr && hold->rows_needed > 0);
    if (--hold->rows_needed > 0) return;
    bytes_ -= hold->batch->bytes;
    holds_.erase(hold->self);
}

SlotLedger::SlotLedger(std::int16_t slot, Cursor stored)
    : slot_(slot), settled_(std::move(stored)), stored_(settled_), n_(settled_.n) {
    open_target_ = std::make_shared<const Snapshot>(settled_.target);
    open_ceiling_ = settled_.target_ceiling;
}

void SlotLedger::begin_window(SharedSnapshot target, std::uint64_t ceiling) {
    open_target_ = target;
    open_ceiling_ = ceiling;
    marks_.push_back({end(), true, std::move(target), ceiling, 0});
    settle_front();
}

void SlotLedger::end_window(std::int64_t last) {
    // An empty window right behind the end of another one only moves that end: otherwise a slot
    // that waits for its broker would gather marks for as long as it waits.
    const std::size_t n = marks_.size();
    if (n >= 2 && marks_[n - 1].begins && marks_[n - 1].before == end() && !marks_[n - 2].begins &&
        marks_[n - 2].before == end()) {
        marks_.pop_back();
        marks_.back().snapshot = open_target_;
        marks_.back().ceiling = open_ceiling_;
        marks_.back().last = last;
    } else {
        marks_.push_back({end(), false, open_target_, open_ceiling_, last});
    }
    settle_front();
}

std::uint64_t SlotLedger::append(const Row& row, BatchHold* hold, std::uint64_t gate) {
    entries_.push_back({EntryState::ready, &row, hold, row.position, row.event_id, gate});
    return end() - 1;
}

void SlotLedger::forget_bytes(Entry& entry, BatchPool& pool) {
    if (entry.hold != nullptr) pool.drop(entry.hold);
    entry.hold = nullptr;
    entry.row = nullptr;
}

void SlotLedger::finish(std::uint64_t sequence, BatchPool& pool) {
    Entry& finished = entry(sequence);
    SAGAZ_ASSERT(finished.state != EntryState::finished);
    finished.state = EntryState::finished;
    forget_bytes(finished, pool);
    settle_front();
}

void SlotLedger::park(std::uint64_t sequence, std::string reason, std::string detail,
                      BatchPool& pool) {
    Entry& parked = entry(sequence);
    SAGAZ_ASSERT(parked.state != EntryState::finished && parked.state != EntryState::parking);
    parked.state = EntryState::parking;
    reasons_[sequence] = {std::move(reason), std::move(detail)};
    forget_bytes(parked, pool);
}

void SlotLedger::pass(const Mark& mark, Cursor& cursor) {
    if (mark.begins) {
        cursor.target = *mark.snapshot;
        cursor.target_ceiling = mark.ceiling;
        cursor.position = 0;
    } else {
        cursor.done = *mark.snapshot;
        cursor.done_ceiling = mark.ceiling;
        cursor.target = cursor.done;
        cursor.target_ceiling = mark.ceiling;
        cursor.last = mark.last;
        cursor.position = mark.last;
    }
}

std::uint64_t SlotLedger::whole_position(std::uint64_t from, std::uint64_t limit) const {
    std::uint64_t n = from + 1;
    while (n < limit && entries_[n - front_].position == entries_[from - front_].position) ++n;
    return n;
}

void SlotLedger::settle_front() {
    for (;;) {
        while (!marks_.empty() && marks_.front().before <= front_) {
            pass(marks_.front(), settled_);
            marks_.pop_front();
        }
        if (entries_.empty()) return;
        const std::uint64_t limit = marks_.empty() ? end() : marks_.front().before;
        const std::uint64_t through = whole_position(front_, limit);
        for (std::uint64_t n = front_; n < through; ++n) {
            if (entry(n).state != EntryState::finished) return;
        }
        settled_.position = entries_.front().position;
        moved_ = true;
        entries_.erase(entries_.begin(),
                       entries_.begin() + static_cast<std::ptrdiff_t>(through - front_));
        front_ = through;
    }
}

bool SlotLedger::has_parking_in_front() const {
    if (entries_.empty()) return false;
    const std::uint64_t limit =
        marks_.empty() ? end() : std::max(marks_.front().before, front_ + 1);
    const std::uint64_t through = whole_position(front_, limit);
    bool has_parking = false;
    for (std::uint64_t n = front_; n < through; ++n) {
        const EntryState state = entries_[n - front_].state;
        if (state != EntryState::parking && state != EntryState::finished) return false;
        has_parking = has_parking || state == EntryState::parking;
    }
    return has_parking;
}

bool SlotLedger::is_clean() const {
    return std::none_of(entries_.begin(), entries_.end(), [](const Entry& entry) {
        return entry.state == EntryState::sent || entry.state == EntryState::finished;
    });
}

SlotLedger::Settling SlotLedger::settling(std::size_t parked_max) {
    Settling settling{settled_, front_, {}};
    auto mark = marks_.begin();
    while (settling.through < end()) {
        while (mark != marks_.end() && mark->before <= settling.through) {
            pass(*mark++, settling.cursor);
        }
        const std::uint64_t limit = mark == marks_.end() ? end() : mark->before;
        if (!settle_position(whole_position(settling.through, limit), parked_max, settling)) break;
    }
    if constexpr (kPlant == Plant::store_before_ack || kPlant == Plant::stored_passes_held) {
        run_ahead(settling);
    }
    // The answer of an earlier try may have been lost after it was applied: never use a number
    // twice.
    settling.cursor.n = ++n_;
    return settling;
}

bool SlotLedger::settle_position(std::uint64_t through, std::size_t parked_max,
                                 Settling& settling) const {
    std::vector<Parking> parked;
    for (std::uint64_t n = settling.through; n < through; ++n) {
        const Entry& entry = entries_[n - front_];
        if (entry.state == EntryState::parking) {
            const auto& [reason, detail] = reasons_.at(n);
            parked.push_back({slot_, entry.position, entry.event_id, reason, detail});
        } else if (entry.state != EntryState::finished) {
            return false;
        }
    }
    if (!settling.parked.empty() && settling.parked.size() + parked.size() > parked_max)
        return false;
    settling.parked.insert(settling.parked.end(), parked.begin(), parked.end());
    settling.cursor.position = entries_[settling.through - front_].position;
    settling.through = through;
    return true;
}

void SlotLedger::run_ahead(Settling& settling) const {
    constexpr EntryState kPassed =
        kPlant == Plant::store_before_ack ? EntryState::sent : EntryState::held;
    for (std::uint64_t n = settling.through; n < end(); ++n) {
        const Entry& entry = entries_[n - front_];
        const bool marked = std::any_of(marks_.begin(), marks_.end(),
                                        [&](const Mark& mark) { return mark.before == n + 1; });
        if (marked || (entry.state != kPassed && entry.state != EntryState::finished)) return;
        settling.cursor.position = entry.position;
    }
}

void SlotLedger::stored(const Settling& settling, BatchPool& pool) {
    for (std::uint64_t n = front_; n < settling.through; ++n) {
        Entry& passed = entry(n);
        SAGAZ_ASSERT(passed.state == EntryState::finished || passed.state == EntryState::parking);
        if (passed.state == EntryState::finished) continue;
        reasons_.erase(n);
        passed.state = EntryState::finished;
        forget_bytes(passed, pool);
    }
    settle_front();
    SAGAZ_ASSERT(front_ >= settling.through);
    stored_ = settling.cursor;
    settled_.n = stored_.n;
    moved_ = false;
    settle_front();
}

void SlotLedger::clear(BatchPool& pool) {
    for (Entry& entry : entries_) forget_bytes(entry, pool);
    entries_.clear();
}

}  // namespace sagaz::inline v0::core
