#include "brokers/kafka/kafka_options.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace sagaz::inline v0::kafka {

namespace {

// Kafka's own default of the server and of a topic. librdkafka's (1,000,000) would refuse what
// the server takes.
constexpr std::size_t kMessageMax = 1'048'588;

constexpr std::string_view kSame = "=";

struct Row {
    std::string_view name;
    std::string_view forbidden{};  ///< Why; empty: allowed.
    bool secret{};                 ///< Nothing that the client says about the value is repeated.
    std::string_view of_consumer{kSame};  ///< Forbidden to a consumer, where that differs.
};

constexpr std::string_view kOrder = "the order of a key rests on it";
constexpr std::string_view kDurable =
    "an event counts as published when all in-sync replicas have it";
constexpr std::string_view kNoExpiry =
    "an event in the client must not expire: it would be overtaken";
constexpr std::string_view kServers = "the broker's URL names the servers";
constexpr std::string_view kRunsCode = "it loads or runs code that nobody checked";
constexpr std::string_view kProducer = "it is for who publishes";
constexpr std::string_view kConsumer = "it is for who consumes";
constexpr std::string_view kCommits = "an offset is committed when all before it is settled";
constexpr std::string_view kGroup = "the consumer's own options say it";
constexpr std::string_view kLogs = "the client's log is not shown; see the destination's state";

constexpr Row kTable[] = {
    // Transport.
    {"allow.auto.create.topics"},
    {"api.version.request.timeout.ms"},
    {"broker.address.family"},
    {"broker.address.ttl"},
    {"client.id"},
    {"client.rack"},
    {"connections.max.idle.ms"},
    {"metadata.max.age.ms"},
    {"reconnect.backoff.max.ms"},
    {"reconnect.backoff.ms"},
    {"retry.backoff.ms"},
    {"socket.connection.setup.timeout.ms"},
    {"socket.keepalive.enable"},
    {"socket.max.fails"},
    {"socket.nagle.disable"},
    {"socket.receive.buffer.bytes"},
    {"socket.send.buffer.bytes"},
    {"socket.timeout.ms"},
    {"topic.metadata.propagation.max.ms"},
    {"topic.metadata.refresh.fast.interval.ms"},
    {"topic.metadata.refresh.interval.ms"},
    // Sizes, linger, compression.
    {"batch.num.messages", {}, false, kProducer},
    {"batch.size", {}, false, kProducer},
    {"compression.codec", {}, false, kProducer},
    {"compression.level", {}, false, kProducer},
    {"compression.type", {}, false, kProducer},
    {"linger.ms", {}, false, kProducer},
    {"message.copy.max.bytes", {}, false, kProducer},
    {"message.max.bytes", {}, false, kProducer},
    {"queue.buffering.max.ms", {}, false, kProducer},
    {"receive.message.max.bytes"},
    {"sticky.partitioning.linger.ms", {}, false, kProducer},
    // TLS.
    {"security.protocol"},
    {"enable.ssl.certificate.verification"},
    {"ssl.ca.location"},
    {"ssl.ca.pem"},
    {"ssl.certificate.location"},
    {"ssl.certificate.pem"},
    {"ssl.cipher.suites"},
    {"ssl.crl.location"},
    {"ssl.curves.list"},
    {"ssl.endpoint.identification.algorithm"},
    {"ssl.key.location"},
    {"ssl.key.password", {}, true},
    {"ssl.key.pem", {}, true},
    {"ssl.keystore.location"},
    {"ssl.keystore.password", {}, true},
    {"ssl.sigalgs.list"},
    // SASL.
    {"sasl.kerberos.keytab"},
    {"sasl.kerberos.min.time.before.relogin"},
    {"sasl.kerberos.principal"},
    {"sasl.kerberos.service.name"},
    {"sasl.mechanism"},
    {"sasl.mechanisms"},
    {"sasl.oauthbearer.client.id"},
    {"sasl.oauthbearer.client.secret", {}, true},
    {"sasl.oauthbearer.config", {}, true},
    {"sasl.oauthbearer.extensions"},
    {"sasl.oauthbearer.method"},
    {"sasl.oauthbearer.scope"},
    {"sasl.oauthbearer.token.endpoint.url"},
    {"sasl.password", {}, true},
    {"sasl.username", {}, true},
    // What the promises rest on.
    {"acks", kDurable, false, kProducer},
    {"request.required.acks", kDurable, false, kProducer},
    {"enable.gapless.guarantee", kOrder, false, kProducer},
    {"enable.idempotence", kOrder, false, kProducer},
    {"max.in.flight", kOrder},
    {"max.in.flight.requests.per.connection", kOrder},
    {"partitioner", "a key's partition must be the one that every other client computes", false,
     kProducer},
    {"queuing.strategy", kOrder, false, kProducer},
    {"delivery.timeout.ms", kNoExpiry, false, kProducer},
    {"message.timeout.ms", kNoExpiry, false, kProducer},
    {"message.send.max.retries", kNoExpiry, false, kProducer},
    {"retries", kNoExpiry, false, kProducer},
    {"request.timeout.ms", "the client's own time-out of a request is socket.timeout.ms"},
    {"delivery.report.only.error", "every event needs its receipt", false, kProducer},
    {"queue.buffering.max.kbytes", "the queue's limit is queue_max_bytes", false, kProducer},
    {"queue.buffering.max.messages", "the queue's limit is queue_max", false, kProducer},
    {"transaction.timeout.ms", "there are no Kafka transactions here", false, kProducer},
    {"transactional.id", "there are no Kafka transactions here", false, kProducer},
    // Of a consumer.
    {"check.crcs", kConsumer, false, {}},
    {"fetch.error.backoff.ms", kConsumer, false, {}},
    {"fetch.max.bytes", kConsumer, false, {}},
    {"fetch.message.max.bytes", kConsumer, false, {}},
    {"fetch.min.bytes", kConsumer, false, {}},
    {"fetch.queue.backoff.ms", kConsumer, false, {}},
    {"fetch.wait.max.ms", kConsumer, false, {}},
    {"heartbeat.interval.ms", kConsumer, false, {}},
    {"max.partition.fetch.bytes", kConsumer, false, {}},
    {"auto.commit.enable", kConsumer, false, kCommits},
    {"auto.commit.interval.ms", kConsumer, false, kCommits},
    {"auto.offset.reset", kConsumer, false, "a new group must not skip what was there before it"},
    {"enable.auto.commit", kConsumer, false, kCommits},
    {"enable.auto.offset.store", kConsumer, false, kCommits},
    {"enable.partition.eof", kConsumer, false, "there is nobody to tell"},
    {"group.id", kConsumer, false, kGroup},
    {"group.instance.id", kConsumer, false, "its partitions would wait for a consumer that died"},
    {"group.protocol", kConsumer, false, "how partitions are shared was chosen with care"},
    {"isolation.level", kConsumer, false, "what was rolled back must not be handled"},
    {"max.poll.interval.ms", kConsumer, false, kGroup},
    {"partition.assignment.strategy", kConsumer, false,
     "how partitions are shared was chosen with care"},
    {"queued.max.messages.kbytes", kConsumer, false, kGroup},
    {"queued.min.messages", kConsumer, false, kGroup},
    {"session.timeout.ms", kConsumer, false, kGroup},
    {"bootstrap.servers", kServers},
    {"metadata.broker.list", kServers},
    {"enable.sasl.oauthbearer.unsecure.jwt", "a token without a signature is no authentication"},
    {"plugin.library.paths", kRunsCode},
    {"sasl.kerberos.kinit.cmd", kRunsCode},
    {"ssl.engine.location", kRunsCode},
    {"ssl.providers", kRunsCode},
    {"debug", kLogs},
    {"log_level", kLogs},
    {"statistics.interval.ms", kLogs},
};

const Row* find(std::string_view name) {
    const auto* row = std::find_if(std::begin(kTable), std::end(kTable),
                                   [&](const Row& r) { return r.name == name; });
    return row == std::end(kTable) ? nullptr : row;
}

std::string_view why_not(const Row& row, Role role) {
    return role == Role::consumer && row.of_consumer != kSame ? row.of_consumer : row.forbidden;
}

std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
        }
    }
    return row[b.size()];
}

