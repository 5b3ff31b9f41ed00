#include "core/inbox_step.hpp"

#include <gtest/gtest.h>

namespace sagaz::core {
namespace {

using enum InboxStage;

TEST(InboxStep, ConflictsAndBrokenProcessesAreNeverTheMessagesFault) {
    for (const auto stage : {statement, marks, handler, commit}) {
        EXPECT_EQ(blame_of(stage, ErrorKind::conflict, "deadlock"), Blame::database);
        EXPECT_EQ(blame_of(stage, ErrorKind::fatal, "data_corrupted"), Blame::call);
        EXPECT_EQ(blame_of(stage, ErrorKind::unavailable, "connection_lost"), Blame::call);
    }
}

TEST(InboxStep, F69_AHeldMarkIsACompetitorsAndAHeldRowIsNot) {
    EXPECT_EQ(blame_of(statement, ErrorKind::unavailable, "lock_not_available"), Blame::competitor);
    EXPECT_EQ(blame_of(handler, ErrorKind::unavailable, "lock_not_available"), Blame::database);
    EXPECT_EQ(blame_of(commit, ErrorKind::unavailable, "lock_not_available"), Blame::call);
}

TEST(InboxStep, F69_MarksThatTakeTooLongTogetherAreACompetitors) {
    EXPECT_EQ(blame_of(marks, ErrorKind::unavailable, "statement_canceled"), Blame::competitor);
    EXPECT_EQ(blame_of(statement, ErrorKind::unavailable, "statement_canceled"), Blame::call);
    EXPECT_EQ(blame_of(marks, ErrorKind::unavailable, "lock_not_available"), Blame::competitor);
    EXPECT_EQ(blame_of(marks, ErrorKind::invalid, "schema_missing"), Blame::call);
}

TEST(InboxStep, TellsTheCallerWhatOurOwnStatementsMet) {
    EXPECT_EQ(blame_of(statement, ErrorKind::invalid, "schema_missing"), Blame::call);
    EXPECT_EQ(blame_of(statement, ErrorKind::unavailable, "disk_full"), Blame::call);
    EXPECT_EQ(blame_of(commit, ErrorKind::in_doubt, "commit_in_doubt"), Blame::call);
}

TEST(InboxStep, ATransactionThatHadFailedBeforeOurStatementIsAHandlersDoing) {
    EXPECT_EQ(blame_of(statement, ErrorKind::invalid, "transaction_failed"), Blame::message);
}

TEST(InboxStep, F73_CountsWhatAMessageDoesAndNotWhatAnOutageDoes) {
    EXPECT_EQ(blame_of(handler, ErrorKind::invalid, "limit_exceeded"), Blame::message);
    EXPECT_EQ(blame_of(handler, ErrorKind::unavailable, "statement_canceled"), Blame::message);
    EXPECT_EQ(blame_of(commit, ErrorKind::invalid, "duplicate"), Blame::message);
    EXPECT_EQ(blame_of(handler, ErrorKind::unavailable, "disk_full"), Blame::database);
    EXPECT_EQ(blame_of(handler, ErrorKind::in_doubt, "x"), Blame::database);
}

TEST(InboxStep, KnowsTheWordsOfTheFunctionsAndNoOthers) {
    EXPECT_EQ(settlement_of("processed"), Settlement::processed);
    EXPECT_EQ(settlement_of("duplicate"), Settlement::duplicate);
    EXPECT_EQ(settlement_of("parked"), Settlement::parked);
    EXPECT_EQ(settlement_of("retry_later"), Settlement::retry_later);
    EXPECT_EQ(settlement_of("in_progress"), Settlement::in_progress);
    EXPECT_EQ(settlement_of(""), std::nullopt);
    EXPECT_EQ(settlement_of("PROCESSED"), std::nullopt);
}

TEST(InboxStep, OnlyTheFirstThreeSettlementsAcknowledge) {
    for (const auto settlement :
         {Settlement::processed, Settlement::duplicate, Settlement::parked}) {
        EXPECT_TRUE((Outcome<int>{.settlement = settlement}.is_settled()));
    }
    for (const auto settlement : {Settlement::retry_later, Settlement::in_progress}) {
        EXPECT_FALSE((Outcome<int>{.settlement = settlement}.is_settled()));
    }
}

TEST(InboxStep, DoublesTheWaitUpToItsLimit) {
    const auto wait = [](int attempts) {
        return retry_wait(attempts, Milliseconds{1'000}, Milliseconds{60'000}).count();
    };
    EXPECT_EQ(wait(0), 1'000);
    EXPECT_EQ(wait(1), 1'000);
    EXPECT_EQ(wait(2), 2'000);
    EXPECT_EQ(wait(6), 32'000);
    EXPECT_EQ(wait(7), 60'000);
    EXPECT_EQ(wait(1'000'000), 60'000);
    EXPECT_EQ(retry_wait(5, Milliseconds{0}, Milliseconds{10}).count(), 0);
}

TEST(InboxStep, ABatchUsesSavepointsForAFailingHandlerAndNoBatchForTheRest) {
    using enum BatchRound;
    EXPECT_EQ(next_round(together, handler, Blame::message), with_savepoints);
    EXPECT_EQ(next_round(together, handler, Blame::database), one_by_one);
    EXPECT_EQ(next_round(together, statement, Blame::competitor), one_by_one);
    EXPECT_EQ(next_round(together, commit, Blame::message), one_by_one);
    EXPECT_EQ(next_round(with_savepoints, handler, Blame::message), one_by_one);
    EXPECT_EQ(next_round(with_savepoints, commit, Blame::database), one_by_one);
}

TEST(InboxStep, HoldsTheKeyOfAMessageThatComesAgain) {
    HeldKeys held;
    const Message message{.id = "1", .event = {.key = "k"}, .source_topic = "t"};
    const Message other_key{.id = "2", .event = {.key = "l"}, .source_topic = "t"};
    const Message other_topic{.id = "3", .event = {.key = "k"}, .source_topic = "u"};
    const Message keyless{.id = "4", .event = {}, .source_topic = "t"};
    EXPECT_FALSE(held.holds(message));
    held.hold(message);
    held.hold(keyless);
    EXPECT_TRUE(held.holds(message));
    EXPECT_FALSE(held.holds(other_key));
    EXPECT_FALSE(held.holds(other_topic));
    EXPECT_FALSE(held.holds(keyless));
}

}  // namespace
}  // namespace sagaz::core
