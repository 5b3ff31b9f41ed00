#include "core/retry_step.hpp"

#include "core/assert.hpp"
#include "core/plant.hpp"

#include <algorithm>

namespace sagaz::inline v0::core {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kLookMax = 100;    ///< Keys of one look.
constexpr std::uint16_t kRunMax = 100;   ///< Events of one attempt.
constexpr Duration kRecheck = 10s;       ///< Between looks at a key that waits or is dead.
constexpr Duration kRecheckEach = 10ms;  ///< And for each key, so that many cost no more a second.
constexpr Duration kLookInterval = 20ms;
constexpr Duration kBetweenTries = 2ms;
constexpr Duration kAfterRefusal = 100ms;  ///< A refusal costs the client a new producer.
constexpr Duration kDeferMax = 1s;
constexpr Duration kAnswerMax = 1s;   ///< A slot to be given away waits for an attempt so long.
constexpr Duration kSilentFor = 60s;  ///< A topic is left alone after an attempt nobody answered.
constexpr Duration kPollInterval = 2ms;
constexpr Duration kServiceInterval = 1s;

}  // namespace

RetryStep::RetryStep(const RelayOptions& options, Delivery& delivery, std::uint64_t seed)
    : options_(options),
      delivery_(delivery),
      send_backoff_(options.retry_initial, options.retry_max, seed),
      event_backoff_(options.parked_retry_initial, options.parked_retry_max, seed + 1) {}

void RetryStep::configure(const Settings& settings) { encoder_.emplace(settings); }

Duration RetryStep::recheck() const {
    std::size_t keys = 0;
    for (const auto& log : delivery_.logs()) keys += log->stopped.size();
    return std::max<Duration>(kRecheck, kRecheckEach * static_cast<std::int64_t>(keys));
}

// The time stands in the table by the database's clock. None was ever put off for longer than the
// longest backoff, so one that seems to be was put off before that clock was set back; but one that
// was not tried yet, whose time an operator set: a replay by so many a second may take hours.
bool RetryStep::waits(const ParkedEvent& event) const {
    const bool is_meant = event.attempts == 0 || event.due_in <= options_.parked_retry_max;
    return event.due_in > 0ms && is_meant;
}

// ---- the keys

OwnedLog* RetryStep::log_of(const KeyName& name) {
    OwnedLog* log = delivery_.find(name.first);
    return log != nullptr && log->stopped.contains(name.second) ? log : nullptr;
}

void RetryStep::schedule(const KeyName& name, Instant due) {
    if (OwnedLog* log = log_of(name)) log->stopped.schedule(name.second, due);
}

Instant RetryStep::first_due() const {
    Instant due = Instant::max();
    for (const auto& log : delivery_.logs()) due = std::min(due, log->stopped.first_due());
    return due;
}

// Those of all slots that have been due for longest, as many as one look may have.
std::vector<RetryStep::KeyName> RetryStep::due_keys(Instant now) const {
    std::vector<std::pair<Instant, KeyName>> found;
    for (const auto& log : delivery_.logs()) {
        for (std::string& key : log->stopped.due(now, kLookMax)) {
            const Instant due = log->stopped.at(key).due;
            found.emplace_back(due, KeyName{log->slot.slot, std::move(key)});
        }
    }
    std::ranges::stable_sort(found, {}, [](const auto& one) { return one.first; });
    std::vector<KeyName> names;
    for (auto& [due, name] : found) {
        if (names.size() < kLookMax) names.push_back(std::move(name));
    }
    return names;
}

void RetryStep::take_refused(Instant now) {
    if (delivery_.take_parked_alone()) {
        alone_at_ = std::min(alone_at_, now + event_backoff_.after(1));
    }
    for (const auto& log : delivery_.logs()) {
        while (log->stopped.first_due() == StoppedIndex::kJustRefused) {
            const auto keys = log->stopped.due(StoppedIndex::kJustRefused, kLookMax);
            for (const std::string& key : keys) {
                log->stopped.schedule(key, now + event_backoff_.after(1));
            }
        }
    }
}

void RetryStep::defer(OwnedLog& log, const KeyName& name, Instant now) {
    if (log.stopped.at(name.second).deferring) return;
    delivery_.defer_key(log, name.second);
    deferring_.emplace_back(name, now);
}

