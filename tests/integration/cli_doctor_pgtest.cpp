// `doctor`, `check` and `completion` of the real executable: each trouble is made, then found.
#include "tests/integration/cli_database.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace sagaz::test {
namespace {

using nlohmann::json;
using Arguments = std::vector<std::string>;

class CliDoctor : public CliOnADatabase {
protected:
    void SetUp() override { migrate(); }

    void beat() const {
        sql().run("insert into sagaz.relay (id, beat, report) values (gen_random_uuid(), 1, '{}')");
        sql().run("update sagaz.slot set epoch = 1, owner = (select id from sagaz.relay)");
    }
    /// The state of one check, and what doctor says to do.
    std::pair<std::string, std::string> check(const std::string& id, int code) const {
        const auto result = run({"doctor", "--json"});
        EXPECT_EQ(result.code, code) << result.err;
        const auto report = json::parse(result.out);
        for (const auto& check : report["checks"]) {
            EXPECT_FALSE(check["seen"].get<std::string>().empty()) << check;
            EXPECT_FALSE(check["why"].get<std::string>().empty()) << check;
            if (check["id"] == id) return {check["state"], check["do"]};
        }
        return {"not made", ""};
    }
    void expect_finding(const std::string& id, const std::string& word) const {
        const auto [state, what_to_do] = check(id, 3);
        EXPECT_EQ(state, "finding");
        EXPECT_NE(what_to_do.find(word), std::string::npos) << what_to_do;
    }
};

TEST_F(CliDoctor, FindsNothingWhereAllIsWell) {
    beat();
    const auto result = run({"doctor"});
    EXPECT_EQ(result.code, 0) << result.out;
    EXPECT_NE(result.out.find("skipped  broker"), std::string::npos) << "skipped is not passed";
}

TEST_F(CliDoctor, MissesTheRelayThatHasRun) {
    EXPECT_EQ(check("relay", 0).first, "skipped") << "none ever ran, and nothing waits";
    sql().run("update sagaz.slot set epoch = 1");
    expect_finding("relay", "start sagaz relay");
}

TEST_F(CliDoctor, NamesTheGrantThatIsMissing) {
    sql().run("drop role if exists ann; create role ann login; grant sagaz_reader to ann");
    url_ = server_.url(database_, "ann");
    EXPECT_EQ(check("rights", 0).first, "skipped") << "it may be no relay's";
    sql().run("grant insert on sagaz.cursor to ann");
    expect_finding("rights", "GRANT sagaz_relay TO ann");
    sql().run("grant sagaz_relay to ann");
    EXPECT_EQ(check("rights", 0).first, "ok");
    for (const char* part : {"execute on function sagaz.rebase(boolean)", "delete on sagaz.parked",
                             "truncate on sagaz.outbox_15"}) {
        sql().run(std::string{"revoke "} + part + " from sagaz_relay");
        expect_finding("rights", "sagaz migrate");
        sql().run(std::string{"grant "} + part + " to sagaz_relay");
    }
    EXPECT_EQ(check("rights", 0).first, "ok");
}

TEST_F(CliDoctor, F71_SeesAnInboxThatNobodyKeeps) {
    beat();
    EXPECT_EQ(check("inbox_partitions", 0).first, "ok") << "nobody uses it";
    sql().run("select sagaz.inbox_mark('billing', 'e1', 'orders', 'E', 'p'::text)");
    expect_finding("inbox_partitions", "sagaz inbox cleanup");
    EXPECT_EQ(check("inbox_retention", 3).first, "skipped") << "there is no broker to ask";
    EXPECT_EQ(run({"inbox", "cleanup", "--yes"}).code, 0);  // what it says
    EXPECT_EQ(check("inbox_partitions", 0).first, "ok");
    sql().run(
        "select sagaz.inbox_add_partition('consumer_inbox_old', sagaz.inbox_first_id(now() - "
        "interval '34 days'), sagaz.inbox_first_id(now() - interval '33 days'))");
    expect_finding("inbox_partitions", "sagaz inbox cleanup");
    EXPECT_EQ(run({"inbox", "cleanup", "--yes"}).code, 0);
    EXPECT_EQ(check("inbox_partitions", 0).first, "ok");
}

TEST_F(CliDoctor, SeesAPublicationThatWouldEmptyItsSubscriber) {
    beat();
    sql().run("create publication everything for all tables");
    expect_finding("publications",
                   "ALTER PUBLICATION everything SET (publish = 'insert, update, delete');");
    sql().run(check("publications", 3).second);
    EXPECT_EQ(check("publications", 0).first, "ok");
}

TEST_F(CliDoctor, F60_ExplainsWhatARestoreNeedsAndWhatWasDone) {
    beat();
    sql().run("update sagaz.cursor set system_identifier = system_identifier + 1");
    expect_finding("restore", "sagaz migrate --after-restore");
    EXPECT_EQ(run({"migrate", "--after-restore", "--check"}).code, 2);
    const auto migrated = run({"migrate", "--after-restore", "--json"});
    EXPECT_EQ(migrated.code, 0) << migrated.err;
    EXPECT_EQ(json::parse(migrated.out)["rebase"]["moved"], 0);
    EXPECT_EQ(check("restore", 3).first, "ok") << "nobody owns a slot yet";
    EXPECT_NE(run({"doctor"}).out.find("the log came from cluster"), std::string::npos);
}

TEST_F(CliDoctor, F10_SeesASequenceThatHandsOutInAdvance) {
    sql().run("alter sequence sagaz.outbox_id cache 10");
    expect_finding("sequence", "CACHE 1");
}

TEST_F(CliDoctor, SeesASequenceBehindItsRows) {
    for (int n = 0; n < 3; ++n) sql().run("select sagaz.append('t', 'k', 'T', '{}'::jsonb)");
    sql().run("select setval('sagaz.outbox_id', 1)");
    expect_finding("sequence", "--after-restore");
}

// Past ten seconds: a pid with its ages, and a prepared transaction, which has none, by its gid.
TEST_F(CliDoctor, F13_NamesWhoHoldsASegment) {
    beat();
    EXPECT_EQ(check("segments", 0).first, "ok");
    auto forgotten = sql();
    forgotten.run("begin; select count(*) from sagaz.outbox_03");
    auto orphan = sql();
    orphan.run("begin; select sagaz.append('t', 'k', 'T', '{}'::jsonb)");
    orphan.run("prepare transaction 'or''phan'");
    const auto pid = std::to_string(forgotten.backend_pid());
    std::string out;
    wait_for(
        "doctor to name both",
        [&] {
            out = run({"doctor"}).out;
            return out.find("FINDING  segments") != std::string::npos &&
                   out.find("'or''phan'") != std::string::npos;
        },
        std::chrono::seconds{60});
    EXPECT_NE(out.find("pid " + pid + " holds outbox_03 for 1"), std::string::npos) << out;
    EXPECT_NE(out.find("its query began at 20"), std::string::npos) << out;
    EXPECT_NE(out.find("prepared transaction 'or''phan' holds outbox_00 for 1"), std::string::npos)
        << out;
    sql().run("drop role if exists bea; create role bea login; grant sagaz_reader to bea");
    url_ = server_.url(database_, "bea");
    out = run({"doctor"}).out;
    EXPECT_NE(out.find("pid " + pid + " holds outbox_03, its age hidden without pg_monitor"),
              std::string::npos)
        << out;
    Sql{server_.url(database_)}.run("rollback prepared 'or''phan'");
}

TEST_F(CliDoctor, SaysWhatABadBrokerSays) {
    const auto result = run({"doctor", "--broker", "kafka://127.0.0.1:1"});
    EXPECT_EQ(result.code, 3);
    EXPECT_NE(result.out.find("FINDING  broker"), std::string::npos) << result.out;
}

TEST_F(CliDoctor, LooksAtTheRestWhenTheSchemaIsMissing) {
    url_ = server_.url(server_.fresh_database());
    expect_finding("schema", "sagaz migrate");
    EXPECT_EQ(check("relay", 3).first, "skipped");
    EXPECT_EQ(check("durability", 3).first, "ok");
}

TEST_F(CliDoctor, ChecksByTheMonitorsCodes) {
    beat();
    EXPECT_EQ(run({"check"}).code, 0);
    sql().run("select sagaz.append('t', 'k', 'T', '{}'::jsonb)");
    EXPECT_EQ(run({"check", "--age-warn", "1h", "--age-critical", "2h"}).code, 0);
    EXPECT_EQ(run({"check", "--age-warn", "0s", "--age-critical", "2h"}).code, 1);
    const auto critical = run({"check", "--age-warn", "0s", "--age-critical", "0s"});
    EXPECT_EQ(critical.code, 2);
    EXPECT_TRUE(critical.out.starts_with("SAGAZ CRITICAL - 1 events pending")) << critical.out;
    EXPECT_NE(critical.out.find("| pending=1 oldest_age="), std::string::npos) << critical.out;
    sql().run("delete from sagaz.relay");
    EXPECT_EQ(run({"check", "--age-warn", "1h", "--age-critical", "2h"}).code, 2)
        << "events wait and nobody takes them";
}

TEST(CliCheck, SaysUnknownWhenItCannotLook) {
    for (const auto& arguments :
         {Arguments{"check"}, Arguments{"check", "--nonsense"},
          Arguments{"--no-color", "check", "--nonsense"},
          Arguments{"check", "--store", "postgresql://127.0.0.1:1/d"},
          Arguments{"check", "--age-warn", "5", "--store", "postgresql://127.0.0.1:1/d"}}) {
        const auto result = run_cli(arguments);
        EXPECT_EQ(result.code, 3) << result.out;
        EXPECT_TRUE(result.out.starts_with("SAGAZ UNKNOWN - ")) << result.out;
    }
}

TEST(CliCompletion, CompletesVerbsAndFlagsInBash) {
    const auto script = run_cli({"completion", "bash"});
    ASSERT_EQ(script.code, 0);
    const auto path =
        std::filesystem::temp_directory_path() / ("sagaz-completion-" + std::to_string(::getpid()));
    std::ofstream{path} << script.out
                        << "COMP_WORDS=(sagaz events l)\nCOMP_CWORD=2\n_sagaz\n"
                           "[ \"${COMPREPLY[*]}\" = ls ] || exit 1\n"
                           "COMP_WORDS=(sagaz verify --tr)\n_sagaz\n"
                           "[ \"${COMPREPLY[*]}\" = --truth ] || exit 2\n";
    EXPECT_EQ(std::system(("bash " + path.string()).c_str()), 0);
    std::filesystem::remove(path);
    EXPECT_EQ(run_cli({"completion", "zsh"}).out.find("#compdef sagaz"), 0U);
    EXPECT_NE(run_cli({"completion", "fish"}).out.find("-l truth"), std::string::npos);
    EXPECT_EQ(run_cli({"completion", "csh"}).code, 2);
}

}  // namespace
}  // namespace sagaz::test
