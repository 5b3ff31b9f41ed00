#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/verify/sources.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/error.hpp>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace sagaz::verify {
namespace {

constexpr const char* kId = "00000000-0000-7000-8000-000000000001";

std::vector<HeaderView> headers_of(std::string_view id) {
    return {{"ce_specversion", "1.0"}, {"ce_id", id},    {"ce_source", "/s"},
            {"message_id", id},        {"ce_type", "T"}, {"content-type", "c"}};
}

/// Reads the truth of `sql`, lets its one event arrive with `payload`, and reports.
Report read(const std::string& sql, std::string_view payload,
            const std::vector<HeaderView>& own = {}) {
    Account account;
    read_truth(test::PostgresServer::shared().url(), sql, account, [] {});
    auto headers = headers_of(kId);
    headers.insert(headers.end(), own.begin(), own.end());
    account.arrive({"orders", 0, 0, "k", headers, payload});
    return account.close();
}

std::string with(const std::string& columns) {
    return std::string("SELECT '") + kId + "'::uuid AS event_id, 'k' AS key, 1 AS order_number" +
           columns;
}

std::string seen_of(const std::string& sql) {
    Account account;
    try {
        read_truth(test::PostgresServer::shared().url(), sql, account, [] {});
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), "truth_query");
        return error.what();
    }
    return "";
}

}  // namespace

TEST(VerifyTruth, ReadsTheColumnsItNeeds) {
    const Report report = read(with(""), "anything");
    EXPECT_EQ(report.expected, 1U);
    EXPECT_EQ(report.arrived, 1U);
    EXPECT_FALSE(report.is_damaged());
}

TEST(VerifyTruth, EndsWhenTheDatabaseStaysSilent) {
    const auto code_of_truth = [](const std::string& url, const std::string& sql) {
        Account account;
        try {
            read_truth(url, sql, account, [] {},
                       {std::chrono::seconds{2}, std::chrono::milliseconds{300}});
        } catch (const Error& error) {
            return std::string(error.code());
        }
        return std::string();
    };
    const auto& server = test::PostgresServer::shared();
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(code_of_truth(server.url(), with(", pg_sleep(20)")), "deadline_passed");
    // Accepts connections, since the kernel does, and says nothing.
    const int silent = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ASSERT_EQ(::bind(silent, reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(silent, 1), 0);
    ASSERT_EQ(::getsockname(silent, reinterpret_cast<sockaddr*>(&address), &size), 0);
    const auto port = std::to_string(ntohs(address.sin_port));
    EXPECT_EQ(code_of_truth("postgresql://127.0.0.1:" + port + "/postgres", with("")),
              "store_unreachable");
    ::close(silent);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{15});
}

TEST(VerifyTruth, ReadsAColumnCalledOrder) {
    Account account;
    read_truth(
        test::PostgresServer::shared().url(),
        std::string("SELECT '") + kId + R"(' AS event_id, NULL AS key, 7::numeric AS "order")",
        account, [] {});
    EXPECT_EQ(account.expected(), 1U);
}

TEST(VerifyTruth, KnowsAPayloadByBytesTextOrDigest) {
    const std::string bytes("\0\xFF\\", 3);
    for (const char* columns :
         {", '\\x00ff5c'::bytea AS payload", ", md5('\\x00ff5c'::bytea) AS payload_md5",
          ", decode(md5('\\x00ff5c'::bytea), 'hex') AS payload_md5"}) {
        EXPECT_FALSE(read(with(columns), bytes).is_damaged()) << columns;
        EXPECT_EQ(read(with(columns), "other").count(Damage::wrong_payload), 1U) << columns;
    }
    EXPECT_FALSE(read(with(", 'text'::text AS payload"), "text").is_damaged());
}

