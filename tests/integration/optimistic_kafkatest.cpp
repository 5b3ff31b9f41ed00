// The optimistic publisher through the public API, with a real PostgreSQL and a real Kafka.
#include "tests/support/kafka_mock.hpp"
#include "tests/support/kafka_reader.hpp"
#include "tests/support/kafka_server.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/kafka.hpp>
#include <sagaz/optimistic_publisher.hpp>
#include <sagaz/outbox.hpp>
#include <sagaz/postgres.hpp>
#include <sagaz/relay.hpp>

#include <gtest/gtest.h>

#include <cstdio>
#include <future>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <thread>

namespace sagaz::test {
namespace {

using namespace std::chrono_literals;

tests::KafkaServer* server_of_all{};

// A store that settles nothing: as if its process died right after the acknowledgement.
class Forgetful final : public PublisherStore {
public:
    explicit Forgetful(std::unique_ptr<PublisherStore> store) : store_(std::move(store)) {}
    Attached attach() override { return store_->attach(); }
    Confirmation confirm(std::span<const RowRef> asked, std::span<const RowRef> acknowledged,
                         Milliseconds margin) override {
        return store_->confirm(asked, acknowledged, margin);
    }
    std::uint64_t flushed(bool force) override { return store_->flushed(force); }
    void settle(std::span<const RowRef>, std::span<const RowRef>) override {}

private:
    std::unique_ptr<PublisherStore> store_;
};

class OptimisticOnKafka : public ::testing::Test {
protected:
    OptimisticOnKafka() {
        if (server_of_all == nullptr) mock_ = std::make_unique<tests::KafkaMock>();
        relay_.emplace(postgres::open(schema_.url(), {.schema = schema_.name()}), broker());
        EXPECT_TRUE(relay_->drain(20s)) << "a publisher works where a relay has been";
        options_.schema = schema_.name();
        options_.timeout = 10s;  // Nothing is to depend on how busy the machine is.
        options_.grace = 20s;
    }

    std::string bootstrap() const {
        return mock_ ? mock_->bootstrap() : server_of_all->bootstrap();
    }
    std::unique_ptr<Broker> broker() const {
        return kafka::open_for_publisher({.bootstrap_servers = bootstrap()});
    }
    std::unique_ptr<PublisherStore> store() const {
        return postgres::open_publisher(schema_.url(), {.schema = schema_.name()});
    }
    void open() { open(store(), broker()); }
    void open(std::unique_ptr<PublisherStore> store, std::unique_ptr<Broker> to) {
        publisher_.emplace(std::move(store), std::move(to), options_);
        outbox_.emplace(*publisher_);
    }

    std::string topic() {
        if (server_of_all != nullptr) return server_of_all->create_topic();
        mock_->create_topic("orders", 4);
        return "orders";
    }
    void named_topic(const std::string& name) {
        if (server_of_all == nullptr) {
            mock_->create_topic(name, 1);
            return;
        }
        if (!made_.insert(name).second) server_of_all->delete_topic(name);
        wait_for("the topic", [&] {
            try {
                server_of_all->create_topic_named(name, 1);
                return true;
            } catch (const std::exception&) {
                return false;
            }
        });
    }
    std::vector<Message> messages(const std::string& topic) const {
        return tests::read_topic(bootstrap(), topic);
    }

    Ticket append(const Event& event, const char* end = "COMMIT") {
        sql_.run("BEGIN");
        PGconn* connection = sql_.raw();
        Ticket ticket = outbox_->append(connection, event);
        sql_.run(end);
        return ticket;
    }
    std::int64_t rows() { return sql_.number(schema_.sql("SELECT count(*) FROM @s@.outbox")); }
    void drain(Milliseconds grace = 20s) {
        RelayOptions options;
        options.grace = grace;
        relay_.emplace(postgres::open(schema_.url(), {.schema = schema_.name()}), broker(),
                       options);
        EXPECT_TRUE(relay_->drain(60s));
    }

    static Published left(LeftReason reason) { return {false, reason}; }

    Schema schema_;
    Sql sql_{schema_.client()};
    std::unique_ptr<tests::KafkaMock> mock_;
    std::optional<Relay> relay_;
    OptimisticOptions options_;
    std::optional<OptimisticPublisher> publisher_;
    std::optional<Outbox> outbox_;
    static inline std::set<std::string> made_;
};
using OptimisticOnAFrozenKafka = OptimisticOnKafka;

TEST_F(OptimisticOnKafka, SendsANewEventToTheTopicOfItsType) {
    named_topic("events.ordercreated");
    open();
    const Event created{.key = "42", .event_type = "OrderCreated", .payload = R"({"total": 12})"};
    EXPECT_EQ(publisher_->publish_after_commit(append(created)), (Published{true, {}}));
    const auto found = messages("events.ordercreated");
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].event.key, "42");
    EXPECT_EQ(found[0].event.payload, R"({"total": 12})");
    wait_for("its row to be removed", [&] { return rows() == 0; });
    drain();
    EXPECT_EQ(messages("events.ordercreated").size(), 1U) << "the relay does not repeat it";
}