std::string_view nearest(std::string_view name, Role role) {
    std::string_view best;
    std::size_t best_distance = std::numeric_limits<std::size_t>::max();
    for (const Row& row : kTable) {
        if (!why_not(row, role).empty()) continue;
        const std::size_t d = distance(name, row.name);
        if (d < best_distance) {
            best_distance = d;
            best = row.name;
        }
    }
    return best;
}

[[noreturn]] void refuse(const std::string& what, std::string hint) {
    throw Error(ErrorKind::invalid, "broker_option", what, std::move(hint));
}

void set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value, bool secret) {
    char text[512] = "";
    if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), text, sizeof text) ==
        RD_KAFKA_CONF_OK) {
        return;
    }
    refuse("the Kafka client does not take the value of '" + name + "'" +
               (secret ? std::string{} : ": " + std::string{text}),
           "correct broker.options." + name);
}

std::size_t number(const Options& options, const std::string& name, std::size_t otherwise) {
    const auto found = options.client.find(name);
    if (found == options.client.end()) return otherwise;
    std::size_t value = 0;
    const char* end = found->second.data() + found->second.size();
    const auto result = std::from_chars(found->second.data(), end, value);
    if (result.ec != std::errc{} || result.ptr != end) {
        refuse("'" + name + "' is not a number", "correct broker.options." + name);
    }
    return value;
}