void RetryStep::end_long_deferrals(Instant now) {
    while (!deferring_.empty() && now - deferring_.front().second >= kDeferMax) {
        const KeyName name = std::move(deferring_.front().first);
        deferring_.erase(deferring_.begin());
        if (OwnedLog* log = log_of(name)) delivery_.park_key(*log, name.second);
    }
}

// ---- what is next

std::optional<RetryCommand> RetryStep::next(Instant now, std::uint64_t flushed) {
    now_ = now;
    take_refused(now);
    end_long_deferrals(now);
    if (attempt_ && !is_current(*attempt_)) attempt_.reset();
    if (attempt_) return carry_on(now, flushed);
    if (!stopping_) {
        if (auto command = try_next(now)) return command;
        if (auto command = look(now)) return command;
    }
    if (opened_ && now >= poll_at_) return command::PollRetry{0ms};
    return std::nullopt;
}

bool RetryStep::needs_flush(std::uint64_t flushed) const {
    return attempt_ && attempt_->stage == Attempt::Stage::send && gate_ > flushed;
}

Instant RetryStep::wake_at() const {
    if (attempt_) return attempt_->stage == Attempt::Stage::fly ? poll_at_ : try_at_;
    Instant wake = opened_ ? poll_at_ : Instant::max();
    if (stopping_) return wake;
    if (!candidates_.empty()) return std::min(wake, try_at_);
    Instant due = enabled_ ? alone_at_ : Instant::max();
    due = std::min(due, first_due());
    if (due == Instant::max()) return wake;
    return std::min(wake, std::max({due, look_at_, try_at_}));
}

bool RetryStep::holds(std::int16_t slot, Instant now) const {
    if (!attempt_ || attempt_->what.slot.slot != slot) return false;
    return attempt_->stage != Attempt::Stage::fly || now - attempt_->sent_at < kAnswerMax;
}

bool RetryStep::is_settled() const {
    if (!enabled_) return true;
    if (delivery_.has_parked_alone()) return false;  // which may be due at once
    if (!measured_ || is_trying() || came_back_) return false;
    const auto is_silent = [&](const auto& topic) { return topic.second > now_; };
    if (std::ranges::any_of(silent_, is_silent)) return false;  // What is due of it was put off.
    for (const auto& log : delivery_.logs()) {
        if (log->stopped.first_living_other_due() <= now_) return false;
    }
    return first_due() > now_ && alone_at_ > now_;
}

// ---- looking

std::optional<RetryCommand> RetryStep::look(Instant now) {
    if (now < look_at_ || now < try_at_) return std::nullopt;
    command::LookAtParked look;
    look.query.rows_max = ask_for_keys(now, look.query);
    asked_max_ = look.query.rows_max;
    asked_alone_ = enabled_ && alone_at_ <= now;
    if (asked_alone_) {
        for (const auto& log : delivery_.logs()) look.query.alone.push_back(log->slot.slot);
        look.query.alone_with_key = delivery_.on_refused() == OnRefused::park_event;
        if (look.query.alone.empty()) alone_at_ = Instant::max();
    }
    if (look.query.keys.empty() && look.query.alone.empty()) return std::nullopt;
    if (asked_max_ == 1) look_at_ = now + kLookInterval;
    return look;
}

// The keys that are due, or one alone of which a run is wanted. Returns how long a run.
std::size_t RetryStep::ask_for_keys(Instant now, ParkedQuery& query) {
    asked_.clear();
    word_of_.clear();
    std::size_t run_max = 1;
    for (KeyName& name : due_keys(now)) {
        const StoppedIndex& stopped = delivery_.find(name.first)->stopped;
        const std::size_t wanted = stopped.at(name.second).run_max;
        if (run_max > 1 || (wanted > 1 && !asked_.empty())) break;
        run_max = wanted;
        for (StoppedKey& words : stopped.words_of(name.second, name.first)) {
            query.keys.push_back(std::move(words));
            word_of_.push_back(asked_.size());
        }
        asked_.push_back(std::move(name));
    }
    return run_max;
}

