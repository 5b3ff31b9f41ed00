#include "stores/postgres/connection.hpp"
#include "stores/postgres/error_table.hpp"
#include "testing/store_reader.hpp"
#include "tests/support/pgbouncer_server.hpp"
#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/error.hpp>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <tuple>

namespace sagaz {
namespace {

using postgres::Connection;
using test::PostgresServer;
using test::Schema;
using test::Sql;
using namespace std::chrono_literals;

std::optional<Error> error_of(const std::function<void()>& call) {
    try {
        call();
        return std::nullopt;
    } catch (const Error& error) {
        return error;
    }
}

std::string code_of(const std::function<void()>& call) {
    const auto error = error_of(call);
    return error ? std::string(error->code()) : "";
}

// --------------------------------------------------------------------------------- native errors

struct Native {
    const char* sqlstate;
    ErrorKind kind;
    const char* code;
};

class NativeError : public ::testing::TestWithParam<Native> {};

TEST_P(NativeError, F17_HasAKindAndACode) {
    const Native native = GetParam();
    Connection connection(PostgresServer::shared().url(), {5s, 5s});
    const auto error = error_of([&] {
        connection.run_script(fmt::format(
            "DO $$ BEGIN RAISE EXCEPTION 'seen' USING ERRCODE = '{}', DETAIL = 'secret'; END $$",
            native.sqlstate));
    });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->kind(), native.kind);
    EXPECT_EQ(error->code(), native.code);
    EXPECT_FALSE(error->hint().empty());
    EXPECT_EQ(std::string(error->what()), fmt::format("seen ({})", native.sqlstate));
}

INSTANTIATE_TEST_SUITE_P(
    Sqlstate, NativeError,
    ::testing::Values(Native{"40001", ErrorKind::conflict, "serialization_failure"},
                      Native{"40P01", ErrorKind::conflict, "deadlock"},
                      Native{"40002", ErrorKind::conflict, "transaction_rolled_back"},
                      Native{"55P03", ErrorKind::unavailable, "lock_not_available"},
                      Native{"55000", ErrorKind::unavailable, "server_not_ready"},
                      Native{"57014", ErrorKind::unavailable, "statement_canceled"},
                      Native{"57P01", ErrorKind::unavailable, "server_shutdown"},
                      Native{"57P02", ErrorKind::unavailable, "server_crashed"},
                      Native{"57P03", ErrorKind::unavailable, "server_starting"},
                      Native{"57P05", ErrorKind::unavailable, "server_interrupted"},
                      Native{"25P03", ErrorKind::unavailable, "server_interrupted"},
                      Native{"25P04", ErrorKind::unavailable, "server_interrupted"},
                      Native{"53300", ErrorKind::unavailable, "too_many_connections"},
                      Native{"53100", ErrorKind::unavailable, "disk_full"},
                      Native{"53200", ErrorKind::unavailable, "server_resources"},
                      Native{"25006", ErrorKind::unavailable, "read_only"},
                      Native{"0A000", ErrorKind::unavailable, "in_recovery"},
                      Native{"08006", ErrorKind::unavailable, "connection_lost"},
                      Native{"58030", ErrorKind::unavailable, "server_io"},
                      Native{"XX000", ErrorKind::unavailable, "server_internal"},
                      Native{"XX001", ErrorKind::fatal, "data_corrupted"},
                      Native{"XX002", ErrorKind::fatal, "data_corrupted"},
                      Native{"25P02", ErrorKind::invalid, "transaction_failed"},
                      Native{"3F000", ErrorKind::invalid, "schema_missing"},
                      Native{"42P01", ErrorKind::invalid, "schema_missing"},
                      Native{"42883", ErrorKind::invalid, "schema_missing"},
                      Native{"42703", ErrorKind::invalid, "schema_missing"},
                      Native{"42501", ErrorKind::invalid, "permission_denied"},
                      Native{"28P01", ErrorKind::invalid, "wrong_password"},
                      Native{"28000", ErrorKind::invalid, "login_refused"},
                      Native{"3D000", ErrorKind::invalid, "database_missing"},
                      Native{"22021", ErrorKind::invalid, "text_encoding"},
                      Native{"22P05", ErrorKind::invalid, "text_encoding"},
                      Native{"23514", ErrorKind::invalid, "limit_exceeded"},
                      Native{"23505", ErrorKind::invalid, "duplicate"},
                      Native{"SG001", ErrorKind::unavailable, "still_subscribed"},
                      Native{"SG002", ErrorKind::fatal, "slot_count_differs"},
                      Native{"SG003", ErrorKind::invalid, "rebase_not_alone"},
                      Native{"SG004", ErrorKind::unavailable, "rebasing"},
                      Native{"SG006", ErrorKind::invalid, "destination"},
                      Native{"P0001", ErrorKind::invalid, "statement_failed"}),
    [](const auto& each) { return std::string("S") + each.param.sqlstate; });

TEST(NativeErrors, AreAllInTheTest) {
    // Forty rows of the table and the one for all others: a new row needs its line above.
    EXPECT_EQ(postgres::sqlstate_table().size(), 40U);
    EXPECT_EQ(postgres::connect_table().size(), 16U);
}

TEST(NativeErrors, OfAConnectionAreToldByItsWords) {
    const std::vector<std::tuple<std::string, ErrorKind, std::string>> rows{
        {"FATAL:  password authentication failed for user \"a\"", ErrorKind::invalid,
         "wrong_password"},
        {"fe_sendauth: no password supplied", ErrorKind::invalid, "wrong_password"},
        {"FATAL:  no pg_hba.conf entry for host", ErrorKind::invalid, "login_refused"},
        {"FATAL:  pg_hba.conf rejects connection for host", ErrorKind::invalid, "login_refused"},
        {"invalid integer value \"x\" for connection option \"port\"", ErrorKind::invalid,
         "store_url"},
        {"invalid port number: \"99999\"", ErrorKind::invalid, "store_url"},
        {"FATAL:  Peer authentication failed", ErrorKind::invalid, "login_refused"},
        {"FATAL:  database \"x\" does not exist", ErrorKind::invalid, "database_missing"},
        {"FATAL:  no such database: x", ErrorKind::invalid, "database_missing"},
        {"FATAL:  no such user", ErrorKind::invalid, "login_refused"},
        {"FATAL:  unsupported startup parameter: options", ErrorKind::invalid, "store_url"},
        {"FATAL:  sorry, too many clients already", ErrorKind::unavailable, "too_many_connections"},
        {"FATAL:  remaining connection slots are reserved", ErrorKind::unavailable,
         "too_many_connections"},
        {"FATAL:  the database system is starting up", ErrorKind::unavailable, "server_starting"},
        {"FATAL:  the database system is shutting down", ErrorKind::unavailable, "server_shutdown"},
        {"SSL error: certificate verify failed", ErrorKind::invalid, "tls_failed"},
        {"connection refused", ErrorKind::unavailable, "connection_failed"},
    };
    for (const auto& [message, kind, code] : rows) {
        const auto& meaning = postgres::meaning_of_connect_failure(message);
        EXPECT_EQ(meaning.kind, kind) << message;
        EXPECT_EQ(meaning.code, code) << message;
    }
}

TEST(NativeErrors, OfARealLoginAreTold) {
    PostgresServer server;
    server.connect().run("CREATE ROLE someone LOGIN PASSWORD 'right'; CREATE ROLE weak LOGIN");
    std::string hba = test::read_file(server.data() / "pg_hba.conf");
    std::ofstream(server.data() / "pg_hba.conf")
        << "host all someone 127.0.0.1/32 scram-sha-256\nhost all refused 127.0.0.1/32 reject\n"
        << hba;
    server.restart(test::StopMode::fast);
    const auto code = [&](const std::string& url) {
        return code_of([&] { Connection(url, {5s, 5s}).run_script("SELECT 1"); });
    };
    const auto url_of = [&](std::string_view user, std::string_view database = "postgres") {
        return server.direct_url("a pooler answers logins itself", database, user);
    };
    const auto with_password = [&](const std::string& password) {
        auto url = url_of("someone");
        return url.replace(url.find('@'), 1, ":" + password + "@");
    };
    EXPECT_EQ(code(with_password("right")), "");
    const auto wrong = error_of(
        [&] { Connection(with_password("wr0ng-secret"), {5s, 5s}).run_script("SELECT 1"); });
    ASSERT_TRUE(wrong);
    EXPECT_EQ(wrong->code(), "wrong_password");
    EXPECT_EQ(std::string(wrong->what()).find("wr0ng-secret"), std::string::npos);
    EXPECT_EQ(code(url_of("refused")), "login_refused");
    EXPECT_EQ(code(url_of("postgres", "nowhere")), "database_missing");
    EXPECT_EQ(code(url_of("nobody_here")), "database_missing");
    const auto denied = error_of(
        [&] { Connection(url_of("weak"), {5s, 5s}).run_script("SELECT * FROM pg_authid"); });
    ASSERT_TRUE(denied);
    EXPECT_EQ(denied->code(), "permission_denied");
    EXPECT_NE(denied->hint().find("GRANT"), std::string_view::npos);
    const auto url = url_of("postgres");
    server.stop(test::StopMode::fast);
    EXPECT_EQ(code(url), "connection_failed");
}

TEST(NativeErrors, OfAPoolerAreTold) {
    PostgresServer server;
    server.connect().run("CREATE ROLE barred LOGIN");
    const std::string hba = test::read_file(server.data() / "pg_hba.conf");
    std::ofstream(server.data() / "pg_hba.conf") << "host all barred 127.0.0.1/32 reject\n" << hba;
    server.restart(test::StopMode::fast);
    const test::PgbouncerServer pooler(server);
    const auto answer = [](const std::string& url) {
        const auto error = error_of([&] { Connection(url, {5s, 5s}).run_script("SELECT 1"); });
        return error ? std::string(error->code()) : "";
    };
    EXPECT_EQ(answer(pooler.url()), "");
    EXPECT_EQ(answer(pooler.url("nowhere")), "database_missing");
    EXPECT_EQ(answer(pooler.url("postgres", "nobody_here")), "login_refused");
    EXPECT_EQ(answer(pooler.url("postgres", "barred")), "login_refused");
    EXPECT_EQ(answer(pooler.url() + "?options=-c%20work_mem%3D1MB"), "store_url");
    server.stop();
    EXPECT_EQ(answer(pooler.url()), "deadline_passed") << "an outage: it waits for the server";
}

TEST(Connection, F98_TakesARotatedPasswordWithoutARestart) {
    PostgresServer server;
    Sql admin = server.connect();
    admin.run("CREATE ROLE someone LOGIN PASSWORD 'old'");
    const std::string hba = test::read_file(server.data() / "pg_hba.conf");
    std::ofstream(server.data() / "pg_hba.conf") << "host all someone 127.0.0.1/32 scram-sha-256\n"
                                                 << hba;
    server.restart(test::StopMode::fast);
    const auto url = [&](const std::string& password) {
        auto text = server.direct_url("a pooler asks for passwords itself", "postgres", "someone");
        return text.replace(text.find('@'), 1, ":" + password + "@");
    };
    std::string file = url("old");
    Connection connection(file, {5s, 5s}, [&] { return file; });
    connection.run_script("SELECT 1");
    server.connect().run("ALTER ROLE someone PASSWORD 'new'");
    connection.drop();
    const auto early = error_of([&] { connection.run_script("SELECT 1"); });
    ASSERT_TRUE(early);
    EXPECT_EQ(early->code(), "wrong_password");
    EXPECT_EQ(early->kind(), ErrorKind::unavailable) << "the new one may be on its way";
    file = "postgresql://[half-written";
    EXPECT_TRUE(error_of([&] { connection.run_script("SELECT 1"); })) << "the old one is tried";
    file = url("new");
    connection.run_script("SELECT 1");
}

TEST(Connection, RefusesAUrlThatCannotBeRightWithoutShowingIt) {
    const auto error = error_of([] { Connection("postgresql://u:pa55word@[::1/db", {}); });
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), "store_url");
    EXPECT_EQ(std::string(error->what()).find("pa55word"), std::string::npos);
    const auto driver = error_of([] { Connection("postgresql+asyncpg://u@h/db", {}); });
    ASSERT_TRUE(driver);
    EXPECT_NE(driver->hint().find("after the +"), std::string_view::npos);
    EXPECT_EQ(code_of([] { postgres::open("postgresql://h/db", {.schema = "x;y"}); }),
              "schema_name");
}

