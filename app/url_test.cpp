#include "app/url.hpp"

#include "app/errors.hpp"

#include <gtest/gtest.h>

namespace sagaz::app {
namespace {

std::string code_of_store(const std::string& url) {
    try {
        check_store_url(url, "--store");
    } catch (const Error& error) {
        return std::string{error.code()};
    }
    return "";
}

std::string refusal_of_broker(const std::string& url) {
    try {
        parse_broker_url(url, "--broker");
    } catch (const Error& error) {
        return std::string{error.code()} + ": " + std::string{error.hint()};
    }
    return "";
}

TEST(StoreUrl, TakesEveryFormOfLibpq) {
    EXPECT_EQ(code_of_store("postgresql://u:p@h:5432/d?sslmode=require"), "");
    EXPECT_EQ(code_of_store("postgres:///d?host=/run/postgresql"), "");
    EXPECT_EQ(code_of_store("host=/tmp dbname=d"), "");
}

TEST(StoreUrl, TakesThePathOfASqliteFile) {
    EXPECT_EQ(code_of_store("sqlite:/var/lib/shop.db"), "");
    EXPECT_EQ(sqlite_path("sqlite:/var/lib/shop.db"), "/var/lib/shop.db");
    EXPECT_EQ(sqlite_path("SQLite:shop.db"), "shop.db");
    EXPECT_EQ(sqlite_path("postgresql://h/d"), std::nullopt);
    EXPECT_EQ(sqlite_path("host=/tmp dbname=d"), std::nullopt);
}

TEST(StoreUrl, NamesTheFixForADriverSuffix) {
    try {
        check_store_url("postgresql+asyncpg://u:hush@h/d", "SAGAZ_STORE_URL");
        FAIL() << "was taken";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), "store_scheme");
        EXPECT_TRUE(error.hint().starts_with("write postgresql://u:***@h/d")) << error.hint();
        EXPECT_NE(std::string{error.what()}.find("SAGAZ_STORE_URL"), std::string::npos);
        EXPECT_EQ(std::string{error.what()}.find("hush"), std::string::npos);
    }
}

TEST(StoreUrl, RefusesOtherDatabases) {
    for (const auto* const url : {"mysql://h/d", "sqlite:", "sqlite:///x.db", "sqlite::memory:",
                                  "localhost", "postgresql:h", "localhost:5432/d"}) {
        EXPECT_EQ(code_of_store(url), "store_scheme") << url;
    }
}

TEST(BrokerUrl, NamesWhatIsBuilt) {
    EXPECT_EQ(parse_broker_url("kafka://h:9092", "").place, "h:9092");
    EXPECT_EQ(parse_broker_url("kafka://a:1,b:2,[::1]:3/", "").place, "a:1,b:2,[::1]:3");
    EXPECT_EQ(parse_broker_url("KAFKA://h:9092", "").kind, BrokerKind::kafka);
    EXPECT_EQ(parse_broker_url("file:/tmp/x.jsonl", "").place, "/tmp/x.jsonl");
    EXPECT_EQ(parse_broker_url("file:///tmp/x.jsonl", "").place, "/tmp/x.jsonl");
    EXPECT_EQ(parse_broker_url("stdout:", "").kind, BrokerKind::standard_output);
    EXPECT_EQ(parse_broker_url("null:", "").kind, BrokerKind::null);
}

TEST(BrokerUrl, SaysWhatIsKnownButNotBuilt) {
    EXPECT_NE(refusal_of_broker("rabbitmq://h")
                  .find("broker_not_built: rabbitmq:// (an alias of amqp://)"),
              std::string::npos);
    for (const auto* const url :
         {"amqp://h", "amqps://h", "redis://h", "rediss://h", "nats://h", "memory:"}) {
        EXPECT_TRUE(refusal_of_broker(url).starts_with("broker_not_built: ")) << url;
    }
}

TEST(BrokerUrl, HelpsWithTheFirstMistakes) {
    EXPECT_TRUE(
        refusal_of_broker("kafak://h:1").starts_with("broker_scheme: did you mean kafka:?"));
    EXPECT_TRUE(refusal_of_broker("localhost:9092").starts_with("broker_scheme: "));
    EXPECT_TRUE(refusal_of_broker("kafka://u:p@h:1")
                    .starts_with("broker_url_invalid: put user and password"));
    for (const auto* const url :
         {"kafka://", "kafka://h", "kafka:h:1", "kafka://h:1,", "kafka://h:0", "kafka://:1",
          "kafka://h:70000", "kafka://h:1/topic", "file:"}) {
        EXPECT_TRUE(refusal_of_broker(url).starts_with("broker_url_invalid: ")) << url;
    }
}

}  // namespace
}  // namespace sagaz::app