TEST_F(OptimisticOnKafka, SendsATypeInWordsToATopicInWords) {
    named_topic("events.order.shipped");
    open();
    const Event shipped{.event_type = "order_shipped", .payload = "{}"};
    EXPECT_TRUE(publisher_->publish_after_commit(append(shipped)));
    EXPECT_EQ(messages("events.order.shipped").size(), 1U);
}

TEST_F(OptimisticOnKafka, F01_SendsNothingOfATransactionThatWasRolledBack) {
    const std::string orders = topic();
    open();
    const Event event{.topic = orders, .key = "k", .event_type = "E", .payload = "gone"};
    EXPECT_EQ(publisher_->publish_after_commit(append(event, "ROLLBACK")),
              left(LeftReason::not_committed));
    drain();
    EXPECT_TRUE(messages(orders).empty());
}

TEST_F(OptimisticOnKafka, LeavesToTheRelayWhatIsNotSentWhileItIsSwitchedOff) {
    const std::string orders = topic();
    options_.enabled = false;
    open();
    const Event event{.topic = orders, .key = "k", .event_type = "E", .payload = "p"};
    EXPECT_EQ(publisher_->publish_after_commit(append(event)), left(LeftReason::disabled));
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(held_until) FROM @s@.outbox")), 0);
    drain();
    EXPECT_EQ(messages(orders).size(), 1U);
}

TEST_F(OptimisticOnKafka, ATicketThatIsDroppedGoesByTheRelayWithoutDelay) {
    const std::string orders = topic();
    options_.timeout = 50s;
    options_.grace = 500s;
    open();
    {
        const Ticket dropped = append({.topic = orders, .event_type = "E", .payload = "p"});
    }
    wait_for("the hold to be given back", [&] {
        return sql_.number(schema_.sql(
                   "SELECT count(*) FROM @s@.outbox WHERE held_until < clock_timestamp()")) == 1;
    });
    drain(500s);
    EXPECT_EQ(messages(orders).size(), 1U);
}

TEST_F(OptimisticOnKafka, ATicketThatIsLostGoesByTheRelayWhenItsGraceIsOver) {
    const std::string orders = topic();
    options_.timeout = 500ms;
    options_.grace = 1'500ms;
    open();
    // As a process that is killed loses it: nobody gives its hold back.
    alignas(Ticket) static std::byte lost[sizeof(Ticket)];
    new (lost) Ticket(append({.topic = orders, .event_type = "E", .payload = "p"}));
    RelayOptions options;
    Relay relay(postgres::open(schema_.url(), {.schema = schema_.name()}), broker(), options);
    std::jthread running([&](const std::stop_token& stop) { relay.run(stop); });
    wait_for("the event", [&] { return relay.status().published == 1; });
    EXPECT_EQ(messages(orders).size(), 1U);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(*) FROM @s@.outbox "
                                      "WHERE held_until > clock_timestamp()")),
              0);
}

TEST_F(OptimisticOnKafka, F31_SendsTheSameBytesAsTheRelay) {
    const std::string orders = topic();
    options_.timeout = 900ms;
    options_.grace = 1s;
    open(std::make_unique<Forgetful>(store()), broker());
    const Event event{.topic = orders,
                      .key = "42",
                      .event_type = "OrderPlaced",
                      .payload = std::string("\0\\x00\xff'", 7),
                      .content_type = "application/x",
                      .headers = {{"a", "1"}, {"traceparent", "00-1-2-01"}, {"a", "2"}},
                      .aggregate_id = "order-42"};
    ASSERT_TRUE(publisher_->publish_after_commit(append(event)));
    std::this_thread::sleep_for(1s);  // Its hold.
    drain();
    const auto found = messages(orders);
    ASSERT_EQ(found.size(), 2U) << "one of each";
    EXPECT_EQ(found[0].partition, found[1].partition);
    EXPECT_EQ(found[0].event, found[1].event);
    EXPECT_EQ(found[0].id, found[1].id);
    EXPECT_EQ(found[0].event.payload, event.payload);
}

