#include "brokers/kafka/kafka_subscription.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

namespace sagaz::inline v0::kafka {

namespace {

using namespace std::chrono_literals;

constexpr Milliseconds kServeWhileClosing = 20ms;
constexpr int kSyslogWarning = 4;

struct ListDeleter {
    void operator()(rd_kafka_topic_partition_list_t* list) const noexcept {
        rd_kafka_topic_partition_list_destroy(list);
    }
};
using List = std::unique_ptr<rd_kafka_topic_partition_list_t, ListDeleter>;

struct ErrorDeleter {
    void operator()(rd_kafka_error_t* error) const noexcept { rd_kafka_error_destroy(error); }
};
using ClientError = std::unique_ptr<rd_kafka_error_t, ErrorDeleter>;

// The client would write to standard error otherwise. What it says while it runs comes as an event.
void drop_log(const rd_kafka_t*, int, const char*, const char*) {}

void ring_bell(rd_kafka_t*, void* opaque) { static_cast<Bell*>(opaque)->ring(); }

std::vector<core::Partition> partitions_of(const rd_kafka_topic_partition_list_t* list) {
    std::vector<core::Partition> partitions;
    for (int n = 0; list != nullptr && n < list->cnt; ++n) {
        partitions.push_back({list->elems[n].topic, list->elems[n].partition});
    }
    return partitions;
}

rd_kafka_t* make_client(Conf conf) {
    char text[512] = "";
    rd_kafka_t* client = rd_kafka_new(RD_KAFKA_CONSUMER, conf.get(), text, sizeof text);
    if (client == nullptr) {
        throw Error(ErrorKind::invalid, "broker_option",
                    "the Kafka client cannot be made: " + std::string{text},
                    "correct broker.options");
    }
    const rd_kafka_conf_t* owned_by_client = conf.release();
    static_cast<void>(owned_by_client);
    return client;
}

}  // namespace

void Bell::ring() {
    {
        const std::lock_guard lock{mutex_};
        rung_ = true;
    }
    changed_.notify_one();
}

bool Bell::wait(core::Instant until, const std::stop_token& stop) {
    std::unique_lock lock{mutex_};
    changed_.wait_until(lock, stop, until, [&] { return rung_; });
    return std::exchange(rung_, false);
}

bool Bell::heard() {
    const std::lock_guard lock{mutex_};
    return std::exchange(rung_, false);
}

void Subscription::ClientDeleter::operator()(rd_kafka_t* client) const noexcept {
    rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

// The client keeps the queue itself; only our ear is taken from it.
void Subscription::QueueDeleter::operator()(rd_kafka_queue_t* queue) const noexcept {
    rd_kafka_queue_cb_event_enable(queue, nullptr, nullptr);
    rd_kafka_queue_destroy(queue);
}

Subscription::Subscription(Conf conf, const std::vector<std::string>& topics,
                           SubscriptionEvents& events)
    : events_(events) {
    rd_kafka_conf_set_log_cb(conf.get(), drop_log);
    rd_kafka_conf_set_events(conf.get(), RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR);
    client_.reset(make_client(std::move(conf)));
    rd_kafka_set_log_queue(client_.get(), nullptr);
    rd_kafka_poll_set_consumer(client_.get());
    group_ = listen(rd_kafka_queue_get_consumer(client_.get()));
    const List list{rd_kafka_topic_partition_list_new(static_cast<int>(topics.size()))};
    for (const std::string& topic : topics) {
        rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), RD_KAFKA_PARTITION_UA);
    }
    const rd_kafka_resp_err_t error = rd_kafka_subscribe(client_.get(), list.get());
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        throw Error(ErrorKind::invalid, "broker_option",
                    "the Kafka client does not subscribe: " + std::string{rd_kafka_err2str(error)},
                    "correct topics");
    }
}

Subscription::~Subscription() = default;

Subscription::Queue Subscription::listen(rd_kafka_queue_t* queue) {
    rd_kafka_queue_cb_event_enable(queue, ring_bell, &bell_);
    return Queue{queue};
}

void Subscription::serve() {
    while (take(group_.get(), 0ms)) {
    }
}

bool Subscription::fetch(const core::Partition& partition) {
    const auto found = queues_.find(partition);
    return found != queues_.end() && take(found->second.get(), 0ms);
}

