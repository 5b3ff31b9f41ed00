#pragma once

#include "tests/support/error_code.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/inbox.hpp>

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace sagaz::test {

/// A schema with a table of effects beside it, a connection that handlers and checks share, and the
/// options of an inbox.
class InboxInASchema : public ::testing::Test {
protected:
    explicit InboxInASchema(PostgresServer& server = PostgresServer::shared()) : schema_(server) {
        run("CREATE TABLE @s@.effect (id text)");
        options_.consumer_name = "billing";
        options_.schema = schema_.name();
        options_.lock_timeout = Milliseconds{60'000};  // a slow machine is no competitor
    }

    void run(const std::string& sql) { sql_.run(schema_.sql(sql)); }
    std::string value(const std::string& sql) { return sql_.value(schema_.sql(sql)); }

    /// The server answers a COMMIT whose wait for a standby is cancelled with success, and a
    /// warning. Twice, since what a repeat finds of it is no more certain.
    template <class Process>
    void expect_doubt_when_the_wait_is_cancelled(PostgresServer& server, const Process& process) {
        server.let_commits_wait_for("nobody");
        Sql watcher = schema_.connect();
        watcher.run("SET synchronous_commit = local");
        for (int tries = 0; tries < 2; ++tries) {
            std::string code;
            std::jthread consumer([&] { code = code_of(process); });
            wait_for("the commit to wait", [&] {
                return watcher.number(
                           "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity "
                           "WHERE wait_event = 'SyncRep'") == 1;
            });
            consumer.join();
            EXPECT_EQ(code, "commit_in_doubt") << "try " << tries;
        }
        server.let_commits_wait_for("");
    }

    Schema schema_;
    Sql sql_{schema_.client()};
    InboxOptions options_;
};

}  // namespace sagaz::test
