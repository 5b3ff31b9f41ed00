// Several relays on one database: how they share its slots, and what they cost at rest.
#include "stores/postgres/migration.hpp"
#include "tests/integration/relay_group.hpp"
#include "tests/support/pgbouncer_server.hpp"
#include "tests/support/postgres_server.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <numeric>

namespace sagaz {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using test::Destination;
using test::Member;
using test::Members;
using test::PgbouncerServer;
using test::PostgresServer;
using test::Schema;
using test::slots_of;
using test::Sql;

/// Appends numbers to a few hot keys until told to stop.
class Writer {
public:
    explicit Writer(const Schema& schema, Milliseconds pause = Milliseconds{1})
        : thread_([this, &schema, pause](const std::stop_token& stop) {
              Sql sql = schema.connect();
              while (!stop.stop_requested()) {
                  const int number = count_ + 1;
                  sql.run(schema.sql(fmt::format("SELECT @s@.append('t', 'k{}', 'E', '{}')",
                                                 number % 24, number)));
                  count_ = number;
                  std::this_thread::sleep_for(pause);
              }
          }) {}

    int stop() {
        thread_.request_stop();
        if (thread_.joinable()) thread_.join();
        return count_;
    }

private:
    std::atomic<int> count_{};
    std::jthread thread_;
};

/// Nobody looks dead, however busy the machine is.
RelayOptions patient() {
    RelayOptions options;
    options.lease = 30s;
    return options;
}

void expect_all(const Destination& destination, int written) {
    test::wait_for("everything to arrive",
                   [&] { return destination.arrived() == static_cast<std::size_t>(written); });
    EXPECT_EQ(destination.repeats(), 0U);
    EXPECT_EQ(destination.inversions(), 0U);
}

// One to four and back, under load: `url` may lead through a pooler.
void scale_up_and_down(const Schema& schema, const std::string& url) {
    Destination destination;
    Members members;
    Writer writer(schema);
    const auto wait_for_slots = [&](std::vector<int> wanted) {
        test::wait_for(
            "the slots to be spread",
            [&] {
                auto slots = slots_of(members);
                std::ranges::sort(slots, std::greater{});
                return slots == wanted;
            },
            60s);
    };
    for (const auto& wanted : {std::vector{16}, {8, 8}, {6, 5, 5}, {4, 4, 4, 4}}) {
        members.push_back(std::make_unique<Member>(url, schema.name(), destination, patient()));
        wait_for_slots(wanted);
    }
    for (const auto& wanted : {std::vector{6, 5, 5}, {8, 8}, {16}}) {
        members.erase(members.begin());
        wait_for_slots(wanted);
    }
    expect_all(destination, writer.stop());
    EXPECT_EQ(schema.connect().number(schema.sql("SELECT count(*) FROM @s@.relay")), 1);
}

TEST(RelayGroup, F20_NoKeyIsInTwoHandsWhileRelaysComeAndGo) {
    const Schema schema;
    scale_up_and_down(schema, schema.url());
}

TEST(RelayGroup, F25_NothingOfASessionIsLeftBehindByAPooler) {
    const Schema schema;
    const PgbouncerServer pooler(schema.server());
    scale_up_and_down(schema, pooler.url());
}

TEST(RelayGroup, F28_AHundredHandoversRepeatNothing) {
    const Schema schema;
    Destination destination;
    Writer writer(schema);
    auto member = std::make_unique<Member>(schema.url(), schema.name(), destination, patient());
    for (int n = 0; n < 100; ++n) {
        auto next = std::make_unique<Member>(schema.url(), schema.name(), destination, patient());
        member = std::move(next);  // The older one ends while the younger begins.
    }
    expect_all(destination, writer.stop());
    member.reset();
    EXPECT_EQ(schema.connect().number(schema.sql("SELECT count(*) FROM @s@.relay")), 0);
    EXPECT_EQ(schema.connect().number(schema.sql("SELECT count(owner) FROM @s@.slot")), 0);
}

// ----------------------------------------------------------------------------------------- at rest

class AtRest : public ::testing::Test {
protected:
    // Every statement counts, whoever makes it.
    std::int64_t statements(const Schema& schema) {
        return Sql(server_.url())
            .number(fmt::format(
                "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '%{}.%'",
                schema.name()));
    }

    PostgresServer server_{{.config = {"shared_preload_libraries = 'pg_stat_statements'",
                                       "pg_stat_statements.track = all"},
                            .bin = ""}};
};

// A schema with that many slots, made as "sagaz migrate --set slot_count" does.
void set_slots(const Schema& schema, int slots) {
    postgres::set_setting(schema.url(), schema.name(), "slot_count", std::to_string(slots));
}

TEST_F(AtRest, MakesTwoStatementsASecondAtMostWhateverTheSlots) {
    Sql(server_.url()).run("CREATE EXTENSION pg_stat_statements");
    struct Group {
        int slots;
        int relays;
        Schema schema;
        Members members;
        std::int64_t before{};
    };
    Destination destination;
    std::vector<std::unique_ptr<Group>> groups;
    for (const auto& [slots, relays] : {std::pair{1, 1}, {16, 1}, {64, 1}, {16, 2}, {1, 2}}) {
        auto group = std::unique_ptr<Group>(new Group{slots, relays, Schema(server_), {}});
        set_slots(group->schema, slots);
        for (int n = 0; n < relays; ++n) {
            group->members.push_back(
                std::make_unique<Member>(server_.url(), group->schema.name(), destination));
        }
        groups.push_back(std::move(group));
    }
    for (const auto& group : groups) {
        test::wait_for(
            "the slots to be spread",
            [&] {
                const auto slots = slots_of(group->members);
                const auto [least, most] = std::ranges::minmax(slots);
                return *std::ranges::max_element(slots) - least <= 1 &&
                       std::accumulate(slots.begin(), slots.end(), 0) == group->slots && most > 0;
            },
            60s);
    }
    std::this_thread::sleep_for(6s);  // Until silence counts as rest.
    for (const auto& group : groups) group->before = statements(group->schema);
    const auto from = Clock::now();
    std::this_thread::sleep_for(30s);
    for (const auto& group : groups) {
        const std::chrono::duration<double> passed = Clock::now() - from;
        const auto made = static_cast<double>(statements(group->schema) - group->before);
        const double each = made / group->relays / passed.count();
        EXPECT_LE(each, 2.0) << group->relays << " relays, " << group->slots << " slots";
        EXPECT_GE(each, 1.5) << "they were not alive";
    }
}

}  // namespace
}  // namespace sagaz