void RetryStep::on_looked(const ParkedLook& look, Instant now) {
    came_back_ = false;
    gate_ = look.gate;
    std::vector<std::vector<ParkedEvent>> found(asked_.size());
    for (const ParkedEvent& event : look.of_keys) {
        SAGAZ_ASSERT(event.key < word_of_.size());
        found[word_of_[event.key]].push_back(event);
    }
    for (std::size_t n = 0; n < asked_.size(); ++n) {
        // Each way of naming the key gave its first ones; together the first ones are right.
        std::ranges::stable_sort(found[n], {},
                                 [](const ParkedEvent& event) { return event.row.position; });
        if (found[n].size() > asked_max_) found[n].resize(asked_max_);
        judge(asked_[n], std::move(found[n]), now);
    }
    asked_.clear();
    if (std::exchange(asked_alone_, false)) judge_alone(look, now);
}

void RetryStep::judge(const KeyName& name, std::vector<ParkedEvent> events, Instant now) {
    OwnedLog* log = log_of(name);
    if (log == nullptr) return;
    auto& key = log->stopped.at(name.second);
    if (events.empty()) {
        if (!Delivery::has_parking(*log, name.second)) {
            return delivery_.resume_stopped(*log, name.second);
        }
        if (key.run_max > 1) defer(*log, name, now);
        return schedule(name, now + std::max<Duration>(options_.store_interval, 10ms));
    }
    const ParkedEvent& first = events.front();
    key.is_dead = first.dead;
    if (first.dead || waits(first)) {
        key.run_max = 1;
        delivery_.park_key(*log, name.second);
        return schedule(
            name, now + (first.dead ? recheck() : std::min<Duration>(first.due_in, recheck())));
    }
    schedule(name, now + recheck());
    if (!enabled_) return;
    if (key.run_max > 1 && events.size() < key.run_max) defer(*log, name, now);
    std::size_t bytes = 0;
    std::size_t count = 0;
    for (const ParkedEvent& event : events) {
        bytes += event.bytes;
        if (event.dead || waits(event)) break;
        if (count > 0 && bytes > options_.batch_max_bytes) break;
        ++count;
    }
    events.resize(count);
    candidates_.push_back({name, log->slot, std::move(events)});
}

void RetryStep::judge_alone(const ParkedLook& look, Instant now) {
    if (look.alone.empty()) {
        alone_at_ = Instant::max();
        return;
    }
    Duration wait = kRecheck;
    for (const ParkedEvent& event : look.alone) {
        wait = std::min<Duration>(wait, event.due_in);
        const OwnedLog* log = delivery_.find(event.row.slot);
        if (log == nullptr || waits(event)) continue;
        candidates_.push_back({std::nullopt, log->slot, {event}});
    }
    alone_at_ = now + std::max<Duration>(wait, kLookInterval);
}

// ---- trying

std::optional<RetryCommand> RetryStep::try_next(Instant now) {
    while (!candidates_.empty() && now >= try_at_) {
        Candidate candidate = std::move(candidates_.front());
        candidates_.pop_front();
        const OwnedLog* log =
            candidate.key ? log_of(*candidate.key) : delivery_.find(candidate.slot.slot);
        if (log == nullptr || log->slot != candidate.slot) continue;
        attempt_ = Attempt{.what = std::move(candidate), .generation = log->generation};
        command::ReadParked read;
        for (const ParkedEvent& event : attempt_->what.events) read.rows.push_back(event.row);
        return read;
    }
    return std::nullopt;
}

bool RetryStep::is_current(const Attempt& attempt) {
    const OwnedLog* log = delivery_.find(attempt.what.slot.slot);
    return log != nullptr && log->generation == attempt.generation;
}

std::optional<RetryCommand> RetryStep::carry_on(Instant now, std::uint64_t flushed) {
    Attempt& attempt = *attempt_;
    switch (attempt.stage) {
        case Attempt::Stage::read: break;  // Its answer is under way.
        case Attempt::Stage::send:
            if (stopping_) {
                attempt_.reset();
            } else if (gate_ <= flushed) {
                return command::Retry{attempt.envelopes};
            }
            break;
        case Attempt::Stage::fly: {
            // Asked once more: the answer may be there, and it was this process that stood still.
            const bool is_late = now - attempt.sent_at >= options_.attempt_timeout;
            if (is_late && std::exchange(attempt.was_late, true)) return command::AbandonRetry{};
            if (is_late || now >= poll_at_) return command::PollRetry{0ms};
            break;
        }
        case Attempt::Stage::settle:
            attempt.stage = Attempt::Stage::settling;
            return command::SettleParked{attempt.what.slot, settling_};
        case Attempt::Stage::settling: break;
    }
    return std::nullopt;
}

