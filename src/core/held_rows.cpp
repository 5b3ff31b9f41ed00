// Rows that an optimistic publisher may still send: what Delivery does with them.
//
// Each waits, and its key behind it, until it is gone, released, or has been left for `grace` by
// this relay's own clock. Every other key flows. A row is looked at a moment after it was read,
// since by then its publisher has mostly sent and removed it, and ever more rarely the longer it
// has been held: so one that was left by a dead process is asked after some thirty times. All rows
// of a key are asked after at once: one at a time could not keep up with a hot key, whose every
// event is held.
//
// Why some are marked. What a publisher confirms it judges by the stored cursor, which never passes
// a held row. So a held row of one key that its publisher left behind would have all later events
// of another key wait for one that was accepted long ago, up to `grace`, if that one had been held
// too and came to this relay (plain rows are not worth it: they are many, and such a key is not
// sent optimistically throughout). Only what is still in the ledger, accepted, at two calls that a
// store lies between needs it; mostly the stored cursor has passed it by then. Nothing rests on a
// mark: without one, because the statement failed or the relay died first, an event waits or its
// publisher leaves it to the relay. And a mark is true whoever owns the slot when it is made: the
// destination accepted the event, so an event after it is not the first to arrive. It may be
// repeated behind that one, by an owner that reads it again; first arrivals keep their order.
#include "core/assert.hpp"
#include "core/delivery.hpp"
#include "core/plant.hpp"

#include <algorithm>
#include <utility>

namespace sagaz::inline v0::core {
namespace {

constexpr Duration kFirstLook = std::chrono::milliseconds{20};  ///< After it was read.
constexpr int kLooksOfAnAge = 8;  ///< Then a row is looked at after so long a part of its age.

/// A row with memory of its own, so that one row that waits does not keep its whole batch.
class OwnedRow final : public Batch {
public:
    explicit OwnedRow(const Row& row) {
        const std::size_t size = row.topic.size() + row.key.value_or("").size() +
                                 row.event_type.size() + row.content_type.size() +
                                 row.payload.size() + row.headers.size() +
                                 row.aggregate_id.value_or("").size();
        memory_.reserve(size);  // Never grows past it, so that the views stay.
        Row copy = row;
        copy.topic = keep(row.topic);
        if (row.key) copy.key = keep(*row.key);
        copy.event_type = keep(row.event_type);
        copy.content_type = keep(row.content_type);
        copy.payload = keep(row.payload);
        copy.headers = keep(row.headers);
        if (row.aggregate_id) copy.aggregate_id = keep(*row.aggregate_id);
        rows.push_back(copy);
        bytes = size + sizeof(Row);
    }

private:
    std::string_view keep(std::string_view text) {
        const std::size_t at = memory_.size();
        memory_ += text;
        return std::string_view{memory_}.substr(at);
    }

    std::string memory_;
};

template <class Held>
bool is_later(const Held& one, const Held& other) {
    return one.due > other.due;
}

}  // namespace

void Delivery::wait(OwnedLog& log, std::uint64_t sequence, const std::string& key, Instant now) {
    Entry& entry = log.ledger.entry(sequence);
    BatchHold* own = pool_.keep(std::make_unique<OwnedRow>(*entry.row));
    pool_.drop(entry.hold);
    entry.hold = own;
    entry.row = own->batch->rows.data();
    entry.state = entry.row->held ? EntryState::held : EntryState::deferred;
    if (entry.row->held) {
        ask_again({{log.slot.slot, log.generation, sequence}, now, now + kFirstLook});
    }
    log.holds[key].waiting.push_back(sequence);
    ++log.waiting;
}

void Delivery::resume_key(OwnedLog& log, const std::string& key) {
    auto& waiting = log.holds.at(key).waiting;
    const bool is_stopped = log.stopped.stops(key);
    const auto* stopped = log.stopped.find(key);
    while (!waiting.empty()) {
        const std::uint64_t sequence = waiting.front();
        if (log.ledger.contains(sequence)) {
            Entry& entry = log.ledger.entry(sequence);
            if (entry.state == EntryState::held) return;
            if (entry.state == EntryState::deferred && is_stopped) {
                if (stopped != nullptr && stopped->deferring) return;
                park_stopped(log, sequence, key);
            } else if (entry.state == EntryState::deferred) {
                entry.state = EntryState::ready;
                queue_.push_back({log.slot.slot, log.generation, sequence});
            }
        }
        waiting.pop_front();
        --log.waiting;
    }
    log.holds.erase(key);
}

void Delivery::ask_again(const Held& held) {
    held_.push_back(held);
    std::push_heap(held_.begin(), held_.end(), is_later<Held>);
}

Instant Delivery::look_at() const {
    if (!asked_.empty()) return Instant{};
    return held_.empty() ? Instant::max() : held_.front().due;
}

std::vector<RowRef> Delivery::ask_held(std::size_t max, Instant now) {
    for (const Held& unanswered : std::exchange(asked_, {})) ask_again(unanswered);
    std::vector<RowRef> rows;
    while (rows.size() < max && !held_.empty() && held_.front().due <= now) {
        std::pop_heap(held_.begin(), held_.end(), is_later<Held>);
        const Held held = held_.back();
        held_.pop_back();
        const Entry* entry = resolve(held.ref);
        if (entry == nullptr || entry->state != EntryState::held) continue;
        rows.push_back({held.ref.slot, entry->position, entry->event_id});
        asked_.push_back(held);
    }
    return rows;
}

void Delivery::looked_at(std::span<const HoldState> states, Instant now) {
    SAGAZ_ASSERT(states.size() == asked_.size());
    std::vector<std::pair<OwnedLog*, std::string>> resumed;
    const auto asked = std::exchange(asked_, {});
    for (std::size_t n = 0; n < asked.size(); ++n) {
        const auto& [ref, seen_at, due] = asked[n];
        Entry* entry = resolve(ref);
        if (entry == nullptr) continue;
        // By our own clock, whatever the writer put into held_until.
        const Duration age = now - seen_at;
        if (states[n] == HoldState::held && age < grace_) {
            const Instant next = now + std::max(kFirstLook, age / kLooksOfAnAge);
            ask_again({ref, seen_at, std::min(next, seen_at + grace_)});
            continue;
        }
        OwnedLog& log = *find(ref.slot);
        resumed.emplace_back(&log, key_of(*entry->row, ref.sequence));
        if (states[n] == HoldState::gone) {
            log.ledger.finish(ref.sequence, pool_);
        } else {
            entry->state = EntryState::deferred;
            taken_over_.push_back({ref, false});
        }
    }
    for (const auto& [log, key] : resumed) {
        if (log->holds.contains(key)) resume_key(*log, key);
    }
    encoder_->clear();
}

std::vector<RowRef> Delivery::to_be_marked(std::size_t max) {
    std::vector<RowRef> rows;
    std::vector<TakenOver> left;
    for (TakenOver& taken : taken_over_) {
        const Entry* entry = resolve(taken.ref);
        // Passed by the stored cursor or the next one, or parked by it, or another relay's.
        if (entry == nullptr || entry->state == EntryState::parking) continue;
        const bool is_accepted =
            entry->state == EntryState::finished || kPlant == Plant::mark_early;
        if (is_accepted && taken.was_accepted && rows.size() < max) {
            rows.push_back({taken.ref.slot, entry->position, entry->event_id});
            continue;
        }
        left.push_back({taken.ref, is_accepted});
    }
    taken_over_ = std::move(left);
    return rows;
}

}  // namespace sagaz::inline v0::core