// -------------------------------------------------------------------------------------- deadlines

TEST(Connection, F95_GivesUpAStatementThatIsNotAnswered) {
    auto& server = PostgresServer::shared();
    Connection connection(server.url(), {5s, 300ms});
    const auto pid =
        std::stoi(PQgetvalue(connection.execute("SELECT pg_backend_pid()").get(), 0, 0));
    server.freeze(pid);
    const auto before = std::chrono::steady_clock::now();
    EXPECT_EQ(code_of([&] { connection.execute("SELECT 1"); }), "deadline_passed");
    EXPECT_LT(std::chrono::steady_clock::now() - before, 10s);
    EXPECT_FALSE(connection.is_connected());
    EXPECT_EQ(code_of([&] { connection.execute("SELECT 1"); }), "") << "a new connection";
    server.thaw(pid);
}

TEST(Connection, F95_GivesUpAServerThatAcceptsAndSaysNothing) {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    ASSERT_EQ(::bind(listener, generic, size), 0);
    ASSERT_EQ(::listen(listener, 4), 0);
    ASSERT_EQ(::getsockname(listener, generic, &size), 0);
    Connection connection(fmt::format("postgresql://u@127.0.0.1:{}/d", ntohs(address.sin_port)),
                          {300ms, 5s});
    EXPECT_EQ(code_of([&] { connection.execute("SELECT 1"); }), "deadline_passed");
    ::close(listener);
}

