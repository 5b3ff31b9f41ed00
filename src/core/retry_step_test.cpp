#include "core/retry_step.hpp"

#include "core/test_rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace sagaz::inline v0::core {
namespace {

using namespace std::chrono_literals;
using Positions = std::vector<std::int64_t>;

/// One slot, a table of parked events in memory, and a client that answers at once.
class Retries : public testing::Test {
protected:
    struct Parked {
        TestRow row{};
        bool dead{};
        std::int32_t attempts{1};
        Instant due{};
        std::string reason{"refused"};
    };

    Retries() { configure({.slot_count = 1}); }

    void configure(const Settings& settings) {
        delivery_.configure(settings);
        step_.configure(settings);
        step_.enable();
        delivery_.add({0, 1}, {}, 0);
        step_.on_measured(0, now_);
    }

    void load(const std::vector<TestRow>& rows) {
        for (const TestRow& row : rows) {
            table_.push_back({row});
            delivery_.stop_keys(0, std::vector<StoppedKey>{{0, "orders", row.key, ""}}, now_);
        }
    }

    /// Carries out commands until the step has nothing to do before `until`.
    void run(Duration time = 0ms) {
        const Instant end = now_ + time;
        for (int n = 0; n < 10'000; ++n) {
            auto command = step_.next(now_, flushed_);
            if (!command) {
                if (step_.needs_flush(flushed_)) {
                    flushed_ = gate_;
                    continue;
                }
                if (step_.wake_at() > end) break;
                now_ = std::max(now_ + 1ms, step_.wake_at());
                continue;
            }
            std::visit([this](auto& one) { answer(one); }, *command);
        }
        now_ = std::max(now_, end);
    }

    /// All that stands in the table, as a load brings it.
    void load_again() {
        std::vector<StoppedKey> keys;
        for (const Parked& one : table_) keys.push_back({0, "orders", one.row.key, ""});
        delivery_.stop_keys(0, keys, now_);
    }

    bool is_parked(std::int64_t position) const {
        return std::ranges::count(table(), position) > 0;
    }

    bool is_stopped(const std::string& key) {
        return delivery_.find(0)->stopped.contains("orders" + std::string(1, '\0') + key);
    }

    Positions table() const {
        Positions positions;
        for (const Parked& parked : table_) positions.push_back(parked.row.position);
        return positions;
    }

    RelayOptions options_{.parked_retry_initial = 1s, .attempt_timeout = 3s, .max_attempts = 3};
    Delivery delivery_{1s};
    RetryStep step_{options_, delivery_, 1};
    Instant now_{1h};
    std::vector<Parked> table_;
    Positions refused_{};
    Positions arrived_{};
    bool is_down_{};
    std::string silent_{"none"};  ///< A topic that has no leader: no receipt comes.
    int given_up_{};
    Duration stands_still_{};  ///< After the next attempt was sent.
    int looks_{};
    int tries_{};
    bool owns_{true};
    std::uint64_t gate_{7};
    std::uint64_t flushed_{};

private:
    ParkedEvent event_of(const Parked& parked, std::size_t key) const {
        ParkedEvent event;
        event.row.position = parked.row.position;
        event.row.event_id.bytes[15] = static_cast<std::byte>(parked.row.position);
        event.key = key;
        event.dead = parked.dead;
        event.attempts = parked.attempts;
        event.due_in = milliseconds_until(now_, parked.due);
        return event;
    }

    void answer(command::LookAtParked& look) {
        ++looks_;
        ParkedLook found;
        found.gate = gate_;
        for (std::size_t n = 0; n < look.query.keys.size(); ++n) {
            std::size_t count = 0;
            for (const Parked& parked : table_) {
                if (parked.row.key != look.query.keys[n].key) continue;
                if (count++ < look.query.rows_max) found.of_keys.push_back(event_of(parked, n));
            }
        }
        if (!look.query.alone.empty() && look.query.alone_with_key) {
            for (const Parked& parked : table_) {
                if (!parked.dead) found.alone.push_back(event_of(parked, 0));
            }
        }
        step_.on_looked(found, now_);
    }

    void answer(command::ReadParked& read) {
        std::vector<TestRow> rows;
        for (const RowRef& ref : read.rows) {
            for (const Parked& parked : table_) {
                if (parked.row.position == ref.position) rows.push_back(parked.row);
            }
        }
        step_.on_read(batch_of(rows), now_);
    }

