// examples/order_service as its users meet it: by HTTP and Kafka, killed whenever it pleases us.
#include "tests/examples/service_process.hpp"
#include "tests/integration/cli_process.hpp"
#include "tests/support/kafka_mock.hpp"
#include "tests/support/kafka_reader.hpp"
#include "tests/support/kafka_server.hpp"
#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/kafka.hpp>
#include <sagaz/testing/broker_conformance.hpp>

#include <gtest/gtest.h>
#include <httplib.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace sagaz::test {
namespace {

using nlohmann::json;

constexpr int kOrders = 1'000;
constexpr int kClients = 4;
constexpr std::chrono::seconds kPatience{120};

// A real Kafka, or librdkafka's mock cluster where there can be none.
class Cluster {
public:
    Cluster() {
        if (tests::KafkaServer::available()) {
            server_.emplace();
        } else {
            mock_.emplace();
        }
        for (const std::string topic : {"orders", "payments"}) {
            if (server_) server_->create_topic_named(topic, 4);
            if (mock_) mock_->create_topic(topic, 4);
        }
    }
    std::string bootstrap() const { return server_ ? server_->bootstrap() : mock_->bootstrap(); }

private:
    std::optional<tests::KafkaServer> server_;
    std::optional<tests::KafkaMock> mock_;
};

// The events of one type that came.
struct Arrived {
    std::map<std::string, std::set<std::string>> ids{};  // By key: the ids of the events.
    std::map<std::string, std::int64_t> first{};         // By key: the position of the first.
};

class OrderService : public ::testing::Test {
protected:
    static void SetUpTestSuite() {
        if (!database_.empty()) return;  // of both suites
        auto& server = PostgresServer::shared();
        database_ = server.fresh_database();
        url_ = server.url(database_);
        const auto migrated = run_cli({"migrate", "--store", url_});
        ASSERT_EQ(migrated.code, 0) << migrated.err;
        Sql{url_}.run(read_file(SAGAZ_SOURCE_DIR "/examples/order_service/schema.sql"));
        service_url_ = server.url(database_, "order_service");
    }

    static Sql sql() { return Sql{url_}; }

    httplib::Client client() const {
        httplib::Client made{"127.0.0.1", service_->port()};
        made.set_read_timeout(20);
        return made;
    }
    httplib::Result post(const std::string& key, const std::string& body) const {
        return client().Post("/orders", httplib::Headers{{"Idempotency-Key", key}}, body,
                             "application/json");
    }
    // As a caller does: the same again until there is an answer. Says the order's id.
    std::int64_t place(int number) {
        const json body{{"customer", customer_of(number)}, {"amount_cents", amount_of(number)}};
        const auto end = std::chrono::steady_clock::now() + kPatience;
        while (std::chrono::steady_clock::now() < end) {
            const auto answer = post("key-" + std::to_string(number), body.dump());
            if (answer && (answer->status == 201 || answer->status == 200)) {
                ++placed_;
                return json::parse(answer->body)["id"].get<std::int64_t>();
            }
            if (answer && answer->status != 503) throw std::runtime_error(answer->body);
            ++repeated_;
            pause_briefly();
        }
        throw std::runtime_error("no order was placed in time");
    }
    static std::string customer_of(int number) { return "customer-" + std::to_string(number % 7); }
    static int amount_of(int number) { return 100 + number; }

    void start_service(const std::string& kafka, const std::string& url = service_url_) {
        service_ = std::make_unique<ServiceProcess>(std::map<std::string, std::string>{
            {"DATABASE_URL", url}, {"KAFKA", kafka}, {"HTTP_THREADS", "6"}});
        service_->start_until_ready();
    }

