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

std::size_t bytes_of(const Message& message) {
    const Event& event = message.event;
    std::size_t bytes = sizeof(Message) + message.id.size() + event.payload.size();
    bytes += message.source_topic.size() + event.topic.size() + event.event_type.size() +
             event.content_type.size() + event.headers.capacity() * sizeof(Header);
    for (const auto* text :
         {&event.key, &event.aggregate_type, &event.aggregate_id, &event.saga_id}) {
        if (*text) bytes += (*text)->size();
    }
    for (const Header& header : event.headers) bytes += header.name.size() + header.value.size();
    return bytes;
}

}  // namespace

ConsumerCommand ConsumerStep::next(Instant now) {
    SAGAZ_ASSERT(!is_handling_);
    if (left_) return consume::End{};
    if (stopping_) return consume::Leave{};
    // Before every message: whoever lost a partition should notice before it handles another.
    if (std::exchange(serve_due_, false)) return consume::Serve{};
    if (auto command = commit(now)) return *std::move(command);
    if (auto command = work(now)) {
        serve_due_ = serve_due_ || std::holds_alternative<consume::Handle>(*command);
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

// A stopped key whose time has come and what is new take turns, so that neither keeps the other.
std::optional<ConsumerCommand> ConsumerStep::work_on(Tracks::value_type& entry, Instant now) {
    Track& track = entry.second;
    put_behind(entry);
    if (track.again) {
        if (auto command = fresh(entry)) return command;
    }
    const auto first = std::min_element(
        track.stopped.begin(), track.stopped.end(),
        [](const auto& one, const auto& other) { return one.second.due < other.second.due; });
    if (first != track.stopped.end() && first->second.due <= now) {
        return handle(entry, first->second.messages.front(), true);
    }
    return fresh(entry);
}

std::optional<ConsumerCommand> ConsumerStep::fresh(Tracks::value_type& entry) {
    auto& [partition, track] = entry;
    if (!may_go_on(track)) return std::nullopt;
    if (!track.fetched.empty()) return handle(entry, track.fetched.front(), false);
    if (track.quiet) return std::nullopt;
    return consume::Fetch{partition};
}

ConsumerCommand ConsumerStep::handle(Tracks::value_type& entry, const Message& message,
                                     bool again) {
    auto& [partition, track] = entry;
    turn_ = partition;
    handling_ = partition;
    handling_key_ = message.event.key;
    is_handling_ = true;
    track.again = again;
    return consume::Handle{&message};
}

bool ConsumerStep::may_go_on(const Track& track) const {
    if (track.stopped.empty()) return true;
    return track.stopped.size() <= options_.stopped_keys_max &&
           track.ahead() < options_.ahead_max && track.held_bytes < options_.held_max_bytes;
}

// Whatever is first in `fetched` afterwards may be handled. Each that is put behind is a turn.
void ConsumerStep::put_behind(Tracks::value_type& entry) {
    auto& [partition, track] = entry;
    while (!track.fetched.empty() && may_go_on(track)) {
        const auto found = track.stopped.find(track.fetched.front().event.key);
        if (found == track.stopped.end()) return;
        track.hold(found->second, std::move(track.fetched.front()));
        track.fetched.pop_front();
        turn_ = partition;
        serve_due_ = true;
    }
}

std::optional<std::int64_t> ConsumerStep::Track::done() const {
    return open.empty() || !next ? next : std::min(*next, *open.begin());
}

bool ConsumerStep::Track::has_to_commit() const {
    const auto to = done();
    return to && to != asked;
}

// Behind the first open one. Offsets that began anew may be before it.
std::size_t ConsumerStep::Track::ahead() const {
    if (open.empty()) return 0;
    return static_cast<std::size_t>(std::max<std::int64_t>(*next - *open.begin() - 1, 0));
}

void ConsumerStep::Track::take(std::int64_t position) {
    if (!next) {
        asked = position;
        stored = position;
    }
    next = position + 1;
}

// When there is no memory for it, the position is open all the same.
void ConsumerStep::Track::hold(Stopped& key, Message message) {
    const std::int64_t position = message.position;
    open.insert(position);
    take(position);
    held_bytes += bytes_of(message);
    key.messages.push_back(std::move(message));
}

void ConsumerStep::Track::release(Stopped& key) {
    const Message& first = key.messages.front();
    open.erase(open.find(first.position));
    held_bytes -= bytes_of(first);
    key.messages.pop_front();
}

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
        track.asked = track.done();
        command.progress.push_back({partition, *track.asked});
    }
    commit_at_ = now + options_.commit_interval;
    ++commits_open_;
    return command;
}

Instant ConsumerStep::wake_at(Instant now) const {
    Instant at = now + kIdle;
    for (const auto& [partition, track] : tracks_) {
        for (const auto& [key, stopped] : track.stopped) at = std::min(at, stopped.due);
    }
    if (commits_open_ == 0 && has_to_commit()) at = std::min(at, commit_at_);
    return at;
}

void ConsumerStep::on_assigned(std::span<const Partition> partitions) {
    for (const Partition& partition : partitions) tracks_.insert_or_assign(partition, Track{});
}

std::vector<Progress> ConsumerStep::on_revoked(std::span<const Partition> partitions, bool lost) {
    SAGAZ_ASSERT(!is_handling_);
    std::vector<Progress> last;
    for (const Partition& partition : partitions) {
        const auto found = tracks_.find(partition);
        if (found == tracks_.end()) continue;
        const Track& track = found->second;
        if (!lost && track.has_to_commit()) last.push_back({partition, *track.done()});
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
        stop_key(track, reply, now);
        return;
    }
    ++settled_;
    if (track.again) {
        settle_stopped(track, now);
    } else {
        track.take(track.fetched.front().position);
        track.fetched.pop_front();
    }
}

void ConsumerStep::stop_key(Track& track, const Reply& reply, Instant now) {
    auto found = track.stopped.find(handling_key_);
    if (found == track.stopped.end()) {
        Stopped made{Backoff{options_.retry_initial, options_.retry_max, seed_++}};
        track.hold(made, std::move(track.fetched.front()));
        track.fetched.pop_front();
        found = track.stopped.emplace(handling_key_, std::move(made)).first;
    }
    found->second.due = now + wait_before_retry(reply, found->second.backoff);
}

void ConsumerStep::settle_stopped(Track& track, Instant now) {
    const auto found = track.stopped.find(handling_key_);
    SAGAZ_ASSERT(found != track.stopped.end());
    Stopped& key = found->second;
    track.release(key);
    key.due = now;
    key.backoff.reset();
    if (key.messages.empty()) track.stopped.erase(found);
}

Duration ConsumerStep::wait_before_retry(const Reply& reply, Backoff& backoff) {
    if (reply.retry_in <= 0ms) return std::max<Duration>(backoff.next(), kRetryMin);
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
    std::size_t keys = 0;
    for (const auto& [partition, track] : tracks_) keys += track.stopped.size();
    return keys;
}

}  // namespace sagaz::inline v0::core