TEST(Connection, TellsAServerThatEndedAndConnectsAnew) {
    auto& server = PostgresServer::shared();
    Connection connection(server.url(), {5s, 5s});
    const std::string pid = PQgetvalue(connection.execute("SELECT pg_backend_pid()").get(), 0, 0);
    server.connect().run("SELECT pg_terminate_backend(" + pid + ")");
    test::wait_for("the connection to be new", [&] {
        const auto code = code_of([&] { connection.execute("SELECT 1"); });
        EXPECT_TRUE(code.empty() || code == "server_shutdown" || code == "connection_lost") << code;
        return code.empty();
    });
}

TEST(Connection, SendsAndReceivesMoreThanASocketHolds) {
    Connection connection(PostgresServer::shared().url(), {5s, 60s});
    const std::string large(std::size_t{20} << 20, 'x');
    const auto result =
        connection.execute("SELECT $1::text, length($1::text)", postgres::Parameters{}.text(large));
    EXPECT_EQ(PQgetlength(result.get(), 0, 0), static_cast<int>(large.size()));
}

TEST(Connection, WritesArraysThatReadBackAsTheyWere) {
    Connection connection(PostgresServer::shared().url(), {5s, 5s});
    const std::vector<std::optional<std::string>> values{
        "", "plain", "a,b", "quote\"", "back\\slash", "{}", "NULL", std::nullopt, "ü\n"};
    postgres::Parameters parameters;
    parameters.array(values, [](const auto& value) { return value; });
    const auto result = connection.execute(
        "SELECT v FROM unnest($1::text[]) WITH ORDINALITY u (v, n) ORDER BY n", parameters);
    ASSERT_EQ(PQntuples(result.get()), static_cast<int>(values.size()));
    for (std::size_t n = 0; n < values.size(); ++n) {
        const int row = static_cast<int>(n);
        const bool is_null = PQgetisnull(result.get(), row, 0) != 0;
        EXPECT_EQ(is_null, !values[n].has_value());
        if (!is_null) {
            EXPECT_EQ(PQgetvalue(result.get(), row, 0), *values[n]);
        }
    }
}

