#include "core/publish_step_fixture.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace sagaz::core {

TEST_F(PublishStepTest, ConfirmsPublishesAnswersAndSettles) {
    hand(1, {5, 6});
    EXPECT_EQ(confirm({Verdict::ready, Verdict::ready}), (Positions{5, 6}));
    EXPECT_EQ(publish(), (Positions{5, 6}));
    accept({6});
    EXPECT_EQ(answer(1), "") << "one of them is on its way";
    accept({5});
    EXPECT_EQ(answer(1), "published");
    EXPECT_EQ(settle(), (Settled{{6, 5}, {}}));
    EXPECT_EQ(step_->events(), 0U);
    EXPECT_EQ(left(LeftReason::timeout), 0U);
    EXPECT_EQ(sent_, 2U);
}

TEST_F(PublishStepTest, AsksAtOnceAndPublishesAtOnce) {
    const Instant began = now_;
    send(1, 5);
    EXPECT_EQ(now_, began) << "no wait in between";
}

// A question costs the database about the same for one event and for ten.
TEST_F(PublishStepTest, RestsBetweenQuestionsTwiceAsLongAsTheyTake) {
    hand(1, {1});
    const Instant asked_at = now_;
    confirm_after(1ms, {Verdict::not_committed});
    for (int n = 2; n <= 9; ++n) hand(static_cast<std::uint64_t>(n), {n});
    EXPECT_EQ(confirm(std::vector(8, Verdict::ready)), (Positions{2, 3, 4, 5, 6, 7, 8, 9}));
    EXPECT_EQ(now_ - asked_at, 3ms);
}

TEST_F(PublishStepTest, AsksAtOnceForTheNextOfAKeyThoughItRests) {
    hand(1, {1, 2}, 42);
    confirm_after(1ms, {Verdict::ready});
    publish();
    accept({1});
    const Instant accepted = now_;
    EXPECT_EQ(confirm({Verdict::ready}), Positions{2});
    EXPECT_EQ(now_, accepted);
}

TEST_F(PublishStepTest, RestsNotWhereAQuestionWasFull) {
    for (int n = 1; n <= 501; ++n) hand(static_cast<std::uint64_t>(n), {n});
    confirm_after(1ms, std::vector(500, Verdict::not_committed));
    const Instant answered = now_;
    EXPECT_EQ(confirm({Verdict::ready}), Positions{501});
    EXPECT_EQ(now_, answered);
}

TEST_F(PublishStepTest, F01_SendsNothingOfATransactionThatIsNotThere) {
    hand(1, {5, 6});
    EXPECT_EQ(confirm({Verdict::not_committed, Verdict::not_committed}), (Positions{5, 6}));
    EXPECT_EQ(answer(1), "not_committed");
    EXPECT_TRUE(rests_for(1s)) << "nor is there anything to release";
    EXPECT_EQ(left(LeftReason::not_committed), 2U);
}

TEST_F(PublishStepTest, LeavesToTheRelayWhatIsLate) {
    hand(1, {5});
    confirm({Verdict::late});
    EXPECT_EQ(answer(1), "late");
    EXPECT_EQ(settle(), (Settled{{}, {5}}));
}

TEST_F(PublishStepTest, AsksForAHoldThatLastsForTheCall) {
    hand(1, {5});
    confirm({Verdict::behind});
    EXPECT_EQ(margin_, options_.timeout);
    now_ += 100ms;
    confirm({Verdict::ready});
    EXPECT_EQ(margin_, options_.timeout - 100ms);
}

TEST_F(PublishStepTest, AsksAgainForWhatIsBehindAndGivesItBackAtTheEnd) {
    hand(1, {5});
    int asked = 0;
    while (confirm({Verdict::behind}) == Positions{5}) ++asked;
    EXPECT_GT(asked, 20);
    EXPECT_LT(asked, 60) << "less and less often";
    EXPECT_EQ(answer(1), "behind");
    EXPECT_EQ(left(LeftReason::behind), 1U);
    step_->on_settled(now_);
    EXPECT_EQ(step_->breaker(), Breaker::State::closed) << "that is no trouble";
}