    static inline std::string database_;
    static inline std::string url_;
    static inline std::string service_url_;
    std::unique_ptr<ServiceProcess> service_;
    std::atomic<int> placed_{};
    std::atomic<int> repeated_{};
};

class OrderServiceUnderFire : public OrderService {
protected:
    // All orders from several clients, while the service is killed twice.
    void place_all() {
        ids_.resize(kOrders);
        std::vector<std::future<void>> clients;
        for (int one = 0; one < kClients; ++one) {
            clients.push_back(std::async(std::launch::async, [this, one] {
                for (int n = one; n < kOrders; n += kClients) {
                    ids_[static_cast<std::size_t>(n)] = place(n);
                    // Not every caller knows that it had its answer.
                    if (n % 10 == 0) {
                        EXPECT_EQ(place(n), ids_[static_cast<std::size_t>(n)]);
                    }
                }
            }));
        }
        for (const int killed_at : {300, 700}) {
            wait_for("orders", [&] { return placed_ >= killed_at; }, kPatience);
            service_->kill9();
            service_->start_until_ready();
        }
        for (auto& one : clients) one.get();
    }

    Arrived arrived(const std::string& type) const {
        const Header wanted{"ce_type", type};
        Arrived all;
        for (const auto& message : tests::read_topic(cluster_.bootstrap(), "orders")) {
            const auto& headers = message.event.headers;
            if (std::find(headers.begin(), headers.end(), wanted) == headers.end()) continue;
            all.ids[*message.event.key].insert(message.id);
            all.first.try_emplace(*message.event.key, message.position);
        }
        return all;
    }
    // The events of one type, once there is one of each order.
    Arrived all_of(const std::string& type) const {
        Arrived all;
        wait_for(
            type + " of every order", [&] { return (all = arrived(type)).ids.size() >= kOrders; },
            kPatience);
        return all;
    }

    // A payment of each order's amount, twice: the second long after the first, and close behind.
    void pay_all_twice() const {
        std::vector<sagaz::testing::Sample> copies;
        for (std::size_t n = 0; n < ids_.size(); ++n) {
            copies.push_back(payment(n));
            if (n % 2 == 0) copies.push_back(payment(n));
        }
        for (std::size_t n = 1; n < ids_.size(); n += 2) copies.push_back(payment(n));
        const auto broker = kafka::open({.bootstrap_servers = cluster_.bootstrap()});
        for (const auto& receipt : sagaz::testing::Courier{*broker}.deliver(copies, kPatience)) {
            ASSERT_EQ(receipt.state, Receipt::State::accepted);
        }
    }
    sagaz::testing::Sample payment(std::size_t n) const {
        const json body{{"order_id", ids_[n]}, {"amount_cents", amount_of(static_cast<int>(n))}};
        return {
            .topic = "payments",
            .key = std::to_string(ids_[n]),
            .headers = {{"ce_id", "payment-" + std::to_string(n)}, {"ce_type", "PaymentReceived"}},
            .payload = body.dump()};
    }
    std::int64_t acknowledged() const {
        const auto offsets =
            tests::committed_offsets(cluster_.bootstrap(), "order_service", "payments", 4);
        return std::accumulate(offsets.begin(), offsets.end(), std::int64_t{});
    }

