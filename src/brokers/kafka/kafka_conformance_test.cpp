// The conformance suite on librdkafka's mock cluster.
#include "tests/support/kafka_mock.hpp"
#include "tests/support/kafka_reader.hpp"

#include <sagaz/kafka.hpp>
#include <sagaz/testing/broker_conformance.hpp>

namespace sagaz::kafka {

namespace {

class InMockCluster final : public testing::Destination {
public:
    InMockCluster() { mock_.create_topic("orders", 4); }

    std::unique_ptr<Broker> open() override {
        Options options;
        options.bootstrap_servers = mock_.bootstrap();
        options.client["message.max.bytes"] = "2000000";
        return kafka::open(std::move(options));
    }
    std::string topic() override { return "orders"; }
    std::vector<Message> arrived() override {
        return tests::read_topic(mock_.bootstrap(), "orders");
    }
    testing::Sample poison() override {
        return {"orders", "key-0", {}, std::string(2'000'000, 'x')};
    }
    void cut() override { mock_.down(1); }
    void heal() override { mock_.up(1); }

private:
    tests::KafkaMock mock_{1};
};

}  // namespace

SAGAZ_BROKER_CONFORMANCE(KafkaMock, ({.refuses = true, .outages = true}),
                         [] { return std::make_unique<InMockCluster>(); });

}  // namespace sagaz::kafka
