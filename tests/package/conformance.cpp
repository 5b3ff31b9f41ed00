// A backend's author: the conformance suite of sagaz::testing on a destination of their own. That
// a Kafka broker can be made shows that sagaz::kafka is linked; it connects to nothing.
#include <sagaz/brokers.hpp>
#include <sagaz/kafka.hpp>
#include <sagaz/testing/broker_conformance.hpp>
#include <sagaz/testing/store_conformance.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace {

class OwnDestination final : public sagaz::testing::Destination {
public:
    std::unique_ptr<sagaz::Broker> open() override { return sagaz::memory::open(topic_); }
    std::string topic() override { return "orders"; }
    std::vector<sagaz::Message> arrived() override { return topic_.messages(); }

private:
    sagaz::memory::Topic topic_;
};

}  // namespace

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    // Linked too; there is no store to run it on.
    ::testing::GTEST_FLAG(filter) = "OwnConformance.*";
    sagaz::testing::register_store_conformance(
        "None", [] { return std::unique_ptr<sagaz::testing::StoreSubject>{}; });
    const auto kafka = sagaz::kafka::open({.bootstrap_servers = "127.0.0.1:9"});
    const int tests = sagaz::testing::register_broker_conformance(
        "Own", {}, [] { return std::make_unique<OwnDestination>(); });
    return tests > 0 && kafka != nullptr ? RUN_ALL_TESTS() : 1;
}
