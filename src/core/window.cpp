#include "core/window.hpp"

#include "core/assert.hpp"
#include "core/plant.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <utility>

namespace sagaz::inline v0::core {

SlotWindow::SlotWindow(std::int16_t slot, const Cursor& cursor, std::uint64_t gate)
    : slot_(slot),
      done_(std::make_shared<const Snapshot>(cursor.done)),
      target_(std::make_shared<const Snapshot>(cursor.target)),
      done_ceiling_(cursor.done_ceiling),
      target_ceiling_(cursor.target_ceiling),
      after_(cursor.position),
      last_(cursor.last),
      highest_(std::max(cursor.last, cursor.position)),
      gate_(gate) {
    if (cursor.done != cursor.target) stage_ = Stage::inherited;
}

void SlotWindow::open(const Opening& opening, const SharedSnapshot& target) {
    SAGAZ_ASSERT(stage_ == Stage::closed || stage_ == Stage::inherited);
    if (opening.last_position < highest_) {
        throw Error(ErrorKind::fatal, "sequence_behind",
                    "the sequence outbox_id stands at " + std::to_string(opening.last_position) +
                        ", below position " + std::to_string(highest_) + " already delivered",
                    "stop producers and set it above the highest id: SELECT setval('<schema>."
                    "outbox_id', (SELECT max(id) FROM <schema>.outbox))");
    }
    end_ = opening.last_position;
    gate_ = std::max(gate_, opening.gate);
    if (stage_ == Stage::closed) {
        target_ = target;
        target_ceiling_ = opening.ceiling;
        after_ = 0;
        gate_ = opening.gate;
    }
    begin();
}

void SlotWindow::begin() {
    late_.clear();
    if (after_ >= last_) {
        stage_ = Stage::main;
        if (after_ >= end_) close();
        return;
    }
    stage_ = Stage::search;
    const LateQuery query = late_query();
    if (query.transactions.empty() && query.range_min >= query.range_end) found_late({});
}

LateQuery SlotWindow::late_query() const {
    LateQuery query{.slot = slot_, .after = after_, .upto = last_};
    if constexpr (kPlant == Plant::id_after_last) return query;
    for (const std::uint64_t transaction : done_->running) {
        if (target_->sees(transaction)) query.transactions.push_back(transaction);
    }
    if constexpr (kPlant == Plant::xip_only) return query;
    const std::uint64_t ceiling = done_ceiling_ == 0 ? target_->xmax : done_ceiling_;
    query.range_min = done_->xmax;
    query.range_end = std::min(ceiling, target_->xmax);
    return query;
}

void SlotWindow::found_late(std::vector<std::uint64_t> transactions) {
    SAGAZ_ASSERT(stage_ == Stage::search);
    late_ = std::move(transactions);
    std::erase_if(late_, [&](std::uint64_t transaction) { return !target_->sees(transaction); });
    if (!late_.empty()) {
        stage_ = Stage::late;
        return;
    }
    after_ = last_;
    stage_ = Stage::main;
    if (after_ >= end_) close();
}

SlotRange SlotWindow::range() const {
    SAGAZ_ASSERT(wants_rows());
    SlotRange range{.slot = slot_,
                    .done = done_.get(),
                    .target = target_.get(),
                    .after = after_,
                    .upto = stage_ == Stage::late ? last_ : end_};
    if (stage_ == Stage::late) range.late = late_;
    return range;
}

void SlotWindow::advance(std::int64_t read_to, std::int64_t highest) {
    SAGAZ_ASSERT(wants_rows() && read_to >= after_);
    after_ = read_to;
    highest_ = std::max(highest_, highest);
    if (stage_ == Stage::late && after_ >= last_) {
        late_.clear();
        stage_ = Stage::main;
    }
    if (stage_ == Stage::main && after_ >= end_) close();
}

void SlotWindow::close() {
    stage_ = Stage::closed;
    done_ = target_;
    done_ceiling_ = target_ceiling_;
    last_ = highest_;
    after_ = last_;
}

}  // namespace sagaz::inline v0::core
