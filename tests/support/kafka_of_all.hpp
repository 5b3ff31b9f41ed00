#pragma once

#include "tests/support/kafka_server.hpp"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

/// One Kafka for all tests of an executable, which starts while those without it run.
namespace sagaz::tests {

inline std::future<std::unique_ptr<KafkaServer>> kafka_to_come;  // valid when there can be one
inline std::unique_ptr<KafkaServer> kafka_of_all;

/// Waits for it. For SetUpTestSuite.
inline void await_kafka() {
    if (kafka_to_come.valid()) kafka_of_all = kafka_to_come.get();
}

class EndsKafka final : public testing::Environment {
public:
    void TearDown() override {
        kafka_of_all.reset();
        kafka_to_come = {};  // waits, when a filter left it to nobody; then it ends
    }
};

/// Runs all tests; where there can be no Kafka, all but those of `suite`.
inline int run_tests_with_kafka(const std::string& suite) {
    testing::AddGlobalTestEnvironment(new EndsKafka);
    if (KafkaServer::available()) {
        kafka_to_come =
            std::async(std::launch::async, [] { return std::make_unique<KafkaServer>(); });
    } else {
        GTEST_FLAG_SET(filter, GTEST_FLAG_GET(filter) + "-" + suite + ".*");
    }
    return RUN_ALL_TESTS();
}

}  // namespace sagaz::tests
