#pragma once

#include "core/backoff.hpp"
#include "core/clock.hpp"

#include <sagaz/export.hpp>
#include <sagaz/outcome.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <variant>
#include <vector>

/// The consumer's loop as a step: `next` says the one thing to do now, the shell does it and
/// answers with an `on_...`. No thread, no wait, no clock, no I/O here.
///
/// Why nothing is skipped. Call a message finished when its handler settled it: its effects are
/// committed in the database, or it is parked there. Finished is for ever, whoever did it. The
/// claim is that all before a group's committed offset is finished, at every moment:
///
/// - At first there is no committed offset and reading begins at the earliest message.
/// - A member begins a partition at the committed offset, so all before is finished. It takes the
///   partition's messages in order, and each that it took is either settled or among the `open`
///   ones: those that wait for their next try, and those that stand behind such a one. An offset
///   that is asked to be committed is always the first open one's, or, when none is open, the one
///   behind the last taken. So all before it is finished: by the claim up to where the member
///   began, by the member from there on.
/// - The claim needs no fence. A commit that arrives late, from a member that was frozen, killed or
///   has lost the partition meanwhile, still names an offset before which all is finished. It may
///   set the group back, to an offset before the new owner's; that repeats messages at the next
///   rebalance, and skips none. (The server refuses most of these by the member's generation.)
///
/// The claim is of one log. When a topic is made again, or servers lose the end of a log, offsets
/// begin anew below what was taken, with other messages. So what comes is handled, whatever its
/// offset, and the committed offset goes back with it: a repeat is the inbox's to tell. So it is
/// when a client gives something twice. What is open stays so until it is settled, of whichever log
/// it is: a position of the log that is gone holds the offset back meanwhile, which repeats and
/// skips none, and two messages of one position are open twice.
///
/// So a crash at any point costs repeats only: before the handler's commit the message comes again
/// and was not done; between it and the offset's commit it comes again and is a duplicate to the
/// inbox; after both it does not come. Forgetting a partition (revoked, lost, stopped) is a crash.
///
/// Order, of a key within a partition; messages without a key are one key here. A message that is
/// not settled stops its key: what comes of the key is put behind it, and handled when the one
/// before it is settled. While two members believe that they own a partition, both began at or
/// before the first unfinished message, and both go through each key in order without a gap; so the
/// first handling of any message comes after the first handling of all of its key before it.
///
/// What is bounded. The other keys go on, up to `ahead_max` offsets past the first open one (a
/// crash repeats these), `held_max_bytes` of open ones, and `stopped_keys_max` stopped keys: a
/// database that is away fails every key, and must not have them all in memory, each trying. Past a
/// bound the partition waits for its stopped keys alone.
namespace sagaz::inline v0::core {

/// One partition of one topic.
struct Partition {
    std::string topic{};
    std::int32_t number{};
    auto operator<=>(const Partition&) const = default;
};

/// All of `partition` before `done` is finished.
struct Progress {
    Partition partition{};
    std::int64_t done{};
    bool operator==(const Progress&) const = default;
};

namespace consume {
/// Take in what the group and the client have to say; answered by whatever there is.
struct Serve {};
/// The partition's next message, without waiting: `on_message` or `on_nothing`.
struct Fetch {
    Partition partition{};
};
/// `on_reply` or `on_failure`. Lives until then.
struct Handle {
    const Message* message{};
};
/// Do not wait for the answer, `on_committed`.
struct Commit {
    std::vector<Progress> progress{};
};
/// Nothing to do before; what comes meanwhile ends it early, and `on_rung`.
struct Wait {
    Instant until{};
};
struct Leave {};  ///< Leave the group, `on_revoked` included; then `on_left`.
struct End {};
}  // namespace consume

using ConsumerCommand = std::variant<consume::Serve, consume::Fetch, consume::Handle,
                                     consume::Commit, consume::Wait, consume::Leave, consume::End>;

class SAGAZ_EXPORT ConsumerStep {  // Used by the shells of backends, which are libraries.
public:
    /// The part of the options that concerns it.
    struct Options {
        Duration commit_interval{};
        Duration retry_initial{};
        Duration retry_max{};
        std::size_t stopped_keys_max{};  ///< With one more the partition waits.
        std::size_t ahead_max{};
        std::size_t held_max_bytes{};
    };

