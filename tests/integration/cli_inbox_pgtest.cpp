// `sagaz inbox` of the real executable on both databases, after messages that a real inbox handled.
#include "app/commands.hpp"
#include "app/console.hpp"
#include "core/id_time.hpp"
#include "tests/integration/cli_process.hpp"
#include "tests/support/postgres_server.hpp"
#include "tests/support/sqlite_file.hpp"

#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>
#include <sagaz/sqlite.hpp>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <csignal>
#include <sstream>

namespace sagaz::test {
namespace {

using nlohmann::json;
using Arguments = std::vector<std::string>;
using std::chrono::hours;
using enum Settlement;

constexpr double kDay = 86'400;

void handle(const Message& message) {
    if (message.event.payload == "bad") throw std::runtime_error("no stock");
}

// A database with an inbox in it. In its SQL "@s@" stands before a table's name.
class InboxStore {
public:
    virtual ~InboxStore() = default;
    virtual std::string url() const = 0;
    virtual std::string value(const std::string& sql) = 0;
    virtual std::string time(hours ago) const = 0;  ///< As an expression.
    virtual Settlement process(const Inbox& inbox, const Message& message) = 0;
    /// Marks of consumer "bulk", set a minute apart, from `oldest` on: ids with their time.
    virtual void plant(int marks, hours oldest) = 0;

    void run(const std::string& sql) { (void)value(sql + " returning 1"); }
};

std::string replaced(std::string sql, const std::string& by) {
    for (auto at = sql.find("@s@"); at != std::string::npos; at = sql.find("@s@")) {
        sql.replace(at, 3, by);
    }
    return sql;
}

class InPostgres final : public InboxStore {
public:
    InPostgres() : sql_{url_} {
        if (run_cli({"migrate", "--no-roles", "--store", url_}).code != 0) {
            throw std::runtime_error("sagaz migrate failed");
        }
    }
    std::string url() const override { return url_; }
    std::string value(const std::string& sql) override {
        const auto rows = sql_.rows(replaced(sql, "sagaz."));
        return rows.empty() ? "" : rows[0][0];
    }
    std::string time(hours ago) const override {
        return "clock_timestamp() - interval '" + std::to_string(ago.count()) + " hours'";
    }
    Settlement process(const Inbox& inbox, const Message& message) override {
        PGconn* connection = sql_.raw();
        return inbox.process(connection, message, [](PGconn*, const Message& m) { handle(m); })
            .settlement;
    }
    void plant(int marks, hours oldest) override {
        run("insert into @s@consumer_inbox (consumer_name, event_id, payload_hash, consumed_at) "
            "select 'bulk', overlay(gen_random_uuid()::text placing "
            "substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-7' from 1 for 15)::uuid, '', t "
            "from (select t, lpad(to_hex((extract(epoch from t) * 1000)::bigint), 12, '0') as h "
            "from (select " +
            time(oldest) + " + n * interval '1 minute' as t from generate_series(0, " +
            std::to_string(marks - 1) + ") n) x) y");
    }

private:
    PostgresServer& server_ = PostgresServer::shared();
    std::string url_ = server_.url(server_.fresh_database());
    Sql sql_;
};

class InSqlite final : public InboxStore {
public:
    std::string url() const override { return "sqlite:" + file_.path(); }
    std::string value(const std::string& sql) override {
        const auto values = connection_.run(replaced(sql, "sagaz_"));
        return values.empty() ? "" : values[0];
    }
    std::string time(hours ago) const override {
        return "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-" + std::to_string(ago.count()) +
               " hours')";
    }
    Settlement process(const Inbox& inbox, const Message& message) override {
        sqlite3* connection = connection_.raw();
        return inbox.process(connection, message, [](sqlite3*, const Message& m) { handle(m); })
            .settlement;
    }
    void plant(int marks, hours oldest) override {
        run("with recursive c (n) as (select 0 union all select n + 1 from c where n < " +
            std::to_string(marks - 1) +
            "), t (ms) as (select cast((julianday('now') - 2440587.5) * 86400000 as integer) - " +
            std::to_string(oldest.count()) +
            " * 3600000 + n * 60000 from c) "
            "insert into @s@consumer_inbox (consumer_name, event_id, payload_hash, consumed_at) "
            "select 'bulk', printf('%08x-%04x-7%03x-8000-%012x', ms >> 16, ms & 65535, "
            "random() & 4095, random() & 281474976710655), x'', "
            "strftime('%Y-%m-%dT%H:%M:%fZ', ms / 1000.0, 'unixepoch') from t");
    }

private:
    SqliteFile file_;
    SqliteConnection connection_{file_.path()};
};

Message message(const std::string& id, const std::string& payload = "body") {
    return {.id = id, .event = {.event_type = "Paid", .payload = payload}, .source_topic = "t"};
}

std::string id_made(hours ago) {
    auto id = Id::generate();
    core::set_time(id, std::chrono::duration_cast<Milliseconds>(
                           std::chrono::system_clock::now().time_since_epoch() - ago));
    return id.text();
}

class CliInbox : public ::testing::TestWithParam<const char*> {
protected:
    CliInbox() {
        if (is_postgres()) {
            store_ = std::make_unique<InPostgres>();
        } else {
            store_ = std::make_unique<InSqlite>();
        }
    }

