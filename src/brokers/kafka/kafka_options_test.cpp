#include "brokers/kafka/kafka_options.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>

#include <string>

namespace sagaz::kafka {

namespace {

constexpr const char* kSecret = "hunter2-canary";

Options with(std::map<std::string, std::string> client) {
    Options options;
    options.bootstrap_servers = "localhost:9092";
    options.client = std::move(client);
    return options;
}

// What a refusal says, all of it; empty when the options are taken.
std::string refusal(const Options& options) {
    try {
        check(options);
        return {};
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        EXPECT_EQ(error.code(), "broker_option");
        return std::string{error.what()} + " | " + std::string{error.hint()};
    }
}

std::string value_of(const Conf& conf, const char* name) {
    char value[256] = "";
    std::size_t size = sizeof value;
    EXPECT_EQ(rd_kafka_conf_get(conf.get(), name, value, &size), RD_KAFKA_CONF_OK) << name;
    return value;
}

}  // namespace

TEST(KafkaOptions, TakeTransportTlsSaslSizesAndLinger) {
    EXPECT_EQ(refusal(with({{"socket.timeout.ms", "3000"},
                            {"security.protocol", "sasl_ssl"},
                            {"ssl.endpoint.identification.algorithm", "https"},
                            {"sasl.mechanism", "SCRAM-SHA-512"},
                            {"sasl.username", "u"},
                            {"sasl.password", kSecret},
                            {"message.max.bytes", "2000000"},
                            {"compression.type", "zstd"},
                            {"linger.ms", "0"}})),
              "");
}

TEST(KafkaOptions, SetWhatThePromisesRestOn) {
    const Conf conf = make_conf(with({{"linger.ms", "7"}}), {});
    EXPECT_EQ(value_of(conf, "enable.idempotence"), "true");
    EXPECT_EQ(value_of(conf, "enable.gapless.guarantee"), "true");
    EXPECT_EQ(value_of(conf, "max.in.flight.requests.per.connection"), "1");
    EXPECT_EQ(value_of(conf, "acks"), "-1");
    EXPECT_EQ(value_of(conf, "message.timeout.ms"), "0");
    EXPECT_EQ(value_of(conf, "partitioner"), "murmur2_random");
    EXPECT_EQ(value_of(conf, "linger.ms"), "7");
}

TEST(KafkaOptions, LetAPublishersMessageLeaveAtOnce) {
    EXPECT_EQ(value_of(make_conf(prompt(with({})), {}), "linger.ms"), "0");
    EXPECT_EQ(value_of(make_conf(prompt(with({{"linger.ms", "7"}})), {}), "linger.ms"), "7");
    EXPECT_EQ(value_of(make_conf(prompt(with({{"queue.buffering.max.ms", "7"}})), {}), "linger.ms"),
              "7");
}

TEST(KafkaOptions, ForbidWhatThePromisesRestOnAndSayWhy) {
    for (const char* name :
         {"acks", "request.required.acks", "enable.idempotence", "enable.gapless.guarantee",
          "max.in.flight", "max.in.flight.requests.per.connection", "partitioner", "retries",
          "message.timeout.ms", "delivery.timeout.ms", "request.timeout.ms", "queuing.strategy",
          "queue.buffering.max.messages", "transactional.id", "bootstrap.servers",
          "plugin.library.paths", "sasl.kerberos.kinit.cmd", "debug"}) {
        const std::string said = refusal(with({{name, "1"}}));
        EXPECT_NE(said.find(std::string{"'"} + name + "' cannot be set: "), std::string::npos)
            << name << ": " << said;
    }
}

TEST(KafkaOptions, NameTheNearestOfAnUnknownOne) {
    EXPECT_NE(refusal(with({{"linger.msec", "5"}})).find("did you mean 'linger.ms'?"),
              std::string::npos);
    EXPECT_NE(refusal(with({{"sasl.pasword", "x"}})).find("did you mean 'sasl.password'?"),
              std::string::npos);
}

TEST(KafkaOptions, RefuseWrongValues) {
    EXPECT_NE(refusal(with({{"socket.timeout.ms", "soon"}})).find("socket.timeout.ms"),
              std::string::npos);
    EXPECT_NE(refusal(with({{"message.max.bytes", "1MB"}})), "");
    EXPECT_NE(refusal(with({{"message.max.bytes", "0x100000"}})).find("not a number"),
              std::string::npos);
    EXPECT_NE(refusal(with({{"compression.type", "rar"}})), "");
}

TEST(KafkaOptions, RefuseNoServerAndEmptyLimits) {
    EXPECT_NE(refusal(Options{}), "");
    Options none = with({});
    none.queue_max = 0;
    EXPECT_NE(refusal(none), "");
    none = with({});
    none.queue_max_bytes = 0;
    EXPECT_NE(refusal(none), "");
}

TEST(KafkaOptions, NeverShowASecret) {
    // Under a name that is right, misspelt, forbidden; and with a value that the client refuses.
    for (const auto& options : {with({{"sasl.pasword", kSecret}}), with({{"acks", kSecret}}),
                                with({{"sasl.oauthbearer.client.secrets", kSecret}}),
                                with({{"security.protocol", "ssl"}, {"ssl.key.pem", kSecret}})}) {
        std::string said = refusal(options);
        if (said.empty()) {
            try {
                open(options);
            } catch (const Error& error) {
                said = std::string{error.what()} + std::string{error.hint()};
            }
        }
        EXPECT_NE(said, "");
        EXPECT_EQ(said.find(kSecret), std::string::npos) << said;
    }
}

TEST(KafkaOptions, LetTheLargestMessageFitTheClientsQueue) {
    Options options = with({{"message.max.bytes", "50000000"}});
    options.queue_max_bytes = 1'000;
    EXPECT_GE(std::stoul(value_of(make_conf(options, {}), "queue.buffering.max.kbytes")),
              50'000'000UL / 1024);
}

TEST(KafkaOptions, SendOneMessageARequestWhileIsolating) {
    const Conf conf = make_conf(with({}), {true, 20'000});
    EXPECT_EQ(value_of(conf, "batch.num.messages"), "1");
    EXPECT_EQ(value_of(conf, "batch.size"), "20000");
}

}  // namespace sagaz::kafka