bool Subscription::take(rd_kafka_queue_t* queue, Milliseconds wait) {
    const Event event{rd_kafka_queue_poll(queue, static_cast<int>(wait.count()))};
    if (!event) return false;
    switch (rd_kafka_event_type(event.get())) {
        case RD_KAFKA_EVENT_FETCH:
            while (const rd_kafka_message_t* record = rd_kafka_event_message_next(event.get())) {
                if (record->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                    events_.on_record(*record);
                } else {
                    events_.on_trouble(record->err, rd_kafka_message_errstr(record));
                }
            }
            break;
        case RD_KAFKA_EVENT_REBALANCE: rebalance(event.get()); break;
        case RD_KAFKA_EVENT_OFFSET_COMMIT: committed(event.get()); break;
        case RD_KAFKA_EVENT_ERROR:
            events_.on_trouble(rd_kafka_event_error(event.get()),
                               rd_kafka_event_error_string(event.get()));
            break;
        case RD_KAFKA_EVENT_LOG: hear(event.get()); break;
        default: break;
    }
    return true;
}

// That a partition is read from another offset than it should be, since the server has none there,
// the client says only to its log.
void Subscription::hear(rd_kafka_event_t* event) {
    const char* facility = nullptr;
    const char* text = nullptr;
    int level = 0;
    if (rd_kafka_event_log(event, &facility, &text, &level) != 0) return;
    if (level <= kSyslogWarning && std::string_view{facility} == "OFFSET") events_.on_reset(text);
}

void Subscription::rebalance(rd_kafka_event_t* event) {
    rd_kafka_topic_partition_list_t* list = rd_kafka_event_topic_partition_list(event);
    if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        assign(list);
    } else {
        revoke(list);
    }
}

void Subscription::assign(rd_kafka_topic_partition_list_t* list) {
    std::vector<core::Partition> partitions = partitions_of(list);
    for (const core::Partition& partition : partitions) {
        rd_kafka_queue_t* queue =
            rd_kafka_queue_get_partition(client_.get(), partition.topic.c_str(), partition.number);
        if (queue == nullptr) continue;  // Then its messages come by the group's.
        queues_.erase(partition);        // Its ear would take the new one with it.
        rd_kafka_queue_forward(queue, nullptr);
        queues_.insert_or_assign(partition, listen(queue));
    }
    const rd_kafka_resp_err_t error = rd_kafka_assign(client_.get(), list);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) events_.on_trouble(error, rd_kafka_err2str(error));
    events_.on_assigned(partitions);
}

// The commit is on its way before the partitions are given up, and the client sends both in this
// order; so whoever has them next begins behind it.
void Subscription::revoke(const rd_kafka_topic_partition_list_t* list) {
    const bool lost = rd_kafka_assignment_lost(client_.get()) != 0;
    const std::vector<core::Progress> last = events_.on_revoked(partitions_of(list), lost);
    if (!last.empty()) commit(last);
    queues_.clear();
    const rd_kafka_resp_err_t error = rd_kafka_assign(client_.get(), nullptr);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) events_.on_trouble(error, rd_kafka_err2str(error));
}

void Subscription::commit(std::span<const core::Progress> progress) {
    const List list{rd_kafka_topic_partition_list_new(static_cast<int>(progress.size()))};
    for (const auto& [partition, done] : progress) {
        rd_kafka_topic_partition_list_add(list.get(), partition.topic.c_str(), partition.number)
            ->offset = done;
    }
    const rd_kafka_resp_err_t error =
        rd_kafka_commit_queue(client_.get(), list.get(), group_.get(), nullptr, nullptr);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) events_.on_committed(progress, error);
}

void Subscription::committed(rd_kafka_event_t* event) {
    const rd_kafka_topic_partition_list_t* list = rd_kafka_event_topic_partition_list(event);
    rd_kafka_resp_err_t error = rd_kafka_event_error(event);
    std::vector<core::Progress> progress;
    for (int n = 0; list != nullptr && n < list->cnt; ++n) {
        const rd_kafka_topic_partition_t& one = list->elems[n];
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR) error = one.err;
        progress.push_back({{one.topic, one.partition}, one.offset});
    }
    events_.on_committed(progress, error);
}

void Subscription::close(core::Instant deadline) {
    const Queue closing{rd_kafka_queue_new(client_.get())};
    const ClientError error{rd_kafka_consumer_close_queue(client_.get(), closing.get())};
    if (error) return;
    while (rd_kafka_consumer_closed(client_.get()) == 0) {
        const auto left = std::chrono::ceil<Milliseconds>(deadline - core::Instant::clock::now());
        if (left <= 0ms) break;
        take(closing.get(), std::min(left, kServeWhileClosing));
    }
    queues_.clear();
}

std::string Subscription::fatal() const {
    char text[512] = "";
    const rd_kafka_resp_err_t error = rd_kafka_fatal_error(client_.get(), text, sizeof text);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? std::string{} : std::string{text};
}

}  // namespace sagaz::inline v0::kafka
