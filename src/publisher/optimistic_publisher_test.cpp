#include "publisher/publisher_fixture.hpp"

#include <sagaz/brokers.hpp>
#include <sagaz/optimistic_publisher.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <optional>
#include <thread>

namespace sagaz::publisher {

using namespace std::chrono_literals;

namespace {

class OptimisticPublisherTest : public testing::Test {
protected:
    OptimisticPublisherTest() {
        options_.timeout = 10s;  // Nothing here is to depend on how busy the machine is.
        options_.grace = 60s;
        options_.breaker_initial = 1h;
        options_.breaker_max = 1h;
    }

    void open() { open(memory::open(topic_)); }
    void open_fake() { open(std::make_unique<FakeBroker>(will_)); }
    void open(std::unique_ptr<Broker> broker) {
        publisher_.emplace(std::make_unique<FakeStore>(log_), std::move(broker), options_,
                           &telemetry_);
        outbox_.emplace(*publisher_);
    }

    static Event event(std::string key = "k", std::string payload = "{}") {
        return {.topic = "orders",
                .key = std::move(key),
                .event_type = "OrderPlaced",
                .payload = std::move(payload)};
    }

    Ticket appended(const Event& event, bool commits = true) {
        FakeTransaction transaction(log_);
        Ticket ticket = outbox_->append(transaction, event);
        sql_ = transaction.sql;
        if (commits) transaction.commit();
        return ticket;
    }

    Published publish(const Event& event) {
        return publisher_->publish_after_commit(appended(event));
    }

    void decide(Receipt::State state, bool silent = false) {
        const std::scoped_lock lock(will_.mutex);
        will_.state = state;
        will_.silent = silent;
    }

    bool is_held() const { return takes_hold(sql_); }

    void open_breaker() {
        log_.change([](FakeLog& log) { log.trouble = FakeLog::Trouble::unavailable; });
        for (int n = 0; n < 1'000 && publish(event()).reason != LeftReason::breaker_open; ++n) {
        }
        ASSERT_EQ(publish(event()).reason, LeftReason::breaker_open);
    }

    static constexpr Published kPublished{true, {}};
    static Published left(LeftReason reason) { return {false, reason}; }