    static bool is_postgres() { return std::string{GetParam()} == "postgres"; }
    InboxStore& store() { return *store_; }

    CliResult run(Arguments arguments,
                  const std::map<std::string, std::string>& environment = {}) const {
        arguments.insert(arguments.begin(), "inbox");
        arguments.insert(arguments.end(), {"--store", store_->url()});
        return run_cli(arguments, {.environment = environment});
    }
    json report(Arguments arguments,
                const std::map<std::string, std::string>& environment = {}) const {
        arguments.emplace_back("--json");
        const auto result = run(arguments, environment);
        EXPECT_EQ(result.code, 0) << result.err;
        return json::parse(result.out, nullptr, false);
    }
    void expect_refusal(const CliResult& result, int code, const std::string& word,
                        const std::string& text) const {
        EXPECT_EQ(result.code, code) << result.err;
        EXPECT_NE(result.err.find("error[" + word + "]: "), std::string::npos) << result.err;
        EXPECT_NE(result.err.find(text), std::string::npos) << result.err;
    }

    Settlement process(const std::string& id, const std::string& consumer = "billing",
                       const std::string& payload = "body") {
        return store_->process(Inbox{{.consumer_name = consumer, .max_attempts = 3}},
                               message(id, payload));
    }
    /// A mark that was set some time ago.
    void mark(const std::string& id, hours ago, const std::string& consumer = "billing") {
        ASSERT_EQ(process(id, consumer), processed);
        store_->run("update @s@consumer_inbox set consumed_at = " + store_->time(ago) +
                    " where consumer_name = '" + consumer +
                    "' and coalesce(original_id, cast(event_id as text)) = '" + id + "'");
    }
    std::string marks(const std::string& consumer = "billing") {
        return store_->value("select count(*) from @s@consumer_inbox where consumer_name = '" +
                             consumer + "'");
    }

private:
    std::unique_ptr<InboxStore> store_;
};

INSTANTIATE_TEST_SUITE_P(On, CliInbox, ::testing::Values("postgres", "sqlite"),
                         [](const auto& made) { return std::string{made.param}; });

constexpr hours kOld{24 * 40};

// ---------------------------------------------------------------------------------------- status

TEST_P(CliInbox, SaysWhatEachConsumerHas) {
    EXPECT_EQ(run({"status"}).out, "no consumer has used the inbox\n");
    mark(id_made(kOld), kOld);
    process("order-2");
    process("order-2");  // a duplicate leaves nothing behind
    process("order-3");
    process("order-3", "billing", "another body");
    process("fails-once", "billing", "bad");
    for (int n = 0; n < 2; ++n) process("fails-twice", "billing", "bad");
    for (int n = 0; n < 3; ++n) process("fails-thrice", "billing", "bad");
    process("order-2", "shipping");

    const auto status = report({"status"});
    EXPECT_EQ(status["schema"], 1);
    ASSERT_EQ(status["consumers"].size(), 2U) << status;
    const auto& billing = status["consumers"][0];
    EXPECT_EQ(billing["consumer_name"], "billing");
    EXPECT_EQ(billing["marks"]["count"], 3);
    EXPECT_EQ(billing["marks"]["count_is"], "exact");
    EXPECT_NEAR(billing["marks"]["oldest_age_seconds"], 40 * kDay, kDay);
    EXPECT_LT(billing["marks"]["newest_age_seconds"], kDay);
    EXPECT_EQ(billing["attempts"]["messages"], 2);
    EXPECT_EQ(billing["attempts"]["most"], 2);
    EXPECT_EQ(billing["attempts"]["last_cause"], "no stock");
    EXPECT_EQ(billing["parked"],
              json::parse(R"([{"state": "dead", "reason": "id_conflict", "messages": 1},
                              {"state": "dead", "reason": "max_attempts", "messages": 1}])"));
    const auto& shipping = status["consumers"][1];
    EXPECT_EQ(shipping["marks"]["count"], 1);
    EXPECT_EQ(shipping["attempts"], json::parse(R"({"messages": 0, "most": 0})"));
    const auto only = report({"status", "--consumer", "shipping"})["consumers"];
    ASSERT_EQ(only.size(), 1U) << only;
    EXPECT_EQ(only[0]["consumer_name"], "shipping");

    const auto text = run({"status"}).out;
    EXPECT_NE(text.find("billing   3      40d ago"), std::string::npos) << text;
    EXPECT_NE(text.find("no stock"), std::string::npos) << text;
}

TEST_P(CliInbox, EstimatesPastTenThousandMarksAndSaysSo) {
    store().plant(10'000, kOld);
    auto marks = report({"status"})["consumers"][0]["marks"];
    EXPECT_EQ(marks["count"], 10'000);
    EXPECT_EQ(marks["count_is"], "exact");
    store().plant(20'000, hours{24 * 20});
    if (is_postgres()) store().value("analyze @s@consumer_inbox_default");

    marks = report({"status"})["consumers"][0]["marks"];
    EXPECT_EQ(marks["count_is"], is_postgres() ? "estimate" : "at_least");
    EXPECT_NEAR(marks["count"], is_postgres() ? 30'000 : 10'000, 5'000);
    EXPECT_NEAR(marks["oldest_age_seconds"], 40 * kDay, kDay);
    EXPECT_NEAR(marks["newest_age_seconds"], 6.1 * kDay, kDay);
    const auto text = run({"status"}).out;
    EXPECT_NE(text.find(is_postgres() ? "about " : "over 10,000"), std::string::npos) << text;
    EXPECT_NE(text.find("about 40d ago"), std::string::npos) << text;
}

TEST_P(CliInbox, DoesNotKnowAConsumerThatIsNotThere) {
    process("order-1");
    for (const char* verb : {"status", "cleanup"}) {
        Arguments arguments{verb, "--consumer", "biling"};
        if (verb == std::string{"cleanup"}) arguments.emplace_back("--yes");
        expect_refusal(run(arguments), 1, "consumer_unknown", "did you mean \"billing\"?");
    }
}

// --------------------------------------------------------------------------------------- cleanup

TEST_P(CliInbox, RemovesOldMarksAndNothingElse) {
    mark(id_made(kOld), kOld);
    mark("an id without a time", kOld);
    mark("young", hours{24 * 29});
    mark("beside a parked one", kOld);
    EXPECT_EQ(process("beside a parked one", "billing", "another body"), parked);
    process("fails", "billing", "bad");
    for (int n = 0; n < 3; ++n) process("parked", "billing", "bad");
    mark(id_made(kOld), kOld, "shipping");

    const Arguments cleanup{"cleanup", "--older-than", "30d", "--consumer", "billing"};
    auto dry_run = cleanup;
    dry_run.emplace_back("--dry-run");
    EXPECT_EQ(report(dry_run)["would_remove"], 2);
    EXPECT_EQ(marks(), "4");
    EXPECT_EQ(store().value("select count(*) from @s@audit"), "0");

    auto real = cleanup;
    real.emplace_back("--yes");
    const auto removed = report(real);
    EXPECT_EQ(removed["removed"], 2);
    EXPECT_EQ(removed["consumers"], json::parse(R"([{"consumer_name": "billing", "removed": 2}])"));
    EXPECT_EQ(report(real)["removed"], 0);
    EXPECT_EQ(marks(), "2");
    EXPECT_EQ(marks("shipping"), "1");
    EXPECT_EQ(store().value("select count(*) from @s@inbox_attempt"), "1");
    EXPECT_EQ(store().value("select count(*) from @s@parked"), "2");
    EXPECT_EQ(json::parse(store().value("select detail from @s@audit where action = "
                                        "'inbox_cleanup' order by id limit 1"))["consumer_name"],
              "billing");

    EXPECT_EQ(report({"cleanup", "--older-than", "30d", "--yes"})["removed"], 1);
    EXPECT_EQ(marks("shipping"), "0");
}

TEST_P(CliInbox, F71_AMessageTakesEffectAgainOnceItsMarkIsGone) {
    const auto old = id_made(kOld);
    mark(old, kOld);
    mark("young", hours{1});
    EXPECT_EQ(process(old), duplicate);
    ASSERT_EQ(report({"cleanup", "--yes"})["removed"], 1);
    EXPECT_EQ(process("young"), duplicate);
    EXPECT_EQ(process(old), processed);
    EXPECT_EQ(report({"cleanup", "--yes"})["removed"], 0) << "its new mark is young";
}

TEST_P(CliInbox, KeepsMarksForAsLongAsTheConfigurationSays) {
    mark("order-1", hours{24 * 20});
    EXPECT_EQ(report({"cleanup", "--dry-run"})["would_remove"], 0);
    EXPECT_EQ(report({"cleanup", "--dry-run"}, {{"SAGAZ_INBOX_RETENTION", "10d"}})["would_remove"],
              1);
    EXPECT_EQ(report({"cleanup", "--dry-run", "--older-than", "21d"},
                     {{"SAGAZ_INBOX_RETENTION", "10d"}})["would_remove"],
              0);
}

TEST_P(CliInbox, RefusesARetentionBelowAnHour) {
    mark("order-1", hours{2});
    expect_refusal(run({"cleanup", "--yes", "--older-than", "59m"}), 2, "option_range",
                   "--older-than is 59m");
    expect_refusal(run({"cleanup", "--yes"}, {{"SAGAZ_INBOX_RETENTION", "0s"}}), 2, "option_range",
                   "inbox.retention (from SAGAZ_INBOX_RETENTION) is 0ms");
    expect_refusal(run({"cleanup", "--yes", "--older-than", "3651d"}), 2, "option_range", "3650d");
    EXPECT_EQ(marks(), "1");
    EXPECT_EQ(report({"cleanup", "--yes", "--older-than", "1h"})["removed"], 1);
}

TEST_P(CliInbox, RemovesNothingUnlessSomebodyAgrees) {
    mark("order-1", kOld);
    expect_refusal(run({"cleanup"}), 2, "confirmation_missing", "--dry-run");
    expect_refusal(run({"cleanup", "--yes", "--dry-run"}), 2, "usage", "--dry-run");
    EXPECT_EQ(marks(), "1");

    const auto answer = [&](const std::string& text) {
        std::istringstream in{text};
        std::ostringstream out;
        std::ostringstream err;
        app::Console console{in, out, err, {.err_is_terminal = true, .in_is_terminal = true}};
        EXPECT_EQ(app::run_inbox_cleanup({.store = {.url = store().url()}, .older_than = kOld / 2},
                                         console),
                  0);
        EXPECT_NE(err.str().find("remove 1 marks set before "), std::string::npos) << err.str();
    };
    answer("no\n");
    answer("");
    EXPECT_EQ(marks(), "1");
    answer("y\n");
    EXPECT_EQ(marks(), "0");
}

TEST_P(CliInbox, LeavesOutIdsThatWereMadeSinceTheRetentionBegan) {
    // Their times contradict their marks: only a producer's clock or chance makes such ids.
    mark(id_made(hours{24 * 10}), kOld);
    mark(id_made(hours{-24 * 365}), kOld);
    mark(id_made(hours{24 * 29 + 1}), kOld);  // a clock that is less than a day ahead
    EXPECT_EQ(report({"cleanup", "--yes"})["removed"], 2);
    EXPECT_EQ(marks(), "1");
    EXPECT_EQ(report({"cleanup", "--yes", "--older-than", "10d"})["removed"], 1);
}

TEST_P(CliInbox, TwoCleanupsAtOnceRemoveEachMarkOnce) {
    store().plant(5'000, kOld);
    const Arguments arguments{"inbox", "cleanup", "--older-than", "30d",
                              "--yes", "--json",  "--store",      store().url()};
    CliProcess first{arguments};
    CliProcess second{arguments};
    ASSERT_EQ(first.wait(), 0) << first.err();
    ASSERT_EQ(second.wait(), 0) << second.err();
    EXPECT_EQ(json::parse(first.out())["removed"].get<int>() +
                  json::parse(second.out())["removed"].get<int>(),
              5'000);
    EXPECT_EQ(marks("bulk"), "0");
}

// ------------------------------------------------------------------------- only with PostgreSQL

class CliInboxCleanup : public ::testing::Test {
protected:
    CliInboxCleanup() { store_.plant(2'500, kOld); }

    std::unique_ptr<CliProcess> start() const {
        return std::make_unique<CliProcess>(
            Arguments{"inbox", "cleanup", "--yes", "--json", "--store", store_.url()});
    }
    std::string left() { return store_.value("select count(*) from sagaz.consumer_inbox"); }
    /// Stands in the way of a cleanup at the mark of this number.
    Sql obstacle(int number, const std::string& what) const {
        Sql sql{store_.url()};
        sql.run("begin; " + what +
                " where event_id = (select event_id from sagaz.consumer_inbox "
                "order by event_id limit 1 offset " +
                std::to_string(number - 1) + ")");
        return sql;
    }
    void wait_until_it_waits() {
        wait_for("a cleanup that waits for a row", [&] {
            return store_.value(
                       "select count(*) from pg_stat_activity where datname = "
                       "current_database() and wait_event_type = 'Lock'") == "1";
        });
    }

    InPostgres store_;
};

TEST_F(CliInboxCleanup, GoesInBatchesAndLeavesWholeOnesBehindWhenInterrupted) {
    auto other = obstacle(1'500, "update sagaz.consumer_inbox set source_topic = source_topic");
    auto process = start();
    // It has let a partition be, for which this transaction is in the way.
    wait_for("the first thousand to be gone for good", [&] { return left() == "1500"; });
    wait_until_it_waits();
    process->signal(SIGINT);
    EXPECT_EQ(process->wait(), 130);
    other.run("rollback");
    // The server had the second batch already.
    wait_for("the end of the second batch", [&] { return left() == "500"; });
    process = start();
    EXPECT_EQ(process->wait(), 0) << process->err();
    EXPECT_EQ(json::parse(process->out())["removed"], 500);
    EXPECT_EQ(left(), "0");
}

TEST_F(CliInboxCleanup, DropsWholePartitionsAndCountsWhatWasInThem) {
    store_.value(
        "select sagaz.inbox_add_partition('consumer_inbox_old', sagaz.inbox_first_id(now() - "
        "interval '41 days'), sagaz.inbox_first_id(now() - interval '31 days'))");
    store_.value(
        "update sagaz.consumer_inbox set consumer_name = 'other' where event_id = "
        "(select event_id from sagaz.consumer_inbox limit 1) returning 1");
    const auto dry_run =
        run_cli({"inbox", "cleanup", "--dry-run", "--json", "--store", store_.url()});
    EXPECT_EQ(json::parse(dry_run.out)["would_remove"], 2'500);
    const auto process = start();
    ASSERT_EQ(process->wait(), 0) << process->err();
    const auto report = json::parse(process->out());
    EXPECT_EQ(report["removed"], 2'500);
    EXPECT_EQ(report["consumers"], json::parse(R"([{"consumer_name": "bulk", "removed": 2499},
                                                   {"consumer_name": "other", "removed": 1}])"));
    EXPECT_EQ(store_.value("select string_agg(name, ',') from sagaz.inbox_partitions() where ends "
                           "< now()"),
              "<null>");
    EXPECT_EQ(store_.value("select count(*) from sagaz.inbox_partitions()"), "7");
}

TEST_F(CliInboxCleanup, LooksForParkedMessagesOneByOneHoweverManyThereAre) {
    store_.value(
        "alter table sagaz.parked set (autovacuum_enabled = off); "
        "insert into sagaz.parked (direction, destination, consumer_name, event_id, reason, "
        "event_type, content_type) select 'inbox', 'default', 'bulk', gen_random_uuid(), "
        "'key_parked', 'T', '' from generate_series(1, 5000)");
    const auto process = start();
    ASSERT_EQ(process->wait(), 0) << process->err();
    EXPECT_EQ(left(), "0");
    const auto counted = [&](const std::string& what) {
        return std::stoll(store_.value("select sum(" + what +
                                       ") from pg_stat_all_indexes where relid = "
                                       "'sagaz.parked'::regclass"));
    };
    wait_for("the server's statistics", [&] { return counted("idx_scan") >= 2'500; });
    EXPECT_LT(counted("idx_tup_read"), 20'000) << "each of 2,500 marks read all 5,000";
}

TEST_F(CliInboxCleanup, RepeatsABatchThatTheDatabaseWouldNotCommit) {
    store_.value(
        "do $$ begin execute format('alter database %I set "
        "default_transaction_isolation = ''repeatable read''', current_database()); "
        "end $$");
    auto other = obstacle(1'500, "delete from sagaz.consumer_inbox");
    const auto process = start();
    wait_for("the first batch to be gone", [&] { return left() == "1500"; });
    wait_until_it_waits();
    other.run("commit");
    EXPECT_EQ(process->wait(), 0) << process->err();
    EXPECT_EQ(json::parse(process->out())["removed"], 2'499);
    EXPECT_EQ(left(), "0");
}

TEST_F(CliInboxCleanup, SaysHowFarItCameWhenItFails) {
    store_.value(
        "create function sagaz.refuse() returns trigger language plpgsql as "
        "$$ begin raise exception 'not this one'; end $$");
    store_.value(
        "create trigger refuse before delete on sagaz.consumer_inbox for each row "
        "when (old.event_id = '" +
        store_.value("select event_id from sagaz.consumer_inbox order by event_id "
                     "limit 1 offset 1499") +
        "') execute function sagaz.refuse()");
    const auto process = start();
    EXPECT_EQ(process->wait(), 1);
    EXPECT_EQ(process->err().find("removed 1,000 marks before this\nerror["), 0U) << process->err();
}

TEST_F(CliInboxCleanup, S06_NamesTheGrantsThatALoginLacks) {
    ASSERT_EQ(run_cli({"migrate", "--store", store_.url()}).code, 0);
    auto& server = PostgresServer::shared();
    const auto database = store_.value("select current_database()");
    const auto login = "cleaner_" + database;
    store_.value("create role " + login + " login; grant sagaz_consumer to " + login);
    const auto run = [&](Arguments arguments) {
        arguments.insert(arguments.end(), {"--store", server.url(database, login)});
        return run_cli(arguments);
    };
    const auto denied = run({"inbox", "cleanup", "--yes"});
    EXPECT_EQ(denied.code, 1);
    EXPECT_NE(denied.err.find("error[permission_denied]"), std::string::npos) << denied.err;
    EXPECT_EQ(left(), "2500");

    // What is parked, payloads and all, is a reader's to see and not a consumer's.
    const auto blind = run({"inbox", "status"});
    EXPECT_EQ(blind.code, 1);
    EXPECT_NE(blind.err.find("GRANT sagaz_reader TO \"" + login), std::string::npos) << blind.err;

    const auto grants = denied.err.substr(denied.err.find("GRANT "));
    store_.value(grants.substr(0, grants.rfind(';')));  // what it says is what helps
    EXPECT_EQ(run({"inbox", "status"}).code, 0);
    const auto allowed = run({"inbox", "cleanup", "--yes", "--json"});
    EXPECT_EQ(allowed.code, 0) << allowed.err;
    EXPECT_EQ(json::parse(allowed.out)["removed"], 2'500);
}

}  // namespace
}  // namespace sagaz::test
