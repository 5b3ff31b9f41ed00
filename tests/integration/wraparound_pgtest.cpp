// The end of the transaction ids, on a scratch copy whose counter pg_resetwal has moved far ahead.
#include "testing/store_reader.hpp"
#include "tests/integration/cli_process.hpp"
#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_writer.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace sagaz::test {
namespace {

using testing::payloads_of;
using testing::StoreReader;

// Past 60 % of 2^31, at the beginning of a file of pg_xact, which holds 2^20. Not a multiple of
// 2^16: those start autovacuum at once.
constexpr std::uint64_t kFarAhead = (1'300ULL << 20) + 5;

// The counter of the stopped server goes on from kFarAhead.
void reset_next_xid(const PostgresServer& server) {
    const auto segment = server.data() / "pg_xact" / "0514";  // 1300
    {
        std::ofstream file(segment, std::ios::binary);
        file << std::string(std::size_t{256} << 10, '\0');
    }
    give_to_server(server.data());
    const auto bin = "/usr/lib/postgresql/" + std::to_string(server.version()) + "/bin/pg_resetwal";
    run({bin, "-x", std::to_string(kFarAhead), "-D", server.data().string()},
        server.data().parent_path() / "resetwal.log");
}

TEST(Wraparound, F16_DeliversReclaimsAndWarnsNearTheLimitAndIsFrozenByItself) {
    PostgresServer server({.config = {"autovacuum_naptime = 1h"}, .bin = ""});
    const Schema schema(server);
    auto store = open_store(schema);
    {
        StoreReader reader(*store);
        commit_event(schema, "before");
        EXPECT_EQ(payloads_of(reader.read_window()), std::vector<std::string>{"before"});
        EXPECT_EQ(store->store(reader.moves(), {}).size(), 16U);
        schema.connect().run(schema.sql("SELECT setval('@s@.outbox_id', 1 << 18)"));
        commit_event(schema, "pending");
    }
    server.stop();
    reset_next_xid(server);
    server.start();

    Sql sql = schema.connect();
    EXPECT_GE(sql.number("SELECT pg_current_xact_id()::text::bigint"),
              static_cast<std::int64_t>(kFarAhead));
    const auto age = [&] {
        return sql.number(schema.sql(
            "SELECT max(age(relfrozenxid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = "
            "'@s@'::regnamespace"));
    };
    EXPECT_GT(age(), 1'073'741'824);
    const auto doctor =
        run_cli({"doctor", "--store", server.url(), "--schema", schema.name(), "--json"}, {});
    EXPECT_NE(doctor.out.find(R"("id":"freezing","state":"finding")"), std::string::npos)
        << doctor.out << doctor.err;

    store = open_store(schema);
    StoreReader reader(*store);
    EXPECT_NEAR(store->measure().wraparound.value(), 0.635, 0.005);
    commit_event(schema, "after");
    EXPECT_EQ(payloads_of(reader.read_window()), (std::vector<std::string>{"pending", "after"}));
    EXPECT_EQ(store->store(reader.moves(), {}).size(), 16U);
    EXPECT_EQ(store->reclaim({}).truncations, 1);

    server.configure("autovacuum_naptime = 1s");
    server.reload();
    wait_for(
        "every table of ours to be frozen", [&] { return age() < 200'000'000; },
        std::chrono::seconds{90});
    commit_event(schema, "frozen");
    EXPECT_EQ(payloads_of(reader.read_window()), std::vector<std::string>{"frozen"});
}

}  // namespace
}  // namespace sagaz::test
