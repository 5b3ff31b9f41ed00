#pragma once

#include "tests/support/postgres_server.hpp"

#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

/// A schema of its own with a table for effects, and an inbox on it.
namespace sagaz {

using enum Settlement;
using test::PostgresServer;
using test::Schema;
using test::Sql;

inline Message message(const std::string& id, const std::string& key = "",
                       const std::string& payload = "body") {
    Message made{
        .id = id, .event = {.event_type = "Paid", .payload = payload}, .source_topic = "payments"};
    if (!key.empty()) made.event.key = key;
    return made;
}

class InboxOnPostgres : public ::testing::Test {
protected:
    explicit InboxOnPostgres(PostgresServer& server = PostgresServer::shared()) : schema_(server) {
        run("CREATE TABLE @s@.effect (id text)");
        options_.consumer_name = "billing";
        options_.schema = schema_.name();
        options_.lock_timeout = Milliseconds{60'000};  // a slow machine is no competitor
    }

    void run(const std::string& sql) { sql_.run(schema_.sql(sql)); }
    std::string value(const std::string& sql) { return sql_.value(schema_.sql(sql)); }
    std::int64_t effects() { return sql_.number(schema_.sql("SELECT count(*) FROM @s@.effect")); }
    std::string parked() {
        return value(
            "SELECT coalesce(string_agg(concat_ws(' ', coalesce(original_id, "
            "event_id::text), reason, state, attempts), ', ' ORDER BY position), '') "
            "FROM @s@.parked");
    }
    std::string attempts() {
        return value(
            "SELECT coalesce(string_agg(attempts || ' ' || last_cause, ', '), '') "
            "FROM @s@.inbox_attempt");
    }

    // A handler's statement, on the connection that the handler got.
    void in(PGconn* connection, const std::string& sql) {
        postgres::LibpqTransaction(connection).execute({schema_.sql(sql), {}});
    }
    void pay(PGconn* connection, const Message& m) {
        in(connection, "INSERT INTO @s@.effect VALUES ('" + m.id + "')");
    }

    template <class Handler>
    auto process(Sql& sql, const Message& m, Handler handler) {
        PGconn* connection = sql.raw();
        return Inbox(options_).process(connection, m, handler);
    }
    Settlement process(const Message& m) {
        return process(sql_, m, [&](auto& c, const Message& n) { pay(c, n); }).settlement;
    }
    Settlement process_and_fail(const Message& m, const std::string& cause = "no stock") {
        return process(sql_, m,
                       [&](auto& c, const Message& n) {
                           pay(c, n);
                           throw std::runtime_error(cause);
                       })
            .settlement;
    }
    // Waits until a statement waits for another transaction.
    void wait_for_waiter() {
        Sql watcher = schema_.connect();
        test::wait_for("a transaction to wait for another", [&] {
            return watcher.number("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0;
        });
    }

    Schema schema_;
    Sql sql_{schema_.connect()};
    InboxOptions options_;
};

}  // namespace sagaz
