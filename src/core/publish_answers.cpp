// What a PublishStep makes of the answers to its commands.
#include "core/assert.hpp"
#include "core/plant.hpp"
#include "core/publish_step.hpp"

#include <sagaz/error.hpp>

#include <algorithm>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

namespace {

constexpr int kConfirmRest = 2;            ///< So many times of a question's, to the next one,
constexpr Duration kConfirmRestMax = 3ms;  ///< but no longer.
constexpr Duration kAskAgain = 2ms;        ///< After `behind`;
constexpr int kAskAgainQuick = 5;          ///< so often, then doubled
constexpr int kAskAgainDoublings = 3;      ///< so often.
constexpr Duration kSendAgain = 1ms;       ///< After the client took nothing.

}  // namespace

void PublishStep::on_attached(const Attached& attached, Instant now) {
    now_ = now;
    attached_ = true;
    store_at_ = {};
    flushed_ = 0;
    encoder_.emplace(attached.settings);
}

void PublishStep::on_confirmed(Confirmation confirmation, Instant now) {
    now_ = now;
    const auto is_ready = [](Verdict verdict) { return verdict == Verdict::ready; };
    const auto ready = std::ranges::count_if(confirmation.verdicts, is_ready);
    if (confirmation.verdicts.size() != asked_.size() || !confirmation.batch ||
        confirmation.batch->rows.size() != static_cast<std::size_t>(ready)) {
        throw Error(ErrorKind::fatal, "unexpected_answer",
                    "the store did not answer for each event that it was asked for",
                    "correct its PublisherStore; the conformance suite shows what it must do");
    }
    store_backoff_.reset();
    rest_from_asking(now);
    flushed_ = std::max(flushed_, confirmation.flushed);
    const std::shared_ptr<const Batch> batch = std::move(confirmation.batch);
    std::size_t row = 0;
    const auto asked = std::exchange(asked_, {});
    for (std::size_t n = 0; n < asked.size(); ++n) {
        switch (confirmation.verdicts[n]) {
            case Verdict::ready: confirmed(asked[n], batch, row++, confirmation.gate); break;
            case Verdict::behind: ask_again(asked[n]); break;
            case Verdict::late: leave(asked[n], LeftReason::late); break;
            case Verdict::not_committed: leave(asked[n], LeftReason::not_committed); break;
        }
    }
}

// A question costs the database about the same for one event and for ten. Not so for very many, and
// the next event of a key, which could not come along with its elder, is asked for at once.
void PublishStep::rest_from_asking(Instant now) {
    if (asked_.size() >= kConfirmMax) return;
    confirm_at_ = now + std::min<Duration>(kConfirmRest * (now - asked_at_), kConfirmRestMax);
}

void PublishStep::confirmed(ItemId id, const std::shared_ptr<const Batch>& batch, std::size_t row,
                            std::uint64_t gate) {
    Item& item = items_.at(id);
    item.stage = Item::Stage::confirmed;
    item.batch = batch;
    item.source = &batch->rows[row];
    item.bytes = item.source->payload.size() + item.source->headers.size();
    item.gate = gate;
    item.confirmed_at = now_;
    bytes_ += item.bytes;
    ready_.push_back(id);
}

// The elder is mostly on its way in another process.
void PublishStep::ask_again(ItemId id) {
    Item& item = items_.at(id);
    item.stage = Item::Stage::waiting;
    const int doublings = std::clamp(++item.asked_times - kAskAgainQuick, 0, kAskAgainDoublings);
    schedule(id, item, now_ + kAskAgain * (1 << doublings));
}

void PublishStep::on_flushed(std::uint64_t flushed, Instant now) {
    now_ = now;
    store_backoff_.reset();
    flushed_ = std::max(flushed_, flushed);
}

void PublishStep::on_published(std::size_t count, Instant now) {
    now_ = now;
    SAGAZ_ASSERT(count <= prepared_.size());
    for (std::size_t n = 0; n < count; ++n) {
        Item& item = items_.at(prepared_[n]);
        item.stage = Item::Stage::sent;
        bytes_ -= item.bytes;
        item.batch.reset();
        flights_.push_back({prepared_[n], now, false});
        if constexpr (kPlant == Plant::settle_early) acknowledged_.push_back(item.row);
    }
    in_flight_ += count;
    if (count < prepared_.size()) send_at_ = now + kSendAgain;
    ready_.insert(ready_.begin(), prepared_.begin() + static_cast<std::ptrdiff_t>(count),
                  prepared_.end());
    prepared_.clear();
}

void PublishStep::on_receipts(std::span<const Receipt> receipts, Instant now) {
    now_ = now;
    polled_at_ = now;
    bool broke = false;
    std::vector<ItemId> refused;
    for (const Receipt& receipt : receipts) {
        broke = broke || receipt.state != Receipt::State::accepted;
        if (receipt.token < first_token_ || receipt.token >= next_token()) continue;
        Flight& flight = flights_[receipt.token - first_token_];
        const bool is_unknown =
            receipt.state == Receipt::State::unknown && kPlant != Plant::accept_unknown;
        if (flight.answered || is_unknown) continue;
        land(flight);
        if (receipt.state == Receipt::State::refused) {
            refused.push_back(flight.item);
        } else {
            accept(flight.item);
        }
    }
    for (const ItemId id : refused) leave(id, LeftReason::refused);
    // A break settles everything: what has no receipt now is in doubt.
    if (broke) end_flights(!refused.empty());
    while (!flights_.empty() && flights_.front().answered) {
        flights_.pop_front();
        ++first_token_;
    }
}

void PublishStep::land(Flight& flight) {
    flight.answered = true;
    --in_flight_;
    if (items_.at(flight.item).expired) --expired_;
}

// What a refused one took along says nothing of the destination's health.
void PublishStep::end_flights(bool was_refused) {
    bool has_failed = false;
    for (Flight& flight : flights_) {
        if (flight.answered) continue;
        land(flight);
        has_failed = has_failed || !items_.at(flight.item).expired;
        leave(flight.item, LeftReason::in_doubt);
    }
    if (has_failed && !was_refused) fail();
}

void PublishStep::on_abandoned(Instant now) {
    now_ = now;
    end_flights(false);
    first_token_ = next_token();
    flights_.clear();
}

void PublishStep::on_settled(Instant now) {
    now_ = now;
    store_backoff_.reset();
    const auto drop = [](std::vector<RowRef>& rows, std::size_t count) {
        rows.erase(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(count));
    };
    drop(acknowledged_, std::exchange(settling_accepted_, 0));
    drop(left_, std::exchange(settling_left_, 0));
    unsettled_since_ = now;
}

void PublishStep::on_store_error(const Error& error, Instant now) {
    now_ = now;
    attached_ = false;
    const Instant soonest = store_tries_.next(now);
    const bool is_new_memory = error.code() == "incarnation_changed";
    store_at_ = std::max(is_new_memory ? now : now + store_backoff_.next(), soonest);
    if (leave_unsent(LeftReason::unavailable)) fail();
}

void PublishStep::on_destination(std::string down, Instant now) {
    now_ = now;
    down_ = std::move(down);
}

void PublishStep::on_broker_lost(Instant now) {
    broker_lost_ = true;
    on_abandoned(now);
    if (leave_unsent(LeftReason::unavailable)) fail();
}

}  // namespace sagaz::inline v0::core
