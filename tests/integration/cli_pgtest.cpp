// The real executable against a real PostgreSQL: what a person or a script meets.
#include "tests/integration/cli_database.hpp"

#include <gtest/gtest.h>
#include <httplib.h>
#include <nlohmann/json.hpp>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace sagaz::test {
namespace {

using nlohmann::json;
using Arguments = std::vector<std::string>;

// The three lines that every error ends with; nothing else may follow them.
void expect_error(const CliResult& result, int code, const std::string& word) {
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_EQ(error_of(result).code, word) << result.err;
}

class Cli : public CliOnADatabase {
protected:
    void migrate() const { CliOnADatabase::migrate({"--no-roles"}); }
    std::int64_t events() const { return sql().number("select count(*) from sagaz.outbox"); }
};

class CliRelay : public Cli {
protected:
    void SetUp() override { migrate(); }

    Arguments relay(const std::string& broker) const {
        return {"relay", "--store", url_, "--broker", broker, "--log-format", "json"};
    }
    // Logs say which port was chosen.
    static std::string address_of(const CliProcess& process) {
        std::string address;
        wait_for("the admin server's address", [&] {
            for (const auto& line : lines_of(process.err())) {
                const auto entry = json::parse(line, nullptr, false);
                if (entry.is_object() && entry["event"] == "admin_listening") {
                    address = entry["address"];
                }
            }
            return !address.empty();
        });
        return address;
    }
    static CliResult probe(const std::string& which, const std::string& address) {
        return run_cli({"healthcheck", which}, {.environment = {{"SAGAZ_ADMIN_LISTEN", address}}});
    }
    const std::map<std::string, std::string> any_port_{{"SAGAZ_ADMIN_LISTEN", "127.0.0.1:0"}};
};

TEST(CliOutput, FailsWhenStandardOutputIsFull) {
    expect_error(run_cli({"config", "schema"}, {.out_path = "/dev/full"}), 1, "output_failed");
}

// -------------------------------------------------------------------------------- configuration

TEST(CliConfig, ShowsWhereEachValueComesFromAndHidesSecrets) {
    const auto folder =
        std::filesystem::temp_directory_path() / ("sagaz-cli-" + std::to_string(getpid()));
    std::filesystem::create_directory(folder);
    const auto file = (folder / "sagaz.yaml").string();
    std::ofstream{file}
        << "relay:\n  lease: 5s\n  batch_max: 100\nbroker:\n  options:\n    sasl.password: hush\n";
    const auto result = run_cli(
        {"config", "show", "--json", "--config", file, "--store", "postgresql://u:hush@h/d"},
        {.environment = {{"SAGAZ_RELAY_LEASE", "7s"}, {"SAGAZ_SERVICE_HOST", "10.0.0.1"}}});
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(result.out.find("hush"), std::string::npos);
    EXPECT_NE(result.err.find("warning: variable SAGAZ_SERVICE_HOST"), std::string::npos);
    const auto object = json::parse(result.out);
    EXPECT_EQ(object["schema"], 1);
    const auto& values = object["values"];
    EXPECT_EQ(values["store.url"],
              json({{"value", "postgresql://u:***@h/d"}, {"from", "--store"}}));
    EXPECT_EQ(values["relay.lease"], json({{"value", "7s"}, {"from", "SAGAZ_RELAY_LEASE"}}));
    EXPECT_EQ(values["relay.batch_max"], json({{"value", "100"}, {"from", file + ":3:14"}}));
    EXPECT_EQ(values["log.level"], json({{"value", "info"}, {"from", "default"}}));

    std::ofstream{file} << "relay:\n  lease: 5s\n  lease: 6s\n";
    const auto twice = run_cli({"config", "validate", "--config", file});
    expect_error(twice, 2, "config_duplicate_key");
    EXPECT_NE(twice.err.find(file + ":3:3: relay.lease"), std::string::npos) << twice.err;
    std::filesystem::remove_all(folder);
}

TEST(CliConfig, PrintsAJsonSchemaOfEveryKey) {
    const auto result = run_cli({"config", "schema"});
    ASSERT_EQ(result.code, 0);
    const auto schema = json::parse(result.out);
    EXPECT_EQ(schema["properties"]["relay"]["properties"]["lease"]["default"], "10s");
    EXPECT_EQ(schema["properties"]["relay"]["additionalProperties"], false);
}

// ------------------------------------------------------------------------------ migrate and wait

TEST_F(Cli, MigratesOnceAndSaysWhenItIsBehind) {
    EXPECT_EQ(run({"migrate", "--check"}).code, 3);
    const auto first = run({"migrate", "--no-roles", "--json"});
    ASSERT_EQ(first.code, 0) << first.err;
    const auto again = run({"migrate", "--no-roles", "--json"});
    EXPECT_EQ(json::parse(again.out)["applied"], json::array());
    EXPECT_EQ(run({"migrate", "--check"}).code, 0);
    const auto status = json::parse(run({"migrate", "--status", "--json"}).out);
    EXPECT_EQ(status["schema"], 1);
    EXPECT_EQ(status["behind"], false);
    EXPECT_EQ(status["applied"].size(), status["newest"]);
    EXPECT_EQ(json::parse(first.out)["applied"].size(), status["newest"]);
}

TEST_F(Cli, BringsASchemaOfTheFirstVersionUp) {
    const auto first = run_cli({"migrate", "--print", "--no-roles", "--from", "0", "--to", "1"});
    ASSERT_EQ(first.code, 0) << first.err;
    sql().run(first.out);
    EXPECT_EQ(run({"migrate", "--check"}).code, 3);
    const auto next = run({"migrate", "--no-roles", "--json"});
    EXPECT_EQ(json::parse(next.out)["applied"][0], 2);
    EXPECT_EQ(run({"migrate", "--check"}).code, 0);
}

TEST_F(Cli, PrintsTheRolesOnlyWithTheVersionThatTheyAreOf) {
    sql().run(run_cli({"migrate", "--print", "--from", "0", "--to", "2"}).out);
    sql().run(run_cli({"migrate", "--print", "--from", "2"}).out);
    EXPECT_EQ(run({"migrate", "--check"}).code, 0);
    EXPECT_EQ(sql().value("select has_schema_privilege('sagaz_relay', 'sagaz', 'usage')"), "t");
}

TEST_F(Cli, PrintsSqlThatDoesWhatMigrateDoes) {
    const auto printed = run_cli({"migrate", "--print", "--no-roles"});
    ASSERT_EQ(printed.code, 0) << printed.err;
    sql().run(printed.out);
    EXPECT_EQ(run({"migrate", "--check"}).code, 0);
}

TEST_F(Cli, SetsWhatShapesBytesAndRefusesWhatItDoesNotKnow) {
    ASSERT_EQ(run({"migrate", "--no-roles", "--set", "on_refused=park_event"}).code, 0);
    EXPECT_EQ(sql().value("select value from sagaz.setting where key = 'on_refused'"),
              "park_event");
    EXPECT_EQ(run({"migrate", "--no-roles", "--set", "no_such=1"}).code, 2);
    EXPECT_EQ(run({"migrate", "--no-roles", "--set", "nonsense"}).code, 2);
}

// One that is frozen between two statements, or whose network is gone.
TEST_F(Cli, F15_KeepsInsertsFromTheLogForAMomentOnlyWhileItIsFrozen) {
    migrate();
    auto other = sql();
    other.run("begin; update sagaz.setting set value = '/mine' where key = 'source'");
    CliProcess command{{"migrate", "--set", "source=/other", "--store", url_}};
    wait_for("the command to hold the log and wait for the setting", [&] {
        return sql().number(
                   "select count(*) from pg_locks where not granted and locktype = "
                   "'transactionid'") == 1;
    });
    command.signal(SIGSTOP);
    other.run("rollback");
    auto producer = sql();
    producer.run("set statement_timeout = '10s'; select sagaz.append('t', 'k', 'E', 'p'::text)");
    command.signal(SIGCONT);
    EXPECT_EQ(command.wait(), 1);
    EXPECT_EQ(sql().value("select value <> '/other' from sagaz.setting where key = 'source'"), "t");
}

TEST_F(Cli, WaitsForWhatIsNotThereYetAndNamesWhatNeverCame) {
    const auto never = run({"wait", "--for", "store,schema", "--timeout", "300ms"});
    expect_error(never, 1, "wait_timeout");
    EXPECT_NE(never.err.find("store is there"), std::string::npos) << never.err;
    EXPECT_NE(never.err.find("schema is not there after 300ms"), std::string::npos) << never.err;

    CliProcess waiting{{"wait", "--for", "schema", "--timeout", "30s", "--store", url_}};
    migrate();
    EXPECT_EQ(waiting.wait(), 0) << waiting.err();
    const auto down = run_cli(
        {"wait", "--for", "store", "--timeout", "300ms", "--store", "postgresql://127.0.0.1:1/d"});
    expect_error(down, 1, "wait_timeout");
}

// ------------------------------------------------------------------------------- append and read

TEST_F(Cli, AppendsOneEventAndShowsIt) {
    migrate();
    const auto id = "0190a000-0000-7000-8000-0000000000ff";
    const auto appended =
        run({"append", "--topic", "orders", "--key", "42", "--type", "OrderPlaced", "--payload",
             "-", "--id", id, "--header", "tenant=acme"},
            {.input = "{\"total\": 12}"});
    ASSERT_EQ(appended.code, 0) << appended.err;
    EXPECT_EQ(appended.out, std::string{id} + "\n");

    const auto listed = run({"events", "ls", "--json"});
    const auto event = json::parse(listed.out);
    EXPECT_EQ(event["schema"], 1);
    EXPECT_EQ(event["event_id"], id);
    EXPECT_EQ(event["key"], "42");
    EXPECT_FALSE(event.contains("payload")) << "only with --payload";
    const auto shown = json::parse(run({"events", "show", id, "--payload", "--json"}).out);
    EXPECT_EQ(shown["payload"], "{\"total\": 12}");
    const auto position = std::to_string(event["position"].get<std::int64_t>());
    EXPECT_EQ(json::parse(run({"events", "show", position, "--json"}).out)["event_id"], id);
    expect_error(run({"events", "show", "0190a000-0000-7000-8000-000000000001"}), 1,
                 "event_not_found");
    expect_error(run({"events", "show", "nonsense"}), 2, "id_malformed");
}

TEST_F(Cli, AppendsJsonLinesWithEveryKindOfPayload) {
    migrate();
    const auto result = run(
        {"append"},
        {.input =
             "{\"topic\":\"t\",\"key\":\"k\",\"event_type\":\"A\",\"payload\":{\"b\":"
             "12345678901234567890123,\"a\":[1.10]}}\n"
             "\n"
             "{\"event_type\":\"B\",\"payload_text\":\"text \\\\ \\\"quoted\\\"\",\"key\":null}\n"
             "{\"event_type\":\"C\",\"payload_base64\":\"AP8=\"}"});
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(lines_of(result.out).size(), 3U);
    EXPECT_NE(result.err.find("committed 3 events"), std::string::npos);
    const auto payload = [&](const std::string& type) {
        return sql().value(
            "select encode(payload, 'escape') from sagaz.outbox where event_type = '" + type + "'");
    };
    EXPECT_EQ(payload("A"), "{\"b\":12345678901234567890123,\"a\":[1.10]}");
    EXPECT_EQ(payload("B"), "text \\\\ \"quoted\"");
    EXPECT_EQ(payload("C"), "\\000\\377");
}

TEST_F(Cli, NamesTheBadLineAndCommitsNothingOfItsBatch) {
    migrate();
    std::string input;
    for (int n = 0; n < 1'005; ++n) {
        input += "{\"event_type\":\"T\",\"payload\":" + std::to_string(n) + "}\n";
    }
    const auto result =
        run({"append"}, {.input = input + "{\"event_type\":\"T\",\"paylaod\":1}\n"});
    expect_error(result, 1, "append_line");
    EXPECT_NE(result.err.find("line 1006: unknown key \"paylaod\""), std::string::npos)
        << result.err;
    EXPECT_NE(result.err.find("did you mean \"payload\"?"), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("committed 1000 events"), std::string::npos) << result.err;
    EXPECT_EQ(events(), 1'000);
    EXPECT_EQ(lines_of(result.out).size(), 1'000U);
}

TEST_F(Cli, F09_TailsALateCommitToo) {
    migrate();
    CliProcess tail{{"events", "tail", "--json", "--store", url_}};
    const auto has = [&](const std::string& key) {
        return tail.out().find("\"key\":\"" + key + "\"") != std::string::npos;
    };
    const auto append = [](const std::string& key) {
        return "select sagaz.append('t', '" + key + "', 'T', '{}'::jsonb)";
    };
    auto late = sql();
    late.run("begin");
    late.run(append("late"));
    wait_for("an early event", [&] {
        sql().run(append("early"));
        return has("early");
    });
    EXPECT_FALSE(has("late"));
    late.run("commit");
    wait_for("the late event", [&] { return has("late"); });
    tail.signal(SIGINT);
    EXPECT_EQ(tail.wait(), 130);
}

// ---------------------------------------------------------------------------------------- relay

TEST_F(CliRelay, DrainsToAFileAndStops) {
    sql().run(
        "select sagaz.append('orders', (n % 7)::text, 'T', jsonb_build_object('n', n)) from "
        "generate_series(1, 500) n");
    const auto path =
        std::filesystem::temp_directory_path() / ("sagaz-cli-drain-" + std::to_string(getpid()));
    auto arguments = relay("file:" + path.string());
    arguments.insert(arguments.end(), {"--until-drained", "--timeout", "30s"});
    const auto result = run_cli(arguments, {.environment = any_port_});
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_NE(result.err.find("drained: 500 events published"), std::string::npos) << result.err;
    std::ifstream file{path};
    std::stringstream content;
    content << file.rdbuf();
    EXPECT_EQ(lines_of(content.str()).size(), 500U);
    std::filesystem::remove(path);
    EXPECT_EQ(json::parse(run({"status", "--json"}).out)["backlog"]["pending_events"], 0);
}

// No Kafka has a topic of such a name, so the client refuses the event before it asks one.
TEST_F(CliRelay, ADrainThatParkedSaysSo) {
    sql().run(
        "select sagaz.append('no topic!', n::text, 'T', '{}'::jsonb) from "
        "generate_series(1, 2) n");
    auto arguments = relay("kafka://127.0.0.1:1");
    arguments.insert(arguments.end(), {"--until-drained", "--timeout", "30s"});
    const auto result = run_cli(arguments, {.environment = any_port_});
    EXPECT_EQ(result.code, 3) << result.err;
    EXPECT_NE(result.err.find("drained: 0 events published, 2 parked: see sagaz parked ls"),
              std::string::npos)
        << result.err;
    EXPECT_EQ(sql().number("select count(*) from sagaz.parked where reason = 'invalid_topic'"), 2);
    // Those that an earlier run parked are no news of this one.
    EXPECT_EQ(run_cli(arguments, {.environment = any_port_}).code, 0);
}

TEST_F(CliRelay, StopsUndrainedWhenItsTimeIsOver) {
    auto arguments = relay("kafka://127.0.0.1:1");
    arguments.insert(arguments.end(), {"--until-drained", "--timeout", "1s"});
    sql().run("select sagaz.append('t', 'k', 'T', '{}'::jsonb)");
    const auto result = run_cli(arguments, {.environment = any_port_});
    EXPECT_EQ(result.code, 3) << result.err;
    EXPECT_NE(result.err.find("not drained: 0 events published"), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("\"cause\":\"timeout\""), std::string::npos) << result.err;
}

TEST_F(CliRelay, AnswersProbesAndMetricsAndEndsWellOnSigterm) {
    CliProcess process{relay("null:"), {.environment = any_port_}};
    const auto address = address_of(process);
    wait_for("readiness", [&] { return probe("ready", address).code == 0; });
    EXPECT_EQ(probe("live", address).code, 0);

    EXPECT_EQ(
        run({"append", "--topic", "orders", "--key", "1", "--type", "T", "--payload", "{}"}).code,
        0);
    json status;
    wait_for("the event's delivery", [&] {
        status = json::parse(run({"status", "--json"}).out);
        return status["backlog"]["pending_events"] == 0 && status["relays"].size() == 1 &&
               status["relays"][0]["published"] == 1;
    });
    EXPECT_EQ(status["schema"], 1);
    EXPECT_EQ(status["ok"], true) << status["diagnosis"];
    EXPECT_EQ(status["destination"]["state"], "up");
    EXPECT_EQ(status["relays"][0]["slots"], 16);

    httplib::Client client{"http://" + address};
    const auto page = client.Get("/metrics");
    ASSERT_TRUE(page);
    for (const auto* const line :
         {R"(outbox_published_events_total{destination="default",topic="orders"} 1)",
          R"(outbox_slots_owned{destination="default"} 16)",
          R"(outbox_destination_up{destination="default"} 1)",
          R"(outbox_end_to_end_latency_seconds_count{destination="default"} 1)"}) {
        EXPECT_NE(page->body.find(std::string{"\n"} + line + "\n"), std::string::npos)
            << line << page->body;
    }

    process.signal(SIGTERM);
    EXPECT_EQ(process.wait(), 0) << process.err();
    for (const auto& line : lines_of(process.err())) {
        EXPECT_TRUE(json::accept(line)) << line;
    }
    EXPECT_NE(process.err().find("\"event\":\"relay_stopped\""), std::string::npos);
    expect_error(probe("live", address), 1, "admin_unreachable");
}

TEST_F(CliRelay, CountsTheHeadersThatItDoesNotSend) {
    // The library refuses the name at the append; plain SQL does not.
    sql().run(
        "insert into sagaz.outbox (topic, event_type, payload, headers) "
        "values ('orders', 'T', '', '{\"ce_id\": \"mine\", \"kept\": \"1\"}')");
    CliProcess process{relay("null:"), {.environment = any_port_}};
    httplib::Client client{"http://" + address_of(process)};
    std::string page;
    wait_for("the event's delivery", [&] {
        if (const auto got = client.Get("/metrics")) page = got->body;
        return page.find("outbox_published_events_total{") != std::string::npos;
    });
    EXPECT_NE(page.find(R"(outbox_headers_dropped_total{destination="default"} 1)"),
              std::string::npos)
        << page;
    wait_for("the log to say so",
             [&] { return process.err().find("headers_dropped") != std::string::npos; });
}

TEST_F(CliRelay, IsAliveButNotReadyWhileTheDatabaseIsDown) {
    auto arguments = relay("null:");
    arguments[2] = "postgresql://127.0.0.1:1/d";
    CliProcess process{arguments, {.environment = any_port_}};
    const auto address = address_of(process);
    wait_for("the reason",
             [&] { return probe("ready", address).err.find("store: ") != std::string::npos; });
    EXPECT_EQ(probe("ready", address).code, 1);
    EXPECT_EQ(probe("live", address).code, 0);
    httplib::Client client{"http://" + address};
    const auto page = client.Get("/metrics");
    ASSERT_TRUE(page);
    EXPECT_NE(page->body.find(R"(outbox_store_up{destination="default"} 0)"), std::string::npos);
    process.signal(SIGTERM);
    EXPECT_EQ(process.wait(), 0) << process.err();
}

// What it saw last is no longer true, and an autoscaler takes the highest of all relays.
TEST_F(CliRelay, SaysNothingOfABacklogThatItCannotSee) {
    PostgresServer server;
    url_ = server.url();
    migrate();
    CliProcess process{relay("null:"), {.environment = any_port_}};
    httplib::Client client{"http://" + address_of(process)};
    const auto has = [&](const std::string& line) {
        const auto page = client.Get("/metrics");
        return page && page->body.find("\n" + line) != std::string::npos;
    };
    const std::string pending = R"(outbox_pending_events{destination="default"} )";
    const std::string up = R"(outbox_store_up{destination="default"} )";
    for (const auto* const seen :
         {R"(outbox_slots_without_owner{destination="default"} 0)",
          R"(outbox_database_clock_skew_seconds{destination="default"} 0)",
          R"(outbox_database_wraparound_ratio{destination="default"} )",
          R"(outbox_publish_failures_total{destination="default",reason="refused"} 0)",
          R"(outbox_publish_failures_total{destination="default",reason="unknown"} 0)"}) {
        wait_for(seen, [&] { return has(seen); });
    }
    EXPECT_TRUE(has(pending + "0") && has(up + "1"));
    server.stop(StopMode::immediate);
    constexpr std::chrono::seconds kPatience{60};  // A pooler lets a client wait for its server.
    wait_for("the relay to see it", [&] { return has(up + "0"); }, kPatience);
    EXPECT_FALSE(has(pending));
    EXPECT_TRUE(has(R"(outbox_slots_owned{destination="default"} )")) << "its own it still knows";
    server.start();
    wait_for(
        "the relay to come back", [&] { return has(up + "1") && has(pending + "0"); }, kPatience);
    process.signal(SIGTERM);
    EXPECT_EQ(process.wait(), 0) << process.err();
}

TEST_F(CliRelay, F94_EndsAtOnceOnASecondSignal) {
    PostgresServer server;
    url_ = server.url();
    migrate();
    CliProcess process{relay("null:"), {.environment = any_port_}};
    const auto address = address_of(process);
    wait_for("readiness", [&] { return probe("ready", address).code == 0; });
    const auto backends = server.connect().rows(
        "select pid from pg_stat_activity where application_name = 'sagaz' and pid <> "
        "pg_backend_pid()");
    ASSERT_FALSE(backends.empty());
    for (const auto& row : backends) {
        server.freeze(std::stoi(row[0]));
    }
    process.signal(SIGTERM);
    wait_for("the first signal to be taken", [&] {
        return process.err().find("\"event\":\"relay_stopping\"") != std::string::npos;
    });
    EXPECT_FALSE(process.has_ended());
    process.signal(SIGTERM);
    EXPECT_EQ(process.wait(), 143);
    for (const auto& row : backends) {
        server.thaw(std::stoi(row[0]));
    }
}

TEST_F(CliRelay, SaysInOneSentenceThatNoRelayRuns) {
    sql().run("select sagaz.append('t', 'k', 'T', '{}'::jsonb)");
    const auto result = run({"status", "--exit-code"});
    EXPECT_EQ(result.code, 3);
    EXPECT_TRUE(result.out.starts_with("no relay is running")) << result.out;
    EXPECT_EQ(run({"status"}).code, 0);
}

TEST_F(CliRelay, SaysSinceWhenTheDestinationIsDown) {
    // What a relay reports with its heartbeat.
    sql().run(
        "insert into sagaz.relay (id, beat, report) values (gen_random_uuid(), 1, "
        "'{\"published\": 5, \"down_reason\": \"no broker answers\", \"down_for_ms\": 65000}')");
    const auto result = run({"status", "--exit-code", "--json"});
    EXPECT_EQ(result.code, 3);
    const auto status = json::parse(result.out);
    EXPECT_EQ(status["destination"]["state"], "down");
    EXPECT_EQ(status["destination"]["down_reason"], "no broker answers");
    const auto diagnosis = status["diagnosis"].get<std::string>();
    EXPECT_TRUE(diagnosis.starts_with("the destination has been down for 1m")) << diagnosis;
}

TEST_F(CliRelay, RefusesAnAdminAddressThatIsTaken) {
    CliProcess first{relay("null:"), {.environment = any_port_}};
    const auto address = address_of(first);
    expect_error(run_cli(relay("null:"), {.environment = {{"SAGAZ_ADMIN_LISTEN", address}}}), 2,
                 "admin_listen");
}

}  // namespace
}  // namespace sagaz::test