    void answer(command::Retry& retry) {
        EXPECT_GE(flushed_, gate_) << "sent before it was on the disk";
        if (is_down_) return step_.on_taken(0, now_);
        ++tries_;
        receipts_.clear();
        bool broke = false;
        for (const Envelope& envelope : retry.envelopes) {
            const std::string id(envelope.headers[1].value);
            const std::int64_t position = std::stoll(id.substr(id.size() - 2), nullptr, 16);
            Receipt receipt{envelope.token, Receipt::State::accepted, "", ""};
            if (broke) {
                receipt.state = Receipt::State::unknown;
            } else if (envelope.topic == silent_) {
                continue;
            } else if (std::ranges::count(refused_, position) > 0) {
                receipt = {envelope.token, Receipt::State::refused, "unknown_topic", ""};
                broke = true;
            } else {
                arrived_.push_back(position);
            }
            receipts_.push_back(receipt);
        }
        step_.on_taken(retry.envelopes.size(), now_);
        now_ += std::exchange(stands_still_, Duration{});
    }

    void answer(command::PollRetry&) {
        const auto receipts = std::exchange(receipts_, {});
        step_.on_receipts(receipts, now_);
    }

    void answer(command::AbandonRetry&) {
        ++given_up_;
        step_.on_abandoned(std::exchange(receipts_, {}), now_);
    }

    void answer(command::SettleParked& settle) {
        if (owns_) {
            for (const ParkedOutcome& outcome : settle.outcomes) settle_one(outcome);
        }
        step_.on_settled(owns_, now_);
    }

    void settle_one(const ParkedOutcome& outcome) {
        const auto parked = std::ranges::find_if(
            table_, [&](const Parked& one) { return one.row.position == outcome.row.position; });
        if (parked == table_.end()) return;
        if (outcome.accepted) {
            table_.erase(parked);
            return;
        }
        parked->attempts = outcome.attempts;
        parked->dead = outcome.dead;
        parked->due = now_ + outcome.retry_in;
    }

    std::vector<Receipt> receipts_;
};

}  // namespace

TEST_F(Retries, F101_IsNotSettledBeforeItHasLookedAtAKeyThatATakeOverFoundStopped) {
    // A relay that ends when all is drained once ended before a key that was put back.
    run();
    ASSERT_TRUE(step_.is_settled());
    load({{.position = 1, .key = "a"}});
    EXPECT_FALSE(step_.is_settled());
    run(1min);
    EXPECT_TRUE(step_.is_settled());
    EXPECT_EQ(arrived_, Positions{1});
}

TEST_F(Retries, TriesAKeyOfATakeOverAtOnceThoughMoreOfItWasParkedBeforeItWasHeardOf) {
    // The stream read on before, and then the key seemed to be refused just now.
    load({{.position = 1, .key = "a"}});
    delivery_.find(0)->stopped.at(std::string("orders\0a", 8)).parked_to = 7;
    run(100ms);
    EXPECT_EQ(arrived_, Positions{1});
}

TEST_F(Retries, AsksForNothingWhenNothingIsParked) {
    run(1h);
    EXPECT_EQ(looks_, 0);
}

TEST_F(Retries, SendsAKeysEventsInOrderAndThenResumesIt) {
    load({{.position = 1, .key = "a"}, {.position = 2, .key = "b"}, {.position = 3, .key = "a"}});
    run(10ms);
    run(1s);
    EXPECT_EQ(table(), Positions{});
    const auto of_a = std::ranges::find(arrived_, 1);
    EXPECT_NE(std::find(of_a, arrived_.end(), 3), arrived_.end()) << "3 came before 1";
    EXPECT_FALSE(is_stopped("a"));
    EXPECT_FALSE(is_stopped("b"));
}

TEST_F(Retries, ARefusedFirstOneHoldsUpItsKeyOnly) {
    refused_ = {1};
    load({{.position = 1, .key = "a"}, {.position = 2, .key = "a"}, {.position = 3, .key = "b"}});
    run(500ms);
    EXPECT_EQ(arrived_, (Positions{3}));
    EXPECT_TRUE(is_stopped("a"));
    EXPECT_EQ(table_[0].attempts, 2);
    EXPECT_EQ(table_[1].attempts, 1) << "what stands behind was not tried";
}

TEST_F(Retries, IsDeadAfterTheLastAttemptAndNotTriedAgain) {
    refused_ = {1};
    load({{.position = 1, .key = "a"}});
    run(1h);
    EXPECT_TRUE(table_[0].dead);
    EXPECT_EQ(table_[0].attempts, 3);
    EXPECT_EQ(tries_, 2) << "the first refusal was the stream's";
    EXPECT_EQ(step_.take_dead(), (RetryStep::DeadCounts{{"unknown_topic", 1}}));
}

TEST_F(Retries, LooksRarelyAtAKeyWhoseFirstOneIsDead) {
    load({{.position = 1, .key = "a"}});
    table_[0].dead = true;
    run(1h);
    EXPECT_LE(looks_, 361);
    EXPECT_GE(looks_, 300) << "an operator may replay it";
}

