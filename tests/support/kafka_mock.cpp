#include "tests/support/kafka_mock.hpp"

#include <stdexcept>

namespace sagaz::tests {

namespace {

rd_kafka_t* make_client() {
    char text[512] = "";
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "client.id", "mock", text, sizeof text);
    rd_kafka_conf_set_log_cb(conf, [](const rd_kafka_t*, int, const char*, const char*) {});
    rd_kafka_t* client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (client == nullptr) throw std::runtime_error(text);
    return client;
}

void must(rd_kafka_resp_err_t error, const char* what) {
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        throw std::runtime_error(std::string{what} + ": " + rd_kafka_err2str(error));
    }
}

}  // namespace

KafkaMock::KafkaMock(int brokers)
    : client_(make_client()), cluster_(rd_kafka_mock_cluster_new(client_.get(), brokers)) {
    if (cluster_ == nullptr) throw std::runtime_error("no mock cluster");
}

KafkaMock::~KafkaMock() { rd_kafka_mock_cluster_destroy(cluster_); }

std::string KafkaMock::bootstrap() const { return rd_kafka_mock_cluster_bootstraps(cluster_); }

void KafkaMock::create_topic(const std::string& topic, int partitions) {
    must(rd_kafka_mock_topic_create(cluster_, topic.c_str(), partitions, 1), "create topic");
}

void KafkaMock::topic_error(const std::string& topic, rd_kafka_resp_err_t error) {
    rd_kafka_mock_topic_set_error(cluster_, topic.c_str(), error);
}

void KafkaMock::fail_next(int api, const std::vector<rd_kafka_resp_err_t>& errors) {
    rd_kafka_mock_push_request_errors_array(cluster_, static_cast<int16_t>(api), errors.size(),
                                            errors.data());
}

void KafkaMock::clear_failures(int api) {
    rd_kafka_mock_clear_request_errors(cluster_, static_cast<int16_t>(api));
}

void KafkaMock::delay(int broker, int milliseconds) {
    must(rd_kafka_mock_broker_set_rtt(cluster_, broker, milliseconds), "delay");
}

void KafkaMock::down(int broker) { must(rd_kafka_mock_broker_set_down(cluster_, broker), "down"); }
void KafkaMock::up(int broker) { must(rd_kafka_mock_broker_set_up(cluster_, broker), "up"); }

void KafkaMock::leader(const std::string& topic, int partition, int broker) {
    must(rd_kafka_mock_partition_set_leader(cluster_, topic.c_str(), partition, broker), "leader");
}

}  // namespace sagaz::tests
