// BEGIN and the mark in one round trip, against a real server.
#include "inbox/inbox_postgres_fixture.hpp"
#include "tests/support/error_code.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <thread>

namespace sagaz {
namespace {

using test::code_of;

// Read from libpq's trace: a round trip ends with a Sync or is a
// Query.
TEST_F(InboxOnPostgres, TakesTwoRoundTripsBesidesTheHandlers) {
    std::FILE* trace = std::tmpfile();
    PGconn* connection = sql_.raw();
    Inbox(options_).process(connection, message("e1"), [&](auto& c, const Message& m) {
        pay(c, m);
        PQtrace(c, trace);  // COMMIT
    });
    Inbox(options_).process(connection, message("e2"), [&](auto& c, const Message& m) {
        PQuntrace(c);  // BEGIN and the mark
        pay(c, m);
    });
    std::rewind(trace);
    int round_trips = 0;
    for (std::array<char, 4096> line{}; std::fgets(line.data(), line.size(), trace) != nullptr;) {
        const std::string_view text{line.data()};
        const bool is_ours = text.find("\tF\t") != std::string_view::npos;
        if (is_ours && (text.find("\tSync") != std::string_view::npos ||
                        text.find("\tQuery") != std::string_view::npos)) {
            ++round_trips;
        }
    }
    std::fclose(trace);
    EXPECT_EQ(round_trips, 2);
    EXPECT_EQ(effects(), 2);
}

TEST_F(InboxOnPostgres, LeavesThePipelineWhateverTheMarkSaid) {
    const auto state = [&] {
        return PQpipelineStatus(sql_.raw()) == PQ_PIPELINE_OFF &&
               PQtransactionStatus(sql_.raw()) == PQTRANS_IDLE;
    };
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_TRUE(state());
    EXPECT_EQ(process(message("e1")), duplicate);
    EXPECT_TRUE(state());
    run("ALTER TABLE @s@.consumer_inbox RENAME TO elsewhere");
    EXPECT_ANY_THROW(process(message("e2")));
    EXPECT_TRUE(state());
    run("ALTER TABLE @s@.elsewhere RENAME TO consumer_inbox");
    EXPECT_EQ(process(message("e2")), processed);
}

// Both find out when they are answered: nothing was committed, so it is not in doubt.
TEST_F(InboxOnPostgres, ASessionThatWasCutBeforehandIsGoneAndNotInDoubt) {
    for (const bool is_waiting : {false, true}) {
        Sql consumer = schema_.connect();
        const auto pid = consumer.value("SELECT pg_backend_pid()");
        Sql zombie = schema_.connect();
        if (is_waiting) {
            zombie.run(
                schema_.sql("BEGIN; SELECT @s@.inbox_mark('billing', 'e1', 't', 'E', 'body')"));
        } else {
            run("SELECT pg_terminate_backend(" + pid + ", 10000)");
        }
        std::string code;
        std::jthread member([&] {
            code = code_of([&] {
                process(consumer, message("e1"), [&](auto& c, const Message& m) { pay(c, m); });
            });
        });
        if (is_waiting) {
            wait_for_waiter();
            run("SELECT pg_terminate_backend(" + pid + ", 10000)");
        }
        member.join();
        EXPECT_EQ(code, "server_shutdown");
        EXPECT_EQ(PQpipelineStatus(consumer.raw()), PQ_PIPELINE_OFF);
        EXPECT_EQ(effects(), 0);
    }
    EXPECT_EQ(process(message("e1")), processed);
}

}  // namespace
}  // namespace sagaz
