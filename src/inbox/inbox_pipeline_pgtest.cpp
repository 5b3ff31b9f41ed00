// BEGIN and the mark in one round trip, against a real server.
#include "inbox/inbox_postgres_fixture.hpp"
#include "tests/support/error_code.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <string_view>
#include <thread>

namespace {
int until_refused = 0;      // Counts down: the statement at 1 is not taken.
bool loses_commit = false;  // COMMIT is done, and its answer not kept.
}  // namespace

// These stand before libpq's own, and say what it says when memory is short.
extern "C" {

// NOLINTNEXTLINE(readability-function-size): libpq's parameters
int PQsendQueryParams(PGconn* connection, const char* sql, int count, const Oid* types,
                      const char* const* values, const int* lengths, const int* formats,
                      int format) {
    if (until_refused > 0) {
        --until_refused;
        if (until_refused == 0) return 0;
    }
    static const auto real =
        reinterpret_cast<decltype(&PQsendQueryParams)>(dlsym(RTLD_NEXT, "PQsendQueryParams"));
    return real(connection, sql, count, types, values, lengths, formats, format);
}

PGresult* PQexec(PGconn* connection, const char* sql) {
    static const auto real = reinterpret_cast<decltype(&PQexec)>(dlsym(RTLD_NEXT, "PQexec"));
    PGresult* const result = real(connection, sql);
    if (!loses_commit || std::string_view(sql) != "COMMIT") return result;
    PQclear(result);
    return nullptr;
}

}  // extern "C"

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
    ASSERT_EQ(std::fseek(trace, 0, SEEK_SET), 0);
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

// A mark without its BEGIN is committed by the server alone, and its message is then a duplicate.
TEST_F(InboxOnPostgres, AMarkIsNotSentBehindABeginThatLibpqDidNotTake) {
    for (const int statement : {1, 2}) {
        until_refused = statement;
        EXPECT_EQ(code_of([&] { process(message("e1")); }), "connection_lost");
        EXPECT_EQ(until_refused, 0);
        EXPECT_EQ(PQpipelineStatus(sql_.raw()), PQ_PIPELINE_OFF);
        EXPECT_EQ(PQtransactionStatus(sql_.raw()), PQTRANS_IDLE);
        EXPECT_EQ(value("SELECT count(*) FROM @s@.consumer_inbox"), "0");
    }
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(effects(), 1);
}

TEST_F(InboxOnPostgres, ACommitWhoseAnswerFoundNoMemoryIsInDoubt) {
    loses_commit = true;
    EXPECT_EQ(code_of([&] { process(message("e1")); }), "commit_in_doubt");
    loses_commit = false;
    EXPECT_EQ(process(message("e1")), duplicate);
    EXPECT_EQ(effects(), 1);
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
