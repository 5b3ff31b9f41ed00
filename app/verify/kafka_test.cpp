#include "app/verify/sources.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <algorithm>
#include <array>
#include <memory>
#include <stdexcept>

// Against the client library's own mock cluster: real requests over loopback, no server to start.
namespace sagaz::verify {
namespace {

struct DestroyClient {
    void operator()(rd_kafka_t* client) const noexcept { rd_kafka_destroy(client); }
};
struct DestroyCluster {
    void operator()(rd_kafka_mock_cluster_t* cluster) const noexcept {
        rd_kafka_mock_cluster_destroy(cluster);
    }
};

class VerifyKafka : public testing::Test {
protected:
    VerifyKafka() {
        rd_kafka_conf_t* conf = rd_kafka_conf_new();
        char text[256] = {};
        host_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text));
        if (!host_) throw std::runtime_error(text);
        cluster_.reset(rd_kafka_mock_cluster_new(host_.get(), 1));
        rd_kafka_mock_topic_create(cluster_.get(), "orders", 3, 1);
        rd_kafka_mock_topic_create(cluster_.get(), "bills", 1, 1);
        rd_kafka_conf_t* mine = rd_kafka_conf_new();
        rd_kafka_conf_set(mine, "bootstrap.servers", servers().c_str(), text, sizeof text);
        producer_.reset(rd_kafka_new(RD_KAFKA_PRODUCER, mine, text, sizeof text));
        if (!producer_) throw std::runtime_error(text);
    }

    std::string servers() const { return rd_kafka_mock_cluster_bootstraps(cluster_.get()); }

    void send(const std::string& topic, int partition, const Id& id, const std::string& payload) {
        const std::string text = id.text();
        rd_kafka_headers_t* headers = rd_kafka_headers_new(5);
        const std::pair<const char*, std::string> kContract[] = {
            {"ce_specversion", "1.0"}, {"ce_id", text},     {"ce_type", "T"},
            {"message_id", text},      {"ce_source", "/s"}, {"content-type", "c"}};
        for (const auto& [name, value] : kContract) {
            rd_kafka_header_add(headers, name, -1, value.data(),
                                static_cast<std::ptrdiff_t>(value.size()));
        }
        std::array<rd_kafka_vu_t, 6> fields{};
        fields[0].vtype = RD_KAFKA_VTYPE_TOPIC;
        fields[0].u.cstr = topic.c_str();
        fields[1].vtype = RD_KAFKA_VTYPE_PARTITION;
        fields[1].u.i32 = partition;
        fields[2].vtype = RD_KAFKA_VTYPE_KEY;
        fields[2].u.mem = {const_cast<char*>("k"), 1};
        fields[3].vtype = RD_KAFKA_VTYPE_VALUE;
        fields[3].u.mem = {const_cast<char*>(payload.data()), payload.size()};
        fields[4].vtype = RD_KAFKA_VTYPE_HEADERS;
        fields[4].u.headers = headers;
        fields[5].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
        fields[5].u.i = RD_KAFKA_MSG_F_COPY;
        rd_kafka_error_t* error = rd_kafka_produceva(producer_.get(), fields.data(), fields.size());
        if (error != nullptr) throw std::runtime_error(rd_kafka_error_string(error));
    }
    void flush() { ASSERT_EQ(rd_kafka_flush(producer_.get(), 10'000), RD_KAFKA_RESP_ERR_NO_ERROR); }

    KafkaSource source(std::vector<std::string> topics = {"orders"}) const {
        return {.bootstrap_servers = servers(), .topics = std::move(topics)};
    }

    std::unique_ptr<rd_kafka_t, DestroyClient> host_;
    std::unique_ptr<rd_kafka_mock_cluster_t, DestroyCluster> cluster_;
    std::unique_ptr<rd_kafka_t, DestroyClient> producer_;
};

}  // namespace

TEST_F(VerifyKafka, ReadsEveryPartitionToItsEnd) {
    Account account;
    for (int n = 0; n < 300; ++n) {
        const Id id = Id::generate();
        const std::string topic = n % 4 == 3 ? "bills" : "orders";
        account.expect(
            {.id = id, .key = "k", .order = n, .topic = topic, .payload = digest_of("{}")});
        send(topic, n % 4 == 3 ? 0 : n % 2, id, "{}");
    }
    flush();
    int called = 0;
    read_kafka(source({"orders", "bills", "orders"}), account, [&] { ++called; });
    const Report report = account.close();
    EXPECT_EQ(report.messages, 300U);
    EXPECT_EQ(report.arrived, 300U);
    EXPECT_EQ(report.count(Damage::inversion), 0U);
    EXPECT_EQ(report.count(Damage::wrong_header), 0U);
    EXPECT_EQ(report.count(Damage::split_key), 1U);  // key "k" of orders is in partitions 0 and 1
}

TEST_F(VerifyKafka, FindsWhatIsWrongInATopic) {
    const Id first = Id::generate();
    const Id second = Id::generate();
    const Id lost = Id::generate();
    Account account;
    account.expect({.id = first, .key = "k", .order = 1, .payload = digest_of("{}")});
    account.expect({.id = second, .key = "k", .order = 2, .payload = digest_of("{}")});
    account.expect({.id = lost, .key = "k", .order = 3});
    send("orders", 0, second, "{}");
    send("orders", 0, first, "other");
    send("orders", 0, second, "{}");
    send("orders", 0, Id::generate(), "{}");
    flush();
    read_kafka(source(), account, [] {});
    const Report report = account.close();
    EXPECT_EQ(report.count(Damage::missing), 1U);
    EXPECT_EQ(report.count(Damage::foreign), 1U);
    EXPECT_EQ(report.count(Damage::inversion), 1U);
    EXPECT_EQ(report.count(Damage::wrong_payload), 1U);
    EXPECT_EQ(report.repeats, 1U);
}

TEST_F(VerifyKafka, ReadsAnEmptyTopic) {
    Account account;
    read_kafka(source(), account, [] {});
    EXPECT_EQ(account.close().messages, 0U);
}

TEST_F(VerifyKafka, SaysWhenTheClusterGoesSilent) {
    send("orders", 0, Id::generate(), "{}");
    flush();
    rd_kafka_resp_err_t errors[50];
    std::fill(std::begin(errors), std::end(errors), RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    constexpr std::int16_t kFetch = 1;
    rd_kafka_mock_push_request_errors_array(cluster_.get(), kFetch, std::size(errors), errors);
    Account account;
    KafkaSource impatient = source();
    impatient.silence_max = std::chrono::milliseconds{1'000};
    try {
        read_kafka(impatient, account, [] {});
        ADD_FAILURE() << "did not notice";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::unavailable);
        EXPECT_EQ(error.code(), "broker_unreachable");
    }
}

TEST_F(VerifyKafka, RefusesAnOptionThatTheClientDoesNotKnow) {
    Account account;
    KafkaSource wrong = source();
    wrong.client["no.such.option"] = "1";
    try {
        read_kafka(wrong, account, [] {});
        ADD_FAILURE() << "was taken";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), "broker_option");
    }
}

}  // namespace sagaz::verify
