// `doctor` on a healthy setup and on broken ones, each broken in one way: it must find that, and
// nothing else. PostgreSQL, Kafka, relays and poolers are real.
#include "app/doctor_rights.hpp"
#include "core/replaced.hpp"
#include "tests/integration/cli_database.hpp"
#include "tests/support/kafka_of_all.hpp"
#include "tests/support/pgbouncer_server.hpp"
#include "tests/support/shifted_clock.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace sagaz::test {
namespace {

using nlohmann::json;
using Arguments = std::vector<std::string>;
using Environment = std::map<std::string, std::string>;
using std::chrono::seconds;

using tests::kafka_of_all;

/// What `doctor` says of a setup.
struct Diagnosis {
    int code{};
    json checks{};
    std::string text{};
    std::chrono::milliseconds took{};

    std::set<std::string> found() const { return in_state("finding"); }
    std::set<std::string> in_state(const std::string& state) const {
        std::set<std::string> ids;
        for (const auto& check : checks) {
            if (check["state"] == state) ids.insert(check["id"].get<std::string>());
        }
        return ids;
    }
    json of(const std::string& id) const {
        for (const auto& check : checks) {
            if (check["id"] == id) return check;
        }
        return {{"id", id}, {"state", "not made"}, {"seen", ""}, {"do", ""}};
    }
};

Diagnosis doctor_of(Arguments arguments, const Environment& environment = {}) {
    arguments.insert(arguments.begin(), {"doctor", "--json"});
    const auto start = std::chrono::steady_clock::now();
    const auto result = run_cli(arguments, {.environment = environment});
    Diagnosis said;
    said.took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - start);
    said.code = result.code;
    said.text = result.out + result.err;
    const auto report = json::parse(result.out);
    EXPECT_EQ(report["schema"], 1);
    EXPECT_EQ(report["ok"], result.code == 0);
    said.checks = report["checks"];
    for (const auto& check : said.checks) {
        EXPECT_FALSE(check["seen"].get<std::string>().empty()) << check;
        EXPECT_FALSE(check["why"].get<std::string>().empty()) << check;
        EXPECT_EQ(check["do"].get<std::string>().empty(), check["state"] != "finding") << check;
    }
    return said;
}

// Exactly this finding, with `seen` in what was seen and `what_to_do` in what to do.
void expect_only(const Diagnosis& said, const std::string& id, const std::string& seen,
                 const std::string& what_to_do) {
    EXPECT_EQ(said.found(), std::set<std::string>{id}) << said.text;
    EXPECT_EQ(said.code, 3);
    const auto check = said.of(id);
    EXPECT_NE(check["seen"].get<std::string>().find(seen), std::string::npos) << check;
    EXPECT_NE(check["do"].get<std::string>().find(what_to_do), std::string::npos) << check;
}

void expect_healthy(const Diagnosis& said) {
    EXPECT_EQ(said.found(), std::set<std::string>{}) << said.text;
    EXPECT_EQ(said.code, 0);
}

/// A relay of its own process, until the end of the test.
class RunningRelay {
public:
    RunningRelay(const std::string& store, const std::string& broker, Environment environment = {})
        : process_{{"relay", "--store", store, "--broker", broker},
                   {.environment = with_port(std::move(environment))}} {}

    CliProcess& process() { return process_; }
    void wait_for_slots(Sql sql) {
        wait_for("a living relay to own every slot", [&] {
            return sql.number(
                       "select count(*) from sagaz.slot s where not exists (select from "
                       "sagaz.relay r where r.id = s.owner and r.beat_at > "
                       "clock_timestamp() - interval '10 seconds')") == 0;
        });
    }

private:
    static Environment with_port(Environment environment) {
        environment.emplace("SAGAZ_ADMIN_LISTEN", "127.0.0.1:0");
        environment.emplace("SAGAZ_RELAY_LEASE", "2s");
        return environment;
    }
    CliProcess process_;
};

// ----------------------------------------------------------------------------- PostgreSQL alone