// A login whose sessions begin so, whoever makes them: a pooler passes no options on.
std::string url_with(const Schema& schema, const std::string& setting) {
    const std::string role = schema.name() + "_with_settings";
    schema.connect().run(
        fmt::format("CREATE ROLE {0} SUPERUSER LOGIN; ALTER ROLE {0} SET {1}", role, setting));
    return schema.server().url("postgres", role);
}

TEST(Connection, F18_SaysThatAReadOnlyDatabaseIsOne) {
    const Schema schema;
    const auto store = postgres::open(url_with(schema, "default_transaction_read_only = on"),
                                      {.schema = schema.name()});
    EXPECT_EQ(code_of([&] { store->attach(Id::generate()); }), "read_only");
}

TEST(Connection, MeetsAConflictByTryingAgain) {
    const Schema schema;
    // Somebody made repeatable read the default: a row changed meanwhile is then a conflict.
    const auto store =
        postgres::open(url_with(schema, "default_transaction_isolation = 'repeatable read'"),
                       {.schema = schema.name()});
    testing::StoreReader reader(*store);
    EXPECT_EQ(reader.owned().size(), 16U);
    auto moves = reader.moves();
    EXPECT_EQ(store->store(moves, {}).size(), 16U);
    const auto again = error_of([&] { (void)store->store(moves, {}); });
    ASSERT_TRUE(again) << "the same n twice";
    EXPECT_EQ(again->kind(), ErrorKind::unavailable);
}

}  // namespace
}  // namespace sagaz
