#pragma once

#include "tests/support/postgres_server.hpp"

#include <sagaz/outbox.hpp>
#include <sagaz/postgres.hpp>
#include <sagaz/testing/store_conformance.hpp>

#include <string>

namespace sagaz::test {

/// A producer's transaction on a connection of its own, for tests of stores.
class PostgresWriter final : public testing::Writer {
public:
    explicit PostgresWriter(const Schema& schema) : PostgresWriter(schema.url(), schema.name()) {}
    PostgresWriter(const std::string& url, const std::string& schema) : schema_(schema), sql_(url) {
        sql_.run("BEGIN");
    }

    void append(const Event& event, Milliseconds hold = Milliseconds{0}) override {
        PGconn* connection = sql_.raw();
        const auto ticket = Outbox(schema_).append(connection, event);
        if (hold.count() == 0) return;
        sql_.run("UPDATE " + schema_ + ".outbox SET held_until = clock_timestamp() + interval '" +
                 std::to_string(hold.count()) +
                 " ms' WHERE id = " + std::to_string(ticket.entries()[0].position));
    }
    void append(const std::string& payload, const std::string& key = "k") {
        append(Event{.topic = "t", .key = key, .event_type = "E", .payload = payload});
    }
    void commit() override { sql_.run("COMMIT"); }
    void rollback() { sql_.run("ROLLBACK"); }
    Sql& sql() { return sql_; }

private:
    std::string schema_;
    Sql sql_;
};

/// Commits one event of key `key`.
inline void commit_event(const Schema& schema, const std::string& payload,
                         const std::string& key = "k") {
    PostgresWriter writer(schema);
    writer.append(payload, key);
    writer.commit();
}

inline std::unique_ptr<Store> open_store(const Schema& schema) {
    return postgres::open(schema.url(), {.schema = schema.name()});
}

}  // namespace sagaz::test
