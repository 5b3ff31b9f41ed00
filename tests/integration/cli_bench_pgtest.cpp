#include "tests/integration/cli_database.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace sagaz {
namespace {

using test::CliResult;

class CliBench : public test::CliOnADatabase {
protected:
    CliResult bench(std::vector<std::string> arguments) const {
        arguments.insert(arguments.begin(), "bench");
        return run(std::move(arguments));
    }
    bool is_there(const std::string& schema) const {
        return sql().value("SELECT count(*) FROM pg_namespace WHERE nspname = '" + schema + "'") ==
               "1";
    }
    // As a benchmark that was killed leaves it.
    void leave_one_behind() const {
        migrate({"--schema", "sagaz_bench", "--no-roles"});
        sql().run("COMMENT ON SCHEMA sagaz_bench IS 'made by sagaz bench, which removes it'");
    }
};

TEST_F(CliBench, MeasuresADrainAndLeavesNothingBehind) {
    const auto done = bench({"--only", "drain", "--rounds", "1", "--events", "4000", "--json"});
    ASSERT_EQ(done.code, 0) << done.err;
    const auto result = nlohmann::json::parse(done.out);
    EXPECT_EQ(result["benchmark"], "drain");
    bool compared = false;
    for (const auto& ratio : result["ratios"]) {
        compared = compared || ratio["what"] == "relay to (a)";
        EXPECT_GT(ratio["median"], 0) << ratio;
    }
    EXPECT_TRUE(compared) << done.out;
    EXPECT_FALSE(is_there("sagaz_bench"));
}

TEST_F(CliBench, LeavesASchemaOfSomebodyElseAlone) {
    migrate();
    const auto refused = bench({"--schema", "sagaz"});
    EXPECT_EQ(refused.code, 2);
    EXPECT_NE(refused.err.find("error[bench_schema]"), std::string::npos) << refused.err;
    EXPECT_NE(refused.err.find("has not made it"), std::string::npos) << refused.err;
    EXPECT_TRUE(is_there("sagaz"));
}

TEST_F(CliBench, RefusesItsOwnSchemaWithEventsAMovedCursorOrALiveRelay) {
    const std::vector<std::pair<std::string, std::string>> uses{
        {"INSERT INTO sagaz_bench.outbox (event_type, payload) VALUES ('E', '')", "events"},
        {"INSERT INTO sagaz_bench.cursor SELECT destination, slot, 1, epoch, done, target, 1, 1, "
         "null, null, null, system_identifier FROM sagaz_bench.cursor LIMIT 1",
         "a cursor that has moved"},
        {"INSERT INTO sagaz_bench.relay (id) VALUES (gen_random_uuid())", "a live relay"}};
    for (const auto& [sql_of_use, words] : uses) {
        leave_one_behind();
        sql().run(sql_of_use);
        const auto refused = bench({"--only", "drain"});
        EXPECT_EQ(refused.code, 2);
        EXPECT_NE(refused.err.find("holds " + words), std::string::npos) << refused.err;
        EXPECT_NE(refused.err.find("DROP SCHEMA sagaz_bench CASCADE"), std::string::npos);
        EXPECT_TRUE(is_there("sagaz_bench"));
        sql().run("DROP SCHEMA sagaz_bench CASCADE");
    }
}

TEST_F(CliBench, SaysWhatItCanMeasure) {
    const auto unknown = bench({"--only", "speed"});
    EXPECT_EQ(unknown.code, 2);
    EXPECT_NE(unknown.err.find("drain_kafka"), std::string::npos) << unknown.err;
    const auto without = bench({"--only", "drain_kafka"});
    EXPECT_EQ(without.code, 2);
    EXPECT_NE(without.err.find("error[broker_url_missing]"), std::string::npos) << without.err;
    EXPECT_FALSE(is_there("sagaz_bench")) << "nothing was begun";
}

}  // namespace
}  // namespace sagaz