    FakeLog log_;
    FakeTelemetry telemetry_;
    memory::Topic topic_;
    FakeBroker::Will will_;
    OptimisticOptions options_;
    std::optional<OptimisticPublisher> publisher_;
    std::optional<Outbox> outbox_;
    std::string sql_;
};

TEST_F(OptimisticPublisherTest, SendsAnEventRightAfterItsCommit) {
    open();
    EXPECT_EQ(publish(event("42", "order")), kPublished);
    ASSERT_EQ(topic_.size(), 1U);
    EXPECT_EQ(topic_.messages()[0].event.payload, "order");
    EXPECT_TRUE(log_.wait_for([](const FakeLog& log) { return log.accepted.size() == 1; }));
    EXPECT_EQ(telemetry_.of("success_total"), 1);
    EXPECT_EQ(telemetry_.of("latency_seconds"), 1);
}

TEST_F(OptimisticPublisherTest, F01_SendsNothingOfATransactionThatDidNotCommit) {
    open();
    EXPECT_EQ(publisher_->publish_after_commit(appended(event(), false)),
              left(LeftReason::not_committed));
    EXPECT_EQ(topic_.size(), 0U);
    EXPECT_EQ(telemetry_.of("skipped_total/not_committed"), 1);
    EXPECT_EQ(telemetry_.of("attempts_total"), 0) << "no trouble, no attempt";
}

TEST_F(OptimisticPublisherTest, SendsWhatMergedTicketsStandForInTheOrderOfAKey) {
    open();
    FakeTransaction transaction(log_);
    Ticket ticket = outbox_->append(transaction, event("a", "1"));
    ticket.merge(outbox_->append(transaction, event("a", "2")));
    const std::vector<Event> more{event("a", "3"), event("b", "4")};
    ticket.merge(outbox_->append(transaction, more));
    transaction.commit();
    EXPECT_EQ(publisher_->publish_after_commit(std::move(ticket)), kPublished);
    ASSERT_EQ(topic_.size(), 4U);
    std::string of_a;
    for (const Message& message : topic_.messages()) {
        if (message.event.key == "a") of_a += message.event.payload;
    }
    EXPECT_EQ(of_a, "123");
}

TEST_F(OptimisticPublisherTest, TellsACallbackOnceWhatBecameOfIt) {
    open();
    std::promise<Published> told;
    publisher_->submit(appended(event()), [&](Published published) { told.set_value(published); });
    EXPECT_EQ(told.get_future().get(), kPublished);
    publisher_->submit(appended(event()));  // Nobody wants to know.
    int times = 0;
    publisher_->submit(Ticket{}, [&](Published published) {
        EXPECT_EQ(published, kPublished) << "an empty ticket";
        ++times;
    });
    EXPECT_EQ(times, 1);
}

TEST_F(OptimisticPublisherTest, GivesTheHoldBackOfATicketThatIsDropped) {
    open();
    std::thread([ticket = appended(event())] {}).join();
    EXPECT_TRUE(log_.wait_for([](const FakeLog& log) { return log.left.size() == 1; }));
    Ticket replaced = appended(event());
    replaced = appended(event("other"));
    EXPECT_TRUE(log_.wait_for([](const FakeLog& log) { return log.left.size() == 2; }));
    EXPECT_EQ(topic_.size(), 0U);
    EXPECT_EQ(publisher_->publish_after_commit(std::move(replaced)), kPublished);
    EXPECT_EQ(replaced.ids().size(), 0U) << "it was taken";
    publisher_.reset();
    EXPECT_EQ(log_.left.size(), 2U) << "each once";
}

TEST_F(OptimisticPublisherTest, ItsTicketsAndOutboxesMayOutliveIt) {
    open();
    std::vector<Ticket> tickets;
    for (int n = 0; n < 100; ++n) tickets.push_back(appended(event()));
    std::thread dropping([&] { tickets.clear(); });
    publisher_.reset();
    dropping.join();
    const Ticket late = appended(event());
    EXPECT_FALSE(is_held()) << "nobody would send it";
    EXPECT_EQ(late.ids().size(), 1U);
}

TEST_F(OptimisticPublisherTest, LeavesToTheRelayTheTicketOfAPlainOutbox) {
    open();
    FakeTransaction transaction(log_);
    Ticket ticket = Outbox{}.append(transaction, event());
    EXPECT_FALSE(takes_hold(transaction.sql));
    transaction.commit();
    EXPECT_EQ(publisher_->publish_after_commit(std::move(ticket)), left(LeftReason::late));
    EXPECT_EQ(telemetry_.of("skipped_total/late"), 1);
}

TEST_F(OptimisticPublisherTest, SendsWhatACallerAppendedByItsOwnDriver) {
    open();
    const Event placed = event();
    FakeTransaction transaction(log_);
    const Rows returned = transaction.execute(outbox_->append_statement(placed));
    transaction.commit();
    EXPECT_EQ(publisher_->publish_after_commit(outbox_->ticket_of(placed, returned)), kPublished);
    EXPECT_THROW((void)outbox_->ticket_of(placed, {}), Error);
    EXPECT_THROW((void)outbox_->ticket_of(placed, {{"1"}}), Error);
}

TEST_F(OptimisticPublisherTest, TakesNoHoldAndSendsNothingWhileItIsSwitchedOff) {
    options_.enabled = false;
    open();
    EXPECT_EQ(publish(event()), left(LeftReason::disabled));
    EXPECT_FALSE(is_held());
    publisher_->enable(true);
    Ticket ticket = appended(event("other"));
    EXPECT_TRUE(is_held());
    publisher_->enable(false);
    EXPECT_EQ(publisher_->publish_after_commit(std::move(ticket)), left(LeftReason::disabled));
    EXPECT_EQ(topic_.size(), 0U);
    EXPECT_EQ(telemetry_.of("skipped_total/disabled"), 2);
    EXPECT_TRUE(log_.wait_for([](const FakeLog& log) { return log.left.size() == 1; }));
}

TEST_F(OptimisticPublisherTest, WaitsNoLongerThanItsTimeOut) {
    options_.timeout = 100ms;
    open_fake();
    decide(Receipt::State::accepted, true);
    EXPECT_EQ(publish(event()), left(LeftReason::timeout));
    EXPECT_EQ(telemetry_.of("attempts_total"), 1);
    EXPECT_EQ(telemetry_.of("failures_total/timeout"), 1);
}

TEST_F(OptimisticPublisherTest, WaitsNoLongerThanItsTimeOutForAStoreThatHangs) {
    options_.timeout = 100ms;
    options_.breaker_failures = 1'000;  // It is for who hangs, not for who is slow to begin.
    open();
    for (int n = 0; n < 50 && !publish(event()); ++n) continue;
    log_.change([](FakeLog& log) { log.hangs = true; });
    Published published = left(LeftReason::timeout);
    for (int n = 0; n < 10 && published.reason == LeftReason::timeout; ++n) {
        published = publish(event());
    }
    EXPECT_EQ(published, left(LeftReason::breaker_open)) << "not everybody waits for it";
    EXPECT_FALSE(is_held());
    log_.change([](FakeLog& log) { log.hangs = false; });
}

TEST_F(OptimisticPublisherTest, F30_LeavesToTheRelayWhatTheBrokerDidNotConfirm) {
    open_fake();
    decide(Receipt::State::unknown);
    EXPECT_EQ(publish(event()), left(LeftReason::in_doubt));
    decide(Receipt::State::refused);
    EXPECT_EQ(publish(event("other")), left(LeftReason::refused));
    EXPECT_TRUE(log_.wait_for([](const FakeLog& log) { return log.left.size() == 2; }));
    EXPECT_EQ(telemetry_.of("failures_total/refused"), 1);
    EXPECT_EQ(telemetry_.of("attempts_total"), 2);
    EXPECT_EQ(telemetry_.of("success_total"), 0);
}

TEST_F(OptimisticPublisherTest, SendsNothingToADestinationThatIsDownFromTheStart) {
    options_.timeout = 100ms;
    will_.down = "not connected yet";
    open_fake();
    EXPECT_EQ(publish(event()), left(LeftReason::unavailable));
    EXPECT_TRUE(log_.wait_for([](const FakeLog& log) { return log.left.size() == 1; }));
    const std::scoped_lock lock(will_.mutex);
    EXPECT_EQ(will_.taken, 0U);
}

TEST_F(OptimisticPublisherTest, CostsNextToNothingWhileTheBreakerIsOpen) {
    open();
    open_breaker();
    log_.change([](FakeLog& log) { log.hangs = true; });
    std::vector<std::chrono::nanoseconds> took;
    for (int n = 0; n < 1'001; ++n) {
        Ticket ticket = appended(event());
        EXPECT_FALSE(is_held()) << "nobody would send it";
        const auto began = std::chrono::steady_clock::now();
        const Published published = publisher_->publish_after_commit(std::move(ticket));
        took.push_back(std::chrono::steady_clock::now() - began);
        EXPECT_EQ(published, left(LeftReason::breaker_open));
    }
    std::ranges::nth_element(took, took.begin() + 500);
    RecordProperty("median_ns", static_cast<int>(took[500].count()));
    EXPECT_LT(took[500], 50us) << "of a call, in the median";
    log_.change([](FakeLog& log) { log.hangs = false; });
    EXPECT_GE(telemetry_.of("failures_total/breaker_open"), 1'001);
    EXPECT_EQ(telemetry_.logged("optimistic_breaker_open"), 1);
}

TEST_F(OptimisticPublisherTest, SendsAgainSoonAfterTheTroubleIsOver) {
    options_.breaker_initial = 10ms;
    options_.breaker_max = 20ms;
    options_.timeout = 200ms;  // Also between two tries.
    open();
    open_breaker();
    log_.change([](FakeLog& log) { log.trouble = FakeLog::Trouble::none; });
    const auto end = std::chrono::steady_clock::now() + 20s;
    int sent = 0;
    for (int key = 0; sent < 3 && std::chrono::steady_clock::now() < end; ++key) {
        if (publish(event(std::to_string(key)))) ++sent;
    }
    EXPECT_EQ(sent, 3);
    EXPECT_TRUE(is_held());
}

TEST_F(OptimisticPublisherTest, F34_RefusesMoreThanItsQueueHolds) {
    options_.queue_max = 10;
    open_fake();
    decide(Receipt::State::accepted, true);
    std::atomic<int> full{};
    std::atomic<int> others{};
    for (int n = 0; n < 30; ++n) {
        publisher_->submit(appended(event(std::to_string(n))), [&](Published published) {
            ++(published.reason == LeftReason::queue_full ? full : others);
        });
    }
    EXPECT_EQ(full, 20);
    publisher_->stop(0ms);
    EXPECT_EQ(others, 10);
    EXPECT_EQ(telemetry_.of("failures_total/queue_full"), 20);
}

TEST_F(OptimisticPublisherTest, GoesOnWhenACallbackThrows) {
    open();
    publisher_->submit(appended(event()), [](Published) { throw std::runtime_error("mine"); });
    publisher_->submit(Ticket{}, [](Published) { throw 7; });
    EXPECT_EQ(publish(event("other")), kPublished);
    EXPECT_EQ(telemetry_.logged("publisher_callback_threw"), 2);
}

TEST_F(OptimisticPublisherTest, F91_BeginsAnewWhenMemoryRunsOut) {
    open();
    EXPECT_EQ(publish(event("first")), kPublished);
    log_.change([](FakeLog& log) { log.trouble = FakeLog::Trouble::no_memory; });
    EXPECT_EQ(publish(event("second")), left(LeftReason::unavailable));
    log_.change([](FakeLog& log) { log.trouble = FakeLog::Trouble::none; });
    const auto end = std::chrono::steady_clock::now() + 20s;
    bool sent = false;
    for (int key = 0; !sent && std::chrono::steady_clock::now() < end; ++key) {
        sent = publish(event(std::to_string(key))).published;
    }
    EXPECT_TRUE(sent);
    EXPECT_GE(telemetry_.logged("publisher_began_anew"), 1);
}

TEST_F(OptimisticPublisherTest, KeepsTheOrderOfEachKeyOfManyThreads) {
    constexpr int kThreads = 8;
    constexpr int kEach = 200;
    open();
    std::atomic<int> published{};
    std::atomic<int> answered{};
    std::mutex row_lock;  // The business row's: its holder appends and commits.
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            for (int n = 0; n < kEach; ++n) {
                Ticket ticket;
                {
                    const std::scoped_lock lock(row_lock);
                    FakeTransaction transaction(log_);
                    ticket = outbox_->append(
                        transaction, event(std::to_string(n % 4), std::to_string(log_.last)));
                    transaction.commit();
                }
                publisher_->submit(std::move(ticket), [&](Published one) {
                    published += one.published ? 1 : 0;
                    ++answered;
                });
            }
        });
    }
    threads.clear();
    constexpr std::size_t kAll = kThreads * kEach;
    EXPECT_TRUE(log_.wait_for([&](const FakeLog& log) { return log.accepted.size() == kAll; }));
    EXPECT_EQ(answered, kThreads * kEach) << "what is settled was answered before";
    EXPECT_EQ(published, kThreads * kEach);
    std::map<std::string, int> last;
    for (const Message& message : topic_.messages()) {
        const int position = std::stoi(message.event.payload);
        EXPECT_GE(position, last[*message.event.key]);
        last[*message.event.key] = position;
    }
}