TEST_F(PublishStepTest, SendsEventsOfAKeyOneAfterTheOther) {
    hand(1, {5, 6, 7}, 42);
    EXPECT_EQ(confirm({Verdict::ready}), Positions{5});
    publish();
    EXPECT_FALSE(run_to<command::Confirm>(now_ + 100ms)) << "it would be behind";
    accept({5});
    const Instant accepted = now_;
    EXPECT_EQ(confirm({Verdict::ready}), Positions{6}) << "at once";
    EXPECT_EQ(now_, accepted);
    EXPECT_EQ(acknowledged_, Positions{5}) << "its row is still there";
}

TEST_F(PublishStepTest, TakesTheFirstOfAKeyFirstWhoeverWasHandedOverFirst) {
    hand(1, {6}, 42);
    hand(2, {5}, 42);
    EXPECT_EQ(confirm({Verdict::ready}), Positions{5});
    publish();
    accept({5});
    EXPECT_EQ(confirm({Verdict::ready}), Positions{6});
}

TEST_F(PublishStepTest, GoesOnWithAKeyWhoseFirstEventWasRolledBack) {
    hand(1, {5}, 42);
    hand(2, {6}, 42);
    confirm({Verdict::not_committed});
    EXPECT_EQ(confirm({Verdict::ready}), Positions{6});
}

TEST_F(PublishStepTest, F06_SendsNothingThatIsNotOnDiskAndForcesItWhenItDoesNotComeByItself) {
    hand(1, {5});
    confirm({Verdict::ready}, 200, 150);
    ASSERT_TRUE(run_to<command::Flush>());
    EXPECT_FALSE(std::get<command::Flush>(command_).force);
    step_->on_flushed(199, now_);
    now_ += 2ms;
    ASSERT_TRUE(run_to<command::Flush>());
    EXPECT_TRUE(std::get<command::Flush>(command_).force);
    step_->on_flushed(200, now_);
    EXPECT_EQ(publish(), Positions{5});
}

TEST_F(PublishStepTest, F06_LeavesToTheRelayWhatDoesNotGetToTheDisk) {
    hand(1, {5});
    confirm({Verdict::ready}, 200, 150);
    while (run_to<command::Flush>()) step_->on_flushed(150, now_ += 1ms);
    EXPECT_EQ(answer(1), "not_durable");
}

TEST_F(PublishStepTest, F30_LeavesToTheRelayWhatIsInDoubtAndSendsItNotAgain) {
    send(1, 5);
    receive(Receipt::State::unknown, {5});
    EXPECT_EQ(answer(1), "in_doubt");
    EXPECT_EQ(settle(), (Settled{{}, {5}}));
    EXPECT_TRUE(rests_for(1s));
    EXPECT_EQ(left(LeftReason::in_doubt), 1U);
}

TEST_F(PublishStepTest, F33_TakesWhatHasNoReceiptAfterABreakForInDoubt) {
    hand(1, {5});
    hand(2, {6});
    hand(3, {7});
    confirm({Verdict::ready, Verdict::ready, Verdict::ready});
    publish();
    step_->on_receipts(std::vector<Receipt>{{tokens_.at(5), Receipt::State::unknown, "", ""},
                                            {tokens_.at(6), Receipt::State::accepted, "", ""}},
                       now_);
    EXPECT_EQ(answer(1), "in_doubt");
    EXPECT_EQ(answer(2), "published");
    EXPECT_EQ(answer(3), "in_doubt");
    EXPECT_EQ(settle(), (Settled{{6}, {5, 7}}));
    accept({5});
    EXPECT_EQ(step_->events(), 0U) << "a receipt that comes twice counts once";
}

