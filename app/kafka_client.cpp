#include "app/kafka_client.hpp"

#include "app/commands.hpp"
#include "app/errors.hpp"

namespace sagaz::inline v0::app {
namespace {

void keep_words(rd_kafka_t* /*client*/, int error, const char* text, void* words) {
    if (error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) *static_cast<std::string*>(words) = text;
}

}  // namespace

Error broker_unreachable(const std::string& why) {
    return {ErrorKind::unavailable, "broker_unreachable", why,
            "start it, or correct --broker and broker.options"};
}

kafka::Options kafka_options(const std::string& servers, const BrokerTarget& target) {
    kafka::Options options;
    options.bootstrap_servers = servers;
    options.client = target.options;
    return options;
}

KafkaClient asking_client(const kafka::Options& options, std::string& words) {
    static_cast<void>(kafka::open(options));  // checks the options against the allow-list
    char problem[512];
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
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
    KafkaClient client{rd_kafka_new(RD_KAFKA_PRODUCER, conf, problem, sizeof problem)};
    if (!client) {
        rd_kafka_conf_destroy(conf);
        words = problem;
    }
    return client;
}

}  // namespace sagaz::inline v0::app