// The client's own limit of its queue stands a little above ours, so that ours is the one that
// counts; and the largest message must fit when the queue is empty.
std::size_t client_queue_kbytes(const Options& options) {
    const std::size_t bytes = std::max(options.queue_max_bytes, message_max(options));
    return std::min<std::size_t>(bytes / 1024 + 1024, 2'097'151);
}

}  // namespace

void set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
    set(conf, name, value, false);
}

void check_client(const std::map<std::string, std::string>& client, Role role) {
    for (const auto& [name, value] : client) {
        const Row* row = find(name);
        if (row == nullptr) {
            refuse("'" + name + "' is not an option that can be set",
                   "did you mean '" + std::string{nearest(name, role)} + "'?");
        }
        if (const std::string_view why = why_not(*row, role); !why.empty()) {
            refuse("'" + name + "' cannot be set: " + std::string{why},
                   "remove broker.options." + name);
        }
    }
}

void apply_client(rd_kafka_conf_t* conf, const std::map<std::string, std::string>& client) {
    for (const auto& [name, value] : client) {
        const Row* row = find(name);
        set(conf, name, value, row == nullptr || row->secret);
    }
}

std::size_t message_max(const Options& options) {
    return number(options, "message.max.bytes", kMessageMax);
}

void check(const Options& options) {
    if (options.bootstrap_servers.empty()) {
        refuse("no Kafka server is named", "give host:port, as in kafka://localhost:9092");
    }
    if (options.queue_max < 1 || options.queue_max > 10'000'000) {
        refuse("queue_max is out of range", "give 1 to 10,000,000 messages");
    }
    if (options.queue_max_bytes < 1) refuse("queue_max_bytes is 0", "give at least 1 byte");
    check_client(options.client, Role::producer);
    make_conf(options, Batching{});
}

Options prompt(Options options) {
    if (!options.client.contains("queue.buffering.max.ms"))
        options.client.try_emplace("linger.ms", "0");
    return options;
}

Conf make_conf(const Options& options, const Batching& batching) {
    Conf conf{rd_kafka_conf_new()};
    set(conf.get(), "bootstrap.servers", options.bootstrap_servers);
    // Defaults that an option may change: notice a dead server and come back within seconds.
    set(conf.get(), "client.id", "sagaz");
    set(conf.get(), "message.max.bytes", std::to_string(kMessageMax));
    // While a request is on its way the next one fills; waiting longer than that only adds latency.
    set(conf.get(), "linger.ms", "1");
    set(conf.get(), "reconnect.backoff.ms", "100");
    set(conf.get(), "reconnect.backoff.max.ms", "2000");
    set(conf.get(), "socket.keepalive.enable", "true");
    set(conf.get(), "socket.nagle.disable", "true");
    apply_client(conf.get(), options.client);
    set(conf.get(), "acks", "all");
    set(conf.get(), "enable.idempotence", "true");
    set(conf.get(), "enable.gapless.guarantee", "true");
    set(conf.get(), "max.in.flight.requests.per.connection", "1");
    set(conf.get(), "partitioner", "murmur2_random");
    set(conf.get(), "message.timeout.ms", "0");
    set(conf.get(), "log.queue", "true");
    set(conf.get(), "queue.buffering.max.messages", std::to_string(options.queue_max));
    set(conf.get(), "queue.buffering.max.kbytes", std::to_string(client_queue_kbytes(options)));
    if (batching.single) set(conf.get(), "batch.num.messages", "1");
    if (batching.bytes_max > 0) set(conf.get(), "batch.size", std::to_string(batching.bytes_max));
    return conf;
}

}  // namespace sagaz::inline v0::kafka