void RetryStep::on_read(std::unique_ptr<Batch> batch, Instant now) {
    if (!attempt_ || attempt_->stage != Attempt::Stage::read) return;
    auto& events = attempt_->what.events;
    // Somebody may have discarded some of them since they were looked at.
    std::erase_if(events, [&](const ParkedEvent& event) {
        return std::ranges::none_of(batch->rows, [&](const Row& row) {
            return row.position == event.row.position && row.event_id == event.row.event_id;
        });
    });
    if (events.empty() || events.size() != batch->rows.size()) {
        if (attempt_->what.key) schedule(*attempt_->what.key, now);
        attempt_.reset();
        return;
    }
    attempt_->batch = std::move(batch);
    if (is_left_alone(now)) return attempt_.reset();
    attempt_->stage = Attempt::Stage::send;
    attempt_->first_token = next_token_;
    encoder_->clear();
    for (const Row& row : attempt_->batch->rows) {
        attempt_->envelopes.push_back(encoder_->encode(row, next_token_++));
    }
}

void RetryStep::on_taken(std::size_t count, Instant now) {
    opened_ = true;
    poll_at_ = now;
    if (!attempt_ || attempt_->stage != Attempt::Stage::send) return;
    delivery_.counters().attempts += count;
    if (count == 0) return come_back(now);
    attempt_->stage = Attempt::Stage::fly;
    attempt_->sent_at = now;
    attempt_->taken = count;
    attempt_->receipts.resize(count);
}

// The destination is down or in doubt: later, from a new look.
void RetryStep::come_back(Instant now) {
    // Silence is that of a topic, and no reason to keep the others waiting.
    if (attempt_->batch && is_left_alone(now)) return attempt_.reset();
    came_back_ = true;
    try_at_ = now + send_backoff_.next();
    if (attempt_->what.key) {
        schedule(*attempt_->what.key, try_at_);
        if (OwnedLog* log = log_of(*attempt_->what.key)) {
            delivery_.park_key(*log, attempt_->what.key->second);
        }
    } else {
        alone_at_ = std::min(alone_at_, try_at_);
    }
    for (const Candidate& candidate : candidates_) {
        if (candidate.key) schedule(*candidate.key, try_at_);
    }
    candidates_.clear();
    attempt_.reset();
}

void RetryStep::on_receipts(std::span<const Receipt> receipts, Instant now) {
    const bool is_flying = attempt_ && attempt_->stage == Attempt::Stage::fly;
    poll_at_ = now + (is_flying ? kPollInterval : kServiceInterval);
    if (!is_flying) return;
    take_receipts(receipts);
    const auto is_answered = [](const auto& receipt) { return receipt.has_value(); };
    if (std::ranges::all_of(attempt_->receipts, is_answered)) begin_settling(now);
}

void RetryStep::take_receipts(std::span<const Receipt> receipts) {
    Attempt& attempt = *attempt_;
    for (const Receipt& receipt : receipts) {
        const std::uint64_t n = receipt.token - attempt.first_token;  // Others wrap to above.
        if (n < attempt.receipts.size() && !attempt.receipts[n]) attempt.receipts[n] = receipt;
    }
}

void RetryStep::on_abandoned(std::span<const Receipt> receipts, Instant now) {
    if (!attempt_ || attempt_->stage != Attempt::Stage::fly) return;
    take_receipts(receipts);
    for (auto& receipt : attempt_->receipts) {
        if (!receipt) receipt.emplace();  // Unknown.
    }
    const auto first = std::ranges::find_if(attempt_->receipts, [](const auto& receipt) {
        return receipt->state != Receipt::State::accepted;
    });
    const bool is_silent =
        first != attempt_->receipts.end() && (*first)->state == Receipt::State::unknown;
    if (is_silent) leave_topic_alone(now);
    begin_settling(now);
}

void RetryStep::leave_topic_alone(Instant now) {
    std::erase_if(silent_, [&](const auto& topic) { return topic.second <= now; });
    silent_[std::string(encoder_->topic(attempt_->batch->rows.front()))] = now + kSilentFor;
}

