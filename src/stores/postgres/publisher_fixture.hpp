#pragma once

#include "testing/store_reader.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/postgres.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

/// A publisher's store on a real server, a relay beside it, and producers that hold what they
/// append.
namespace sagaz {

constexpr Milliseconds kMargin{1'000};
using Verdicts = std::vector<Verdict>;

/// A producer's transaction that holds what it appends.
class Appending {
public:
    explicit Appending(const test::Schema& schema) : schema_(schema), sql_(schema.connect()) {
        sql_.run("BEGIN");
    }
    RowRef append(const std::string& key = "k", const std::string& topic = "t") {
        const auto text = [](const std::string& value) {
            return value.empty() ? std::string("NULL") : "'" + value + "'";
        };
        const auto row = sql_.rows(schema_.sql(
            fmt::format("INSERT INTO @s@.outbox (topic, key, event_type, payload, held_until) "
                        "VALUES ({}, {}, 'E', 'p', clock_timestamp() + interval '1 minute') "
                        "RETURNING slot, id, event_id",
                        text(topic), text(key))));
        return {static_cast<std::int16_t>(std::stoi(row.at(0)[0])), std::stoll(row.at(0)[1]),
                Id::parse(row.at(0)[2])};
    }
    void commit() { sql_.run("COMMIT"); }
    test::Sql& sql() { return sql_; }

private:
    const test::Schema& schema_;
    test::Sql sql_;
};

class Publisher : public ::testing::Test {
protected:
    Publisher() : Publisher(test::PostgresServer::shared()) {}
    explicit Publisher(test::PostgresServer& server, bool with_roles = false)
        : schema_(server, with_roles) {
        (void)publisher_->attach();
    }

    void run(const std::string& sql) { sql_.run(schema_.sql(sql)); }
    std::string value(const std::string& sql) { return sql_.value(schema_.sql(sql)); }

    RowRef append(const std::string& key = "k", const std::string& topic = "t") {
        Appending transaction(schema_);
        const RowRef row = transaction.append(key, topic);
        transaction.commit();
        return row;
    }
    /// A key, not "k", whose events have its slot.
    std::string neighbour() {
        return value(
            "SELECT n::text FROM generate_series(1, 1000) n "
            "WHERE @s@.slot_of(n::text, NULL) = @s@.slot_of('k', NULL) LIMIT 1");
    }
    void go_to(std::int64_t id) {
        run(fmt::format("SELECT setval('@s@.outbox_id', {}, false)", id));
    }

    Verdicts ask(const std::vector<RowRef>& asked, const std::vector<RowRef>& acknowledged = {}) {
        return publisher_->confirm(asked, acknowledged, kMargin).verdicts;
    }
    Verdict ask(const RowRef& row) { return ask(std::vector{row}).at(0); }
    void settle(const RowRef& row) { publisher_->settle(std::vector{row}, {}); }

    /// Reads all there is and stores that it is delivered, or parked.
    std::vector<testing::ReadRow> deliver(const std::vector<Parking>& parked = {}) {
        auto rows = reader_.read_window();
        auto moves = reader_.moves();
        for (auto& move : moves) move.cursor.n += stores_;
        ++stores_;
        EXPECT_EQ(store_->store(moves, parked).size(), moves.size());
        return rows;
    }
    static Parking parking_of(const RowRef& row) {
        return {row.slot, row.position, row.event_id, "refused", ""};
    }

    test::Schema schema_;
    test::Sql sql_{schema_.connect()};
    std::unique_ptr<Store> store_{test::open_store(schema_)};
    testing::StoreReader reader_{*store_};
    std::int64_t stores_{};
    std::unique_ptr<PublisherStore> publisher_{
        postgres::open_publisher(schema_.url(), {.schema = schema_.name()})};
};

}  // namespace sagaz