TEST(VerifyTruth, KnowsTopicTypeAndContentType) {
    EXPECT_FALSE(
        read(with(", 'orders' AS topic, 'T' AS event_type, 'c' AS content_type"), "").is_damaged());
    EXPECT_EQ(read(with(", 'bills' AS topic"), "").count(Damage::wrong_topic), 1U);
    EXPECT_EQ(read(with(", 'U' AS event_type"), "").count(Damage::wrong_header), 1U);
    EXPECT_EQ(read(with(", 'd' AS content_type"), "").count(Damage::wrong_header), 1U);
}

TEST(VerifyTruth, KnowsTheSource) {
    EXPECT_FALSE(read(with(", '/s' AS source"), "").is_damaged());
    EXPECT_EQ(read(with(", '/t' AS source"), "").count(Damage::wrong_header), 1U);
}

TEST(VerifyTruth, KnowsTheHeadersOfAnEventAsTheLogHoldsThem) {
    const std::vector<HeaderView> own{{"b", "2"}, {"a", "caf\u00e9"}, {"n", "[1,null]"}};
    const auto is_wrong = [&](const char* json) {
        const std::string column = std::string(", ") + json + " AS headers";
        return read(with(column), "", own).count(Damage::wrong_header) == 1;
    };
    EXPECT_FALSE(is_wrong(R"('[["b", "2"], ["a", "caf\u00e9"], ["n", [1, null]]]'::jsonb)"));
    EXPECT_FALSE(
        is_wrong(R"('{"a": "caf\u00e9", "ce_id": "x", "n": [1, null], "b": "2"}'::jsonb)"));
    EXPECT_TRUE(is_wrong(R"('[["a", "caf\u00e9"], ["b", "2"], ["n", [1, null]]]'::jsonb)"));
    EXPECT_TRUE(is_wrong(R"('{"a": "caf\u00e9", "b": "2"}'::text)"));
    EXPECT_TRUE(is_wrong("NULL::jsonb")) << "the event has no headers";
    EXPECT_FALSE(read(with(", NULL::jsonb AS headers"), "").is_damaged());
    EXPECT_FALSE(read(with(""), "", own).is_damaged()) << "not compared";
}

TEST(VerifyTruth, ReadsManyRowsOneAtATime) {
    Account account;
    int called = 0;
    read_truth(test::PostgresServer::shared().url(),
               "SELECT gen_random_uuid() AS event_id, n::text AS key, n AS order_number "
               "FROM generate_series(1, 20000) n",
               account, [&] { ++called; });
    EXPECT_EQ(account.expected(), 20'000U);
    EXPECT_EQ(called, 4);
}

TEST(VerifyTruth, ReadsATruthWithoutRows) {
    EXPECT_EQ(read(with(" WHERE false"), "").expected, 0U);
}

TEST(VerifyTruth, SaysWhichColumnIsMissing) {
    EXPECT_EQ(seen_of("SELECT 1 AS event_id, 2 AS key"), "the truth has no column order_number");
    EXPECT_EQ(seen_of("SELECT 1 AS key, 2 AS order_number"), "the truth has no column event_id");
}

TEST(VerifyTruth, RefusesWhatIsNoTruth) {
    EXPECT_NE(seen_of("SELECT FROM nowhere"), "");
    EXPECT_NE(seen_of("SELECT 1; SELECT 2"), "");
    EXPECT_NE(seen_of("SET search_path = ''"), "");
    EXPECT_NE(seen_of("SELECT gen_random_uuid() AS event_id, 'k' AS key, NULL AS order_number"),
              "");
    EXPECT_NE(seen_of("SELECT gen_random_uuid() AS event_id, 'k' AS key, 1.5 AS order_number"), "");
    EXPECT_NE(seen_of(with(", 'abc' AS payload_md5")), "");
    for (const char* headers : {"1", "nonsense", "[1]", "[[1, 2]]", R"([["a"]])"}) {
        EXPECT_NE(seen_of(with(std::string(", '") + headers + "' AS headers")), "") << headers;
    }
}

TEST(VerifyTruth, ChangesNothing) {
    test::Sql sql(test::PostgresServer::shared().url());
    sql.run("CREATE TABLE precious (n int)");
    EXPECT_NE(seen_of("INSERT INTO precious VALUES (1) RETURNING gen_random_uuid() AS event_id, "
                      "'k' AS key, 1 AS order_number"),
              "");
    EXPECT_EQ(sql.number("SELECT count(*) FROM precious"), 0);
}

TEST(VerifyTruth, SaysWhenThereIsNoDatabase) {
    Account account;
    try {
        read_truth("postgresql://nobody:hidden@127.0.0.1:1/none", "SELECT", account, [] {});
        ADD_FAILURE() << "connected";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), "store_unreachable");
        EXPECT_EQ(std::string(error.what()).find("hidden"), std::string::npos);
    }
}