TEST_F(PublishStepTest, F32_StopsAKeyAtItsFirstFailure) {
    hand(1, {5, 6}, 42);
    confirm({Verdict::ready});
    publish();
    receive(Receipt::State::unknown, {5});
    EXPECT_EQ(answer(1), "in_doubt");
    EXPECT_EQ(confirm({Verdict::behind}), Positions{6}) << "until the relay has sent the first";
}

TEST_F(PublishStepTest, LeavesARefusedEventToTheRelayAndTakesItForNoFailureOfTheDestination) {
    for (std::uint64_t call = 1; call < 10; call += 2) {
        const auto position = static_cast<std::int64_t>(call);
        hand(call, {position});
        hand(call + 1, {position + 1});
        confirm({Verdict::ready, Verdict::ready});
        publish();
        step_->on_receipts(
            std::vector<Receipt>{
                {tokens_.at(position), Receipt::State::refused, "payload_too_large", ""},
                {tokens_.at(position + 1), Receipt::State::unknown, "", ""}},
            now_);
        EXPECT_EQ(answer(call), "refused");
        EXPECT_EQ(answer(call + 1), "in_doubt");
        EXPECT_EQ(settle(), (Settled{{}, {position, position + 1}}));
    }
    EXPECT_EQ(step_->breaker(), Breaker::State::closed);
}

TEST_F(PublishStepTest, F36_CountsAnAcknowledgementThatComesAfterTheTimeOut) {
    send(1, 5);
    now_ += options_.timeout;
    command_ = step_->next(now_);
    EXPECT_EQ(answer(1), "timeout");
    step_->on_receipts({}, now_);
    EXPECT_FALSE(run_to<command::Settle>(now_ + 400ms))
        << "its message may still be sent, so it is not released";
    accept({5});
    EXPECT_EQ(settle(), (Settled{{5}, {}})) << "so nobody repeats it";
    EXPECT_EQ(left(LeftReason::timeout), 1U);
    EXPECT_EQ(sent_, 0U) << "it was counted once";
}

TEST_F(PublishStepTest, F36_MakesTheClientGiveUpBeforeTheRelaySends) {
    send(1, 5);
    const Instant handed = now_;
    now_ += 10ms;
    ASSERT_TRUE(run_to<command::Abandon>());
    EXPECT_EQ(answer(1), "timeout");
    EXPECT_GE(now_, handed + options_.grace - 110ms) << "not before it has to";
    EXPECT_LT(now_ + std::get<command::Abandon>(command_).deadline, handed + options_.grace + 5ms);
    step_->on_receipts({}, now_);
    step_->on_abandoned(now_);
    EXPECT_EQ(settle(), (Settled{{}, {5}}));
    EXPECT_EQ(left(LeftReason::timeout), 1U);
    EXPECT_EQ(left(LeftReason::in_doubt), 0U) << "it was counted once";
}

TEST_F(PublishStepTest, F36_GivesUpAtTheTimeOutWhatHasNoLongerHold) {
    step_->take(
        {.call = 1, .events = {{row(5), 0, 0}}, .at = now_, .deadline = now_ + options_.timeout});
    confirm({Verdict::ready});
    publish();
    const Instant handed = now_;
    ASSERT_TRUE(run_to<command::Abandon>());
    EXPECT_LE(now_, handed + options_.timeout + 1ms);
}

TEST_F(PublishStepTest, F34_HoldsBackWhatTheClientDoesNotTakeAndKeepsItsOrder) {
    hand(1, {5, 6, 7});
    confirm({Verdict::ready, Verdict::ready, Verdict::ready});
    EXPECT_EQ(publish(1), (Positions{5, 6, 7}));
    hand(2, {8});
    confirm({Verdict::ready});
    EXPECT_EQ(publish(), (Positions{6, 7, 8}));
    accept({5, 6, 7, 8});
    EXPECT_EQ(answer(1), "published");
    EXPECT_EQ(answer(2), "published");
}

