// Parked messages that are handled again, by their consumer and in the order of their key.
#include "inbox/inbox_postgres_fixture.hpp"

#include <thread>
#include <vector>

namespace sagaz {
namespace {

class InboxReplay : public InboxOnPostgres {
protected:
    InboxReplay() { options_.max_attempts = 1; }

    /// What `sagaz parked replay` does.
    void set_free() {
        run("UPDATE @s@.parked SET state = 'waiting', attempts = 0, next_attempt_at = now() WHERE "
            "state = 'dead' OR attempts > 0");
    }
    template <class Handler>
    auto replay(Sql& sql, Handler handler) {
        PGconn* connection = sql.raw();
        return Inbox(options_).replay(connection, handler);
    }
    /// The settlement and whose it was.
    std::string replay() {
        std::string id;
        const auto outcome = replay(sql_, [&](auto& c, const Message& m) {
            id = m.id;
            pay(c, m);
        });
        return outcome ? std::string(core_word(outcome->settlement)) + " " + id : "nothing";
    }
    std::string replay_and_fail() {
        const auto outcome = replay(sql_, [&](auto& c, const Message& m) {
            pay(c, m);
            throw std::runtime_error("still no stock");
        });
        return outcome ? std::string(core_word(outcome->settlement)) : "nothing";
    }
    std::string order() {
        return value("SELECT string_agg(id, ' ' ORDER BY ctid) FROM @s@.effect");
    }

