// The consumer's shell: one thread, the caller's. It gives the step the time, carries out one
// command a turn against the subscription, calls the handler, and waits for the bell when there is
// nothing to do. The client has threads of its own; all they do here is to ring the bell. Another
// thread may read the status.
//
// Why nothing is skipped is argued at the head of core/consumer_step.hpp, and rests on three things
// that the client must do. Each has its place here and its test:
//
// - It commits only what it is told to (no automatic commit, no automatic store), and begins at the
//   earliest message where nothing is committed: kafka_consumer_options.cpp.
// - It hands out a partition in order and without a gap, from the committed offset on: Subscription
//   leaves a partition that must wait alone in its queue, and neither pauses nor seeks; the keys
//   that wait while others go on wait in the step, where what was handed out stands.
//   A batch that it cannot read (a checksum that does not fit, say) it reports and passes over:
//   then we leave the group before anything behind it is handled, and read again from the
//   committed offset after a pause. So we do when it was refused the committed offset itself, and
//   would leave the partition alone for ever.
// - It gives us the time to commit before a partition moves: the rebalance is an event that waits
//   in the group's queue until we serve it, between two messages. When we do not (a handler that
//   takes longer than `handler_max`, a frozen process), the group takes the partitions without us,
//   and the event says that they are lost.
//
// A fenced consumer (frozen past its session, or too slow) learns of it by that event, forgets its
// partitions and is let in again by the client; nothing here needs to know.
#include "brokers/kafka/kafka_consumer_options.hpp"
#include "brokers/kafka/kafka_message.hpp"
#include "brokers/kafka/kafka_subscription.hpp"
#include "core/consumer_step.hpp"

#include <sagaz/consumer.hpp>
#include <sagaz/error.hpp>

#include <cxxabi.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

namespace sagaz::inline v0::kafka {

namespace {

using Clock = core::Instant::clock;

ConsumerOptions checked(ConsumerOptions options) {
    check(options);
    return options;
}

core::ConsumerStep::Options step_options(const ConsumerOptions& options) {
    return {.commit_interval = options.commit_interval,
            .retry_initial = options.retry_initial,
            .retry_max = options.retry_max,
            .stopped_keys_max = options.stopped_keys_max,
            .ahead_max = options.ahead_max,
            .held_max_bytes = options.queue_max_bytes};
}

// The client goes on behind what it could not read.
bool passes_over(rd_kafka_resp_err_t error) {
    return error == RD_KAFKA_RESP_ERR__BAD_MSG || error == RD_KAFKA_RESP_ERR__BAD_COMPRESSION ||
           error == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE ||
           error == RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED;
}

// A partition whose committed offset it was refused the client never fetches from, as long as it
// is assigned, and its error code alone does not tell: it is that of the refusal.
bool gives_up(std::string_view text) {
    return text.starts_with("Failed to fetch committed offset");
}

// What a handler throws may carry a payload in its text (a driver quotes the row that it did not
// take); its type does not.
std::string type_of(const std::exception& error) {
    const char* name = typeid(error).name();
    const std::unique_ptr<char, decltype(&std::free)> readable{
        abi::__cxa_demangle(name, nullptr, nullptr, nullptr), &std::free};
    return readable ? readable.get() : name;
}

}  // namespace

class Consumer::Shell {
public:
    Shell(ConsumerOptions options, Telemetry* telemetry)
        : options_(checked(std::move(options))), telemetry_(telemetry) {}

    void run(const std::stop_token& stop, const MessageHandler& handler);

    ConsumerStatus status() const {
        const std::lock_guard lock{mutex_};
        ConsumerStatus status = status_;
        status.turned_ms_ago =
            std::chrono::duration_cast<Milliseconds>(Clock::now() - turned_at_).count();
        return status;
    }

private:
    class Loop;

    ConsumerOptions options_;
    Telemetry* telemetry_;
    mutable std::mutex mutex_;
    ConsumerStatus status_;
    core::Instant turned_at_{Clock::now()};
};

// One membership: from joining the group to leaving it.
class Consumer::Shell::Loop final : public SubscriptionEvents {
public:
    Loop(Shell& shell, const MessageHandler& handler)
        : shell_(shell),
          handler_(handler),
          step_(step_options(shell.options_), std::random_device{}()),
          before_(shell.status()),
          subscription_(make_conf(shell.options_), shell.options_.topics, *this) {}

    /// True when it was stopped; false when the membership must begin anew.
    bool run(const std::stop_token& stop) {
        while (!ended_) {
            if (stop.stop_requested()) step_.stop();
            if (subscription_.bell().heard()) step_.on_rung();
            stop_ = stop;
            std::visit([this](auto&& command) { carry_out(command); }, step_.next(Clock::now()));
            note();
            if (!fatal_.empty()) {
                throw Error(ErrorKind::fatal, "consumer_failed",
                            "the Kafka client cannot go on: " + fatal_, "start the consumer again");
            }
            if (must_read_again_) return false;
        }
        return true;
    }

    /// Without `stop`: what is settled is committed all the same.
    void give_up() { subscription_.close(Clock::now() + shell_.options_.stop_timeout); }

    void on_assigned(std::span<const core::Partition> partitions) override {
        step_.on_assigned(partitions);
        log(LogLevel::info, "consumer_assigned", partitions.size());
    }

