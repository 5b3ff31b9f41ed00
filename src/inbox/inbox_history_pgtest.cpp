// Several members that all believe to own one partition, with handlers that fail, conflict and lose
// their connection, in each isolation level and through a pooler: what took effect, and in what
// order, is read from the tables.
#include "tests/support/error_code.hpp"
#include "tests/support/pgbouncer_server.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/error.hpp>
#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <random>
#include <span>
#include <thread>

namespace sagaz {
namespace {

using Clock = std::chrono::steady_clock;
using test::PgbouncerServer;
using test::PostgresServer;
using test::Schema;
using test::Sql;

constexpr int kMessages = 120;
constexpr int kKeys = 8;
constexpr int kMembers = 4;
constexpr std::chrono::seconds kDeadline{90};

std::vector<Message> partition() {
    std::vector<Message> messages;
    for (int n = 0; n < kMessages; ++n) {
        Message message{.id = "m" + std::to_string(n),
                        .event = {.event_type = "Paid", .payload = std::to_string(n)},
                        .source_topic = "payments",
                        .position = n};
        if (n % 10 != 9) message.event.key = "k" + std::to_string(n % kKeys);
        messages.push_back(std::move(message));
    }
    return messages;
}

bool is_poison(const Message& message) { return message.position % 37 == 20; }

class Member {
public:
    Member(const Schema& schema, std::string url, std::span<const Message> messages,
           std::uint64_t seed)
        : schema_(schema), url_(std::move(url)), messages_(messages), random_(seed) {
        options_.consumer_name = "billing";
        options_.schema = schema.name();
        options_.max_attempts = 4;
        options_.lock_timeout = Milliseconds{200};
        if (below(2) == 0) options_.count_attempts = CountAttempts::before_handler;
    }

    /// False when it did not get through in time.
    bool run() {
        const auto end = Clock::now() + kDeadline;
        while (next_ < messages_.size()) {
            if (Clock::now() > end) return false;
            try {
                if (!sql_) sql_.emplace(url_);
                take();
            } catch (const Error& error) {
                EXPECT_TRUE(error.kind() == ErrorKind::unavailable ||
                            error.kind() == ErrorKind::in_doubt)
                    << error.what();
                sql_.reset();
            }
        }
        return true;
    }

private:
    int below(int end) { return std::uniform_int_distribution<int>(0, end - 1)(random_); }

    void take() {
        const auto count = std::min<std::size_t>(1 + below(6), messages_.size() - next_);
        PGconn* connection = sql_->raw();
        const auto outcomes = Inbox(options_).process_batch(
            connection, messages_.subspan(next_, count),
            [&](PGconn* tx, const Message& message) { handle(tx, message); });
        for (const auto& outcome : outcomes) {
            if (!outcome.is_settled()) return;
            ++next_;
        }
    }

    void handle(PGconn* tx, const Message& message) {
        postgres::LibpqTransaction transaction(tx);
        transaction.execute({.sql = schema_.sql("INSERT INTO @s@.effect (id) VALUES ($1)"),
                             .parameters = {{.bytes = message.id}}});
        if (is_poison(message)) throw std::runtime_error("poison");
        switch (below(20)) {
            case 0: throw std::runtime_error("no luck");
            case 1: transaction.execute({"DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", {}}); break;
            case 2:
                transaction.execute({"SELECT pg_terminate_backend(pg_backend_pid())", {}});
                break;
            case 3: transaction.execute({"SELECT pg_sleep(0.02)", {}}); break;
            default: break;
        }
    }

    const Schema& schema_;
    std::string url_;
    std::span<const Message> messages_;
    std::mt19937_64 random_;
    InboxOptions options_;
    std::optional<Sql> sql_;
    std::size_t next_{};
};

struct Setting {
    std::string isolation;
    bool has_pooler{};
};

class InboxHistory : public ::testing::TestWithParam<Setting> {
protected:
    static PostgresServer& server() {
        static PostgresServer own;
        return own;
    }
};

TEST_P(InboxHistory, EffectsHappenOnceAndInTheOrderOfTheirKey) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Schema schema(server());
    Sql sql = schema.connect();
    sql.run(schema.sql("CREATE TABLE @s@.effect (n bigserial, id text)"));
    server().configure("default_transaction_isolation = '" + GetParam().isolation + "'");
    server().reload();
    test::wait_for("the reload", [&] {
        return schema.connect().value("SHOW default_transaction_isolation") == GetParam().isolation;
    });
    std::optional<PgbouncerServer> pooler;
    if (GetParam().has_pooler) pooler.emplace(server(), kMembers);
    const auto url = pooler ? pooler->url() : schema.url();
    const auto messages = partition();
    {
        std::vector<std::jthread> threads;
        threads.reserve(kMembers);
        for (int n = 0; n < kMembers; ++n) {
            threads.emplace_back(
                [&, n] { EXPECT_TRUE(Member(schema, url, messages, seed + n).run()); });
        }
    }
    const auto count = [&](const std::string& what) {
        return sql.number(schema.sql("SELECT count(*) FROM " + what));
    };
    const std::string settled =
        "(SELECT id FROM @s@.effect UNION ALL SELECT original_id FROM @s@.parked) s";
    EXPECT_EQ(count(settled), kMessages) << "each has its effect once, or is parked once";
    EXPECT_EQ(count("(SELECT DISTINCT id FROM " + settled + ") d"), kMessages);
    EXPECT_EQ(count("@s@.consumer_inbox"), count("@s@.effect"));
    EXPECT_GT(count("@s@.parked WHERE reason = 'max_attempts'"), 2);
    const std::string position = "substr(id, 2)::int";
    EXPECT_EQ(count("(SELECT " + position + " AS p, max(" + position + ") OVER (PARTITION BY " +
                    position + " % 8 ORDER BY n) AS high FROM @s@.effect WHERE " + position +
                    " % 10 <> 9) o WHERE p < high"),
              0)
        << "in the order of the key";
}

INSTANTIATE_TEST_SUITE_P(
    Levels, InboxHistory,
    ::testing::Values(Setting{"read committed", false}, Setting{"repeatable read", false},
                      Setting{"serializable", false}, Setting{"read committed", true}),
    [](const auto& one) {
        std::string name = one.param.isolation + (one.param.has_pooler ? "_pooled" : "_direct");
        std::ranges::replace(name, ' ', '_');
        return name;
    });

}  // namespace
}  // namespace sagaz