    Cluster cluster_;
    std::vector<std::int64_t> ids_;
};

// Each line of Prometheus' text format; the sum of the series of `name`.
double sum_of(const std::string& page, const std::string& name) {
    static const std::regex kComment{R"(# (HELP|TYPE) [a-z_:]+ .*)"};
    static const std::regex kSample{
        R"(([a-z_:]+)(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? ([-+.0-9e]+|[-+]?Inf|NaN))"};
    double sum = 0;
    for (const auto& line : lines_of(page)) {
        std::smatch parts;
        if (std::regex_match(line, kComment)) continue;
        const bool is_sample = std::regex_match(line, parts, kSample);
        EXPECT_TRUE(is_sample) << line;
        if (is_sample && parts[1] == name) sum += std::stod(parts[4]);
    }
    return sum;
}

TEST_F(OrderServiceUnderFire, LosesAndDoublesNothingWhenItIsKilled) {
    CliProcess relay{{"relay", "--broker", "kafka://" + cluster_.bootstrap(), "--store", url_},
                     {.environment = {{"SAGAZ_ADMIN_LISTEN", "127.0.0.1:0"}}}};
    start_service(cluster_.bootstrap());
    place_all();
    EXPECT_GT(repeated_, 0) << "no kill met a request";
    EXPECT_EQ(std::set<std::int64_t>(ids_.begin(), ids_.end()).size(), std::size_t{kOrders});
    const std::string ours = " WHERE customer LIKE 'customer-%'";
    EXPECT_EQ(sql().number("SELECT count(*) FROM shop.orders" + ours), kOrders);
    EXPECT_EQ(sql().number("SELECT sum(balance_cents) FROM shop.account" + ours),
              sql().number("SELECT sum(100 + n) FROM generate_series(0, 999) AS n"));
    EXPECT_EQ(sql().number("SELECT count(*) FROM shop.disagreement"), 0);

    const auto placed = all_of("OrderPlaced");
    pay_all_twice();
    ASSERT_FALSE(HasFatalFailure());
    wait_for(
        "some payments",
        [&] {
            return sql().number("SELECT count(*) FROM shop.orders WHERE paid_cents > 0") >= 300;
        },
        kPatience);
    service_->kill9();
    service_->start_until_ready();
    wait_for("every payment", [&] { return acknowledged() == 2 * kOrders; }, kPatience);
    EXPECT_EQ(sql().number("SELECT count(*) FROM sagaz.consumer_inbox"), kOrders);
    EXPECT_EQ(
        sql().number("SELECT count(*) FROM shop.orders" + ours + " AND paid_cents <> amount_cents"),
        0);
    EXPECT_EQ(sql().number("SELECT sum(abs(balance_cents)) FROM shop.account" + ours), 0);
    EXPECT_EQ(sql().number("SELECT count(*) FROM shop.disagreement"), 0);
    EXPECT_EQ(sql().number("SELECT count(*) FROM sagaz.parked"), 0);

    const auto paid = all_of("OrderPaid");
    for (const auto id : ids_) {
        const auto key = std::to_string(id);
        EXPECT_EQ(placed.ids.at(key).size(), 1U) << key;
        EXPECT_EQ(paid.ids.at(key).size(), 1U) << key;
        EXPECT_LT(placed.first.at(key), paid.first.at(key)) << key;
    }
    EXPECT_EQ(placed.ids.size(), std::size_t{kOrders});
    EXPECT_EQ(paid.ids.size(), std::size_t{kOrders});

    const auto page = client().Get("/metrics");
    ASSERT_TRUE(page);
    EXPECT_GT(sum_of(page->body, "consumer_inbox_processed_total"), 0) << page->body;
    EXPECT_GT(sum_of(page->body, "consumer_inbox_duplicates_total"), 0) << page->body;
    EXPECT_GT(sum_of(page->body, "outbox_optimistic_send_success_total"), 0) << page->body;
    EXPECT_EQ(service_->terminate(), 0) << service_->log();
    EXPECT_NE(service_->log().find(R"("event":"stopped")"), std::string::npos) << service_->log();
}

TEST_F(OrderService, TakesOrdersWhileKafkaIsDown) {
    start_service("127.0.0.1:1");
    const auto answer = post("alone", R"({"customer": "ann", "amount_cents": 1200})");
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 201) << answer->body;
    const auto location = answer->get_header_value("Location");
    const auto found = client().Get(location);
    ASSERT_TRUE(found) << location;
    EXPECT_EQ(found->status, 200);
    EXPECT_EQ(json::parse(found->body), json::parse(answer->body));
    EXPECT_EQ(client().Get("/livez")->status, 200);
    EXPECT_EQ(service_->terminate(), 0) << service_->log();
}

