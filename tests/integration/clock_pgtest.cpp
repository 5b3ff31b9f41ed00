// Wall clocks that jump, on the host of a relay and on that of the database. By libfaketime, which
// shifts what the processes started under it take for the time; the monotonic clock stays true.
#include "tests/integration/cli_process.hpp"
#include "tests/integration/relay_group.hpp"
#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_server.hpp"
#include "tests/support/shifted_clock.hpp"

#include <sagaz/postgres.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace sagaz {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::CliProcess;
using test::Destination;
using test::Member;
using test::PostgresServer;
using test::Schema;
using test::ShiftedClock;
using test::Sql;
using test::Under;

class Clocks : public ::testing::Test {
protected:
    std::int64_t database_now() { return sql_.number("SELECT extract(epoch FROM now())::bigint"); }

    void append(int number) {
        sql_.run(schema_.sql(
            fmt::format("SELECT @s@.append('t', 'k{}', 'E', '{}')", number % 16, number)));
    }
    std::int64_t pending() {
        return sql_.number(schema_.sql("SELECT pending_events FROM @s@.backlog"));
    }
    std::int64_t epochs() { return sql_.number(schema_.sql("SELECT sum(epoch) FROM @s@.slot")); }
    std::string spread() {
        return sql_.value(
            schema_.sql("SELECT coalesce(string_agg(n::text, ' '), '') FROM (SELECT count(*) AS n "
                        "FROM @s@.slot WHERE owner IS NOT NULL GROUP BY owner) s"));
    }

    ShiftedClock database_clock_;
    std::unique_ptr<PostgresServer> server_ = [this] {
        const Under clock(database_clock_);
        return std::make_unique<PostgresServer>();
    }();
    Schema schema_{*server_};
    Sql sql_{schema_.connect()};
};

constexpr auto kJumps = {"+3600", "-3600", "+86400", "+0"};

}  // namespace

TEST_F(Clocks, F23_NoJumpOfAnyClockMovesASlotOrStopsAnEvent) {
    std::vector<std::unique_ptr<ShiftedClock>> clocks;
    std::vector<std::unique_ptr<CliProcess>> relays;
    for (int n = 0; n < 2; ++n) {
        clocks.push_back(std::make_unique<ShiftedClock>());
        auto environment = clocks.back()->environment();
        environment["SAGAZ_STORE_SCHEMA"] = schema_.name();
        environment["SAGAZ_RELAY_LEASE"] = "3s";
        environment["SAGAZ_ADMIN_LISTEN"] = "127.0.0.1:0";
        relays.push_back(std::make_unique<CliProcess>(
            std::vector<std::string>{"relay", "--store", server_->url(), "--broker", "null:"},
            CliProcess::Options{.environment = environment}));
    }
    test::wait_for("the slots to be spread", [&] { return spread() == "8 8"; }, 60s);
    const std::int64_t before = epochs();
    const std::int64_t start = database_now();
    int number = 0;
    const auto live_through = [&](ShiftedClock& clock, const char* jump) {
        clock.shift(jump);
        const auto end = std::chrono::steady_clock::now() + 1500ms;
        while (std::chrono::steady_clock::now() < end) append(++number);
        test::wait_for("the events to be delivered", [&] { return pending() == 0; });
        EXPECT_EQ(epochs(), before) << "a slot moved after " << jump;
    };
    for (const char* jump : kJumps) live_through(*clocks[0], jump);
    for (const char* jump : kJumps) {
        live_through(database_clock_, jump);
        if (std::string_view(jump) == "+3600") {
            EXPECT_GT(database_now() - start, 3'000) << "the database's clock did not jump";
        }
    }
    for (const auto& relay : relays) {
        relay->signal(SIGTERM);
        EXPECT_EQ(relay->wait(), 0) << relay->err();
    }
}

TEST_F(Clocks, TheDatabasesClockIsSeenBesideOurs) {
    const auto store = postgres::open(server_->url(), {.schema = schema_.name()});
    store->attach(Id::generate());
    const auto skew = [&] {
        const auto ours = std::chrono::system_clock::now();
        return std::chrono::duration<double>(store->measure().clock.value() - ours).count();
    };
    EXPECT_NEAR(skew(), 0, 60);
    database_clock_.shift("-3600");
    EXPECT_NEAR(skew(), -3'600, 60);
}

TEST_F(Clocks, F24_GoesOnAtANewPrimaryWhoseClockIsBehind) {
    const auto standby = [&] {
        ShiftedClock behind;
        behind.shift("-3600");
        const Under clock(behind);
        return server_->standby();
    }();
    RelayOptions options;
    options.lease = 3s;
    Destination destination;
    const std::string both = fmt::format(
        "postgresql://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write",
        server_->port(), standby->port());
    Member one(both, schema_.name(), destination, options);
    Member two(both, schema_.name(), destination, options);
    test::wait_for("the slots to be owned", [&] { return one.slots() + two.slots() == 16; }, 60s);
    server_->stop(test::StopMode::immediate);
    Sql(standby->url()).run("SELECT pg_promote()");
    Sql promoted(standby->url());
    for (int number = 1; number <= 50; ++number) {
        promoted.run(schema_.sql(
            fmt::format("SELECT @s@.append('t', 'k{}', 'E', '{}')", number % 16, number)));
    }
    test::wait_for("the events to arrive", [&] { return destination.arrived() == 50; }, 60s);
    EXPECT_EQ(destination.inversions(), 0U);
}

}  // namespace sagaz
