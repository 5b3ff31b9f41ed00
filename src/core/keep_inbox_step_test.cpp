#include "core/keep_inbox_step.hpp"

#include "core/relay_step.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace sagaz::core {

using namespace std::chrono_literals;

namespace {

class KeepInboxStepTest : public testing::Test {
protected:
    /// The time from now until it asks, looked at every 10 ms; a day: it does not.
    Duration wait() {
        const Instant from = now_;
        for (;; now_ += 10ms) {
            if (auto limits = step_.next(lowest_, now_)) {
                asked_ = *std::move(limits);
                return now_ - from;
            }
            if (now_ - from >= 24h) return 24h;
        }
    }
    Duration wait_after(const InboxKept& kept) {
        step_.kept(kept, now_);
        return wait();
    }

    Instant now_{1'000s};
    std::optional<std::int16_t> lowest_{0};
    InboxLimits asked_;
    KeepInboxStep step_{Milliseconds{7'200'000}};
};

TEST_F(KeepInboxStepTest, LeavesItToTheOwnerOfTheLowestSlot) {
    lowest_ = 1;
    EXPECT_EQ(wait(), 24h);
    lowest_.reset();
    EXPECT_EQ(wait(), 24h);
    lowest_ = 0;
    EXPECT_EQ(wait(), 5min) << "a new owner has more urgent things to do first";
    EXPECT_EQ(asked_.retention, 2h);
}

TEST_F(KeepInboxStepTest, AsksOnceAnHourWhenThereIsNothingToDo) {
    wait();
    EXPECT_EQ(wait_after({}), 1h);
    EXPECT_EQ(wait_after({}), 1h);
}

TEST_F(KeepInboxStepTest, GoesOnInPiecesWhileThereIsMore) {
    wait();
    EXPECT_EQ(asked_.place, "");
    EXPECT_EQ(wait_after({.made = "one"}), 100ms);
    EXPECT_EQ(wait_after({.dropped = "another"}), 100ms);
    EXPECT_EQ(wait_after({.removed = 3, .place = "there"}), 100ms);
    EXPECT_EQ(asked_.place, "there");
    EXPECT_EQ(wait_after({}), 1h);
    EXPECT_EQ(asked_.place, "") << "from the start";
}

TEST_F(KeepInboxStepTest, IsMorePatientEachTimeSomebodyIsInTheWayAndBoundedSo) {
    wait();
    Milliseconds patience = asked_.patience;
    EXPECT_EQ(patience, 50ms);
    for (int n = 0; n < 10; ++n) {
        EXPECT_EQ(wait_after({.blocked = true, .place = "there"}), 1min);
        EXPECT_EQ(asked_.place, "") << "what was blocked comes first";
        EXPECT_GE(asked_.patience, patience);
        EXPECT_LT(asked_.patience, 1s);
        patience = asked_.patience;
    }
    EXPECT_GT(patience, 500ms);
    wait_after({});
    EXPECT_EQ(asked_.patience, 50ms);
}

TEST_F(KeepInboxStepTest, DoesNotAskAgainAtOnceAfterAnError) {
    wait();
    now_ += 10ms;
    EXPECT_GT(wait(), 59s);
}

TEST_F(KeepInboxStepTest, LeavesTheInboxAloneWithoutARetention) {
    step_ = KeepInboxStep{Milliseconds{0}};
    EXPECT_EQ(wait(), 24h);
}

// The relay at rest, as its only slot's owner, until it asks to keep the inbox.
std::optional<InboxLimits> asked_within(Duration time, Milliseconds retention) {
    const Id me = Id::generate();
    RelayStep step(me, {.inbox_retention = retention}, 1);
    Instant now{1'000s};
    std::vector<SlotView> slots{{0, 0, std::nullopt, -1}};
    for (const Instant end = now + time; now < end;) {
        const Command next = step.next(now);
        if (const auto* keep = std::get_if<command::KeepInbox>(&next)) return keep->limits;
        if (std::holds_alternative<command::Attach>(next)) step.on_attached({});
        if (std::holds_alternative<command::Observe>(next)) {
            step.on_observed({.slots = slots, .opening = {.target = Snapshot::parse("1:1:")}}, now);
        } else if (std::holds_alternative<command::Acquire>(next)) {
            step.on_acquired(std::vector<OwnedSlot>{{0, 1}});
            slots = {{0, 1, me, 1}};
        } else if (std::holds_alternative<command::Load>(next)) {
            step.on_loaded({.cursors = {{0, Cursor{}}}}, now);
        } else if (std::holds_alternative<command::OpenWindow>(next)) {
            step.on_opened({.target = Snapshot::parse("1:1:")}, now);
        } else if (std::holds_alternative<command::Tidy>(next)) {
            step.on_tidied(now);
        } else if (std::holds_alternative<command::Measure>(next)) {
            step.on_measured({}, now);
        } else if (std::holds_alternative<command::Reclaim>(next)) {
            step.on_reclaimed({}, now);
        } else if (std::holds_alternative<command::Poll>(next)) {
            step.on_receipts({}, now);
        }
        const auto* const wait = std::get_if<command::Wait>(&next);
        now = wait == nullptr ? now + 10ms : std::max(now + 10ms, wait->until);
    }
    return std::nullopt;
}

TEST(KeepInbox, IsAskedByARelayWithItsRetention) {
    EXPECT_FALSE(asked_within(4min, Milliseconds{7'200'000}).has_value());
    const auto limits = asked_within(6min, Milliseconds{7'200'000});
    ASSERT_TRUE(limits.has_value());
    EXPECT_EQ(limits->retention, 2h);
    EXPECT_FALSE(asked_within(6min, Milliseconds{0}).has_value());
}

}  // namespace
}  // namespace sagaz::core
