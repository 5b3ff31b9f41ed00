// Beside others' tools: a publication FOR ALL TABLES with a live subscriber, and pg_dump, leave us
// and them working.
#include "stores/postgres/migration.hpp"
#include "tests/integration/cli_process.hpp"
#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/broker.hpp>
#include <sagaz/brokers.hpp>
#include <sagaz/inbox.hpp>
#include <sagaz/outbox.hpp>
#include <sagaz/postgres.hpp>
#include <sagaz/relay.hpp>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <thread>

namespace sagaz::test {
namespace {

constexpr Milliseconds kDeadline{60'000};

// Refuses the events whose payload is "poison", and takes every other.
class Picky final : public Broker {
public:
    std::size_t publish(std::span<const Envelope> envelopes) override {
        for (const Envelope& envelope : envelopes) {
            const bool poison = envelope.payload == "poison";
            receipts_.push_back({envelope.token,
                                 poison ? Receipt::State::refused : Receipt::State::accepted,
                                 poison ? "poison" : "", ""});
        }
        return envelopes.size();
    }
    std::vector<Receipt> poll(Milliseconds) override { return std::exchange(receipts_, {}); }
    std::string down() const override { return {}; }
    void abandon(Milliseconds) override {}

private:
    std::vector<Receipt> receipts_;
};

class Folder {
public:
    ~Folder() { remove_folder(path_); }
    std::string file(const std::string& name) const { return (path_ / name).string(); }

private:
    std::filesystem::path path_ = make_folder("sagaz-beside");
};

void psql(const PostgresServer& server, const std::string& file, const Folder& folder) {
    run({server.program("psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-d",
         server.direct_url("psql is not what is tested"), "-f", file},
        folder.file("psql.log"));
}

// ---------------------------------------------------------------------------------- publications

class Subscriber : public ::testing::Test {
protected:
    // The schema as pg_dump makes it there, since one that "sagaz migrate" made has rows that the
    // first copy would meet.
    void subscribe(const std::string& options) {
        postgres::migrate(here_.url(), "sagaz", true);
        // The roles are the cluster's, so they are made by a schema of the name elsewhere.
        postgres::migrate(there_.url(there_.fresh_database()), "sagaz", true);
        here_sql_.run("CREATE PUBLICATION everything FOR ALL TABLES" + options);
        run({here_.program("pg_dump"), "--schema-only", "--no-publications", "-n", "sagaz", "-f",
             folder_.file("schema.sql"), "-d", here_.direct_url("pg_dump is not what is tested")},
            folder_.file("pg_dump.log"));
        psql(there_, folder_.file("schema.sql"), folder_);
        there_sql_.run(
            fmt::format("CREATE SUBSCRIPTION copy CONNECTION "
                        "'host=127.0.0.1 port={} user=postgres dbname=postgres' "
                        "PUBLICATION everything",
                        here_.port()));
        wait_for_subscriber();
    }
    void wait_for_subscriber() {
        const auto lsn = here_sql_.value("SELECT pg_current_wal_insert_lsn()");
        wait_for(
            "the subscriber",
            [&] {
                return here_sql_.number(
                           "SELECT count(*) FROM pg_stat_replication WHERE application_name = "
                           "'copy' AND replay_lsn >= '" +
                           lsn + "'") == 1 &&
                       there_sql_.number(
                           "SELECT count(*) FROM pg_subscription_rel "
                           "WHERE srsubstate <> 'r'") == 0;
            },
            kDeadline);
        EXPECT_EQ(there_sql_.number("SELECT sum(apply_error_count + sync_error_count) "
                                    "FROM pg_stat_subscription_stats"),
                  0);
    }

    // Whatever we do to our tables: rows of each come, change and go.
    void work() {
        const std::string url = here_.url();
        postgres::set_setting(url, "sagaz", "on_refused", "park_event");
        Sql client(url);
        client.run(
            "SELECT sagaz.append('t', (n % 50)::text, 'E', CASE WHEN n % 100 = 0 THEN 'poison' "
            "ELSE n::text END) FROM generate_series(1, 1000) n");
        Relay relay(postgres::open(url), std::make_unique<Picky>());
        EXPECT_TRUE(relay.drain(kDeadline));
        EXPECT_EQ(here_sql_.number("SELECT count(*) FROM sagaz.parked"), 10);
        client.run("DELETE FROM sagaz.outbox WHERE id % 3 = 0");
        client.run("UPDATE sagaz.parked SET state = 'dead' WHERE position % 200 = 0");
        client.run("DELETE FROM sagaz.parked WHERE position % 300 = 0");
        client.run("UPDATE sagaz.segment SET removed_upto = 7 WHERE segment = 3");
        client.run("INSERT INTO sagaz.audit (action) VALUES ('test')");
        PGconn* connection = client.raw();
        const Inbox inbox({.consumer_name = "billing", .max_attempts = 2});
        for (const char* id : {"e1", "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa", "e2", "e2", "e3"}) {
            const Message message{.id = id, .event = {.event_type = "E", .payload = id}};
            inbox.process(connection, message, [&](PGconn*, const Message& m) {
                if (m.id[1] != '1') throw std::runtime_error("no stock");
            });
        }
        EXPECT_EQ(
            here_sql_.value("SELECT concat_ws(' ', (SELECT count(*) FROM sagaz.inbox_attempt), "
                            "(SELECT count(*) FROM sagaz.consumer_inbox), (SELECT count(*) "
                            "FROM sagaz.parked WHERE direction = 'inbox'))"),
            "1 2 1");
        client.run("UPDATE sagaz.consumer_inbox SET processing_duration_ms = 1");
        client.run("DELETE FROM sagaz.consumer_inbox WHERE original_id = 'e1'");
    }

    static std::vector<std::string> contents(Sql& sql) {
        std::vector<std::string> all;
        for (const auto& row :
             sql.rows("SELECT relname FROM pg_class WHERE relnamespace = 'sagaz'::regnamespace AND "
                      "relkind = 'r' AND relpersistence = 'p' ORDER BY 1")) {
            all.push_back(
                row[0] + ": " +
                sql.value("SELECT count(*) || ' ' || md5(coalesce(string_agg(t::text, '|' "
                          "ORDER BY t::text COLLATE \"C\"), '')) FROM sagaz." +
                          row[0] + " t"));
        }
        return all;
    }
    void expect_the_same() {
        wait_for_subscriber();
        const auto here = contents(here_sql_);
        EXPECT_GE(here.size(), 26U);
        EXPECT_EQ(contents(there_sql_), here);
    }

    PostgresServer here_{{.config = {"wal_level = logical"}, .bin = ""}};
    PostgresServer there_;
    Sql here_sql_{here_.connect()};
    Sql there_sql_{there_.connect()};
    Folder folder_;
};

TEST_F(Subscriber, GetsEveryChangeOfEveryTableOfOurs) {
    subscribe("");
    work();
    expect_the_same();
}

TEST_F(Subscriber, GetsThemUnderTheNamesOfThePartitionedTables) {
    subscribe(" WITH (publish_via_partition_root = true)");
    work();
    expect_the_same();
}

// As reclaiming a segment does it.
TEST_F(Subscriber, LosesATruncatedSegmentUnlessThePublicationLeavesTruncateOut) {
    subscribe("");
    const auto events = [](Sql& sql) { return sql.number("SELECT count(*) FROM sagaz.outbox"); };
    const auto append = [&] {
        here_sql_.run("SELECT sagaz.append('t', 'k', 'E', 'p') FROM generate_series(1, 5) n");
        wait_for_subscriber();
    };
    append();
    EXPECT_EQ(events(there_sql_), 5);
    here_sql_.run("TRUNCATE sagaz.outbox_00");
    wait_for_subscriber();
    EXPECT_EQ(events(there_sql_), 0) << "documented";

    const auto doctor = run_cli({"doctor", "--json", "--store", here_.url()});
    EXPECT_EQ(doctor.code, 3) << doctor.err;
    std::string advice;
    const auto report = nlohmann::json::parse(doctor.out);
    for (const auto& check : report["checks"]) {
        if (check["id"] == "publications") advice = check["do"];
    }
    ASSERT_NE(advice, "") << doctor.out;
    here_sql_.run(advice);  // to the letter
    append();
    here_sql_.run("TRUNCATE sagaz.outbox_00");
    append();
    EXPECT_EQ(events(here_sql_), 5);
    EXPECT_EQ(events(there_sql_), 10);
}

// ---------------------------------------------------------------------------------------- pg_dump

class PgDump : public ::testing::Test {
protected:
    void SetUp() override { postgres::migrate(url_, "sagaz", true); }

    void append(Sql& sql, int count) {
        sql.run(
            fmt::format("SELECT sagaz.append('t', (n % 9)::text, 'E', n::text) "
                        "FROM generate_series(1, {}) n",
                        count));
    }
    void dump(const std::string& file) {
        run({server_.program("pg_dump"), "-Fc", "-f", folder_.file(file), "-d",
             server_.direct_url("pg_dump is not what is tested")},
            folder_.file("pg_dump.log"));
    }
    void restore(const PostgresServer& to, const std::string& file) {
        run({to.program("pg_restore"), "--exit-on-error", "-d",
             to.direct_url("pg_restore is not what is tested"), folder_.file(file)},
            folder_.file("pg_restore.log"));
    }

    PostgresServer server_;
    std::string url_ = server_.url();
    Folder folder_;
};

TEST_F(PgDump, HoldsUpNeitherProducersNorTheRelayAndCanBeRestored) {
    memory::Topic topic;
    Relay relay(postgres::open(url_), memory::open(topic));
    std::jthread relaying([&](std::stop_token stop) { relay.run(stop); });
    std::atomic<int> committed{};
    std::jthread producing([&](std::stop_token stop) {
        for (Sql sql(url_); !stop.stop_requested(); committed += 10) append(sql, 10);
    });
    for (const char* file : {"first", "second", "third"}) {
        const auto before = topic.size();
        dump(file);
        wait_for("events to go on arriving", [&] { return topic.size() > before; });
    }
    producing.request_stop();
    producing.join();
    wait_for("all events", [&] { return topic.size() >= static_cast<std::size_t>(committed); });
    relaying.request_stop();
    relaying.join();
    EXPECT_EQ(topic.size(), static_cast<std::size_t>(committed)) << "and none twice";

    PostgresServer elsewhere;
    postgres::migrate(elsewhere.url(elsewhere.fresh_database()), "sagaz", true);  // the roles
    restore(elsewhere, "third");
    EXPECT_GT(elsewhere.connect().number("SELECT count(*) FROM sagaz.outbox"), 0);
    EXPECT_EQ(run_cli({"migrate", "--check", "--store", elsewhere.url()}).code, 0);
    const auto status = run_cli({"status", "--json", "--store", elsewhere.url()});
    EXPECT_EQ(status.code, 0) << status.err;
}

// A dump of hours: its snapshot and its locks, without the reading.
TEST_F(PgDump, OfHoursDelaysNoDelivery) {
    Sql sql(url_);
    append(sql, 500);
    Sql dumping = server_.connect();
    dumping.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    for (const auto& row : dumping.rows("SELECT tablename FROM pg_tables "
                                        "WHERE schemaname = 'sagaz'")) {
        dumping.run("LOCK TABLE sagaz." + row[0] + " IN ACCESS SHARE MODE");
    }
    append(sql, 500);
    memory::Topic topic;
    EXPECT_TRUE(Relay(postgres::open(url_), memory::open(topic)).drain(kDeadline));
    EXPECT_EQ(topic.size(), 1'000U);
    EXPECT_EQ(dumping.number("SELECT count(*) FROM sagaz.outbox"), 500) << "what it began with";
    dumping.run("COMMIT");
}

}  // namespace
}  // namespace sagaz::test
