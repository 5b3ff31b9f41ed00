// The mistakes that a database and a configuration are enough for.
#include "tests/integration/first_mistakes.hpp"
#include "tests/support/error_code.hpp"

#include <sagaz/error.hpp>
#include <sagaz/outbox.hpp>
#include <sagaz/postgres.hpp>

#include <fstream>
#include <optional>
#include <regex>

namespace sagaz::test {
namespace {

const std::map<std::string, std::string> kAnyPort{{"SAGAZ_ADMIN_LISTEN", "127.0.0.1:0"}};

// ------------------------------------------------------------------------- the database's address

TEST_F(FirstMistakes, AreUsageErrorsThatSayWhatToDo) {
    expect_help({"no database is named",
                 {"status"},
                 "store_url_missing",
                 {"--store", "SAGAZ_STORE_URL", "store.url"},
                 2});
    expect_help({"no broker is named",
                 {"relay", "--store", "postgresql://h/d"},
                 "broker_url_missing",
                 {"--broker", "SAGAZ_BROKER_URL", "broker.url"},
                 2});
    expect_help({"a broker that is not built in",
                 {"relay", "--store", "postgresql://h/d", "--broker", "rabbitmq://h"},
                 "broker_not_built",
                 {"kafka://"},
                 2});
    expect_help({"a mistyped command", {"statsu"}, "usage", {"status"}, 2});
    expect_help({"no command", {}, "usage", {"sagaz --help"}, 2});
    expect_help({"an unknown flag", {"status", "--nonsense"}, "usage", {"sagaz status --help"}, 2});
    expect_help({"an unknown word", {"wait", "--for", "moon"}, "usage", {"sagaz wait --help"}, 2});
    expect_help({"a configuration file that is not there",
                 {"config", "show", "--config", "/does/not/exist.yaml"},
                 "config_file",
                 {"readable file"},
                 2});
    expect_help({"a duration without its unit",
                 {"config", "show"},
                 "config_value",
                 {"with its unit"},
                 2,
                 {.environment = {{"SAGAZ_RELAY_LEASE", "10"}}}});
}

TEST_F(FirstMistakes, AUrlForAPythonDriverIsRewritten) {
    const auto url = std::regex_replace(url_, std::regex{"^postgresql:"}, "postgresql+asyncpg:");
    const auto lines = expect_help({"a URL for SQLAlchemy",
                                    {"wait", "--for", "store", "--store", url},
                                    "store_scheme",
                                    {"write postgresql://", "libpq"},
                                    2});
    std::smatch written;
    ASSERT_TRUE(std::regex_search(lines.what_to_do, written, std::regex{"write (\\S+)"}));
    const auto right = run_cli({"wait", "--for", "store", "--store", written[1]});
    EXPECT_EQ(right.code, 0) << right.err;
}

TEST_F(FirstMistakes, NameTheServerThatIsDown) {
    const auto url = "postgresql://ann:hush@127.0.0.1:1/shop";
    const auto lines = expect_help({"the database is down",
                                    {"status"},
                                    "connection_failed",
                                    {"server runs", "host and port", "DATABASE_URL"},
                                    1,
                                    {.environment = {{"DATABASE_URL", url}}}});
    EXPECT_NE(lines.seen.find("127.0.0.1"), std::string::npos) << lines.seen;
    EXPECT_EQ((lines.seen + lines.what_to_do).find("hush"), std::string::npos);
}

TEST_F(FirstMistakes, AWrongPasswordIsNamedAndNotShown) {
    sql().run("create role ann login password 'right'");
    const auto hba = server_.data() / "pg_hba.conf";
    std::ofstream{hba, std::ios::trunc}
        << "host all ann all scram-sha-256\nhost all all all trust\n";
    server_.reload();
    const auto url = server_.direct_url("a pooler asks for passwords itself", database_, "ann");
    const auto with = [&](const std::string& password) {
        return std::regex_replace(url, std::regex{"ann@"}, "ann:" + password + "@");
    };
    const auto look = [&](const std::string& at) {
        return run_cli({"wait", "--for", "store", "--timeout", "100ms", "--store", at}).code;
    };
    wait_for("the new pg_hba.conf", [&] { return look(with("right")) == 0 && look(url) == 1; });
    const auto lines = expect_help({"a wrong password",
                                    {"status", "--store", with("wr0ng")},
                                    "wrong_password",
                                    {"correct the password", "from --store"}});
    EXPECT_EQ((lines.seen + lines.what_to_do).find("wr0ng"), std::string::npos);
    expect_help({"no password",
                 {"status", "--store-file", file("url", url + "\n")},
                 "wrong_password",
                 {"correct the password", path("url")}});
}

// ------------------------------------------------------------------------------------- the schema

TEST_F(FirstMistakes, AMissingSchemaIsMadeByWhatTheMessageSays) {
    for (const Arguments& typed :
         {Arguments{"append", "--topic", "t", "--key", "k", "--type", "T", "--payload", "{}"},
          Arguments{"events", "ls"}, Arguments{"relay", "--broker", "null:", "--until-drained"},
          Arguments{"status"}}) {
        auto arguments = typed;
        arguments.insert(arguments.end(), {"--store", url_});
        expect_help({"the schema is missing",
                     arguments,
                     "schema_missing",
                     {"sagaz migrate"},
                     1,
                     {.environment = kAnyPort}});
        if (typed[0] == "status") migrate();
    }
    expect_help({"the schema never comes",
                 {"wait", "--for", "schema", "--timeout", "100ms", "--store",
                  server_.url(server_.fresh_database())},
                 "wait_timeout",
                 {"sagaz migrate"}});
    EXPECT_EQ(run({"status"}).code, 0);
}

TEST_F(FirstMistakes, ASchemaOfALaterVersionAsksForALaterProgram) {
    migrate();
    sql().run("insert into sagaz.schema_version values (99, 'later', 99)");
    for (const Arguments& typed : {Arguments{"relay", "--broker", "null:"}, Arguments{"migrate"},
                                   Arguments{"migrate", "--check"}}) {
        auto arguments = typed;
        arguments.insert(arguments.end(), {"--store", url_});
        expect_help({"the schema is too new",
                     arguments,
                     "schema_too_new",
                     {"update sagaz", "version 99"},
                     1,
                     {.environment = kAnyPort}});
    }
    EXPECT_NE(run({"status"}).out.find("update sagaz"), std::string::npos);
    EXPECT_NE(run({"doctor"}).out.find("schema_too_new"), std::string::npos);
}

// -------------------------------------------------------------------------------------- the rights

class FirstMistakesOfRights : public FirstMistakes {
protected:
    /// A login without any right; its name has to be quoted.
    std::string login(const std::string& name) const {
        sql().run("create role \"" + name + "\" login");
        return server_.url(database_, name);
    }
    // Runs what is said to be run, until the command succeeds.
    void expect_grants_to_help(const std::string& name, const Arguments& typed,
                               std::size_t grants = 1) {
        for (std::size_t n = 0; n < grants; ++n) {
            const auto lines =
                expect_help({name, typed, "permission_denied", {}, 1, {.environment = kAnyPort}});
            const auto statements = statements_in(lines.what_to_do);
            ASSERT_FALSE(statements.empty()) << lines.what_to_do;
            for (const auto& statement : statements) sql().run(statement);
        }
        const auto result = run_cli(typed, {.environment = kAnyPort});
        EXPECT_EQ(result.code, 0) << result.err;
    }
};

TEST_F(FirstMistakesOfRights, TheGrantThatIsNamedIsTheOneThatIsMissing) {
    migrate();
    const Arguments append{"append", "--topic", "t", "--key", "k", "--type", "T", "--payload", "1"};
    const auto with_login = [&](Arguments typed, const std::string& name) {
        typed.insert(typed.end(), {"--store", login(name)});
        return typed;
    };
    expect_grants_to_help("may not append", with_login(append, "order-service"));
    expect_grants_to_help("may not look", with_login({"status"}, "on-call"));
    expect_grants_to_help("may not see payloads",
                          with_login({"events", "ls", "--payload"}, "Auditor"));
    expect_grants_to_help(
        "may not move events",
        with_login({"relay", "--broker", "null:", "--until-drained", "--timeout", "20s"},
                   "relay-1"));
    EXPECT_EQ(sql().number("select pending_events from sagaz.backlog"), 0);
}

TEST_F(FirstMistakesOfRights, TheLibraryNamesTheGrantToo) {
    migrate();
    Sql connection{login("shop")};
    PGconn* libpq = connection.raw();
    const auto append = [&]() -> std::optional<Error> {
        connection.run("begin");
        try {
            (void)Outbox{}.append(libpq, {.topic = "t", .event_type = "T", .payload = "1"});
            connection.run("commit");
            return std::nullopt;
        } catch (const Error& error) {
            connection.run("rollback");
            return error;
        }
    };
    const auto refused = append();
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->code(), "permission_denied");
    const auto statements = statements_in(std::string{refused->hint()});
    ASSERT_EQ(statements.size(), 1U) << refused->hint();
    sql().run(statements[0]);
    EXPECT_FALSE(append());
}

TEST_F(FirstMistakesOfRights, WhoMayNotMigrateIsToldWhatItTakes) {
    const auto deployer = login("deployer");
    // Roles of its own: those of the other tests belong to the administrator.
    expect_grants_to_help("may not make the schema",
                          {"migrate", "--schema", "shop_log", "--store", deployer}, 2);
    const auto lines =
        expect_help({"migrates what another login owns",
                     {"migrate", "--schema", "shop_log", "--store", login("passer-by")},
                     "permission_denied",
                     {"with the login deployer"}});
    EXPECT_EQ(run_cli({"migrate", "--check", "--schema", "shop_log", "--store", deployer}).code, 0);
}

// ------------------------------------------------------------------------------- the configuration

TEST_F(FirstMistakes, OfTheConfigurationAreNamedWithTheirPlace) {
    const auto unknown = file("unknown.yaml", "relay:\n  laese: 5s\n");
    EXPECT_NE(expect_help({"an unknown key",
                           {"config", "validate", "--config", unknown},
                           "config_unknown_key",
                           {"did you mean \"lease\"", "section \"relay\" has"},
                           2})
                  .seen.find(unknown + ":2:3"),
              std::string::npos);
    const auto twice = file("twice.yaml", "relay:\n  lease: 5s\n  lease: 6s\n");
    EXPECT_NE(expect_help({"a key stands twice",
                           {"config", "validate", "--config", twice},
                           "config_duplicate_key",
                           {"keep one", "relay.lease is in line 2"},
                           2})
                  .seen.find(twice + ":3:3"),
              std::string::npos);
    const auto option =
        file("option.yaml", "broker:\n  url: kafka://h:1\n  options:\n    acks: 1\n");
    expect_help({"an option that the promises rest on",
                 {"relay", "--config", option, "--store", url_},
                 "broker_option",
                 {"remove broker.options.acks"},
                 2});
}

// -------------------------------------------------------------------------------------- the limits

TEST_F(FirstMistakes, APayloadOverTheLimitIsRefusedWhereverItIsAppended) {
    migrate();
    const std::string body(kPayloadMax + 1, 'x');
    expect_help({"a payload over 16 MiB",
                 {"append", "--type", "T", "--payload", "@" + file("big", body), "--store", url_},
                 "limit_exceeded",
                 {"payload", std::to_string(kPayloadMax)}});
    auto connection = sql();
    connection.run("begin");
    PGconn* libpq = connection.raw();
    EXPECT_EQ(code_of([&] { (void)Outbox{}.append(libpq, {.event_type = "T", .payload = body}); }),
              "limit_exceeded");
    connection.run("rollback");
    for (const std::string statement :
         {"select sagaz.append('t', 'k', 'T', repeat('x', 16777217))",
          "insert into sagaz.outbox (event_type, payload) "
          "values ('T', convert_to(repeat('x', 16777217), 'UTF8'))"}) {
        try {
            sql().run(statement);
            ADD_FAILURE() << "was taken: " << statement;
        } catch (const std::runtime_error& refused) {
            const std::string said = refused.what();
            EXPECT_NE(said.find("outbox_payload_max"), std::string::npos) << said;
            note("a payload over 16 MiB, in SQL", statement, "outbox_payload_max",
                 said.substr(0, said.find('\n')));
        }
    }
    EXPECT_EQ(sql().number("select count(*) from sagaz.outbox"), 0);
}

}  // namespace
}  // namespace sagaz::test
