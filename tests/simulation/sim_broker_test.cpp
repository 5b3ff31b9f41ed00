// Does the simulated broker keep the promises of sagaz/broker.hpp, and nothing beyond them?
#include "sim_broker.hpp"

#include <gtest/gtest.h>

#include <map>

namespace sagaz::simulation {
namespace {

class SimulatedBroker : public testing::Test {
protected:
    explicit SimulatedBroker() { destination_.set_faults({}, 5); }

    void append(int count) {
        for (int n = 0; n < count; ++n) {
            events_.push_back(database_.copy_in(
                {.topic = "t", .key = n % 2 == 0 ? "even" : "odd", .payload = "p"}, n + 1));
        }
    }

    std::size_t publish(SimBroker& broker, std::size_t from, std::size_t count) {
        std::vector<std::string> ids;
        std::vector<HeaderView> headers;
        for (std::size_t n = 0; n < count; ++n) {
            ids.push_back(database_.row(events_[from + n]).event_id.text());
        }
        std::vector<Envelope> envelopes;
        for (const std::string& id : ids) headers.push_back({"ce_id", id});
        for (std::size_t n = 0; n < count; ++n) {
            const LogRow& row = database_.row(events_[from + n]);
            envelopes.push_back({.token = token_ + n,
                                 .topic = row.topic,
                                 .key = *row.key,
                                 .headers = {&headers[n], 1},
                                 .payload = row.payload});
        }
        const std::size_t taken = broker.publish(envelopes);
        token_ += taken;
        return taken;
    }

    Scheduler scheduler_{3};
    Trace trace_{scheduler_};
    SimDatabase database_{scheduler_, 4, Settings{.slot_count = 1}};
    History history_{database_, trace_};
    Destination destination_{scheduler_, database_, history_, trace_};
    std::vector<EventIndex> events_;
    std::uint64_t token_{1};
};

}  // namespace

TEST_F(SimulatedBroker, GivesEachEnvelopeOneReceipt) {
    append(20);
    SimBroker broker(destination_, "broker", 6);
    EXPECT_EQ(publish(broker, 0, 20), 20U);
    EXPECT_TRUE(broker.poll(Milliseconds{10}).empty()) << "it never waits";
    EXPECT_EQ(broker.poll_wait(), milliseconds{10}) << "it says how long it would have";
    std::map<std::uint64_t, int> receipts;
    for (int n = 0; n < 100; ++n) {
        scheduler_.run_for(milliseconds{1});
        for (const Receipt& receipt : broker.poll(Milliseconds{0})) {
            EXPECT_EQ(receipt.state, Receipt::State::accepted);
            ++receipts[receipt.token];
        }
    }
    EXPECT_EQ(receipts.size(), 20U);
    for (const auto& [token, count] : receipts) EXPECT_EQ(count, 1) << token;
}

TEST_F(SimulatedBroker, SettlesEverythingWithABreakAndLetsNothingOvertake) {
    int breaks = 0;
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        events_.clear();
        append(10);
        destination_.set_faults({.lost_acknowledgements = 80, .breaks = 80}, 5);
        SimBroker broker(destination_, "broker", seed);
        const std::uint64_t first = token_;
        publish(broker, 0, 10);
        std::map<std::uint64_t, Receipt::State> receipts;
        bool broke = false;
        for (int n = 0; n < 100 && receipts.size() < 10; ++n) {
            scheduler_.run_for(milliseconds{1});
            EXPECT_FALSE(broke) << "something was left after a break";
            for (const Receipt& receipt : broker.poll(Milliseconds{0})) {
                EXPECT_TRUE(receipts.emplace(receipt.token, receipt.state).second);
                broke = broke || receipt.state != Receipt::State::accepted;
            }
        }
        ASSERT_EQ(receipts.size(), 10U);
        breaks += broke ? 1 : 0;
        for (std::uint64_t token = first; token + 2 < first + 10; ++token) {
            if (receipts[token] == Receipt::State::accepted) continue;
            EXPECT_NE(receipts[token + 2], Receipt::State::accepted) << "overtaken in its key";
        }
    }
    EXPECT_GT(breaks, 50);
    EXPECT_TRUE(history_.violations().empty()) << history_.violations().front();
}

TEST_F(SimulatedBroker, TakesNothingWhileItIsDown) {
    append(2);
    SimBroker broker(destination_, "broker", 6);
    destination_.set_down(true);
    EXPECT_EQ(publish(broker, 0, 2), 0U);
    EXPECT_NE(broker.down(), "");
    destination_.set_down(false);
    EXPECT_EQ(broker.down(), "");
    EXPECT_EQ(publish(broker, 0, 2), 2U);
}

TEST_F(SimulatedBroker, DeliversAPrefixOfEachKeyAfterItsProcessDied) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        events_.clear();
        append(10);
        {
            SimBroker broker(destination_, "broker", seed);
            publish(broker, 0, 10);
        }
        scheduler_.run_for(seconds{2});
        for (std::size_t n = 0; n + 2 < events_.size(); ++n) {
            if (history_.has_arrived(events_[n + 2])) {
                EXPECT_TRUE(history_.has_arrived(events_[n])) << "seed " << seed;
            }
        }
    }
    EXPECT_GT(history_.first_arrivals(), 100U);
    EXPECT_LT(history_.first_arrivals(), 450U);
}

TEST_F(SimulatedBroker, RefusesTheSameEventsForGood) {
    append(200);
    destination_.set_faults({.refused_events = 100}, 5);
    std::size_t refused = 0;
    for (const EventIndex event : events_) {
        refused += destination_.is_refused(database_.row(event)) ? 1U : 0U;
        EXPECT_EQ(destination_.is_refused(database_.row(event)),
                  destination_.is_refused(database_.row(event)));
    }
    EXPECT_GT(refused, 5U);
    EXPECT_LT(refused, 50U);
}

}  // namespace sagaz::simulation
