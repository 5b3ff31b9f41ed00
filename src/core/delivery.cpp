#include "core/delivery.hpp"

#include "core/assert.hpp"
#include "core/plant.hpp"

#include <algorithm>
#include <utility>

namespace sagaz::inline v0::core {
namespace {

std::string key_text(std::string_view topic, std::string_view key) {
    std::string text;
    text.reserve(topic.size() + key.size() + 1);
    text += topic;
    text += '\0';  // No topic holds one.
    text += key;
    return text;
}

}  // namespace

void Delivery::configure(const Settings& settings) {
    settings_ = settings;
    encoder_.emplace(settings);
}

OwnedLog* Delivery::find(std::int16_t slot) {
    const auto index = static_cast<std::size_t>(slot);
    return index < by_slot_.size() ? by_slot_[index] : nullptr;
}

void Delivery::add(const OwnedSlot& slot, const Cursor& cursor, std::uint64_t gate) {
    remove(slot.slot);
    auto log = std::make_unique<OwnedLog>(slot, cursor, gate, next_generation_++);
    const auto index = static_cast<std::size_t>(slot.slot);
    if (index >= by_slot_.size()) by_slot_.resize(index + 1);
    by_slot_[index] = log.get();
    const auto after = std::ranges::upper_bound(logs_, slot.slot, {},
                                                [](const auto& owned) { return owned->slot.slot; });
    logs_.insert(after, std::move(log));
}

void Delivery::stop_keys(std::int16_t slot, std::span<const StoppedKey> keys, Instant now) {
    OwnedLog* log = find(slot);
    if (log == nullptr || settings_.on_refused != OnRefused::park_key) return;
    std::vector<StoppedIndex::Found> found;
    for (const StoppedKey& key : keys) {
        if (key.slot != slot) continue;
        const std::string topic =
            key.topic.empty() ? topic_of(settings_.topic_template, key.event_type) : key.topic;
        found.push_back({key_text(topic, key.key), key});
    }
    // What is known by name makes room for those whose turn it is.
    if (found.size() > stopped_max_) {
        log->stopped.forget_names(
            0, [&](const auto& key, const auto& stop) { return is_idle(*log, key, stop); });
    }
    log->stopped.take(found, stopped_max_, now);
}

void Delivery::remove(std::int16_t slot) {
    std::erase_if(logs_, [&](const std::unique_ptr<OwnedLog>& log) {
        if (log->slot.slot != slot) return false;
        log->ledger.clear(pool_);
        by_slot_[static_cast<std::size_t>(slot)] = nullptr;
        return true;
    });
}

void Delivery::clear() {
    for (const auto& log : logs_) log->ledger.clear(pool_);
    logs_.clear();
    by_slot_.clear();
    held_.clear();
    asked_.clear();
    taken_over_.clear();
    queue_.clear();
    prepared_.clear();
    envelopes_.clear();
}

std::string Delivery::key_of(const Row& row, std::uint64_t sequence) {
    // Without a key there is no order: such a row is alone under a name that no key can have.
    if (!row.key) return std::string(2, '\0') + std::to_string(sequence);
    return key_text(encoder_->topic(row), *row.key);
}

void Delivery::take(std::unique_ptr<Batch> batch, Instant now) {
    if (!batch || batch->rows.empty()) return;
    BatchHold* hold = pool_.keep(std::move(batch));
    ++hold->rows_needed;  // Keeps the batch while it is walked, even if every row has to wait.
    OwnedLog* log = nullptr;
    for (const Row& row : hold->batch->rows) {
        if (log == nullptr || log->slot.slot != row.slot) log = find(row.slot);
        SAGAZ_ASSERT(log != nullptr);
        const std::uint64_t sequence = log->ledger.append(row, hold, log->window.gate());
        const bool plain =
            log->stopped.empty() && !log->stopped.has_others() && log->holds.empty() && !row.held;
        if (plain) {
            queue_.push_back({row.slot, log->generation, sequence});
        } else {
            place(*log, sequence, now);
        }
    }
    pool_.drop(hold);
    encoder_->clear();
}

void Delivery::place(OwnedLog& log, std::uint64_t sequence, Instant now) {
    Entry& entry = log.ledger.entry(sequence);
    const std::string key = key_of(*entry.row, sequence);
    const auto* stopped = log.stopped.find(key);
    const bool is_stopped = stopped != nullptr || log.stopped.stops(key);
    if (is_stopped && (stopped == nullptr || !stopped->deferring)) {
        park_stopped(log, sequence, key);
        return;
    }
    const bool held = entry.row->held && kPlant != Plant::no_held_rule;
    if (held || is_stopped || log.holds.contains(key)) {
        wait(log, sequence, key, now);
        return;
    }
    queue_.push_back({log.slot.slot, log.generation, sequence});
}

Entry* Delivery::resolve(const Ref& ref) {
    OwnedLog* log = find(ref.slot);
    if (log == nullptr || log->generation != ref.generation) return nullptr;
    return log->ledger.contains(ref.sequence) ? &log->ledger.entry(ref.sequence) : nullptr;
}

bool Delivery::has_ready() {
    while (!queue_.empty()) {
        const Entry* entry = resolve(queue_.front());
        if (entry != nullptr && entry->state == EntryState::ready) return sending_;
        queue_.pop_front();
    }
    return false;
}

std::uint64_t Delivery::first_gate() {
    SAGAZ_ASSERT(has_ready());
    return resolve(queue_.front())->gate;
}

std::span<const Envelope> Delivery::prepare(std::size_t max, std::uint64_t flushed) {
    SAGAZ_ASSERT(prepared_.empty());
    encoder_->clear();
    envelopes_.clear();
    const std::uint64_t first = first_token_ + flights_.size();
    while (prepared_.size() < max && has_ready()) {
        const Ref ref = queue_.front();
        const Entry& entry = *resolve(ref);
        if (entry.gate > flushed) break;
        envelopes_.push_back(encoder_->encode(*entry.row, first + prepared_.size()));
        prepared_.push_back(ref);
        queue_.pop_front();
    }
    return envelopes_;
}

void Delivery::published(std::size_t count) {
    SAGAZ_ASSERT(count <= prepared_.size());
    for (std::size_t n = 0; n < count; ++n) {
        resolve(prepared_[n])->state = EntryState::sent;
        flights_.push_back({prepared_[n], false});
    }
    counters_.attempts += count;
    queue_.insert(queue_.begin(), prepared_.begin() + static_cast<std::ptrdiff_t>(count),
                  prepared_.end());
    prepared_.clear();
    envelopes_.clear();
}

void Delivery::settle(const Receipt& receipt,
                      std::vector<std::pair<Ref, const Receipt*>>& refused) {
    if (receipt.token < first_token_ || receipt.token - first_token_ >= flights_.size()) return;
    Flight& flight = flights_[receipt.token - first_token_];
    if (flight.answered) return;
    flight.answered = true;
    ++answered_;
    if (receipt.state != Receipt::State::accepted) broke_ = true;
    Entry* entry = resolve(flight.ref);
    if (receipt.state == Receipt::State::accepted) {
        ++counters_.accepted;
        if (entry == nullptr) return;
        if (!accepted_sample_) accepted_sample_ = entry->row->created_at;
        count_published(*entry->row);
        find(flight.ref.slot)->ledger.finish(flight.ref.sequence, pool_);
    } else if (receipt.state == Receipt::State::refused) {
        ++counters_.refused;
        if (entry != nullptr) refused.emplace_back(flight.ref, &receipt);
    } else {
        ++counters_.unknown;
        if (entry != nullptr) entry->state = EntryState::ready;
    }
}

void Delivery::count_published(const Row& row) {
    const std::string_view topic = encoder_->topic(row);
    // Neighbours mostly share a topic, and one comparison is cheaper than a search.
    if (last_published_ == nullptr || last_published_->first != topic) {
        auto found = published_.find(topic);
        if (found == published_.end()) found = published_.emplace(topic, 0).first;
        last_published_ = &*found;
    }
    ++last_published_->second;
}

void Delivery::receive(std::span<const Receipt> receipts) {
    accepted_sample_.reset();
    if (receipts.empty()) return;
    encoder_->clear();
    std::vector<std::pair<Ref, const Receipt*>> refused;
    bool broke_now = false;
    for (const Receipt& receipt : receipts) {
        settle(receipt, refused);
        broke_now = broke_now || receipt.state != Receipt::State::accepted;
    }
    if (broke_now) {
        // Whatever has no receipt now will never get one that counts.
        for (Flight& flight : flights_) {
            if (flight.answered) continue;
            if (Entry* entry = resolve(flight.ref)) entry->state = EntryState::ready;
        }
        first_token_ += flights_.size();
        flights_.clear();
        answered_ = 0;
        for (const auto& [ref, receipt] : refused) refuse(ref, *receipt);
        rebuild_queue();
        return;
    }
    while (!flights_.empty() && flights_.front().answered) {
        flights_.pop_front();
        ++first_token_;
        --answered_;
    }
}

void Delivery::rebuild_queue() {
    queue_.clear();
    for (const auto& log : logs_) {
        for (std::uint64_t n = log->ledger.front(); n < log->ledger.end(); ++n) {
            if (log->ledger.entry(n).state != EntryState::ready) continue;
            queue_.push_back({log->slot.slot, log->generation, n});
        }
    }
}

void Delivery::stop_sending() {
    sending_ = false;
    queue_.clear();
}

std::size_t Delivery::unsettled() const {
    std::size_t count = 0;
    for (const auto& log : logs_) count += log->ledger.size();
    return count;
}

}  // namespace sagaz::inline v0::core
