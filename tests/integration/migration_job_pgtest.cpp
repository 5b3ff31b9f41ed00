// The command line of k8s/migration-job.yaml, run as its pod runs it: an init container `sagaz
// wait`, then `sagaz migrate`, the URL in a file as a mounted secret is.
#include "tests/integration/cli_database.hpp"
#include "tests/support/postgres_process.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>

namespace sagaz::test {
namespace {

using nlohmann::json;
using std::chrono::seconds;

class MigrationJob : public CliOnADatabase {
protected:
    MigrationJob() : folder_{make_folder("migration-job")} { use(url_); }
    ~MigrationJob() override { remove_folder(folder_); }

    void use(const std::string& url) { std::ofstream{folder_ / "connection-string"} << url; }
    CliProcess::Options pod() const {
        return {
            .environment = {{"SAGAZ_STORE_URL_FILE", (folder_ / "connection-string").string()}}};
    }
    CliResult wait_container(const std::string& timeout = "30s") const {
        return run_cli({"wait", "--for", "store", "--timeout", timeout}, pod());
    }
    CliResult migrate_container() const { return run_cli({"migrate"}, pod()); }

    // The pod to its end, as it must be.
    void expect_to_succeed() const {
        const auto waited = wait_container();
        ASSERT_EQ(waited.code, 0) << waited.err;
        const auto migrated = migrate_container();
        ASSERT_EQ(migrated.code, 0) << migrated.err;
        const auto check = run_cli({"migrate", "--check"}, pod());
        EXPECT_EQ(check.code, 0) << check.err;
    }

    // All that pg_dump knows of the schema, roles' rights too: its lines, sorted, since a right
    // that is granted again moves. Newer ones add lines with a word of their own against injection.
    std::string dump(const std::string& database) const {
        const auto file = folder_ / "dump.sql";
        test::run({server_.program("pg_dump"), "-s", "-n", "sagaz", "-f", file.string(), "-d",
                   server_.direct_url("pg_dump is not what is tested", database)},
                  folder_ / "pg_dump.log");
        auto lines = lines_of(read_file(file));
        std::erase_if(lines, [](const auto& line) { return line.starts_with('\\'); });
        std::ranges::sort(lines);
        std::string text;
        for (const auto& line : lines) text += line + '\n';
        return text;
    }