TEST_F(Retries, AnOutageIsNoAttempt) {
    is_down_ = true;
    load({{.position = 1, .key = "a"}});
    run(10min);
    EXPECT_EQ(table_[0].attempts, 1);
    is_down_ = false;
    run(10s);
    EXPECT_EQ(arrived_, (Positions{1}));
}

TEST_F(Retries, AKeyGoesOnWhenItsEventWasDiscarded) {
    load({{.position = 1, .key = "a"}});
    table_[0].dead = true;
    run(1s);
    EXPECT_TRUE(is_stopped("a"));
    table_.clear();
    run(11s);
    EXPECT_FALSE(is_stopped("a"));
    EXPECT_EQ(tries_, 0);
}

TEST_F(Retries, AReplayedEventIsTriedAgain) {
    load({{.position = 1, .key = "a"}});
    table_[0].dead = true;
    run(1s);
    table_[0] = {.row = {.position = 1, .key = "a"}, .attempts = 0};
    run(11s);
    EXPECT_EQ(arrived_, (Positions{1}));
}

TEST_F(Retries, ASlotThatWasLostIsSaidAndNothingIsResumed) {
    load({{.position = 1, .key = "a"}});
    owns_ = false;
    run(5ms);
    EXPECT_EQ(table(), Positions{1});
    EXPECT_TRUE(is_stopped("a"));
}

// The key never falls silent: at every moment something of it is marked to be parked.
TEST_F(Retries, AKeyThatNeverFallsSilentGoesOn) {
    load({{.position = 1, .key = "a"}});
    std::int64_t next = 10;
    OwnedLog& log = *delivery_.find(0);
    for (int n = 0; n < 100 && is_stopped("a"); ++n) {
        log.ledger.begin_window(std::make_shared<const Snapshot>(), 1);
        delivery_.take(batch_of({{.position = next++, .key = "a"}}), now_);
        run(20ms);
        if (n % 5 != 4) continue;
        auto settling = log.ledger.settling(100);
        for (const Parking& parked : settling.parked) {
            table_.push_back({.row = {.position = parked.position, .key = "a"}, .attempts = 0});
        }
        log.ledger.stored(settling, delivery_.pool());
    }
    EXPECT_FALSE(is_stopped("a"));
    EXPECT_TRUE(delivery_.has_ready()) << "what waited in memory goes on";
    EXPECT_TRUE(std::ranges::is_sorted(arrived_));
}

TEST_F(Retries, ByEventEachIsTriedByItself) {
    configure({.slot_count = 1, .on_refused = OnRefused::park_event});
    refused_ = {1};
    load({{.position = 1, .key = "a"}, {.position = 2, .key = "a"}});
    step_.on_measured(2, now_);
    run(1s);
    EXPECT_EQ(arrived_, (Positions{2}));
    EXPECT_FALSE(is_stopped("a"));
    EXPECT_EQ(table_[0].attempts, 2);
}

// What is due stands in the table by the database's clock; no relay puts off for so long.
TEST_F(Retries, F23_AClockThatWasSetBackByAnHourDelaysNoKeyByThatHour) {
    load({{.position = 1, .key = "a"}, {.position = 2, .key = "b"}});
    table_[0].due = now_ + 1h + 4min;
    table_[1].due = now_ + 4min;
    run(30s);
    EXPECT_EQ(arrived_, (Positions{1})) << "the other one is due later";
    run(4min);
    EXPECT_EQ(arrived_, (Positions{1, 2}));
}

TEST_F(Retries, F23_NorAnEventByItself) {
    configure({.slot_count = 1, .on_refused = OnRefused::park_event});
    load({{.position = 1, .key = "a"}});
    table_[0].due = now_ + 1h + 4min;
    step_.on_measured(1, now_);
    run(30s);
    EXPECT_EQ(arrived_, (Positions{1}));
}

TEST_F(Retries, F101_TheRateOfAReplayHoldsHoweverLongItTakes) {
    load({{.position = 1, .key = "a"}, {.position = 2, .key = "b"}});
    for (Parked& parked : table_) parked.attempts = 0;
    table_[1].due = now_ + 1h;
    run(30min);
    EXPECT_EQ(arrived_, (Positions{1}));
    run(31min);
    EXPECT_EQ(arrived_, (Positions{1, 2}));
}

TEST_F(Retries, OfManyStoppedKeysEachHasItsTurn) {
    delivery_.limit_stopped(3);
    configure({.slot_count = 1});
    for (std::int64_t n = 1; n <= 20; ++n) {
        table_.push_back({{.position = n, .key = "k" + std::to_string(n)}});
    }
    load_again();
    OwnedLog& log = *delivery_.find(0);
    EXPECT_EQ(log.stopped.size(), 3U);
    for (int n = 0; n < 20 && log.stopped.has_others(); ++n) {
        log.ledger.begin_window(std::make_shared<const Snapshot>(), 1);
        delivery_.take(batch_of({{.position = 100 + n, .key = "k20"}}), now_);
        EXPECT_FALSE(delivery_.has_ready() && !table_.empty() && is_parked(20)) << "out of turn";
        run(6s);
        if (delivery_.take_turn(now_)) load_again();
    }
    run(1s);
    EXPECT_EQ(table(), Positions{});
}

