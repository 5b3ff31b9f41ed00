#include "core/consumer_step.hpp"

#include "core/assert.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace sagaz::inline v0::core {

namespace {

using namespace std::chrono_literals;

constexpr Milliseconds kRetryMin = 10ms;
constexpr Milliseconds kRetryMax = 1h;
// With nothing to wait for but messages, which end a wait early anyway.
constexpr Duration kIdle = 1s;

}  // namespace

ConsumerCommand ConsumerStep::next(Instant now) {
    SAGAZ_ASSERT(!is_handling_);
    if (left_) return consume::End{};
    if (stopping_) return consume::Leave{};
    // Before every message: whoever lost a partition should notice before it handles another.
    if (std::exchange(serve_due_, false)) return consume::Serve{};
    if (auto command = commit(now)) return *std::move(command);
    if (auto command = work(now)) {
        serve_due_ = std::holds_alternative<consume::Handle>(*command);
        return *std::move(command);
    }
    serve_due_ = true;
    return consume::Wait{wake_at(now)};
}

// The partitions take turns, one message each.
std::optional<ConsumerCommand> ConsumerStep::work(Instant now) {
    const auto after = tracks_.upper_bound(turn_);
    for (auto at = after; at != tracks_.end(); ++at) {
        if (auto command = work_on(*at, now)) return command;
    }
    for (auto at = tracks_.begin(); at != after; ++at) {
        if (auto command = work_on(*at, now)) return command;
    }
    return std::nullopt;
}

std::optional<ConsumerCommand> ConsumerStep::work_on(Tracks::value_type& entry, Instant now) {
    auto& [partition, track] = entry;
    if (track.fetched.empty()) {
        if (track.quiet) return std::nullopt;
        return consume::Fetch{partition};
    }
    if (now < track.due) return std::nullopt;
    turn_ = partition;
    handling_ = partition;
    is_handling_ = true;
    return consume::Handle{&track.fetched.front()};
}

bool ConsumerStep::Track::has_to_commit() const noexcept { return done && done != asked; }

bool ConsumerStep::has_to_commit() const {
    return std::any_of(tracks_.begin(), tracks_.end(),
                       [](const auto& entry) { return entry.second.has_to_commit(); });
}

// One at a time, so that a later one is never overtaken by an earlier.
std::optional<ConsumerCommand> ConsumerStep::commit(Instant now) {
    if (now < commit_at_ || commits_open_ > 0 || !has_to_commit()) return std::nullopt;
    consume::Commit command;
    for (auto& [partition, track] : tracks_) {
        if (!track.has_to_commit()) continue;
        command.progress.push_back({partition, *track.done});
        track.asked = track.done;
    }
    commit_at_ = now + options_.commit_interval;
    ++commits_open_;
    return command;
}

Instant ConsumerStep::wake_at(Instant now) const {
    Instant at = now + kIdle;
    for (const auto& [partition, track] : tracks_) {
        if (!track.fetched.empty()) at = std::min(at, track.due);
    }
    if (commits_open_ == 0 && has_to_commit()) at = std::min(at, commit_at_);
    return at;
}

void ConsumerStep::on_assigned(std::span<const Partition> partitions) {
    for (const Partition& partition : partitions) {
        Track track{Backoff{options_.retry_initial, options_.retry_max, seed_++}};
        tracks_.insert_or_assign(partition, std::move(track));
    }
}

std::vector<Progress> ConsumerStep::on_revoked(std::span<const Partition> partitions, bool lost) {
    SAGAZ_ASSERT(!is_handling_);
    std::vector<Progress> last;
    for (const Partition& partition : partitions) {
        const auto found = tracks_.find(partition);
        if (found == tracks_.end()) continue;
        const Track& track = found->second;
        if (!lost && track.has_to_commit()) last.push_back({partition, *track.done});
        tracks_.erase(found);
    }
    if (!last.empty()) ++commits_open_;
    return last;
}

void ConsumerStep::on_message(Message message) {
    const auto found = tracks_.find(Partition{message.source_topic, message.partition});
    if (found == tracks_.end()) return;
    found->second.fetched.push_back(std::move(message));
}

void ConsumerStep::on_nothing(const Partition& partition) {
    const auto found = tracks_.find(partition);
    if (found != tracks_.end()) found->second.quiet = true;
}

void ConsumerStep::on_rung() {
    for (auto& [partition, track] : tracks_) track.quiet = false;
    serve_due_ = true;
}

void ConsumerStep::on_reply(const Reply& reply, Instant now) {
    SAGAZ_ASSERT(is_handling_);
    is_handling_ = false;
    Track& track = tracks_.at(handling_);
    if (!reply.is_settled()) {
        ++retried_;
        track.due = now + wait_before_retry(reply, track);
        return;
    }
    ++settled_;
    track.done = track.fetched.front().position + 1;
    track.fetched.pop_front();
    track.due = {};
    track.backoff.reset();
}

Duration ConsumerStep::wait_before_retry(const Reply& reply, Track& track) const {
    if (reply.retry_in <= 0ms) return std::max<Duration>(track.backoff.next(), kRetryMin);
    return std::clamp(reply.retry_in, kRetryMin, kRetryMax);
}

void ConsumerStep::on_committed(std::span<const Progress> progress, bool succeeded) {
    if (commits_open_ > 0) --commits_open_;
    for (const auto& [partition, done] : progress) {
        const auto found = tracks_.find(partition);
        if (found == tracks_.end()) continue;
        Track& track = found->second;
        if (succeeded) {
            track.stored = done;
        } else {
            track.asked = track.stored;  // Again at the next interval.
        }
    }
}

std::size_t ConsumerStep::waiting() const noexcept {
    return static_cast<std::size_t>(
        std::count_if(tracks_.begin(), tracks_.end(), [](const auto& entry) {
            return !entry.second.fetched.empty() && entry.second.due != Instant{};
        }));
}

}  // namespace sagaz::inline v0::core