    /// `seed` is for the jitter of backoffs.
    ConsumerStep(const Options& options, std::uint64_t seed) : options_(options), seed_(seed) {}

    /// What to do now. Each command is answered before the next call.
    ConsumerCommand next(Instant now);

    void on_assigned(std::span<const Partition> partitions);
    /// Forgets the partitions. Returns what must be committed before they are given up: nothing
    /// when they are `lost`, since they belong to others already.
    [[nodiscard]] std::vector<Progress> on_revoked(std::span<const Partition> partitions,
                                                   bool lost);
    /// Takes messages that were fetched, as they came; ignores what is not assigned.
    void on_message(Message message);
    void on_nothing(const Partition& partition);
    void on_rung();
    void on_reply(const Reply& reply, Instant now);
    /// The handler threw.
    void on_failure(Instant now) { on_reply(Settlement::retry_later, now); }
    /// The answer to one commit, whether asked by `Commit` or by `on_revoked`.
    void on_committed(std::span<const Progress> progress, bool succeeded);
    void on_left() noexcept { left_ = true; }

    /// Handle nothing more, leave, end.
    void stop() noexcept { stopping_ = true; }

    std::uint64_t settled() const noexcept { return settled_; }
    std::uint64_t retried() const noexcept { return retried_; }
    std::size_t partitions() const noexcept { return tracks_.size(); }
    /// Keys that are stopped, or have not caught up since.
    std::size_t waiting() const noexcept;

private:
    using Key = std::optional<std::string>;

    /// A key whose first message was not settled, and what came of it meanwhile. Never empty.
    struct Stopped {
        explicit Stopped(Backoff waits) : backoff(waits) {}
        std::deque<Message> messages{};
        Instant due{};  ///< The first may not be handled before.
        Backoff backoff;
    };

    /// What is known of one assigned partition.
    struct Track {
        std::deque<Message> fetched{};         ///< Not taken; the first is the next to be.
        std::map<Key, Stopped> stopped{};      ///< What was taken and is not settled.
        std::multiset<std::int64_t> open{};    ///< The positions of these.
        std::size_t held_bytes{};              ///< Of these.
        std::optional<std::int64_t> next{};    ///< Behind the last that was taken.
        std::optional<std::int64_t> asked{};   ///< Of the last commit asked for, or the beginning.
        std::optional<std::int64_t> stored{};  ///< Of the last commit that succeeded.
        bool quiet{};                          ///< Nothing was there at the last fetch.
        bool again{};                          ///< The last that was handled was of a stopped key.

        /// All before it is finished.
        std::optional<std::int64_t> done() const;
        bool has_to_commit() const;
        std::size_t ahead() const;
        void take(std::int64_t position);
        void hold(Stopped& key, Message message);
        void release(Stopped& key);
    };
    using Tracks = std::map<Partition, Track>;

    std::optional<ConsumerCommand> work(Instant now);
    std::optional<ConsumerCommand> work_on(Tracks::value_type& entry, Instant now);
    std::optional<ConsumerCommand> fresh(Tracks::value_type& entry);
    ConsumerCommand handle(Tracks::value_type& entry, const Message& message, bool again);
    bool may_go_on(const Track& track) const;
    void put_behind(Tracks::value_type& entry);
    std::optional<ConsumerCommand> commit(Instant now);
    Instant wake_at(Instant now) const;
    bool has_to_commit() const;
    void stop_key(Track& track, const Reply& reply, Instant now);
    void settle_stopped(Track& track, Instant now);
    static Duration wait_before_retry(const Reply& reply, Backoff& backoff);

    Options options_;
    std::uint64_t seed_;
    Tracks tracks_;
    Partition turn_{};      ///< The partition that had the last turn.
    Partition handling_{};  ///< Of the message that the handler has.
    Key handling_key_{};
    bool is_handling_{};
    bool serve_due_{true};
    Instant commit_at_{};
    int commits_open_{};
    bool stopping_{};
    bool left_{};
    std::uint64_t settled_{};
    std::uint64_t retried_{};
};

}  // namespace sagaz::inline v0::core