    std::filesystem::path folder_;
};

TEST_F(MigrationJob, BringsAnEmptyDatabaseUpAndLeavesAMigratedOneAlone) {
    expect_to_succeed();
    const auto first = dump(database_);
    EXPECT_GT(first.size(), 20'000U);
    expect_to_succeed();
    EXPECT_TRUE(dump(database_) == first);
    const auto again = migrate_container();
    EXPECT_NE(again.err.find("schema \"sagaz\" is up to date"), std::string::npos) << again.err;
}

TEST_F(MigrationJob, LetsTwoAtOnceShareTheWork) {
    CliProcess one{{"migrate", "--json"}, pod()};
    CliProcess two{{"migrate", "--json"}, pod()};
    ASSERT_EQ(one.wait(), 0) << one.err();
    ASSERT_EQ(two.wait(), 0) << two.err();
    std::multiset<int> versions;
    for (const auto& out : {one.out(), two.out()}) {
        const auto report = json::parse(out);
        for (const int version : report["applied"]) versions.insert(version);
    }
    const auto status = json::parse(run_cli({"migrate", "--status", "--json"}, pod()).out);
    EXPECT_EQ(versions.size(), status["newest"]);
    EXPECT_EQ(std::set(versions.begin(), versions.end()).size(), versions.size());
}

// ------------------------------------------------------------------------------ killed, then anew

// A job whose node dies: every so many statements that change the schema, one holds until the test
// has killed the process. Its session stays behind in the server, with the transaction open.
class KilledMigrationJob : public MigrationJob {
protected:
    static void count_statements(Sql& sql, std::int64_t hold_at) {
        sql.run(
            "CREATE SEQUENCE public.statement; CREATE TABLE public.hold (held bool);"
            "GRANT ALL ON SEQUENCE public.statement TO public;"
            "CREATE FUNCTION public.on_statement() RETURNS event_trigger LANGUAGE plpgsql AS $$"
            "BEGIN"
            "  IF nextval('public.statement') = " +
            std::to_string(hold_at) +
            " THEN"
            "    WHILE NOT EXISTS (SELECT FROM public.hold) LOOP PERFORM pg_sleep(0.01); END LOOP;"
            "  END IF;"
            "END $$;"
            "CREATE EVENT TRIGGER on_statement ON ddl_command_end"
            "  EXECUTE FUNCTION public.on_statement()");
    }
    static std::int64_t sessions_that(Sql& sql, const std::string& wait_event) {
        return sql.number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND wait_event = '" +
            wait_event + "'");
    }
    std::string whole_schema() {
        const auto clean = server_.fresh_database();
        auto sql = server_.connect(clean);
        count_statements(sql, 0);
        use(server_.url(clean));
        expect_to_succeed();
        statements_ = sql.number("SELECT last_value FROM public.statement");
        return dump(clean);
    }

    std::int64_t statements_{};
};

TEST_F(KilledMigrationJob, LeavesWhatTheNextOneCompletes) {
    const auto whole = whole_schema();
    ASSERT_GT(statements_, 100);
    constexpr std::int64_t kRounds = 5;
    std::set<std::int64_t> left_at;
    for (std::int64_t round = 0; round < kRounds; ++round) {
        const auto database = server_.fresh_database();
        auto sql = server_.connect(database);
        count_statements(sql, 1 + round * (statements_ - 2) / (kRounds - 1));
        use(server_.url(database));
        CliProcess killed{{"migrate"}, pod()};
        wait_for("a statement to hold", [&] { return sessions_that(sql, "PgSleep") == 1; });
        killed.signal(SIGKILL);
        EXPECT_EQ(killed.wait(), 1'000 + SIGKILL);
        const auto is_there = sql.value("SELECT to_regclass('sagaz.schema_version') IS NOT NULL");
        left_at.insert(is_there == "t" ? sql.number("SELECT max(version) FROM sagaz.schema_version")
                                       : 0);
        // The next one comes while the dead one's session still has the lock.
        CliProcess next{{"migrate"}, pod()};
        wait_for("the next job to wait", [&] { return sessions_that(sql, "advisory") == 1; });
        sql.run("INSERT INTO public.hold VALUES (true)");
        ASSERT_EQ(next.wait(), 0) << next.err();
        sql.run("DROP EVENT TRIGGER on_statement");
        EXPECT_TRUE(dump(database) == whole) << "killed in round " << round;
        expect_to_succeed();
    }
    EXPECT_GE(left_at.size(), 3U) << "the kills fell into too few versions to show much";
}

// --------------------------------------------------------------------------------- what it refuses

TEST_F(MigrationJob, RefusesASchemaThatIsTooNewForIt) {
    expect_to_succeed();
    sql().run(
        "INSERT INTO sagaz.schema_version (version, name, compatible_from) "
        "VALUES (99, 'of tomorrow', 99)");
    const auto before = dump(database_);
    const auto refused = migrate_container();
    EXPECT_EQ(refused.code, 1);
    EXPECT_EQ(error_of(refused).code, "schema_too_new") << refused.err;
    EXPECT_NE(error_of(refused).what_to_do.find("knows version 99"), std::string::npos);
    EXPECT_TRUE(dump(database_) == before);
    // A relay's init container says so at once, not at its deadline.
    const auto waited = run_cli({"wait", "--for", "schema", "--timeout", "10m"}, pod());
    EXPECT_EQ(error_of(waited).code, "schema_too_new") << waited.err;
}

TEST_F(MigrationJob, OfAnOlderReleaseLeavesANewerSchemaThatItMayUse) {
    expect_to_succeed();
    sql().run(
        "INSERT INTO sagaz.schema_version (version, name, compatible_from) "
        "VALUES (99, 'of tomorrow', 1)");
    expect_to_succeed();
    EXPECT_EQ(sql().number("SELECT max(version) FROM sagaz.schema_version"), 99);
}

// ------------------------------------------------------------------------ where no database is yet

// Returns when a client has come to the port, which nobody has, and was turned away.
void turn_one_away(int port) {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(listener, 1), 0);
    pollfd ready{listener, POLLIN, 0};
    ASSERT_EQ(poll(&ready, 1, 20'000), 1) << "nobody came";
    close(accept(listener, nullptr, nullptr));
    close(listener);
}

TEST_F(MigrationJob, WaitsForADatabaseThatComesUpLate) {
    PostgresServer late;
    const auto database = late.fresh_database();
    use(late.url(database));
    late.stop();
    CliProcess waiting{{"wait", "--for", "store", "--timeout", "60s"}, pod()};
    turn_one_away(late.port());
    EXPECT_FALSE(waiting.has_ended());
    late.start();
    ASSERT_EQ(waiting.wait(), 0) << waiting.err();
    const auto said = lines_of(waiting.err());
    ASSERT_GE(said.size(), 2U) << "a pod that waits must say for what";
    // A pooler hands on what its server says while it starts.
    EXPECT_TRUE(said.front().starts_with("waiting for store: connection_") ||
                said.front().starts_with("waiting for store: server_starting"))
        << said.front();
    EXPECT_EQ(said.back(), "store is there");
    expect_to_succeed();
}

TEST_F(MigrationJob, FailsWithinItsDeadlineWhereNoDatabaseAnswers) {
    PostgresServer server;
    use(server.direct_url("it answers for a server that is gone by what it remembers",
                          server.fresh_database()));
    server.freeze(server.pid());  // A connection is taken and never answered.
    const auto began = std::chrono::steady_clock::now();
    const auto silent = wait_container("2s");
    const auto took = std::chrono::steady_clock::now() - began;
    server.thaw(server.pid());
    EXPECT_EQ(silent.code, 1);
    EXPECT_EQ(error_of(silent).code, "wait_timeout") << silent.err;
    EXPECT_GE(took, seconds{1});
    EXPECT_LT(took, seconds{20});

    server.stop();
    const auto gone = wait_container("1s");
    EXPECT_EQ(gone.code, 1);
    EXPECT_EQ(error_of(gone).code, "wait_timeout") << gone.err;
    // Where nobody waited, the migration itself says what is wrong.
    const auto alone = migrate_container();
    EXPECT_EQ(alone.code, 1);
    EXPECT_EQ(error_of(alone).code, "connection_failed") << alone.err;
}

// The first process of a container gets no signal that it has no handler for: without one, a pod
// that is deleted while it waits would stay for its whole grace period. Exit code 143 is a
// handler's; the signal's own action would be seen as such.
TEST_F(MigrationJob, EndsAtOnceWhenItsPodIsDeletedWhileItWaits) {
    const int port = free_port();
    use("postgresql://127.0.0.1:" + std::to_string(port) + "/nobody");
    CliProcess waiting{{"wait", "--for", "store", "--timeout", "60s"}, pod()};
    turn_one_away(port);
    waiting.signal(SIGTERM);
    EXPECT_EQ(waiting.wait(seconds{10}), 128 + SIGTERM) << waiting.err();
}

// ----------------------------------------------------------------------------------- beside a
// relay

TEST_F(MigrationJob, RunsBesideARelayThatGoesOn) {
    expect_to_succeed();
    const auto sent = folder_ / "sent.jsonl";
    CliProcess relay{
        {"relay", "--broker", "file:" + sent.string(), "--log-format", "json"},
        {.environment = {{"SAGAZ_STORE_URL_FILE", (folder_ / "connection-string").string()},
                         {"SAGAZ_ADMIN_LISTEN", "127.0.0.1:0"}}}};
    auto eyes = sql();
    const auto owned = "SELECT count(owner) FROM sagaz.slot";
    wait_for("the relay to own slots", [&] { return eyes.number(owned) > 0; });
    const auto epochs = eyes.number("SELECT sum(epoch) FROM sagaz.slot");
    constexpr int kEach = 200;
    for (int round = 0; round < 3; ++round) {
        CliProcess job{{"migrate"}, pod()};
        for (int n = 0; n < kEach; ++n) {
            eyes.run("SELECT sagaz.append('orders', '" + std::to_string(n % 7) + "', 'Seen', '" +
                     std::to_string(round * kEach + n) + "')");
        }
        ASSERT_EQ(job.wait(), 0) << job.err();
    }
    wait_for("all to be sent",
             [&] { return eyes.number("SELECT pending_events FROM sagaz.backlog") == 0; });
    EXPECT_EQ(eyes.number("SELECT sum(epoch) FROM sagaz.slot"), epochs);
    relay.signal(SIGTERM);
    EXPECT_EQ(relay.wait(), 0) << relay.err();
    EXPECT_EQ(relay.err().find("\"level\":\"warning\""), std::string::npos) << relay.err();
    EXPECT_EQ(lines_of(read_file(sent)).size(), 3U * kEach);
}

}  // namespace
}  // namespace sagaz::test