    static std::string_view core_word(Settlement settlement) {
        return settlement == processed     ? "processed"
               : settlement == duplicate   ? "duplicate"
               : settlement == parked_word ? "parked"
               : settlement == retry_later ? "retry_later"
                                           : "in_progress";
    }
    static constexpr auto parked_word = Settlement::parked;
};

TEST_F(InboxReplay, BringsAKeyBackInItsOrder) {
    EXPECT_EQ(process_and_fail(message("e1", "k")), Settlement::parked);
    for (const char* id : {"e2", "e3"}) EXPECT_EQ(process(message(id, "k")), Settlement::parked);
    EXPECT_EQ(replay(), "nothing") << "dead until somebody says so";
    set_free();
    EXPECT_EQ(process(message("e4", "k")), Settlement::parked) << "it is not its turn";
    for (const std::string id : {"e1", "e2", "e3", "e4"}) EXPECT_EQ(replay(), "processed " + id);
    EXPECT_EQ(replay(), "nothing");
    EXPECT_EQ(process(message("e5", "k")), processed);
    EXPECT_EQ(process(message("e2", "k")), duplicate);
    EXPECT_EQ(order(), "e1 e2 e3 e4 e5");
    EXPECT_EQ(parked(), "");
}

TEST_F(InboxReplay, LeavesNoAttemptsBehind) {
    options_.max_attempts = 2;
    EXPECT_EQ(process_and_fail(message("e2", "k")), retry_later);
    for (int n = 0; n < 2; ++n) process_and_fail(message("e1", "k"));
    EXPECT_EQ(process(message("e2", "k")), Settlement::parked) << "behind e1";
    set_free();
    EXPECT_EQ(replay(), "processed e1");
    EXPECT_EQ(replay(), "processed e2");
    EXPECT_EQ(attempts(), "");
}

TEST_F(InboxReplay, HandsTheWholeMessageOn) {
    Message all = message("e1", "k", std::string("a\0\xff", 3));
    all.event.headers = {{"tenant", "7"}, {"tenant", "8"}};
    all.event.content_type = "text/plain";
    EXPECT_EQ(process_and_fail(all), Settlement::parked);
    set_free();
    Message came;
    const auto outcome = replay(sql_, [&](auto&, const Message& m) {
        came = m;
        return 7;
    });
    ASSERT_TRUE(outcome.has_value());
    EXPECT_EQ(outcome->value, 7);
    EXPECT_EQ(came.id, all.id);
    EXPECT_EQ(came.source_topic, all.source_topic);
    EXPECT_EQ(came.event.key, all.event.key);
    EXPECT_EQ(came.event.payload, all.event.payload);
    EXPECT_EQ(came.event.headers, all.event.headers);
    EXPECT_EQ(came.event.event_type, all.event.event_type);
    EXPECT_EQ(came.event.content_type, all.event.content_type);
}

TEST_F(InboxReplay, F73_CountsItsFailuresAndIsDeadAgain) {
    options_.max_attempts = 2;
    options_.retry_initial = Milliseconds{60'000};
    for (int n = 0; n < 2; ++n) process_and_fail(message("e1", "k"));
    EXPECT_EQ(process(message("e2", "k")), Settlement::parked);
    set_free();
    EXPECT_EQ(replay_and_fail(), "retry_later");
    EXPECT_EQ(effects(), 0);
    EXPECT_EQ(replay(), "nothing") << "not before a minute has passed, nor what is behind it";
    run("UPDATE @s@.parked SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL");
    EXPECT_EQ(replay_and_fail(), "parked");
    EXPECT_EQ(parked(), "e1 max_attempts dead 2, e2 key_parked waiting 0");
    EXPECT_EQ(replay(), "nothing");
    set_free();
    EXPECT_EQ(replay(), "processed e1");
    EXPECT_EQ(replay(), "processed e2");
}

TEST_F(InboxReplay, F69_OfTwoAtOnceOneTakesIt) {
    EXPECT_EQ(process_and_fail(message("e1")), Settlement::parked);
    set_free();
    Sql first = schema_.connect();
    first.run(schema_.sql("BEGIN; SELECT @s@.inbox_replay('billing')"));
    EXPECT_EQ(replay(), "nothing") << "and it does not wait";
    first.run("ROLLBACK");  // or its process died
    EXPECT_EQ(replay(), "processed e1");
    EXPECT_EQ(effects(), 1);
}

TEST_F(InboxReplay, AMessageThatComesWhileTheLastOneIsTakenFollowsIt) {
    EXPECT_EQ(process_and_fail(message("e1", "k")), Settlement::parked);
    set_free();
    Sql first = schema_.connect();
    EXPECT_EQ(first.value(schema_.sql("BEGIN; SELECT event_id FROM @s@.inbox_replay('billing')")),
              "e1");
    Settlement second{};
    std::jthread member([&] {
        Sql mine = schema_.client();
        second = process(mine, message("e2", "k"), [&](auto& c, const Message& m) {
                     pay(c, m);
                 }).settlement;
    });
    wait_for_waiter();
    first.run("COMMIT");
    member.join();
    EXPECT_EQ(second, Settlement::parked);
    EXPECT_EQ(replay(), "processed e2") << "nobody else would make it due";
    EXPECT_EQ(replay(), "nothing");
}

TEST_F(InboxReplay, OneBehindADeadOneOfItsKeyWaitsUnlessEventsAreParkedAlone) {
    EXPECT_EQ(process_and_fail(message("e1", "k")), Settlement::parked);
    EXPECT_EQ(process(message("e2", "k")), Settlement::parked);
    run("UPDATE @s@.parked SET next_attempt_at = now() WHERE original_id = 'e2'");
    EXPECT_EQ(replay(), "nothing");
    options_.on_failure = OnFailure::park_event;
    EXPECT_EQ(replay(), "processed e2");
}

TEST_F(InboxReplay, F67_WhatTookEffectMeanwhileIsADuplicateAndGoes) {
    EXPECT_EQ(process_and_fail(message("e1")), Settlement::parked);
    set_free();
    run("INSERT INTO @s@.consumer_inbox (consumer_name, event_id, payload_hash) SELECT "
        "'billing', event_id, '' FROM @s@.parked");
    EXPECT_EQ(replay(), "duplicate ");
    EXPECT_EQ(effects(), 0);
    EXPECT_EQ(parked(), "");
}

TEST_F(InboxReplay, LeavesWhatCanNeverGetBetterAndOtherConsumersMessages) {
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(process(message("e1", "", "another body")), Settlement::parked);
    options_.consumer_name = "shipping";
    EXPECT_EQ(process_and_fail(message("e2")), Settlement::parked);
    set_free();
    run("UPDATE @s@.parked SET state = 'waiting', next_attempt_at = now()");
    options_.consumer_name = "billing";
    EXPECT_EQ(replay(), "nothing");
    options_.consumer_name = "shipping";
    EXPECT_EQ(replay(), "processed e2");
}

TEST_F(InboxReplay, AHandlerThatCommitsAndThenFailsIsStopped) {
    EXPECT_EQ(process_and_fail(message("e1")), Settlement::parked);
    set_free();
    std::string code;
    try {
        replay(sql_, [&](auto& c, const Message&) {
            PQclear(PQexec(c, "COMMIT"));
            throw std::runtime_error("after the end");
        });
    } catch (const Error& error) {
        code = error.code();
    }
    EXPECT_EQ(code, "transaction_ended");
}

}  // namespace
}  // namespace sagaz