class DoctorAlone : public CliOnADatabase {
protected:
    void SetUp() override { migrate(); }
    Diagnosis doctor(const Environment& environment = {}) const {
        return doctor_of({"--store", url_}, environment);
    }
    // What a relay leaves behind while it lives; as long as the test takes.
    void beat() const {
        sql().run(
            "insert into sagaz.relay (id, beat, report, beat_at) values (gen_random_uuid(), 1, "
            "'{}', "
            "clock_timestamp() + interval '10 minutes')");
        sql().run("update sagaz.slot set epoch = 1, owner = (select id from sagaz.relay)");
    }
};

TEST_F(DoctorAlone, RaisesNoAlarmBeforeTheFirstRelay) {
    const auto fresh = doctor();
    expect_healthy(fresh);
    EXPECT_EQ(fresh.in_state("skipped"),
              (std::set<std::string>{"broker", "topics", "replication", "relay", "slots"}))
        << fresh.text;
    EXPECT_NE(fresh.of("relay")["seen"].get<std::string>().find("start sagaz relay"),
              std::string::npos);
    sql().run("select sagaz.append('t', 'k', 'T', '{}'::jsonb)");
    expect_only(doctor(), "relay", "1 events wait", "start sagaz relay");
}

TEST_F(DoctorAlone, SaysWhatOfASchemaIsBehind) {
    const auto half = server_.fresh_database();
    const auto printed = run_cli({"migrate", "--print", "--from", "0", "--to", "5"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    server_.connect(half).run(printed.out);
    expect_only(doctor_of({"--store", server_.url(half)}), "schema", "version 5 of",
                "sagaz migrate");
}

TEST_F(DoctorAlone, FindsAServerThatMayLoseWhatItCommits) {
    PostgresServer careless({.config = {"fsync = off"}, .bin = ""});
    const auto url = careless.url();
    ASSERT_EQ(run_cli({"migrate", "--store", url}).code, 0);
    expect_only(doctor_of({"--store", url}), "durability", "fsync is off", "set fsync = on");
}

TEST_F(DoctorAlone, FindsCommitsThatDoNotWaitAndForWhom) {
    sql().run("alter database " + database_ + " set synchronous_commit = off");
    const auto said = doctor();
    expect_only(said, "durability", "synchronous_commit is off for database",
                "ALTER DATABASE " + database_ + " RESET synchronous_commit;");
    sql().run(said.of("durability")["do"]);
    expect_healthy(doctor());
    sql().run(
        "drop role if exists writer, idler; create role writer login in role sagaz_producer; "
        "create role idler login; alter role idler set synchronous_commit = off");
    expect_healthy(doctor());
    sql().run("alter role writer in database " + database_ + " set synchronous_commit = off");
    expect_only(doctor(), "durability", "for login writer", "ALTER ROLE writer IN DATABASE");
    sql().run(doctor().of("durability")["do"]);
    expect_healthy(doctor());
    expect_only(doctor({{"SAGAZ_STORE_DURABILITY", "standby"}}), "durability",
                "synchronous_standby_names is empty", "synchronous_standby_names");
}

// Every grant of roles.sql, taken away and given back: the list in doctor_rights.hpp is whole.
TEST_F(DoctorAlone, FindsEachGrantThatIsMissing) {
    expect_healthy(doctor());
    // As statements; those of leaves and of functions of leaves once a kind.
    const auto grants = sql().rows(R"(
with held as (
    select c.relname::text as object, c.relkind::text as kind, null::text as col,
           (aclexplode(c.relacl)).*
    from pg_class c where c.relnamespace = 'sagaz'::regnamespace
    union all
    select c.relname, c.relkind::text, a.attname, (aclexplode(a.attacl)).*
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'sagaz'::regnamespace and a.attacl is not null
    union all
    select p.oid::regprocedure::text, 'f', null, (aclexplode(p.proacl)).*
    from pg_proc p where p.pronamespace = 'sagaz'::regnamespace
)
select format('%s%s on %s %s', h.privilege_type, coalesce('(' || h.col || ')', ''),
              case h.kind when 'f' then 'function' when 'S' then 'sequence' else 'table' end,
              case h.kind when 'f' then h.object::text else 'sagaz.' || h.object end),
       r.rolname
from held h join pg_roles r on r.oid = h.grantee
where r.rolname like 'sagaz\_%' and h.object !~ '_(0[1-9]|1[0-4])(\(|$)'
order by r.rolname, 1)");
    ASSERT_GT(grants.size(), 100U);
    auto session = sql();
    session.run("set jit = off");  // as doctor does
    const auto asked = core::replaced(
        core::replaced(app::kMissingGrants, "{judged}", app::kJudgeRoles), "@schema@", "sagaz");
    for (const auto& grant : grants) {
        session.run("revoke " + grant[0] + " from " + grant[1]);
        const auto missing = session.rows(asked);
        EXPECT_EQ(missing.size(), 1U) << grant[0];
        EXPECT_TRUE(!missing.empty() && missing[0][0].starts_with(grant[1] + " lacks "))
            << grant[0];
        session.run("grant " + grant[0] + " to " + grant[1]);
    }
    EXPECT_TRUE(session.rows(asked).empty());
    session.run("revoke truncate on sagaz.outbox_15 from sagaz_relay");
    expect_only(doctor(), "rights", "sagaz_relay lacks TRUNCATE on outbox_15", "sagaz migrate");
    migrate();
    expect_healthy(doctor());
}

// What a login may not see is skipped with the reason, and never passed or found.
TEST_F(DoctorAlone, WorksForARelayAndForAReader) {
    beat();
    auto idle = sql();  // somebody else's session, whose age these logins may not see
    idle.run("begin");
    sql().run(
        "drop role if exists mover, looker; create role mover login in role sagaz_relay; "
        "create role looker login in role sagaz_reader");
    const auto mover = doctor_of({"--store", server_.url(database_, "mover")});
    expect_healthy(mover);
    EXPECT_EQ(mover.of("rights")["state"], "ok");
    EXPECT_EQ(mover.of("old_transactions")["state"], "skipped");
    EXPECT_NE(mover.of("old_transactions")["seen"].get<std::string>().find("GRANT pg_monitor"),
              std::string::npos);
    EXPECT_EQ(mover.of("inbox_retention")["state"], "skipped");
    const auto looker = doctor_of({"--store", server_.url(database_, "looker")});
    expect_healthy(looker);
    EXPECT_EQ(looker.of("rights")["state"], "skipped");
    EXPECT_EQ(looker.of("sequence")["state"], "ok");
    sql().run("grant pg_monitor to looker");
    EXPECT_EQ(
        doctor_of({"--store", server_.url(database_, "looker")}).of("old_transactions")["state"],
        "ok");
    sql().run(
        "create schema public_things; create table public_things.pg_settings (name text); "
        "alter role looker set search_path = ''");
    expect_healthy(doctor_of({"--store", server_.url(database_, "looker")}));
}

TEST_F(DoctorAlone, DoesNotTakeRunningInsertsForForgottenOnesWhereAgesAreHidden) {
    beat();
    sql().run("drop role if exists mover; create role mover login in role sagaz_relay");
    std::jthread busy{
        [url = server_.direct_url("a session of its own", database_)](const std::stop_token& end) {
            Sql session{url};
            while (!end.stop_requested()) {
                session.run(
                    "begin; select sagaz.append('t', 'k', 'T', '{}'::jsonb); select "
                    "pg_sleep(0.05); commit");
            }
        }};
    const auto said = doctor_of({"--store", server_.url(database_, "mover")});
    EXPECT_EQ(said.of("segments")["state"], "ok") << said.text;
}

TEST_F(DoctorAlone, FindsASlotThatNobodyOwnsBesideALivingRelay) {
    beat();
    expect_healthy(doctor());
    sql().run("update sagaz.slot set owner = gen_random_uuid() where slot = 3");
    expect_only(doctor(), "slots", "1 of 16 have no living owner", "relay.lease");
}

TEST_F(DoctorAlone, FindsAClockThatIsWrong) {
    beat();
    ShiftedClock clock;
    clock.shift("+3600");
    expect_only(doctor(clock.environment()), "clock", "behind this host's", "NTP");
    clock.shift("-3600");
    expect_only(doctor(clock.environment()), "clock", "ahead of this host's", "NTP");
    clock.shift("+1");
    expect_healthy(doctor(clock.environment()));
}

TEST_F(DoctorAlone, FindsAPoolerInStatementModeAndNamesTheOthers) {
    beat();
    const auto through = [&](std::string_view mode) {
        const PgbouncerServer pooler{server_, 4, mode};
        return doctor_of({"--store", pooler.url(database_)});
    };
    expect_only(through("statement"), "pooler", "statement mode", "pool_mode = transaction");
    const auto by_transaction = through("transaction");
    expect_healthy(by_transaction);
    EXPECT_EQ(by_transaction.of("pooler")["seen"], "a pooler in transaction mode");
    const auto by_session = through("session");
    expect_healthy(by_session);
    EXPECT_EQ(by_session.of("pooler")["seen"], "a pooler, in session mode as far as can be seen");
    const auto direct =
        doctor_of({"--store", server_.direct_url("it is what is looked for", database_)});
    EXPECT_EQ(direct.of("pooler")["seen"], "none: the server itself answers");
}

TEST_F(DoctorAlone, FindsWhatIsParked) {
    beat();
    sql().run(
        "insert into sagaz.parked (direction, destination, position, event_id, slot, state, "
        "reason, detail, "
        "event_type, content_type) values ('outbox', 'default', 0, gen_random_uuid(), 0, 'dead', "
        "'payload_too_large', '7 bytes', 'T', 'text/plain')");
    expect_only(doctor(), "parked", "payload_too_large", "sagaz parked replay");
}

TEST_F(DoctorAlone, FindsAReplicationSlotThatNobodyReads) {
    beat();
    sql().run("select pg_create_physical_replication_slot('forgotten', true)");
    expect_healthy(doctor());
    sql().run("alter system set max_wal_size = '32MB'");
    sql().run("select pg_reload_conf()");
    wait_for("the reload", [&] { return sql().value("show max_wal_size") == "32MB"; });
    sql().run(
        "select count(pg_logical_emit_message(false, 'sagaz-test', repeat('x', 1000000))) "
        "from generate_series(1, 40)");
    expect_only(doctor(), "replication_slots", "forgotten, which nobody reads, keeps",
                "pg_drop_replication_slot('forgotten')");
    sql().run("select pg_drop_replication_slot('forgotten')");
    expect_healthy(doctor());
    sql().run("alter system reset max_wal_size");
    sql().run("select pg_reload_conf()");
}

TEST_F(DoctorAlone, EndsSoonWhenTheDatabaseIsFrozen) {
    PostgresServer server;
    const auto url = server.url();
    ASSERT_EQ(run_cli({"migrate", "--store", url}).code, 0);
    // The sessions too: a pooler has some that outlive their client.
    std::vector<pid_t> frozen{server.pid()};
    auto eyes = server.connect();
    for (const auto& row : eyes.rows("select pid from pg_stat_activity where backend_type = "
                                     "'client backend'")) {
        frozen.push_back(std::stoi(row[0]));
    }
    for (const pid_t pid : frozen) server.freeze(pid);
    const auto start = std::chrono::steady_clock::now();
    auto doctor = std::async(std::launch::async, [&] { return doctor_of({"--store", url}); });
    CliProcess check{{"check", "--store", url}};
    CliProcess status{{"status", "--store", url}};
    CliProcess schema{{"wait", "--for", "schema", "--timeout", "1s", "--store", url}};
    EXPECT_EQ(check.wait(), 3) << check.out();
    EXPECT_LT(std::chrono::steady_clock::now() - start, seconds{9}) << "a monitor waits ten";
    EXPECT_EQ(status.wait(), 1);
    EXPECT_EQ(schema.wait(), 1);
    const auto said = doctor.get();
    for (const pid_t pid : frozen) server.thaw(pid);
    expect_only(said, "store", "deadline_passed", "check the network");
    EXPECT_LT(said.took, seconds{15});
}

// A table that somebody has locked: the one check says so, the rest goes on, in time.
TEST_F(DoctorAlone, EndsSoonWhenATableIsLocked) {
    beat();
    auto locker = sql();
    locker.run("begin; lock sagaz.audit in access exclusive mode");
    const auto said = doctor();
    EXPECT_LT(said.took, seconds{20});
    EXPECT_EQ(said.found(), std::set<std::string>{"restore"}) << said.text;
    EXPECT_EQ(said.of("relay")["state"], "ok");
}

TEST(DoctorOfAFile, LooksAtWhatThereIsOfIt) {
    const auto folder = make_folder("sagaz-doctor");
    const Arguments store{"--store", "sqlite:" + (folder / "log.db").string()};
    const auto with = [&](Arguments words) {
        words.insert(words.end(), store.begin(), store.end());
        return words;
    };
    EXPECT_EQ(doctor_of(store).found(), std::set<std::string>{"store"}) << "there is no file";
    ASSERT_EQ(run_cli(with({"migrate"})).code, 0);
    const auto fresh = doctor_of(store);
    expect_healthy(fresh);
    EXPECT_EQ(fresh.of("relay")["state"], "skipped");
    EXPECT_EQ(fresh.of("pooler")["state"], "not made");
    const auto appended =
        run_cli(with({"append", "--topic", "t", "--key", "k", "--type", "T", "--payload", "{}"}));
    ASSERT_EQ(appended.code, 0) << appended.err;
    expect_only(doctor_of(store), "relay", "1 events wait", "start sagaz relay");
    remove_folder(folder);
}

// A server whose clock is set forward after something was forgotten: an hour in a second.
class DoctorOfTheOld : public testing::Test {
protected:
    void SetUp() override {
        ASSERT_EQ(run_cli({"migrate", "--store", server_->url()}).code, 0);
        connect().run("create table business (n int)");
    }
    Sql connect() const { return server_->connect(); }
    Diagnosis doctor() const { return doctor_of({"--store", server_->url()}); }

    ShiftedClock clock_;
    std::unique_ptr<PostgresServer> server_ = [this] {
        clock_.shift("-3600");
        const Under clock(clock_);
        return std::make_unique<PostgresServer>();
    }();
};

TEST_F(DoctorOfTheOld, FindsTransactionsThatWereForgotten) {
    auto orphan = connect();
    orphan.run("begin; insert into business values (1)");
    orphan.run("prepare transaction 'of an hour ago'");
    clock_.shift("+0");
    wait_for("the server's clock", [&] {
        return connect().value(
                   "select prepared < clock_timestamp() - interval '50 minutes' from "
                   "pg_prepared_xacts") == "t";
    });
    expect_only(doctor(), "old_transactions", "prepared transaction 'of an hour ago' for ",
                "ROLLBACK PREPARED");
    orphan.run("rollback prepared 'of an hour ago'");
    expect_healthy(doctor());

    clock_.shift("-3600");
    auto forgotten = connect();
    forgotten.run("begin; insert into business values (2)");
    clock_.shift("+0");
    expect_only(doctor(), "old_transactions",
                "pid " + std::to_string(forgotten.backend_pid()) + " (idle in transaction) for ",
                "pg_terminate_backend");
    forgotten.run("rollback");
    expect_healthy(doctor());
}

// ---------------------------------------------------------------------------------- with a Kafka

// One setup as it should be: a relay that has delivered, topics, a consumer. Each test breaks one
// thing and mends it again.
class Doctor : public testing::Test {
protected:
    struct Setup {
        PostgresServer& server = PostgresServer::shared();
        std::string database = server.fresh_database();
        std::string url = server.url(database);
        std::string broker = "kafka://" + kafka_of_all->bootstrap();
        std::string topic = kafka_of_all->create_topic(2, {{"retention.ms", "604800000"}});
        std::optional<RunningRelay> relay{};

        Sql sql() const { return server.connect(database); }
    };
    static std::unique_ptr<Setup>& the() {
        static std::unique_ptr<Setup> setup;
        return setup;
    }

    static void SetUpTestSuite() {
        tests::await_kafka();
        the() = std::make_unique<Setup>();
        const auto& url = the()->url;
        ASSERT_EQ(run_cli({"migrate", "--store", url}).code, 0);
        the()->sql().run("select sagaz.append('" + the()->topic +
                         "', 'k', 'OrderPlaced', '{}'::jsonb)");
        the()->sql().run("select sagaz.inbox_mark('billing', 'e1', '" + the()->topic +
                         "', 'OrderPlaced', 'p'::text)");
        ASSERT_EQ(run_cli({"inbox", "cleanup", "--yes", "--store", url}).code, 0);
        start_relay(the()->broker);
        wait_for("the event", [] {
            return the()->sql().number("select pending_events from sagaz.backlog") == 0;
        });
    }
    static void TearDownTestSuite() { the().reset(); }
    static void start_relay(const std::string& broker) {
        the()->relay.emplace(the()->url, broker);
        the()->relay->wait_for_slots(the()->sql());
    }
    static void kill_relay() {
        the()->relay->process().signal(SIGKILL);
        the()->relay->process().wait();
        // As when its lease is over, and the time after which `doctor` calls it gone.
        the()->sql().run("update sagaz.relay set beat_at = beat_at - interval '1 minute'");
    }
    static Diagnosis doctor(const Environment& environment = {}) {
        return doctor_of({"--store", the()->url, "--broker", the()->broker}, environment);
    }
    static void append(const std::string& topic) {
        the()->sql().run("select sagaz.append('" + topic + "', 'k', 'OrderPlaced', '{}'::jsonb)");
    }
    static void forget(const std::string& topic) {
        the()->sql().run("delete from sagaz.outbox where topic = '" + topic + "'");
    }
};

TEST_F(Doctor, FindsNothingInAHealthySetupAndSkipsNothing) {
    const auto said = doctor();
    expect_healthy(said);
    EXPECT_EQ(said.in_state("skipped"), std::set<std::string>{}) << said.text;
    EXPECT_EQ(said.in_state("ok").size(), 23U) << said.text;
    EXPECT_NE(said.of("libraries")["seen"].get<std::string>().find("librdkafka"),
              std::string::npos);
    const auto text = run_cli({"doctor", "--store", the()->url, "--broker", the()->broker});
    EXPECT_EQ(text.code, 0);
    std::printf("\n%s\n", text.out.c_str());
    EXPECT_EQ(run_cli({"status", "--exit-code", "--store", the()->url}).code, 0);
    EXPECT_EQ(run_cli({"check", "--store", the()->url}).code, 0);
}

TEST_F(Doctor, FindsTheRelayThatIsGone) {
    kill_relay();
    expect_only(doctor(), "relay", "none has reported", "start sagaz relay");
    start_relay(the()->broker);
    expect_healthy(doctor());
}

TEST_F(Doctor, FindsATopicThatIsNotThere) {
    const auto missing = the()->topic + ".missing";
    append(missing);
    wait_for("the relay to report it", [] {
        return the()->sql().number(
                   "select count(*) from sagaz.relay where report ->> 'down_reason' <> ''") > 0;
    });
    expect_only(doctor(), "topics", missing, "create the topics");
    kafka_of_all->create_topic_named(missing, 1);
    wait_for(
        "the event",
        [] { return the()->sql().number("select pending_events from sagaz.backlog") == 0; },
        seconds{60});
    wait_for("the relay to report that all is well", [] { return doctor().code == 0; });
}

TEST_F(Doctor, FindsATopicThatTakesNoEvent) {
    const auto strict = kafka_of_all->create_topic(1, {{"min.insync.replicas", "2"}});
    kill_relay();  // which would wait for it
    append(strict);
    the()->sql().run("update sagaz.relay set beat_at = clock_timestamp()");
    expect_only(doctor(), "replication", "min.insync.replicas is 2 and it has 1 replica",
                "min.insync.replicas=1");
    forget(strict);
    start_relay(the()->broker);
    expect_healthy(doctor());
}

TEST_F(Doctor, FindsABrokerThatIsDownAndOneThatIsFrozen) {
    const std::string nowhere = "kafka://127.0.0.1:1";
    expect_only(doctor_of({"--store", the()->url, "--broker", nowhere}), "broker", "127.0.0.1:1",
                "correct --broker");
    kafka_of_all->freeze();
    const auto said = doctor();
    kafka_of_all->thaw();
    expect_only(said, "broker", "no server of", "start it");
    EXPECT_LT(said.took, seconds{20});
    wait_for("all to be well again", [] { return doctor().code == 0; }, seconds{60});
}

TEST_F(Doctor, FindsMarksThatGoBeforeTheirMessages) {
    expect_only(doctor({{"SAGAZ_INBOX_RETENTION", "7d"}}), "inbox_retention",
                the()->topic + " for 7d", "inbox.retention");
}

}  // namespace
}  // namespace sagaz::test

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    return sagaz::tests::run_tests_with_kafka("Doctor");
}