// The attempt under way is of a topic that did not answer a moment ago: others first.
bool RetryStep::is_left_alone(Instant now) {
    const auto topic = silent_.find(encoder_->topic(attempt_->batch->rows.front()));
    if (topic == silent_.end() || topic->second <= now) return false;
    if (attempt_->what.key) {
        if (OwnedLog* log = log_of(*attempt_->what.key)) {
            delivery_.park_key(*log, attempt_->what.key->second);
        }
        schedule(*attempt_->what.key, topic->second);
    } else {
        alone_at_ = std::max(alone_at_, topic->second);
    }
    return true;
}

// ---- settling

void RetryStep::begin_settling(Instant now) {
    settling_.clear();
    const Attempt& attempt = *attempt_;
    for (std::size_t n = 0; n < attempt.taken; ++n) {
        const Receipt& receipt = *attempt.receipts[n];
        if (receipt.state == Receipt::State::accepted) {
            delivery_.count_accepted(attempt.batch->rows[n]);
            settling_.push_back({.row = attempt.what.events[n].row, .accepted = true});
            continue;
        }
        if (receipt.state == Receipt::State::refused) refuse(n, receipt);
        if (receipt.state == Receipt::State::unknown) ++delivery_.counters().unknown;
        break;  // Nothing of a key is accepted behind it.
    }
    if (settling_.empty()) return come_back(now);
    send_backoff_.reset();
    attempt_->stage = Attempt::Stage::settle;
}

void RetryStep::refuse(std::size_t n, const Receipt& receipt) {
    ++delivery_.counters().refused;
    const ParkedEvent& event = attempt_->what.events[n];
    ParkedOutcome outcome{.row = event.row, .attempts = event.attempts + 1};
    outcome.dead = outcome.attempts >= options_.max_attempts;
    outcome.retry_in =
        std::chrono::duration_cast<Milliseconds>(event_backoff_.after(outcome.attempts));
    outcome.reason = receipt.reason;
    outcome.detail = receipt.detail;
    settling_.push_back(std::move(outcome));
}

std::optional<std::int16_t> RetryStep::on_settled(bool is_owned, Instant now) {
    if (!attempt_) return std::nullopt;
    const std::int16_t slot = attempt_->what.slot.slot;
    if (is_owned) after_settling(now);
    attempt_.reset();
    settling_.clear();
    if (is_owned) return std::nullopt;
    return slot;
}

void RetryStep::after_settling(Instant now) {
    const ParkedOutcome& last = settling_.back();
    const bool is_through = last.accepted && settling_.size() == attempt_->taken;
    try_at_ = now + (last.accepted ? kBetweenTries : kAfterRefusal);
    if (!last.accepted && last.dead) ++dead_[last.reason];
    if (!attempt_->what.key) {
        // Its next time stands in the table.
        alone_at_ = std::min<Instant>(alone_at_, now + last.retry_in);
        return;
    }
    const KeyName& name = *attempt_->what.key;
    OwnedLog* log = log_of(name);
    if (log == nullptr) return;
    auto& key = log->stopped.at(name.second);
    if (kPlant == Plant::resume_early && settling_.front().accepted) {
        return delivery_.resume_stopped(*log, name.second);
    }
    if (is_through) {
        key.run_max = std::min<std::uint16_t>(2 * key.run_max, kRunMax);
        return schedule(name, now);
    }
    key.run_max = 1;
    key.is_dead = !last.accepted && last.dead;
    delivery_.park_key(*log, name.second);
    schedule(name, now + (last.accepted ? kBetweenTries : last.dead ? recheck() : last.retry_in));
}

void RetryStep::on_measured(std::int64_t waiting, Instant now) {
    measured_ = true;
    if (waiting > 0 && alone_at_ == Instant::max()) alone_at_ = now;
}

void RetryStep::on_store_error() {
    if (!attempt_) return;
    if (attempt_->stage == Attempt::Stage::settling) {
        attempt_->stage = Attempt::Stage::settle;
    } else if (attempt_->stage == Attempt::Stage::read) {
        if (attempt_->what.key) schedule(*attempt_->what.key, now_);
        attempt_.reset();
    }
}

void RetryStep::forget() {
    deferring_.clear();
    asked_.clear();
    candidates_.clear();
    silent_.clear();
    attempt_.reset();
    settling_.clear();
    alone_at_ = Instant::max();
    look_at_ = try_at_ = Instant{};
    measured_ = came_back_ = false;
    gate_ = 0;
}

}  // namespace sagaz::inline v0::core
