#include "brokers/kafka/kafka_consumer_options.hpp"

#include "brokers/kafka/topic_name.hpp"

#include <sagaz/error.hpp>

#include <string>
#include <string_view>

namespace sagaz::inline v0::kafka {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kGroupMax = 255;
constexpr Milliseconds kDay = 24h;

void check_range(std::string_view name, Milliseconds value, Milliseconds min, Milliseconds max) {
    if (value >= min && value <= max) return;
    throw Error(
        ErrorKind::invalid, "option_range",
        std::string{name} + " is " + std::to_string(value.count()) + " ms",
        "give " + std::to_string(min.count()) + " to " + std::to_string(max.count()) + " ms");
}

void check_range(std::string_view name, std::size_t value, std::size_t min, std::size_t max) {
    if (value >= min && value <= max) return;
    throw Error(ErrorKind::invalid, "option_range",
                std::string{name} + " is " + std::to_string(value),
                "give " + std::to_string(min) + " to " + std::to_string(max));
}

void check_names(const ConsumerOptions& options) {
    if (options.bootstrap_servers.empty()) {
        throw Error(ErrorKind::invalid, "broker_option", "no Kafka server is named",
                    "give host:port in bootstrap_servers");
    }
    if (options.group.empty() || options.group.size() > kGroupMax) {
        throw Error(ErrorKind::invalid, "group_missing", "the group's name has 1 to 255 bytes",
                    "give consumers that share the work one name in group");
    }
    if (options.topics.empty()) {
        throw Error(ErrorKind::invalid, "topic_missing", "the consumer has no topic",
                    "name at least one in topics");
    }
    for (const std::string& topic : options.topics) {
        if (is_topic_name(topic)) continue;
        throw Error(ErrorKind::invalid, "broker_option",
                    "'" + topic + "' is not a topic's name; patterns are not taken",
                    "correct topics");
    }
}

}  // namespace

void check(const ConsumerOptions& options) {
    check_names(options);
    check_range("session_timeout", options.session_timeout, 1s, 30min);
    check_range("handler_max", options.handler_max, options.session_timeout, kDay);
    check_range("commit_interval", options.commit_interval, 1ms, 1h);
    check_range("retry_initial", options.retry_initial, 1ms, 1h);
    check_range("retry_max", options.retry_max, options.retry_initial, 1h);
    check_range("stop_timeout", options.stop_timeout, 0ms, 1h);
    check_range("queue_max", options.queue_max, 1, 10'000'000);
    check_range("queue_max_bytes", options.queue_max_bytes, 1024, std::size_t{2'097'151} * 1024);
    check_range("stopped_keys_max", options.stopped_keys_max, 0, 1'000);
    check_range("ahead_max", options.ahead_max, 1, 10'000'000);
    check_client(options.client, Role::consumer);
    make_conf(options);
}

Conf make_conf(const ConsumerOptions& options) {
    Conf conf{rd_kafka_conf_new()};
    set(conf.get(), "bootstrap.servers", options.bootstrap_servers);
    // Defaults that an option may change: notice a dead server and come back within seconds.
    set(conf.get(), "client.id", "sagaz");
    set(conf.get(), "reconnect.backoff.ms", "100");
    set(conf.get(), "reconnect.backoff.max.ms", "2000");
    set(conf.get(), "socket.keepalive.enable", "true");
    set(conf.get(), "socket.nagle.disable", "true");
    set(conf.get(), "check.crcs", "true");
    set(conf.get(), "heartbeat.interval.ms", std::to_string((options.session_timeout / 4).count()));
    // A topic that is not there yet is waited for, and not made by who reads it.
    set(conf.get(), "allow.auto.create.topics", "false");
    apply_client(conf.get(), options.client);
    set(conf.get(), "group.id", options.group);
    set(conf.get(), "session.timeout.ms", std::to_string(options.session_timeout.count()));
    set(conf.get(), "max.poll.interval.ms", std::to_string(options.handler_max.count()));
    set(conf.get(), "enable.auto.commit", "false");
    set(conf.get(), "enable.auto.offset.store", "false");
    set(conf.get(), "auto.offset.reset", "earliest");
    set(conf.get(), "isolation.level", "read_committed");
    // Not cooperative-sticky: see docs/internals/adr/0009-consumer-shape.md.
    set(conf.get(), "partition.assignment.strategy", "range");
    set(conf.get(), "queued.min.messages", std::to_string(options.queue_max));
    set(conf.get(), "queued.max.messages.kbytes", std::to_string(options.queue_max_bytes / 1024));
    set(conf.get(), "log.queue", "true");
    return conf;
}

}  // namespace sagaz::inline v0::kafka