TEST_F(OptimisticPublisherTest, AnswersEachCallOnceWhenItIsStoppedWhileItIsBusy) {
    open();
    std::atomic<int> handed{};
    std::atomic<int> answered{};
    std::atomic<bool> stopped{};
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (int n = 0; n < 100 || !stopped; ++n) {
                FakeTransaction transaction(log_);
                Ticket ticket = outbox_->append(transaction, event(std::to_string(t)));
                transaction.commit();
                ++handed;
                publisher_->submit(std::move(ticket), [&](Published) { ++answered; });
            }
        });
    }
    EXPECT_TRUE(log_.wait_for([](const FakeLog& log) { return log.accepted.size() > 20; }));
    std::jthread other([&] { publisher_->stop(5s); });
    publisher_->stop(5s);
    stopped = true;
    other.join();
    threads.clear();
    EXPECT_EQ(answered, handed);
    EXPECT_EQ(publish(event()), left(LeftReason::disabled));
    EXPECT_FALSE(is_held());
}

TEST_F(OptimisticPublisherTest, MayBeStoppedByACallback) {
    open();
    std::promise<void> stopped;
    publisher_->submit(appended(event()), [&](Published) {
        publisher_->stop(1s);
        stopped.set_value();
    });
    stopped.get_future().get();
    EXPECT_EQ(publish(event()), left(LeftReason::disabled));
}

TEST_F(OptimisticPublisherTest, ShowsEveryCounterFromTheStart) {
    open();
    for (const auto* const name :
         {"attempts_total", "success_total", "failures_total/timeout", "failures_total/refused",
          "failures_total/unavailable", "failures_total/breaker_open", "failures_total/queue_full",
          "failures_total/in_doubt", "failures_total/not_durable", "skipped_total/disabled",
          "skipped_total/late", "skipped_total/behind", "skipped_total/not_committed"}) {
        EXPECT_TRUE(telemetry_.has(name)) << name;
    }
    EXPECT_FALSE(telemetry_.has("failures_total/late"));
    EXPECT_FALSE(telemetry_.has("skipped_total/timeout"));
}

TEST_F(OptimisticPublisherTest, RefusesOptionsThatCannotBe) {
    options_.grace = options_.timeout;
    EXPECT_THROW(open(), Error);
}

}  // namespace
}  // namespace sagaz::publisher