TEST_F(OrderService, TakesUpAParkedPaymentWhenItIsReplayed) {
    start_service("127.0.0.1:1");
    const auto answer = post("to be parked", R"({"customer": "ann", "amount_cents": 7100})");
    ASSERT_TRUE(answer);
    const auto id = json::parse(answer->body)["id"].dump();
    const auto paid = [&] {
        return sql().number("SELECT paid_cents FROM shop.orders WHERE id = " + id);
    };
    sql().run(
        "SELECT sagaz.inbox_park('order_service', 'parked-payment', 'max_attempts', 'why', 10, "
        "'payments', 'PaymentReceived', convert_to('{\"order_id\": " +
        id + ", \"amount_cents\": 7100}', 'UTF8'), '" + id + "', NULL, NULL)");
    EXPECT_EQ(paid(), 0);
    const auto replayed =
        run_cli({"parked", "replay", "--consumer", "order_service", "--yes", "--store", url_});
    ASSERT_EQ(replayed.code, 0) << replayed.err;
    wait_for("the payment", [&] { return paid() == 7100; }, kPatience);
    EXPECT_EQ(sql().number("SELECT count(*) FROM sagaz.parked"), 0);
    EXPECT_EQ(service_->terminate(), 0) << service_->log();
}

TEST_F(OrderService, RefusesWhatIsNoOrder) {
    start_service("127.0.0.1:1");
    const std::string good = R"({"customer": "ann", "amount_cents": 1200})";
    EXPECT_EQ(post("one", good)->status, 201);
    EXPECT_EQ(post("one", good)->status, 200);
    EXPECT_EQ(post("one", R"({"customer": "ann", "amount_cents": 1300})")->status, 422);
    EXPECT_EQ(post("one", R"({"customer": "bob", "amount_cents": 1300})")->status, 201);
    EXPECT_EQ(post("", good)->status, 400);
    EXPECT_EQ(post(std::string(256, 'k'), good)->status, 400);
    for (const std::string wrong :
         {"", "[", R"({"customer": "ann"})", R"({"customer": "ann", "amount_cents": 0})",
          R"({"customer": "ann", "amount_cents": 1.5})",
          R"({"customer": "a\u0000b", "amount_cents": 1})",
          R"({"customer": "ann", "amount_cents": 1, "currency": "EUR"})",
          R"({"customer": "ann", "amount_cents": 100000000000000000000})"}) {
        EXPECT_EQ(post("two", wrong)->status, 400) << wrong;
    }
    EXPECT_EQ(client().Get("/orders/999999")->status, 404);
    EXPECT_EQ(client().Get("/orders/ann")->status, 404);
    EXPECT_EQ(sql().number("SELECT count(*) FROM shop.orders WHERE idempotency_key = 'two'"), 0);
}

TEST_F(OrderService, SaysThatTheDatabaseIsDownAndServesWhenItIsBack) {
    auto& server = PostgresServer::shared();
    start_service("127.0.0.1:1", server.direct_url("a pooler lets us wait for its server instead",
                                                   database_, "order_service"));
    server.stop(StopMode::immediate);
    const std::string order = R"({"customer": "ann", "amount_cents": 1})";
    const auto answer = post("outage", order);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 503) << answer->body;
    EXPECT_EQ(answer->get_header_value("Retry-After"), "1");
    EXPECT_EQ(client().Get("/readyz")->status, 503);
    EXPECT_EQ(client().Get("/livez")->status, 200);
    server.start();
    wait_for("the service", [&] { return client().Get("/readyz")->status == 200; });
    EXPECT_EQ(post("outage", order)->status, 201);
}

TEST_F(OrderService, NamesTheVariableThatIsWrong) {
    const auto log_of = [&](std::map<std::string, std::string> settings) {
        ServiceProcess service{std::move(settings)};
        service.start();
        EXPECT_EQ(service.wait(), 2);
        return service.log();
    };
    EXPECT_NE(log_of({{"KAFKA", "127.0.0.1:1"}}).find("ORDERS_DATABASE_URL is not set"),
              std::string::npos);
    const auto log =
        log_of({{"KAFKA", "127.0.0.1:1"}, {"DATABASE_URL", "x"}, {"CONNECTIONS", "4x"}});
    EXPECT_NE(log.find(R"(ORDERS_CONNECTIONS is \"4x\")"), std::string::npos) << log;
    EXPECT_NE(log.find("from 2 to 1000"), std::string::npos) << log;
}

}  // namespace
}  // namespace sagaz::test