TEST_F(OptimisticOnKafka, KeepsTheOrderOfAKeyWhoeverSendsIt) {
    const std::string orders = topic();
    open();
    OptimisticPublisher other(store(), broker(), options_);
    const Outbox of_other(other);
    std::jthread relaying([&](const std::stop_token& stop) {
        Relay relay(postgres::open(schema_.url(), {.schema = schema_.name()}), broker());
        relay.run(stop);
    });
    int sent = 0;
    for (int n = 0; n < 60; ++n) {
        const Event event{
            .topic = orders, .key = "k", .event_type = "E", .payload = std::to_string(n)};
        sql_.run("BEGIN");
        PGconn* connection = sql_.raw();
        Ticket ticket = (n % 3 == 0 ? of_other : *outbox_).append(connection, event);
        sql_.run("COMMIT");
        if (n % 5 == 0) continue;  // Dropped: the relay's.
        OptimisticPublisher& by = n % 3 == 0 ? other : *publisher_;
        if (n % 7 == 0) {
            sent += by.publish_after_commit(std::move(ticket)).published ? 1 : 0;
        } else {
            by.submit(std::move(ticket));
        }
    }
    wait_for("all of them", [&] { return messages(orders).size() >= 60; });
    int next = 0;
    for (const Message& message : messages(orders)) {
        const int number = std::stoi(message.event.payload);
        EXPECT_LE(number, next) << "an inversion";
        next = std::max(next, number + 1);
    }
    EXPECT_EQ(next, 60);
    EXPECT_GT(sent, 0);
}

TEST_F(OptimisticOnKafka, F02_ATicketThatIsHeldCanBeResolved) {
    const std::string orders = topic();
    open();
    const Event event{.topic = orders, .event_type = "E", .payload = "p"};
    Ticket ticket = append(event);
    const Ticket aborted = append(event, "ROLLBACK");
    sql_.run("BEGIN");
    PGconn* connection = sql_.raw();
    EXPECT_EQ(outbox_->resolve(connection, ticket), CommitOutcome::committed);
    EXPECT_EQ(outbox_->resolve(connection, aborted), CommitOutcome::aborted);
    sql_.run("COMMIT");
    EXPECT_TRUE(publisher_->publish_after_commit(std::move(ticket)));
}

TEST_F(OptimisticOnKafka, LeavesToTheRelayWhatABrokerThatIsNotThereCannotTake) {
    const std::string orders = topic();
    options_.timeout = 3s;
    open(store(), kafka::open({.bootstrap_servers = "127.0.0.1:1"}));
    const Event event{.topic = orders, .key = "k", .event_type = "E", .payload = "p"};
    // Not the call that waits: on a busy machine it stops to wait before it is told why.
    std::promise<Published> told;
    auto answer = told.get_future();
    publisher_->submit(append(event), [&](Published published) { told.set_value(published); });
    ASSERT_EQ(answer.wait_for(30s), std::future_status::ready);
    EXPECT_EQ(answer.get(), left(LeftReason::unavailable));
    drain();
    EXPECT_EQ(messages(orders).size(), 1U);
}

TEST_F(OptimisticOnKafka, LeavesToTheRelayWhatIsRefused) {
    const std::string orders = topic();
    open();
    const Event big{.topic = orders, .event_type = "E", .payload = std::string(2'000'000, 'x')};
    EXPECT_EQ(publisher_->publish_after_commit(append(big)), left(LeftReason::refused));
    drain();
    EXPECT_EQ(sql_.value(schema_.sql("SELECT reason FROM @s@.parked")), "payload_too_large");
}

TEST_F(OptimisticOnAFrozenKafka, F36_CallsEndInTimeAndNoEventIsLost) {
    const std::string orders = topic();
    options_.timeout = 1s;
    options_.breaker_failures = 2;
    options_.breaker_initial = 1h;
    options_.breaker_max = 1h;
    open();
    std::size_t events = 0;
    const auto publish = [&] {
        return publisher_->publish_after_commit(
            append({.topic = orders, .event_type = "E", .payload = std::to_string(events++)}));
    };
    wait_for("one to be sent", [&] { return publish().published; });
    server_of_all->freeze();
    wait_for("the breaker", [&] { return publish().reason == LeftReason::breaker_open; });
    for (int n = 0; n < 20; ++n) EXPECT_EQ(publish(), left(LeftReason::breaker_open));
    server_of_all->thaw();
    publisher_->stop(20s);  // What is on its way arrives, and is not repeated.
    drain();
    std::set<std::string> payloads;
    for (const Message& message : messages(orders)) payloads.insert(message.event.payload);
    EXPECT_EQ(payloads.size(), events);
}

}  // namespace
}  // namespace sagaz::test

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    if (!sagaz::tests::KafkaServer::available()) {
        GTEST_FLAG_SET(filter, "-OptimisticOnAFrozenKafka.*");
        return RUN_ALL_TESTS();
    }
    sagaz::tests::KafkaServer server;
    sagaz::test::server_of_all = &server;
    std::printf("on a real Apache Kafka at %s\n", server.bootstrap().c_str());
    return RUN_ALL_TESTS();
}
