#pragma once

#include "tests/support/postgres_server.hpp"

#include <sagaz/inbox.hpp>

#include <gtest/gtest.h>

#include <string>

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

    Schema schema_;
    Sql sql_{schema_.client()};
    InboxOptions options_;
};

}  // namespace sagaz::test