// The command as a whole, on a file destination.
class VerifyCommand : public testing::Test {
protected:
    VerifyCommand() {
        std::string name = (std::filesystem::temp_directory_path() / "verify-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
        folder_ = name;
        options_.store.url = test::PostgresServer::shared().url();
        options_.source.url = "file:" + (folder_ / "out.jsonl").string();
        options_.truth_sql = with(", 'orders' AS topic, 'x' AS payload");
        options_.json = true;
    }
    ~VerifyCommand() override { std::filesystem::remove_all(folder_); }

    void write(const std::string& payload) {
        nlohmann::json line{{"topic", "orders"}, {"key", "k"}, {"payload", payload}};
        for (const HeaderView& header : headers_of(kId)) {
            line["headers"].push_back({header.name, header.value});
        }
        std::ofstream(folder_ / "out.jsonl", std::ios::app) << line.dump() << '\n';
    }
    int run() {
        std::istringstream in;
        std::ostringstream err;
        app::Console console(in, out_, err, {});
        return app::run_verify(options_, console);
    }

    std::filesystem::path folder_;
    app::VerifyOptions options_;
    std::ostringstream out_;
};

TEST_F(VerifyCommand, ExitsWithZeroThoughThereAreRepeats) {
    write("x");
    write("x");
    EXPECT_EQ(run(), app::kOk);
    const auto report = nlohmann::json::parse(out_.str());
    EXPECT_EQ(report["verdict"], "intact");
    EXPECT_EQ(report["repeats"], 1);
}

// A query that finds nothing (a typing error in its WHERE, the wrong database) must not be green.
TEST_F(VerifyCommand, AnEmptyTruthShowsNothing) {
    write("");
    std::filesystem::resize_file(folder_ / "out.jsonl", 0);
    options_.truth_sql = with(" WHERE false");
    try {
        run();
        ADD_FAILURE() << "accepted an empty truth: " << out_.str();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), "truth_empty");
    }
    options_.allow_empty = true;
    EXPECT_EQ(run(), app::kOk);
    EXPECT_EQ(nlohmann::json::parse(out_.str())["expected"], 0);
    write("x");
    out_.str("");
    EXPECT_EQ(run(), app::kCondition) << "what is there is foreign";
}

TEST_F(VerifyCommand, ExitsWithThreeWhenSomethingIsDamaged) {
    write("y");
    options_.report_path = (folder_ / "report.json").string();
    EXPECT_EQ(run(), app::kCondition);
    std::ifstream file(options_.report_path);
    EXPECT_EQ(nlohmann::json::parse(file)["damages"]["wrong_payload"], 1);
}

TEST_F(VerifyCommand, SpeaksToAPersonWithoutJson) {
    write("y");
    options_.json = false;
    EXPECT_EQ(run(), app::kCondition);
    EXPECT_NE(out_.str().find("wrong_payload    1"), std::string::npos) << out_.str();
}

TEST_F(VerifyCommand, RefusesADestinationThatCannotBeRead) {
    for (const char* url : {"", "null:", "memory:", "stdout:", "file"}) {
        options_.source.url = url;
        EXPECT_THROW(run(), Error) << url;
    }
    options_.source.url = "kafka://127.0.0.1:1";
    options_.truth_sql = with("");  // names no topic
    EXPECT_THROW(run(), Error);
}

}  // namespace sagaz::verify
