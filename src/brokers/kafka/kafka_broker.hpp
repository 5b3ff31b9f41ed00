#pragma once

#include "brokers/kafka/isolation.hpp"
#include "brokers/kafka/kafka_producer.hpp"
#include "brokers/kafka/window.hpp"

#include <sagaz/broker.hpp>
#include <sagaz/kafka.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace sagaz::inline v0::kafka {

/// A Kafka cluster as a destination. The safety argument is at the head of kafka_broker.cpp.
class KafkaBroker final : public Broker, private ProducerEvents {
public:
    explicit KafkaBroker(Options options);
    ~KafkaBroker() override;

    std::size_t publish(std::span<const Envelope> envelopes) override;
    std::vector<Receipt> poll(Milliseconds deadline) override;
    std::string down() const override;
    void abandon(Milliseconds deadline) override;

    /// For tests: how many producers this object has used up.
    std::size_t producers_retired() const { return retired_; }

private:
    using Clock = std::chrono::steady_clock;

    /// What an answer about the servers' health may be older than.
    enum class News { none, alarm, accepted };

    enum class State {
        flowing,
        settling,  ///< A refusal of our own is held back until what was taken before has its
                   ///< receipt.
        breaking,  ///< The producer failed; all its messages are being given up.
    };
    struct Failure {
        std::uint64_t token{};
        rd_kafka_resp_err_t error{};
        const void* topic{};
        std::int32_t partition{};
        std::string topic_name{};
    };

    void on_delivery(const Delivery& delivery) override;
    void on_error(rd_kafka_resp_err_t error, std::string_view text) override;

    std::string_view refusal(const Envelope& envelope, std::size_t bytes) const;
    bool take(const Envelope& envelope, Clock::time_point now);
    void refuse(std::uint64_t token, std::string_view reason, std::string_view seen);
    std::unique_ptr<Producer> make_producer();
    bool ensure_producer(Clock::time_point now);
    void retire_producer();
    void wait_for_events(Clock::time_point end);
    void advance(Clock::time_point now);
    void begin_break(Clock::time_point now);
    void finish_break(Clock::time_point now);
    bool hand_out_failures();
    void back_off(Clock::time_point now);
    Milliseconds time_to_serve() const;
    void look_after_health(Clock::time_point now);
    void hear(const Probe& probe, Clock::time_point now, Clock::duration waiting);
    std::string unreachable_text() const;

    const Options options_;
    const std::size_t message_max_;
    State state_{State::flowing};
    Window window_;
    Isolation isolation_;
    std::vector<Receipt> ready_;     // For the next poll.
    std::vector<Receipt> held_;      // Our own refusals while settling.
    std::vector<Failure> failures_;  // Of the producer that is breaking.

    Clock::time_point purge_at_{};  // Of what is in flight, while breaking.
    Clock::time_point retry_at_{};  // No new producer before.
    Milliseconds backoff_{0};
    bool progress_{};  // Something was accepted by the current producer.
    std::minstd_rand random_;

    std::string unreachable_;  // Why no server answers; empty: one does.
    std::string stalled_;      // Why the oldest envelope does not move.
    std::string last_error_;   // The client's latest word on a connection.
    bool alarm_{};             // The client says that all servers are gone; to be verified.
    News news_{};              // The latest since the question that is under way was asked.
    Clock::time_point probe_at_{};

    std::size_t retired_{};
    std::unique_ptr<Producer> producer_;
    std::jthread reaper_;  // Destroys the latest retired producer, and holds the reaper before.
};

}  // namespace sagaz::inline v0::kafka
