// Keys that are stopped because an event of them was refused: what Delivery does with them. When a
// key goes on, and why that is safe, is argued in retry_step.hpp.
#include "core/delivery.hpp"
#include "core/plant.hpp"

#include <algorithm>

namespace sagaz::inline v0::core {
namespace {

constexpr const char* kBehindParked = "behind_parked";
constexpr Duration kTurnMin = std::chrono::seconds{5};  ///< Between loads of a slot for its keys.
constexpr std::size_t kCountedMax = 100'000;            ///< Parked events known by their ids.
constexpr const char* kBehindParkedText = "an earlier event of this key is parked";

/// How the table names the key of a row.
StoppedKey words_of(const Row& row) {
    return {row.slot, std::string(row.topic), std::string(row.key.value_or("")),
            row.topic.empty() ? std::string(row.event_type) : std::string{}};
}

}  // namespace

void Delivery::park_stopped(OwnedLog& log, std::uint64_t sequence, const std::string& key) {
    auto& stopped =
        log.stopped.add(key, words_of(*log.ledger.entry(sequence).row), StoppedIndex::kJustRefused);
    stopped.parked_to = std::max(stopped.parked_to, sequence + 1);
    log.ledger.park(sequence, kBehindParked, kBehindParkedText, pool_);
}

void Delivery::refuse(const Ref& ref, const Receipt& receipt) {
    Entry* entry = resolve(ref);
    if (entry == nullptr || entry->state == EntryState::parking) return;
    OwnedLog& log = *find(ref.slot);
    const bool stops = entry->row->key && settings_.on_refused == OnRefused::park_key &&
                       kPlant != Plant::keep_key_open;
    if (!stops) {
        log.ledger.park(ref.sequence, receipt.reason, receipt.detail, pool_);
        parked_alone_ = true;
        return;
    }
    const std::string key = key_of(*entry->row, ref.sequence);
    auto& stopped = log.stopped.add(key, words_of(*entry->row), StoppedIndex::kJustRefused);
    stopped.parked_to = std::max(stopped.parked_to, ref.sequence + 1);
    log.ledger.park(ref.sequence, receipt.reason, receipt.detail, pool_);
    park_behind(log, ref.sequence + 1, key);
}

void Delivery::park_behind(OwnedLog& log, std::uint64_t after, const std::string& key) {
    for (std::uint64_t n = after; n < log.ledger.end(); ++n) {
        const Entry& entry = log.ledger.entry(n);
        if (entry.row == nullptr || !entry.row->key) continue;
        if (entry.state == EntryState::held || key_of(*entry.row, n) != key) continue;
        park_stopped(log, n, key);
    }
    encoder_->clear();
}

void Delivery::defer_key(OwnedLog& log, const std::string& key) {
    log.stopped.at(key).deferring = true;
}

void Delivery::park_key(OwnedLog& log, const std::string& key) {
    auto& stopped = log.stopped.at(key);
    if (!std::exchange(stopped.deferring, false)) return;
    if (log.holds.contains(key)) resume_key(log, key);
    encoder_->clear();
}

bool Delivery::has_parking(const OwnedLog& log, const std::string& key) {
    return log.stopped.at(key).parked_to > log.ledger.front();
}

void Delivery::resume_stopped(OwnedLog& log, const std::string& key) {
    log.stopped.erase(key);
    if (log.holds.contains(key)) resume_key(log, key);
}

// All of it is in the table, and nothing of it in memory.
bool Delivery::is_idle(const OwnedLog& log, const std::string& key,
                       const StoppedIndex::Stop& stop) {
    return stop.parked_to <= log.ledger.front() && !log.holds.contains(key);
}

void Delivery::forget_names(OwnedLog& log) {
    if (log.stopped.size() <= 2 * stopped_max_) return;
    log.stopped.forget_names(2 * stopped_max_, [&](const auto& key, const auto& stop) {
        return is_idle(log, key, stop);
    });
}

std::optional<OwnedSlot> Delivery::take_turn(Instant now) {
    OwnedLog* next = nullptr;
    for (const auto& log : logs_) {
        const Instant due = std::max(log->stopped.first_other_due(), log->turn_at);
        if (now < due || !log->stopped.is_looked_through()) continue;
        if (next == nullptr || log->turn_at < next->turn_at) next = log.get();
    }
    if (next == nullptr) return std::nullopt;
    next->turn_at = now + kTurnMin;
    return next->slot;
}

void Delivery::count_parked(std::span<const Parking> parked) {
    counters_.parked += parked.size();
    for (const Parking& event : parked) {
        if (parked_here_.size() < kCountedMax) parked_here_.insert(event.event_id);
    }
}

void Delivery::count_accepted(const Row& row) {
    ++counters_.accepted;
    counters_.parked -= std::min<std::uint64_t>(counters_.parked, parked_here_.erase(row.event_id));
    count_published(row);
}

}  // namespace sagaz::inline v0::core