TEST_F(Retries, F101_IsNotSettledBeforeAKeyWasTriedThatIsKnownByAHashOnly) {
    delivery_.limit_stopped(2);
    configure({.slot_count = 1});
    for (std::int64_t n = 1; n <= 9; ++n) {
        table_.push_back({.row = {.position = n, .key = "k" + std::to_string(n)}, .dead = n != 7});
    }
    load_again();
    bool is_settled = false;
    for (int n = 0; n < 20 && !is_settled; ++n) {
        run(6s);
        is_settled = step_.is_settled();
        if (delivery_.take_turn(now_)) load_again();
    }
    EXPECT_TRUE(is_settled) << "all that is parked is dead";
    EXPECT_EQ(arrived_, Positions{7});
}

TEST_F(Retries, OfManyStoppedKeysThoseThatAreDueComeBeforeTheDead) {
    delivery_.limit_stopped(2);
    configure({.slot_count = 1});
    for (std::int64_t n = 1; n <= 40; ++n) {
        table_.push_back({.row = {.position = n, .key = "k" + std::to_string(n)}, .dead = n > 1});
    }
    table_[0].due = now_ + 4min;
    load_again();
    for (int n = 0; n < 100 && table_.size() == 40; ++n) {
        run(6s);
        if (delivery_.take_turn(now_)) load_again();
    }
    EXPECT_EQ(arrived_, Positions{1});
    EXPECT_LT(now_, Instant{1h} + 4min + 30s);
}

TEST_F(Retries, F57_ATopicThatDoesNotAnswerStopsNoOther) {
    silent_ = "dark";
    for (std::int64_t n = 1; n <= 3; ++n) {
        TestRow row{.position = n, .key = "dark" + std::to_string(n)};
        row.topic = "dark";
        table_.push_back({row});
        delivery_.stop_keys(0, std::vector<StoppedKey>{{0, "dark", row.key, ""}}, now_);
    }
    load({{.position = 4, .key = "a"}, {.position = 5, .key = "b"}});
    run(10s);
    std::ranges::sort(arrived_);
    EXPECT_EQ(arrived_, (Positions{4, 5}));
    EXPECT_EQ(given_up_, 1) << "its other keys are not tried meanwhile";
    EXPECT_EQ(table_[0].attempts, 1) << "silence is no attempt";
    silent_ = "none";
    run(2min);
    EXPECT_EQ(table(), Positions{});
}

TEST_F(Retries, F57_IsNotSettledWhileATopicIsSilent) {
    silent_ = "dark";
    for (std::int64_t n = 1; n <= 2; ++n) {
        TestRow row{.position = n, .key = "dark" + std::to_string(n)};
        row.topic = "dark";
        table_.push_back({row});
        delivery_.stop_keys(0, std::vector<StoppedKey>{{0, "dark", row.key, ""}}, now_);
    }
    run(10s);
    EXPECT_EQ(given_up_, 1);
    EXPECT_FALSE(step_.is_settled()) << "the other one was not tried";
    silent_ = "none";
    run(2min);
    EXPECT_TRUE(step_.is_settled());
}

TEST_F(Retries, F22_AnAnswerThatCameWhileTheProcessStoodStillCounts) {
    load({{.position = 1, .key = "a"}, {.position = 2, .key = "b"}});
    stands_still_ = 1min;
    run(10s);
    run(1min);
    EXPECT_EQ(given_up_, 0);
    std::ranges::sort(arrived_);
    EXPECT_EQ(arrived_, (Positions{1, 2}));
    EXPECT_EQ(table(), Positions{});
}

TEST_F(Retries, F57_NorAnEventByItself) {
    configure({.slot_count = 1, .on_refused = OnRefused::park_event});
    silent_ = "dark";
    for (std::int64_t n = 1; n <= 3; ++n) {
        TestRow row{.position = n, .key = "a"};
        if (n < 3) row.topic = "dark";
        table_.push_back({row});
    }
    step_.on_measured(3, now_);
    run(10s);
    EXPECT_EQ(arrived_, Positions{3});
    silent_ = "none";
    run(2min);
    EXPECT_EQ(table(), Positions{});
}

TEST_F(Retries, StoppingBeginsNoAttempt) {
    load({{.position = 1, .key = "a"}});
    step_.stop();
    run(1h);
    EXPECT_EQ(tries_, 0);
    EXPECT_FALSE(step_.is_busy());
}

}  // namespace sagaz::inline v0::core
