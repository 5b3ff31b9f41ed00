// What a relay gets done in time: a store and a client that answer everything, each statement after
// a while, and a log of rows in memory.
#include "core/relay_step.hpp"
#include "core/test_rows.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace sagaz::inline v0::core {
namespace {

using namespace std::chrono_literals;

const Id kMe = Id::parse("00000000-0000-7000-8000-000000000001");
const Id kOther = Id::parse("00000000-0000-7000-8000-000000000002");

class RelayTurns : public testing::Test {
protected:
    RelayTurns() { step_.retry().enable(); }

    void run(Duration time) {
        for (const Instant end = now_ + time; now_ < end && !ended_; now_ += 10us) {
            send_optimistically();
            Command next = step_.next(now_);
            std::visit([this](auto& command) { answer(command); }, next);
        }
    }

    void append(std::int16_t slot, const std::string& key) {
        log_.push_back({static_cast<std::int64_t>(log_.size() + 1), key, false, slot});
    }

    void append_held(const std::string& key) {
        log_.push_back({static_cast<std::int64_t>(log_.size() + 1), key, true, 0});
    }

    /// One event stands in the table, and the client never says what became of an attempt.
    void park_on(std::int16_t slot) { parked_ = TestRow{0, "parked", false, slot}; }

    RelayOptions options_{.stopped_keys_max = 2};
    RelayStep step_{kMe, options_, 1};
    Instant now_{1'000s};
    std::int16_t slots_{1};
    Duration statement_{1ms};
    Duration load_of_a_slot_{1ms};
    Duration load_max_{};
    int dead_keys_{};  ///< Of each slot, stopped for good.
    int loads_{};
    bool grows_{};        ///< An event comes with each look at the slots.
    bool other_lives_{};  ///< Another relay looks at the slots and takes what is free.
    std::vector<TestRow> log_;
    std::optional<TestRow> parked_;
    std::map<std::string, int> sent_;  ///< By key.
    int beats_{};
    int attempts_{};
    bool ended_{};
    std::map<std::int16_t, OwnedSlot> owned_;
    Duration every_{};  ///< An event is appended so often, which its publisher sends and deletes
    Duration hold_{};   ///< after so long; zero: none is.
    std::map<std::int64_t, Instant> holds_;  ///< Of rows in the log; what is not there stays held.
    std::set<std::int64_t> left_;            ///< Rows whose publishers gave them up.
    int looks_{};
    int opens_{};
    std::size_t rows_looked_at_{};
    std::size_t stored_{};        ///< The position of slot 0's cursor.
    std::uint64_t stored_xid_{};  ///< Below it all is delivered.
    int stores_{};
    std::vector<std::int64_t> marked_;

private:
    void took() { now_ += statement_; }

    void send_optimistically() {
        if (every_ == Duration{}) return;
        for (; appended_at_ + every_ <= now_; appended_at_ += every_) {
            append_held(std::to_string(log_.size() % 50));
            holds_[log_.back().position] = appended_at_ + every_ + hold_;
        }
    }

    bool is_gone(std::int64_t position) const {
        const auto hold = holds_.find(position);
        return hold != holds_.end() && hold->second <= now_;
    }

    Opening opening() const {
        const std::uint64_t next = 10 + log_.size();
        return {.target = {next, next, {}},
                .ceiling = next,
                .last_position = static_cast<std::int64_t>(log_.size())};
    }

    void answer(command::Attach&) { step_.on_attached({.settings = {.slot_count = slots_}}); }

    void answer(command::Observe&) {
        took();
        ++beats_;
        if (grows_) append(0, "new");
        Observed seen{.opening = opening()};
        for (std::int16_t slot = 0; slot < slots_; ++slot) {
            SlotView view{slot, 1, kOther, beats_};
            if (owned_.contains(slot)) view = {slot, owned_.at(slot).epoch, kMe, beats_};
            if (!owned_.contains(slot) && !other_lives_) view = {slot, 0, std::nullopt, -1};
            seen.slots.push_back(view);
        }
        if (other_lives_) seen.relays.push_back({kOther, beats_});
        step_.on_observed(seen, now_);
    }

    void answer(command::Acquire& acquire) {
        took();
        std::vector<OwnedSlot> taken;
        for (const SlotView& view : acquire.slots) {
            taken.push_back({view.slot, view.epoch + 1});
            owned_[view.slot] = taken.back();
        }
        step_.on_acquired(taken);
    }

    void answer(command::Load& load) {
        constexpr Duration kDeadline = 15s;
        ++loads_;
        const Duration time = load_of_a_slot_ * static_cast<std::int64_t>(load.slots.size());
        now_ += std::min(time, kDeadline);
        load_max_ = std::max(load_max_, std::min(time, kDeadline));
        if (time > kDeadline) {
            step_.on_store_error({ErrorKind::unavailable, "deadline_passed", "", ""}, now_);
            return;
        }
        Loaded loaded;
        for (const OwnedSlot& slot : load.slots) {
            loaded.cursors.push_back({slot.slot, Cursor{}});
            for (int n = 0; n < dead_keys_; ++n) {
                loaded.stopped.push_back({slot.slot, "orders", "dead" + std::to_string(n), ""});
            }
        }
        if (parked_) loaded.stopped.push_back({parked_->slot, "orders", parked_->key, ""});
        step_.on_loaded(loaded, now_);
    }

    void answer(command::OpenWindow&) {
        ++opens_;
        took();
        step_.on_opened(opening(), now_);
    }
    void answer(command::FindLate&) {
        took();
        step_.on_late({});
    }

    void answer(command::StartRead& start) {
        reading_.clear();
        for (const SlotRange& range : start.request.ranges) {
            reading_.push_back({range.slot, nullptr, nullptr, range.after, range.upto, {}});
        }
    }

    void answer(command::FinishRead&) {
        constexpr std::size_t kRowsEach = 10;
        took();
        std::vector<TestRow> rows;
        ReadResult result;
        for (const SlotRange& range : reading_) {
            std::size_t found = 0;
            std::int64_t read_to = range.upto;
            for (const TestRow& row : log_) {
                const bool is_asked = row.slot == range.slot && row.position > range.after &&
                                      row.position <= range.upto;
                if (!is_asked || is_gone(row.position)) continue;
                rows.push_back(row);
                read_to = row.position;
                if (++found == kRowsEach) break;
            }
            result.progress.push_back({range.slot, found == kRowsEach ? read_to : range.upto});
        }
        if (!rows.empty()) result.batch = batch_of(rows);
        step_.on_read(std::move(result), now_);
    }

    void answer(command::Flush&) {
        took();
        step_.on_flushed(0, now_);
    }

    void answer(command::Publish& publish) {
        for (const Envelope& envelope : publish.envelopes) {
            flying_.push_back({envelope.token, Receipt::State::accepted, {}, {}});
            ++sent_[std::string(*envelope.key)];
        }
        step_.on_published(publish.envelopes.size(), now_);
    }

    void answer(command::Poll& poll) {
        if (flying_.empty()) now_ += poll.deadline;
        step_.on_receipts(std::exchange(flying_, {}), now_);
    }

    void answer(command::StoreCursors& store) {
        took();
        ++stores_;
        std::vector<std::int16_t> stored;
        for (const CursorMove& move : store.moves) {
            stored.push_back(move.slot);
            if (move.slot != 0) continue;
            stored_ = static_cast<std::size_t>(move.cursor.position);
            stored_xid_ = move.cursor.done.xmax;
        }
        step_.on_stored(stored, now_);
    }

    void answer(command::LookAt& look) {
        took();
        ++looks_;
        rows_looked_at_ += look.rows.size();
        std::vector<HoldState> states;
        for (const RowRef& row : look.rows) {
            const bool is_left = left_.contains(row.position);
            states.push_back(is_left                 ? HoldState::released
                             : is_gone(row.position) ? HoldState::gone
                                                     : HoldState::held);
        }
        step_.on_looked_at(states, now_);
    }
    void answer(command::MarkDelivered& mark) {
        took();
        for (const RowRef& row : mark.rows) marked_.push_back(row.position);
    }
    void answer(command::Release& release) {
        took();
        for (const OwnedSlot& slot : release.slots) owned_.erase(slot.slot);
        step_.on_released(release.slots);
    }
    void answer(command::Leave&) {
        took();
        step_.on_left();
    }
    void answer(command::Tidy&) {
        took();
        step_.on_tidied(now_);
    }
    void answer(command::Measure&) {
        took();
        step_.on_measured({}, now_);
    }
    void answer(command::Reclaim&) {
        took();
        step_.on_reclaimed({}, now_);
    }
    void answer(command::KeepInbox&) {
        took();
        step_.on_kept_inbox({}, now_);
    }

    void answer(command::LookAtParked& look) {
        took();
        ParkedLook found;
        for (std::size_t n = 0; n < look.query.keys.size(); ++n) {
            const StoppedKey& key = look.query.keys[n];
            const bool is_dead = key.key.starts_with("dead");
            if (!is_dead && !parked_) continue;
            found.of_keys.push_back({.row = {key.slot}, .key = n, .dead = is_dead});
        }
        step_.on_looked_at_parked(found, now_);
    }
    void answer(command::ReadParked&) {
        took();
        step_.retry().on_read(batch_of({*parked_}), now_);
    }
    void answer(command::Retry& retry) {
        ++attempts_;
        step_.retry().on_taken(retry.envelopes.size(), now_);
    }
    void answer(command::PollRetry&) { step_.retry().on_receipts({}, now_); }
    void answer(command::AbandonRetry&) { step_.retry().on_abandoned({}, now_); }
    void answer(command::SettleParked&) { step_.on_settled_parked(true, now_); }

    void answer(command::Abandon&) { step_.on_receipts({}, now_); }
    void answer(command::Wait& wait) { now_ = std::max(now_, wait.until); }
    void answer(command::End&) { ended_ = true; }

    std::vector<SlotRange> reading_;
    std::vector<Receipt> flying_;
    Instant appended_at_{1'000s};
};

// With a beat before each, tidying and measuring alone take all of the time: each is due again
// when the other one has been answered.
TEST_F(RelayTurns, DeliversHoweverSlowlyTheStoreAnswers) {
    grows_ = true;
    for (const Duration statement : {600ms, 2'000ms, 4'000ms, 8'000ms}) {
        statement_ = statement;
        run(60 * statement);
        const auto before = step_.counters().accepted;
        run(200 * statement);
        EXPECT_GE(step_.counters().accepted, before + 15) << statement.count();
    }
}

TEST_F(RelayTurns, OneSlotsLongWindowKeepsNoOtherWaiting) {
    slots_ = 2;
    statement_ = 5ms;
    for (int n = 0; n < 20'000; ++n) append(0, "late");
    run(3s);
    ASSERT_GT(sent_["late"], 0);
    append(1, "urgent");
    const int beats = beats_;
    run(400ms);
    ASSERT_LE(beats_, beats + 1);
    EXPECT_EQ(sent_["urgent"], 1);
    EXPECT_LT(sent_["late"], 20'000) << "there was nothing to wait for";
}

// As with millions of stopped keys, all of which the new owner reads.
TEST_F(RelayTurns, TakesManySlotsOverHoweverMuchThereIsToKnowOfEach) {
    slots_ = 16;
    load_of_a_slot_ = 12s;
    append(15, "last");
    run(10min);
    EXPECT_EQ(sent_["last"], 1);
}

TEST_F(RelayTurns, KeepsNoSlotWaitingThoughOfEachItKnowsMostStoppedKeysByAHash) {
    slots_ = 16;
    dead_keys_ = 6;
    load_of_a_slot_ = 12s;
    run(10min);
    int sent = 0;
    for (int n = 0; n < 60; ++n) {
        append(15, "urgent");
        run(10s);
        if (sent_["urgent"] == n + 1) ++sent;
    }
    EXPECT_GE(sent, 45) << "within ten seconds";
    EXPECT_GE(loads_, 16 + 2) << "it does look at the others";
}

TEST_F(RelayTurns, DeliversThoughASlotCannotBeLoadedAgainForItsStoppedKeys) {
    dead_keys_ = 6;
    run(3s);
    const int loads = loads_;
    ASSERT_GE(loads, 1);
    load_of_a_slot_ = 20s;
    run(10s);
    append(0, "urgent");
    run(1min);
    EXPECT_EQ(sent_["urgent"], 1);
    EXPECT_GT(loads_, loads);
}

// Somebody may discard what the attempt has on its way. Loaded again then, the slot would know
// nothing of the key any more and send what is behind it at once.
TEST_F(RelayTurns, F101_LoadsNoSlotAgainWhileAnAttemptIsOnItsWay) {
    dead_keys_ = 6;
    park_on(0);
    for (int n = 0; n < 1'000 && attempts_ == 0; ++n) run(100ms);
    ASSERT_EQ(attempts_, 1);
    const int loads = loads_;
    run(options_.attempt_timeout - 1s);
    EXPECT_EQ(loads_, loads);
    run(1min);
    EXPECT_GT(loads_, loads);
}

TEST_F(RelayTurns, BeatsWhileItLoadsSlots) {
    slots_ = 16;
    load_of_a_slot_ = 1s;
    run(1min);
    EXPECT_LT(load_max_, options_.lease) << "others take slots that are silent for so long";
}

TEST_F(RelayTurns, F94_BeatsWhileAnAttemptIsWaitedForAtTheEnd) {
    park_on(0);
    run(3s);
    ASSERT_EQ(attempts_, 1);
    step_.stop(now_, now_ + 60s);
    const int beats = beats_;
    run(options_.lease);
    ASSERT_FALSE(ended_);
    EXPECT_GT(beats_, beats) << "others take a slot that is silent for so long";
    run(60s);
    EXPECT_TRUE(ended_);
}

TEST_F(RelayTurns, F28_AnAttemptThatHangsKeepsNoSlotFromItsNextOwner) {
    slots_ = 2;
    park_on(1);
    run(3s);
    ASSERT_EQ(attempts_, 1);
    other_lives_ = true;
    run(6s);
    EXPECT_EQ(owned_.size(), 1U);
}

// What optimistic sending costs a relay while all is well: about a look a poll, at few rows.
TEST_F(RelayTurns, LooksAtRowsThatAreHeldForAMomentOncePerPoll) {
    statement_ = 200us;
    every_ = 2ms;
    hold_ = 3ms;
    run(2s);
    looks_ = opens_ = 0;
    rows_looked_at_ = 0;
    run(1s);
    EXPECT_LE(opens_, 51) << "half as many polls as where events are its own";
    EXPECT_LE(looks_, 50);
    EXPECT_GT(looks_, 0);
    EXPECT_LE(rows_looked_at_, 300U) << "of 500 appended";
    EXPECT_EQ(step_.counters().attempts, 0U) << "all were their publishers'";
    EXPECT_GE(stored_xid_ + 100, log_.size()) << "the stored cursor is a fifth of a second behind";
}

TEST_F(RelayTurns, PollsAsOftenAsEverWhereNotAllEventsAreHeld) {
    statement_ = 200us;
    every_ = 2ms;
    hold_ = 3ms;
    run(2s);
    const auto polls = [&] {
        opens_ = 0;
        for (int n = 0; n < 100; ++n) {
            append(0, "plain");
            run(10ms);
        }
        return opens_;
    };
    EXPECT_GE(polls(), 90);
}

// No event moves the cursor then, and what a publisher confirms reaches from the stored one on.
TEST_F(RelayTurns, StoresCursorsNowAndThenThoughPublishersSendAll) {
    statement_ = 200us;
    every_ = 1ms;
    run(5s);
    EXPECT_EQ(step_.counters().attempts, 0U);
    EXPECT_EQ(looks_, 0) << "it never saw one of them";
    EXPECT_GE(stored_xid_ + 1'500, log_.size());
    EXPECT_GT(stores_, 0);
    EXPECT_LE(stores_, 10) << "a statement for a thousand events";
}

TEST_F(RelayTurns, ADeadPublishersRowsCostFewLooks) {
    for (int n = 0; n < 200; ++n) append_held(std::to_string(n));
    run(options_.grace + 300ms);
    EXPECT_EQ(step_.counters().accepted, 200U);
    EXPECT_LE(rows_looked_at_, 200U * 50);
    EXPECT_TRUE(marked_.empty()) << "nothing kept the stored cursor before them";
}

// A held row of another key would keep a publisher waiting for what was accepted long ago.
TEST_F(RelayTurns, MarksAHeldRowThatItSentWhenNoStoredCursorPassesIt) {
    append_held("dead");
    append_held("left");
    append(0, "plain");
    left_.insert(2);
    run(1s);
    EXPECT_EQ(sent_["left"], 1);
    EXPECT_EQ(sent_["plain"], 1);
    EXPECT_EQ(stored_, 0U);
    EXPECT_EQ(marked_, std::vector<std::int64_t>{2}) << "once, and only what had been held";
    run(options_.grace);
    EXPECT_EQ(stored_, 3U);
}

}  // namespace
}  // namespace sagaz::inline v0::core