TEST_F(PublishStepTest, F34_KeepsTheOrderOfMoreThanOnePublishCarries) {
    Positions positions(200);
    std::iota(positions.begin(), positions.end(), 1);
    const std::vector<Verdict> all(200, Verdict::ready);
    for (std::uint64_t call = 1; call <= 3; ++call) {
        hand(call, positions);
        step_->on_destination("not yet", now_);
        confirm(all);
    }
    step_->on_destination("", now_);
    EXPECT_EQ(publish(0).size(), 500U) << "none of which is taken";
    positions.insert(positions.end(), positions.begin(), positions.end());
    positions.resize(400);
    Positions again = publish();
    again.resize(400);
    EXPECT_EQ(again, positions);
}

TEST_F(PublishStepTest, SettlesAThousandAtATime) {
    Positions positions(1'500);
    std::iota(positions.begin(), positions.end(), 1);
    hand(1, positions);
    std::size_t settled = 0;
    while (settled < positions.size()) {
        command_ = step_->next(now_);
        if (const auto* asked = std::get_if<command::Confirm>(&command_)) {
            Confirmation said;
            said.verdicts.assign(asked->asked.size(), Verdict::ready);
            said.batch = batch_of(std::vector<TestRow>(asked->asked.size()));
            step_->on_confirmed(std::move(said), now_);
        } else if (const auto* publish = std::get_if<command::Publish>(&command_)) {
            std::vector<Receipt> receipts;
            for (const Envelope& envelope : publish->envelopes) {
                receipts.push_back({envelope.token, Receipt::State::accepted, "", ""});
            }
            step_->on_published(receipts.size(), now_);
            if (receipts.front().token < 1'000) continue;  // Those come at the end.
            for (std::uint64_t token = 1; token <= 1'500; ++token) {
                receipts.push_back({token, Receipt::State::accepted, "", ""});
            }
            step_->on_receipts(receipts, now_);
        } else if (const auto* settle = std::get_if<command::Settle>(&command_)) {
            EXPECT_EQ(settle->accepted.size(), settled == 0 ? 1'000U : 500U);
            settled += settle->accepted.size();
            step_->on_settled(now_);
        } else {
            ASSERT_TRUE(std::holds_alternative<command::Poll>(command_));
            step_->on_receipts({}, now_);
        }
    }
    EXPECT_EQ(step_->events(), 0U);
}

TEST_F(PublishStepTest, F34_TakesNoMoreThanItsQueueHolds) {
    OptimisticOptions options;
    options.queue_max = 3;
    begin(options);
    hand(1, {1, 2});
    hand(2, {3, 4});
    EXPECT_EQ(answer(2), "queue_full");
    hand(3, {5});
    EXPECT_EQ(answer(3), "");
    EXPECT_EQ(left(LeftReason::queue_full), 2U);
    EXPECT_EQ(step_->breaker(), Breaker::State::closed);
}

TEST_F(PublishStepTest, SendsNothingToADestinationThatIsDown) {
    step_->on_destination("no server can be reached", now_);
    hand(1, {5});
    confirm({Verdict::ready});
    EXPECT_FALSE(run_to<command::Publish>());
    EXPECT_EQ(answer(1), "unavailable") << "known not to have arrived";
    EXPECT_EQ(std::get<command::Settle>(command_).left.size(), 1U);
}

TEST_F(PublishStepTest, SendsWhatWaitedForADestinationThatIsUpAgainInTime) {
    step_->on_destination("not connected yet", now_);
    hand(1, {5});
    confirm({Verdict::ready});
    step_->on_destination("", now_);
    EXPECT_EQ(publish(), Positions{5});
}

TEST_F(PublishStepTest, F35_GoesOnWithoutABrokerThatIsLostForGood) {
    hand(1, {5});
    confirm({Verdict::ready});
    ASSERT_TRUE(run_to<command::Publish>());
    step_->on_broker_lost(now_);
    EXPECT_EQ(answer(1), "unavailable");
    hand(2, {6});
    EXPECT_EQ(answer(2), "unavailable");
    EXPECT_EQ(settle(), (Settled{{}, {5, 6}}));
    hand(3, {7});
    EXPECT_EQ(step_->breaker(), Breaker::State::open);
    now_ += 1h;
    EXPECT_FALSE(run_to<command::Poll>());
    EXPECT_EQ(step_->breaker(), Breaker::State::open) << "nothing is tried any more";
}

TEST_F(PublishStepTest, GivesBackWhatWaitsWhenTheStoreFailsAndComesBackAfterABackoff) {
    hand(1, {5});
    ASSERT_TRUE(run_to<command::Confirm>());
    fail_store();
    EXPECT_EQ(answer(1), "unavailable");
    hand(2, {6});
    EXPECT_EQ(answer(2), "unavailable") << "at once";
    const Instant failed = now_;
    ASSERT_TRUE(run_to<command::Attach>());
    EXPECT_GT(now_, failed);
    step_->on_attached({}, now_);
    EXPECT_EQ(settle(), (Settled{{}, {5, 6}}));
    hand(3, {7});
    EXPECT_EQ(confirm({Verdict::ready}), Positions{7});
}

TEST_F(PublishStepTest, SettlesAfterAnErrorWhatWasAcceptedBeforeIt) {
    send(1, 5);
    accept({5});
    ASSERT_TRUE(run_to<command::Settle>());
    fail_store("incarnation_changed");
    ASSERT_TRUE(run_to<command::Attach>());
    step_->on_attached({}, now_);
    EXPECT_EQ(settle(), (Settled{{5}, {}}));
}

TEST_F(PublishStepTest, TriesAFailingStoreAtMostFiveTimesASecond) {
    int tries = 0;
    const Instant began = now_;
    fail_store();
    while (now_ < began + 10s) {
        ASSERT_TRUE(run_to<command::Attach>());
        step_->on_attached({}, now_);
        fail_store("incarnation_changed");
        ++tries;
    }
    EXPECT_LE(tries, 55);
}

TEST_F(PublishStepTest, RefusesAStoreThatDoesNotAnswerForEachEvent) {
    hand(1, {5});
    ASSERT_TRUE(run_to<command::Confirm>());
    EXPECT_THROW(step_->on_confirmed({}, now_), Error);
    fail_store("unexpected_answer");
    EXPECT_EQ(answer(1), "unavailable");
}

// ---- settling, switching, stopping

TEST_F(PublishStepTest, SettlesInBatchesWhileOthersAreOnTheirWay) {
    hand(1, {5});
    hand(2, {6});
    confirm({Verdict::ready, Verdict::ready});
    publish();
    accept({5});
    const Instant accepted = now_;
    EXPECT_EQ(settle(), (Settled{{5}, {}}));
    EXPECT_GE(now_, accepted + 3ms);
    EXPECT_LE(now_, accepted + 4ms);
}

TEST_F(PublishStepTest, SettlesAtOnceWhenNothingElseIsToBeDone) {
    send(1, 5);
    accept({5});
    const Instant accepted = now_;
    settle();
    EXPECT_EQ(now_, accepted);
}

TEST_F(PublishStepTest, EndsTheHoldsOfTicketsThatNobodyHandsOver) {
    step_->give_back(std::vector{row(5), row(6)});
    EXPECT_EQ(settle(), (Settled{{}, {5, 6}}));
}

TEST_F(PublishStepTest, GivesBackWhatWaitsWhenItIsSwitchedOffAndFinishesWhatIsOnItsWay) {
    send(1, 5);
    hand(2, {6});
    step_->enable(false);
    EXPECT_EQ(answer(2), "disabled");
    hand(3, {7});
    EXPECT_EQ(answer(3), "disabled");
    accept({5});
    EXPECT_EQ(answer(1), "published");
    EXPECT_EQ(settle(), (Settled{{5}, {6, 7}}));
    step_->enable(true);
    send(4, 8);
}

TEST_F(PublishStepTest, FinishesWhatIsOnItsWayWhenItIsStopped) {
    send(1, 5);
    hand(2, {6});
    step_->stop(now_, now_ + 400ms);
    EXPECT_EQ(answer(2), "disabled");
    accept({5});
    EXPECT_EQ(answer(1), "published");
    EXPECT_EQ(settle(), (Settled{{5}, {6}}));
    EXPECT_TRUE(run_to<command::End>());
    EXPECT_LT(now_, Instant{100s} + 10ms);
}

TEST_F(PublishStepTest, EndsByItsDeadlineWhateverIsOnItsWay) {
    send(1, 5);
    const Instant end = now_ + 400ms;
    step_->stop(now_, end);
    ASSERT_TRUE(run_to<command::Abandon>());
    step_->on_receipts({}, now_);
    step_->on_abandoned(now_);
    EXPECT_EQ(answer(1), "in_doubt");
    EXPECT_EQ(settle(), (Settled{{}, {5}}));
    EXPECT_TRUE(run_to<command::End>());
    EXPECT_LE(now_, end);
}

TEST_F(PublishStepTest, EndsByItsDeadlineWithoutAStore) {
    send(1, 5);
    accept({5});
    const Instant end = now_ + 400ms;
    step_->stop(now_, end);
    for (int n = 0; n < 100 && !run_to<command::End>(); ++n) fail_store();
    EXPECT_TRUE(std::holds_alternative<command::End>(command_));
    EXPECT_LE(now_, end + 1ms);
}

TEST_F(PublishStepTest, WaitsForNoStoreToEndHoldsWhenItIsStopped) {
    step_->give_back(std::vector{row(5)});
    ASSERT_TRUE(run_to<command::Settle>());
    fail_store();
    step_->stop(now_, now_ + 400ms);
    const Instant began = now_;
    EXPECT_TRUE(run_to<command::End>());
    EXPECT_EQ(now_, began) << "they end by themselves";
}

TEST_F(PublishStepTest, RestsWhenThereIsNothingToDo) {
    const Instant end = now_ + 60s;
    int turns = 0;
    for (; now_ < end; ++turns) {
        command_ = step_->next(now_);
        if (std::holds_alternative<command::Poll>(command_)) {
            step_->on_receipts({}, now_);
        } else {
            now_ = std::get<command::Wait>(command_).until;
        }
    }
    EXPECT_LE(turns, 1'210) << "a look at the client ten times a second";
}

TEST_F(PublishStepTest, RefusesOptionsThatCannotBe) {
    const auto code = [](auto change) {
        OptimisticOptions options;
        change(options);
        try {
            (void)checked(options);
            return std::string("taken");
        } catch (const Error& error) {
            return std::string(error.code());
        }
    };
    EXPECT_EQ(code([](auto&) {}), "taken");
    EXPECT_EQ(code([](auto& o) { o.timeout = 9ms; }), "option_range");
    EXPECT_EQ(code([](auto& o) { o.grace = o.timeout; }), "option_range");
    EXPECT_EQ(code([](auto& o) { o.grace = 601s; }), "option_range");
    EXPECT_EQ(code([](auto& o) { o.queue_max = 0; }), "option_range");
    EXPECT_EQ(code([](auto& o) { o.breaker_failures = 0; }), "option_range");
    EXPECT_EQ(code([](auto& o) { o.breaker_max = o.breaker_initial - 1ms; }), "option_range");
    EXPECT_EQ(code([](auto& o) { o.schema = "Robert'); --"; }), "schema_name");
}

}  // namespace sagaz::core
