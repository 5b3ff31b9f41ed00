#pragma once

#include <sagaz/event.hpp>
#include <sagaz/export.hpp>
#include <sagaz/outcome.hpp>
#include <sagaz/telemetry.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

namespace sagaz::inline v0 {

/// Handles one message; called in the thread of `run`, one message at a time.
using MessageHandler = std::function<Reply(const Message&)>;

namespace kafka {

/// What a consumer reads and its limits.
struct ConsumerOptions {
    std::string bootstrap_servers{};    ///< Comma-separated host:port; required.
    std::string group{};                ///< Consumers of one group share the partitions; required.
    std::vector<std::string> topics{};  ///< Names, no patterns; at least one.
    /// Passed to librdkafka after a check against an allow-list: transport, TLS, SASL and fetch
    /// sizes. What the promises rest on (commits, where a new group starts, how partitions are
    /// shared) cannot be set; trying throws `invalid` (`broker_option`).
    std::map<std::string, std::string> client{};
    /// A consumer that is silent this long has died: others take its partitions. 1 s to 30 min; the
    /// servers have limits of their own (6 s and 30 min where they are left alone).
    Milliseconds session_timeout{10'000};
    /// One handler may take this long; after it the group gives the partitions to others, and the
    /// message comes again there. At least `session_timeout`, at most a day.
    Milliseconds handler_max{300'000};
    Milliseconds commit_interval{1'000};  ///< Between commits; a crash repeats this much.
    Milliseconds retry_initial{100};      ///< Backoff of a message that is not settled: first,
    Milliseconds retry_max{30'000};       ///< and at most; doubled with jitter between.
    Milliseconds stop_timeout{10'000};    ///< To leave the group, once the handler has returned.
    /// Messages fetched ahead for a partition, about; 1 to 10,000,000.
    std::size_t queue_max{10'000};
    /// Their bytes for a partition: memory is at most about twice this (what waits to be handled
    /// again counts apart) and one fetch, times the partitions. 1 KiB to 2 GiB.
    std::size_t queue_max_bytes{std::size_t{16} << 20};
    /// So many keys of a partition may wait behind a message that is not settled while the others
    /// go on; with one more all of the partition waits. 0: any such message holds its partition,
    /// for whoever needs an order across keys. At most 1,000.
    std::size_t stopped_keys_max{16};
    /// How far a partition may be handled past its first message that is not settled, in offsets;
    /// the group's committed offset stays before that one, so a crash repeats this much. 1 to
    /// 10,000,000.
    std::size_t ahead_max{10'000};
    /// Headers that may hold a message's id; the first that is there and not empty counts.
    std::vector<std::string> id_headers{"ce_id", "message_id", "id", "event_id"};
};

/// What a consumer is doing, for probes.
struct ConsumerStatus {
    std::uint64_t settled{};       ///< Messages since the start.
    std::uint64_t retried{};       ///< Replies that were no settlement, and handlers that threw.
    std::size_t partitions{};      ///< Assigned now.
    std::size_t waiting{};         ///< Keys that a message stopped, until they have caught up.
    std::int64_t turned_ms_ago{};  ///< Large: a handler does not return.
    std::string trouble{};  ///< The client's last complaint since a message came; empty: none.
};

/// Reads topics as a member of a group and hands each message to a handler, in order within a key
/// of a partition. **Nothing is skipped:** an offset is committed only when all before it is
/// settled, so a crash at any point, here or in the servers, repeats messages and loses none.
/// Repeats are for the inbox: call it in the handler and return what it says.
///
/// - A message that is not settled comes again after `retry_in`, and nothing later of its key is
///   handled before it; messages without a key count as one key. Other keys go on, within
///   `stopped_keys_max`, `ahead_max` and `queue_max_bytes`, but nothing behind the message is
///   committed before it: the group's lag grows meanwhile.
/// - Partitions may move to another consumer at any moment between two messages. What is not
///   settled then comes again there. A consumer that was frozen or too slow comes back by itself,
///   having lost its partitions; until it notices, both may handle the same messages.
/// - A new group starts at the earliest message.
/// - A message whose headers hold no id gets `topic-partition-offset-milliseconds` as one, of its
///   place and its time: the same each time it comes, but the producer's own repeat of it is then
///   another message.
/// - What the servers deleted before it was handled is gone; `telemetry` is told of it as an error
///   (`consumer_offset_gone`), and reading goes on at the earliest message that is there.
/// - When a topic is made again under its name, its messages come from the first one on. Stop the
///   group's consumers before you do it, or a commit that is on its way lands in the new topic.
/// - A tombstone comes as an empty payload.
class SAGAZ_EXPORT Consumer {
public:
    /// Does not connect. Throws `invalid` for options that cannot be right (`broker_option`,
    /// `option_range`, `group_missing`, `topic_missing`). `telemetry` may be null and must outlive
    /// the consumer.
    explicit Consumer(ConsumerOptions options, Telemetry* telemetry = nullptr);
    ~Consumer();
    Consumer(const Consumer&) = delete;
    Consumer& operator=(const Consumer&) = delete;

    /// Works in the caller's thread until `stop`: then lets the handler finish, commits, leaves the
    /// group and returns within `stop_timeout`. Servers that cannot be reached are waited for, for
    /// ever. May be called again afterwards.
    ///
    /// A `std::exception` of the handler is a `retry_later` with backoff, since the next try may
    /// meet a database that is back; a message that throws each time holds its key until the
    /// handler settles it (the inbox parks it after `max_attempts`). A `sagaz::Error` that is
    /// `fatal`, and anything that is no `std::exception`, leaves the group and passes through, with
    /// the message not settled. Throws `fatal` (`consumer_failed`) when the client cannot go on.
    void run(const std::stop_token& stop, const MessageHandler& handler);

    /// Thread-safe.
    ConsumerStatus status() const;

private:
    class Shell;
    std::unique_ptr<Shell> shell_;
};

}  // namespace kafka

}  // namespace sagaz::inline v0
