#pragma once

#include "brokers/kafka/kafka_options.hpp"
#include "brokers/kafka/lifeline.hpp"

#include <sagaz/broker.hpp>

#include <librdkafka/rdkafka.h>

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace sagaz::inline v0::kafka {

/// The client's word on one message.
struct Delivery {
    std::uint64_t sequence{};
    rd_kafka_resp_err_t error{};
    bool persisted{};
    const void* topic{};            ///< Tells topics apart; not to be followed.
    std::string_view topic_name{};  ///< Of a message that failed; valid during the call.
    std::int32_t partition{};
};

/// Called by `Producer::serve` and the destructor's caller only: on the owner's thread.
class ProducerEvents {
public:
    ProducerEvents() = default;
    virtual ~ProducerEvents() = default;
    ProducerEvents(const ProducerEvents&) = delete;
    ProducerEvents& operator=(const ProducerEvents&) = delete;

    virtual void on_delivery(const Delivery& delivery) = 0;
    virtual void on_error(rd_kafka_resp_err_t error, std::string_view text) = 0;
};

/// What the cluster says of itself.
struct Probe {
    enum class Answer { reached, unreachable, silent } answer{Answer::silent};
    std::string trouble{};  ///< A partition without a leader, a topic in error; in words.
};

/// Makes a client of `conf`, without connecting, and destroys it: certificates and the like are
/// only read then. Throws `invalid` (`broker_option`).
void try_out(Conf conf);

/// One librdkafka producer and its topic handles. Lives until the first thing goes wrong: a message
/// that fails cuts the lifeline in the client's thread that found out, before that thread can send
/// anything more; the broker then takes a new producer.
class Producer {
public:
    /// Connects in the background. `conf` has been tried out. Throws `invalid` (`broker_option`).
    Producer(Conf conf, ProducerEvents& events);
    /// Joins the client's threads; may take as long as a name lookup, or as `ask` may wait.
    ~Producer();
    Producer(const Producer&) = delete;
    Producer& operator=(const Producer&) = delete;

    /// Copies the envelope into the client.
    rd_kafka_resp_err_t send(std::uint64_t sequence, const Envelope& envelope);

    /// Calls back for what happened, waiting at most `wait` for the first.
    void serve(Milliseconds wait);

    /// Gives up what was not sent yet, and with `in_flight` also what was. Does not wait; the
    /// deliveries say when it is done.
    void purge(bool in_flight);

    /// Asks any server for its view of our topics, in another thread: one that is far away or busy
    /// may take longer than the owner can wait at a time. Without a connection in the first time it
    /// is `unreachable`; with one, but no answer in both together, `silent`. Only when no question
    /// is under way.
    void ask(Milliseconds connected_within, Milliseconds answered_within);
    bool is_asking() const { return probe_.valid(); }
    /// The answer, once it is there; then another question may be asked. Only while one is asked.
    std::optional<Probe> answer();

    /// Empty while the client can go on.
    std::string fatal() const;

    /// No callback from now on; for an object that another thread will destroy.
    void detach() { ties_->events = nullptr; }

    /// What the client's callbacks reach.
    struct Ties {
        ProducerEvents* events{};  ///< Of the owner's thread only.
        Lifeline lifeline{};
    };

private:
    struct ClientDeleter {
        void operator()(rd_kafka_t* client) const noexcept { rd_kafka_destroy(client); }
    };
    struct TopicDeleter {
        void operator()(rd_kafka_topic_t* topic) const noexcept { rd_kafka_topic_destroy(topic); }
    };
    using Topic = std::unique_ptr<rd_kafka_topic_t, TopicDeleter>;

    rd_kafka_topic_t* topic(std::string_view name);

    std::unique_ptr<Ties> ties_;  // Its address is the client's opaque.
    std::unique_ptr<rd_kafka_t, ClientDeleter> client_;
    std::map<std::string, Topic, std::less<>> topics_;  // After client_: destroyed before it.
    std::string_view last_name_{};
    rd_kafka_topic_t* last_topic_{};
    std::future<Probe> probe_{};  // After client_: its thread uses that, and is joined first.
};

}  // namespace sagaz::inline v0::kafka
