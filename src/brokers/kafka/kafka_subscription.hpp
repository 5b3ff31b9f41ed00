#pragma once

#include "brokers/kafka/kafka_options.hpp"
#include "core/consumer_step.hpp"

#include <librdkafka/rdkafka.h>

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace sagaz::inline v0::kafka {

/// Rung by the client's threads when something came for a queue that was empty. Thread-safe.
class Bell {
public:
    void ring();
    /// Until it rings, `stop`, or `until`. True when it had rung; it is silent again then.
    bool wait(core::Instant until, const std::stop_token& stop);
    /// True when it has rung since the last time; it is silent again then.
    bool heard();

private:
    std::mutex mutex_;
    std::condition_variable_any changed_;
    bool rung_{};
};

/// Called by `Subscription::serve`, `fetch` and `close` only: on the owner's thread.
class SubscriptionEvents {
public:
    SubscriptionEvents() = default;
    virtual ~SubscriptionEvents() = default;
    SubscriptionEvents(const SubscriptionEvents&) = delete;
    SubscriptionEvents& operator=(const SubscriptionEvents&) = delete;

    virtual void on_assigned(std::span<const core::Partition> partitions) = 0;
    /// Returns what is to be committed before the partitions are given up.
    virtual std::vector<core::Progress> on_revoked(std::span<const core::Partition> partitions,
                                                   bool lost) = 0;
    virtual void on_committed(std::span<const core::Progress> progress,
                              rd_kafka_resp_err_t error) = 0;
    virtual void on_record(const rd_kafka_message_t& record) = 0;
    virtual void on_trouble(rd_kafka_resp_err_t error, std::string_view text) = 0;
    /// A partition goes on at another offset: the server has no longer the one that comes next.
    virtual void on_reset(std::string_view text) = 0;
};

/// One librdkafka consumer in its group, with a queue of its own for each assigned partition.
///
/// The queues are why a partition can wait without the others: nothing is taken from its queue, the
/// client stops fetching when that is full, and goes on where it stopped. Pausing would throw away
/// what is queued and fetch it again from a position that the client must get right (and did not
/// always: librdkafka issues 2593 and 5591). A queue is cut off from the group's before its
/// partition is assigned, so that no message can come by the other way.
class Subscription {
public:
    /// Joins in the background. Throws `invalid` (`broker_option`).
    Subscription(Conf conf, const std::vector<std::string>& topics, SubscriptionEvents& events);
    /// Does not leave the group: call `close` for that. Joins the client's threads; may take as
    /// long as a name lookup.
    ~Subscription();
    Subscription(const Subscription&) = delete;
    Subscription& operator=(const Subscription&) = delete;

    /// Calls back for whatever the group and the client have to say; does not wait.
    void serve();

    /// Calls back for the partition's next record; false when there is none. Does not wait.
    bool fetch(const core::Partition& partition);

    /// Does not wait: `on_committed` comes from a later `serve`.
    void commit(std::span<const core::Progress> progress);

    /// Gives up all partitions (`on_revoked`), waits for the commits and leaves the group; at most
    /// until `deadline`. Nothing but the destructor may be called after it. The group is then left
    /// at the session's time-out at the latest.
    void close(core::Instant deadline);

    Bell& bell() noexcept { return bell_; }

    /// Empty while the client can go on.
    std::string fatal() const;

private:
    struct ClientDeleter {
        void operator()(rd_kafka_t* client) const noexcept;
    };
    struct QueueDeleter {
        void operator()(rd_kafka_queue_t* queue) const noexcept;
    };
    struct EventDeleter {
        void operator()(rd_kafka_event_t* event) const noexcept { rd_kafka_event_destroy(event); }
    };
    using Queue = std::unique_ptr<rd_kafka_queue_t, QueueDeleter>;
    using Event = std::unique_ptr<rd_kafka_event_t, EventDeleter>;

    /// False when nothing was there.
    bool take(rd_kafka_queue_t* queue, Milliseconds wait);
    void rebalance(rd_kafka_event_t* event);
    void assign(rd_kafka_topic_partition_list_t* list);
    void revoke(const rd_kafka_topic_partition_list_t* list);
    void committed(rd_kafka_event_t* event);
    void hear(rd_kafka_event_t* event);
    Queue listen(rd_kafka_queue_t* queue);

    SubscriptionEvents& events_;
    Bell bell_;
    std::unique_ptr<rd_kafka_t, ClientDeleter> client_;
    Queue group_;  // Before the client is destroyed, all queues are given back.
    std::map<core::Partition, Queue> queues_;
};

}  // namespace sagaz::inline v0::kafka
