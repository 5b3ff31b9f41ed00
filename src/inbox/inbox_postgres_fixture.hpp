#pragma once

#include "tests/support/inbox_fixture.hpp"
#include "tests/support/inbox_message.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

/// What the inbox did to a schema of its own, through libpq.
namespace sagaz {

using enum Settlement;
using test::message;
using test::PostgresServer;
using test::Sql;

class InboxOnPostgres : public test::InboxInASchema {
protected:
    using InboxInASchema::InboxInASchema;

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
};

}  // namespace sagaz
