#include "app/brokers.hpp"

#include "app/commands.hpp"
#include "app/errors.hpp"
#include "app/url.hpp"

#include <sagaz/brokers.hpp>
#include <sagaz/kafka.hpp>

#include <librdkafka/rdkafka.h>

namespace sagaz::inline v0::app {
namespace {

struct DestroyClient {
    void operator()(rd_kafka_t* client) const noexcept { rd_kafka_destroy(client); }
};

kafka::Options kafka_options(const std::string& servers, const BrokerTarget& target) {
    kafka::Options options;
    options.bootstrap_servers = servers;
    options.client = target.options;
    return options;
}

// The client's latest word on a connection: "connection refused" says more than "no answer".
void keep_words(rd_kafka_t* /*client*/, int error, const char* text, void* words) {
    if (error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) *static_cast<std::string*>(words) = text;
}

// A client of its own that asks for metadata: the sending one says it is down only by and by.
std::string ask_kafka(const kafka::Options& options, std::chrono::milliseconds deadline) {
    static_cast<void>(kafka::open(options));  // checks the options against the allow-list
    char problem[512];
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    std::string words;
    rd_kafka_conf_set_opaque(conf, &words);
    rd_kafka_conf_set_error_cb(conf, keep_words);
    auto all = options.client;
    all["bootstrap.servers"] = options.bootstrap_servers;
    for (const auto& [name, value] : all) {
        if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), problem, sizeof problem) !=
            RD_KAFKA_CONF_OK) {
            rd_kafka_conf_destroy(conf);
            refuse("broker_option", problem, "correct broker.options");
        }
    }
    const std::unique_ptr<rd_kafka_t, DestroyClient> client{
        rd_kafka_new(RD_KAFKA_PRODUCER, conf, problem, sizeof problem)};
    if (!client) {
        rd_kafka_conf_destroy(conf);
        return problem;
    }
    const struct rd_kafka_metadata* metadata = nullptr;
    const auto answer =
        rd_kafka_metadata(client.get(), 0, nullptr, &metadata, static_cast<int>(deadline.count()));
    if (answer != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_poll(client.get(), 0);
        return "no server of " + options.bootstrap_servers +
               " answers: " + (words.empty() ? rd_kafka_err2str(answer) : words);
    }
    rd_kafka_metadata_destroy(metadata);
    return {};
}

}  // namespace

std::unique_ptr<Broker> open_broker(const BrokerTarget& target) {
    const auto url = parse_broker_url(target.url, "the configuration");
    if (url.kind != BrokerKind::kafka && !target.options.empty()) {
        refuse("broker_option", "broker.options for " + target.url,
               "only kafka:// takes client options");
    }
    if (url.kind == BrokerKind::kafka) {
        return kafka::open(kafka_options(url.place, target));
    }
    if (url.kind == BrokerKind::null) {
        return null::open();
    }
    return file::open(url.place);  // "-" is standard output
}

std::string why_unreachable(const BrokerTarget& target, std::chrono::milliseconds deadline) {
    const auto url = parse_broker_url(target.url, "the configuration");
    if (url.kind == BrokerKind::kafka) {
        return ask_kafka(kafka_options(url.place, target), deadline);
    }
    return {};  // the others need no server
}

}  // namespace sagaz::inline v0::app