    std::vector<core::Progress> on_revoked(std::span<const core::Partition> partitions,
                                           bool lost) override {
        log(lost ? LogLevel::warning : LogLevel::info,
            lost ? "consumer_partitions_lost" : "consumer_revoked", partitions.size());
        return step_.on_revoked(partitions, lost);
    }

    void on_committed(std::span<const core::Progress> progress,
                      rd_kafka_resp_err_t error) override {
        step_.on_committed(progress, error == RD_KAFKA_RESP_ERR_NO_ERROR);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
            complain("consumer_commit_failed", error, rd_kafka_err2str(error));
        }
    }

    void on_record(const rd_kafka_message_t& record) override {
        step_.on_message(read_message(record, shell_.options_.id_headers));
        trouble_.clear();
        complaints_.clear();
    }

    void on_trouble(rd_kafka_resp_err_t error, std::string_view text) override {
        if (error == RD_KAFKA_RESP_ERR__FATAL) fatal_ = subscription_.fatal();
        must_read_again_ = must_read_again_ || passes_over(error) || gives_up(text);
        complain("consumer_trouble", error, text);
    }

    void on_reset(std::string_view text) override {
        if (shell_.telemetry_ == nullptr) return;
        const std::array fields{Field{"group", shell_.options_.group}, Field{"text", text}};
        shell_.telemetry_->log(LogLevel::error, "consumer_offset_gone", fields);
    }

private:
    void carry_out(const core::consume::Serve&) { subscription_.serve(); }
    void carry_out(const core::consume::Fetch& fetch) {
        if (!subscription_.fetch(fetch.partition)) step_.on_nothing(fetch.partition);
    }
    void carry_out(const core::consume::Handle& handle) { call_handler(*handle.message); }
    void carry_out(const core::consume::Commit& commit) { subscription_.commit(commit.progress); }
    void carry_out(const core::consume::Wait& wait) {
        if (subscription_.bell().wait(wait.until, stop_)) step_.on_rung();
    }
    void carry_out(const core::consume::Leave&) {
        subscription_.close(Clock::now() + shell_.options_.stop_timeout);
        step_.on_left();
    }
    void carry_out(const core::consume::End&) { ended_ = true; }

    void call_handler(const Message& message) {
        Reply reply{Settlement::retry_later};
        try {
            reply = handler_(message);
        } catch (const Error& error) {
            log_failure(message, error.code());
            if (error.kind() == ErrorKind::fatal) {
                step_.on_failure(Clock::now());
                throw;
            }
        } catch (const std::exception& error) {
            log_failure(message, type_of(error));
        } catch (...) {
            step_.on_failure(Clock::now());
            throw;
        }
        step_.on_reply(reply, Clock::now());
    }

    void note() {
        const std::lock_guard lock{shell_.mutex_};
        ConsumerStatus& status = shell_.status_;
        shell_.turned_at_ = Clock::now();
        status.settled = before_.settled + step_.settled();
        status.retried = before_.retried + step_.retried();
        status.partitions = step_.partitions();
        status.waiting = step_.waiting();
        if (status.trouble != trouble_) status.trouble = trouble_;
    }

    // Each kind once until a message comes again: a client without servers repeats itself.
    void complain(std::string_view event, rd_kafka_resp_err_t error, std::string_view text) {
        trouble_ = text;
        if (shell_.telemetry_ == nullptr || !complaints_.insert(error).second) return;
        const std::array fields{Field{"error", rd_kafka_err2name(error)}, Field{"text", text}};
        shell_.telemetry_->log(LogLevel::warning, event, fields);
    }

    void log(LogLevel level, std::string_view event, std::size_t partitions) {
        if (shell_.telemetry_ == nullptr) return;
        const std::string count = std::to_string(partitions);
        const std::array fields{Field{"group", shell_.options_.group}, Field{"partitions", count}};
        shell_.telemetry_->log(level, event, fields);
    }

    void log_failure(const Message& message, std::string_view what) {
        if (shell_.telemetry_ == nullptr) return;
        const std::string partition = std::to_string(message.partition);
        const std::string position = std::to_string(message.position);
        const std::array fields{Field{"error", what}, Field{"topic", message.source_topic},
                                Field{"partition", partition}, Field{"position", position}};
        shell_.telemetry_->log(LogLevel::warning, "consumer_handler_failed", fields);
    }

    Shell& shell_;
    const MessageHandler& handler_;
    core::ConsumerStep step_;
    std::stop_token stop_;
    std::string trouble_;
    std::string fatal_;
    std::set<rd_kafka_resp_err_t> complaints_;
    bool ended_{};
    bool must_read_again_{};
    ConsumerStatus before_;
    Subscription subscription_;  // Last: it calls back.
};

void Consumer::Shell::run(const std::stop_token& stop, const MessageHandler& handler) {
    core::Backoff pause{options_.retry_initial, options_.retry_max, std::random_device{}()};
    while (true) {
        Loop loop{*this, handler};
        try {
            if (loop.run(stop)) return;
        } catch (...) {
            loop.give_up();
            throw;
        }
        loop.give_up();
        Bell{}.wait(Clock::now() + pause.next(), stop);
    }
}

Consumer::Consumer(ConsumerOptions options, Telemetry* telemetry)
    : shell_(std::make_unique<Shell>(std::move(options), telemetry)) {}

Consumer::~Consumer() = default;

void Consumer::run(const std::stop_token& stop, const MessageHandler& handler) {
    shell_->run(stop, handler);
}

ConsumerStatus Consumer::status() const { return shell_->status(); }

}  // namespace sagaz::inline v0::kafka
