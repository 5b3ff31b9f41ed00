// `sagaz parked` of the real executable on both databases, and a relay that goes on with its keys.
#include "tests/integration/cli_database.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sqlite3.h>

#include <csignal>
#include <fstream>
#include <map>
#include <memory>

namespace sagaz::test {
namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

std::string id_of(int position) {
    const auto digits = std::to_string(position);
    return "01900000-0000-7000-8000-" + std::string(12 - digits.size(), '0') + digits;
}

class CliParked : public CliOnADatabase {
protected:
    void SetUp() override {
        migrate();
        // What the tests park came before all that they append.
        sql().run("select setval('sagaz.outbox_id', 1000)");
    }

    void park(int position, const std::string& key, const std::string& state, int attempts,
              const std::string& reason = "unknown_topic") {
        sql().run(
            "insert into sagaz.parked (direction, destination, position, event_id, slot, state, "
            "reason, attempts, topic, key, event_type, content_type, payload) values ('outbox', "
            "'default', " +
            std::to_string(position) + ", '" + id_of(position) + "', sagaz.slot_of('" + key +
            "', '" + id_of(position) + "'), '" + state + "', '" + reason + "', " +
            std::to_string(attempts) + ", 'orders', '" + key +
            "', 'Placed', 'application/json', '" + std::to_string(position) + "')");
    }
    void append(const std::string& key, const std::string& payload) {
        const auto result = run({"append", "--topic", "orders", "--key", key, "--type", "Placed",
                                 "--payload", payload});
        ASSERT_EQ(result.code, 0) << result.err;
    }
    /// What a relay makes of it, until nothing is due: the payloads of each key.
    std::map<std::string, Words> deliver(int code = 0) {
        Words words{"relay", "--until-drained", "--timeout", "60s", "--broker", "file:" + path()};
        const auto result = run(words, {.environment = {{"SAGAZ_ADMIN_LISTEN", "127.0.0.1:0"}}});
        EXPECT_EQ(result.code, code) << result.err;
        std::map<std::string, Words> payloads;
        std::ifstream file{path()};
        for (std::string line; std::getline(file, line);) {
            const auto message = json::parse(line);
            payloads[message["key"]].push_back(message["payload"]);
        }
        return payloads;
    }
    std::string path() const { return (folder_.path() / "out").string(); }
    std::int64_t parked() const { return sql().number("select count(*) from sagaz.parked"); }
    std::int64_t audits(const std::string& action) const {
        return sql().number("select count(*) from sagaz.audit where action = '" + action + "'");
    }

    TemporaryFolder folder_;
};

TEST_F(CliParked, ListsAndShowsWhatIsParked) {
    EXPECT_EQ(run({"parked", "ls"}).code, 0);
    park(1, "a", "dead", 10);
    park(2, "a", "waiting", 0, "behind_parked");
    park(3, "b", "waiting", 2, "payload_too_large");
    const auto all = lines_of(run({"parked", "ls", "--json"}).out);
    ASSERT_EQ(all.size(), 3U);
    const auto first = json::parse(all[0]);
    EXPECT_EQ(first["schema"], 1);
    EXPECT_EQ(first["direction"], "outbox");
    EXPECT_EQ(first["event_id"], id_of(1));
    EXPECT_EQ(first["attempts"], 10);
    EXPECT_FALSE(first.contains("payload"));
    const auto count = [&](Words words) {
        words.insert(words.begin(), {"parked", "ls", "--json"});
        return lines_of(run(words).out).size();
    };
    EXPECT_EQ(count({"--key", "a"}), 2U);
    EXPECT_EQ(count({"--reason", "payload_too_large", "--topic", "orders"}), 1U);
    EXPECT_EQ(count({"--state", "waiting", "--type", "Placed"}), 2U);
    EXPECT_EQ(count({"--older-than", "1h"}), 0U);
    EXPECT_EQ(count({"--younger-than", "1h"}), 3U);
    EXPECT_EQ(lines_of(run({"dlq", "ls", "--json"}).out).size(), 1U);
    const auto shown = run({"parked", "show", id_of(3), "--payload", "--json"});
    EXPECT_EQ(json::parse(shown.out)["payload"], "3");
    EXPECT_NE(run({"parked", "show", id_of(9)}).err.find("parked_not_found"), std::string::npos);
}

TEST_F(CliParked, F42_AReplayBringsAKeyBackInItsOrderAndTwiceChangesNothingMore) {
    park(1, "a", "dead", 10);
    park(2, "a", "waiting", 0, "behind_parked");
    park(3, "b", "dead", 10);
    append("a", "later");
    EXPECT_EQ(deliver(3).size(), 0U) << "both keys wait for a person";
    EXPECT_EQ(parked(), 4);

    const Words replay{"dlq", "replay", "--key", "a", "--json"};
    auto words = replay;
    words.emplace_back("--dry-run");
    EXPECT_EQ(json::parse(run(words).out)["would_replay"], 1);
    EXPECT_EQ(audits("parked_replay"), 0);
    words = replay;
    words.emplace_back("--yes");
    EXPECT_EQ(json::parse(run(words).out)["replayed"], 1);
    const auto again = run({"parked", "replay", "--key", "a", "--json", "--yes"});
    EXPECT_EQ(json::parse(again.out)["replayed"], 0) << again.out;
    EXPECT_EQ(json::parse(again.out)["already_waiting"], 3) << again.out;
    EXPECT_EQ(audits("parked_replay"), 1);

    EXPECT_EQ(deliver(), (std::map<std::string, Words>{{"a", {"1", "2", "later"}}}));
    EXPECT_EQ(parked(), 1) << "the dead one of the other key";
}

TEST_F(CliParked, ADiscardFreesTheKeyAndKeepsTheIdentity) {
    park(1, "a", "dead", 10);
    park(2, "a", "waiting", 0, "behind_parked");
    const auto result = run({"parked", "discard", id_of(1), "--yes"});
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(result.out, "discarded 1 events\n");
    EXPECT_EQ(sql().value("select detail->>'event_id' || ' ' || (detail->>'key') from sagaz.audit "
                          "where action = 'parked_discard'"),
              id_of(1) + " a");
    append("a", "later");
    EXPECT_EQ(deliver(), (std::map<std::string, Words>{{"a", {"2", "later"}}}));
    EXPECT_EQ(parked(), 0);
    append("a", "last");
    EXPECT_EQ(deliver()["a"].back(), "last");
}

TEST_F(CliParked, ChangesNothingUnasked) {
    park(1, "a", "dead", 10);
    const auto result = run({"parked", "discard"});
    EXPECT_EQ(result.code, 2);
    EXPECT_NE(result.err.find("confirmation_missing"), std::string::npos) << result.err;
    EXPECT_EQ(run({"parked", "discard", "--dry-run"}).out, "would discard 1 events\n");
    EXPECT_EQ(parked(), 1);
}

TEST_F(CliParked, LeavesTheMessagesOfAnInbox) {
    sql().run(
        "insert into sagaz.parked (direction, destination, consumer_name, event_id, state, reason, "
        "event_type, content_type) values ('inbox', 'default', 'billing', '" +
        id_of(7) + "', 'dead', 'max_attempts', 'Placed', '')");
    EXPECT_EQ(json::parse(run({"parked", "ls", "--json"}).out)["direction"], "inbox");
    const auto refused = run({"parked", "replay", "--yes"});
    EXPECT_EQ(refused.code, 1);
    EXPECT_NE(refused.err.find("error[parked_inbox]"), std::string::npos) << refused.err;
    park(1, "a", "dead", 10);
    const auto discarded = run({"parked", "discard", "--yes"});
    EXPECT_NE(discarded.err.find("1 messages of an inbox are left"), std::string::npos)
        << discarded.err;
    EXPECT_EQ(parked(), 1);
}

TEST_F(CliParked, SetsMessagesOfAnInboxFreeForTheirConsumer) {
    const auto park_message = [&](int n, const std::string& state, const std::string& reason) {
        sql().run(
            "insert into sagaz.parked (direction, destination, consumer_name, event_id, state, "
            "reason, attempts, topic, key, event_type, content_type) values ('inbox', 'default', "
            "'billing', '" +
            id_of(n) + "', '" + state + "', '" + reason + "', " +
            (reason == "max_attempts" ? "10" : "0") + ", 'orders', 'a', 'Placed', '')");
    };
    park_message(1, "dead", "max_attempts");
    park_message(2, "waiting", "key_parked");
    park_message(3, "dead", "id_conflict");
    park(4, "a", "dead", 10);
    const auto due = [&] {
        return sql().value(
            "select coalesce(string_agg(right(event_id::text, 1), '' order by "
            "position), '') from sagaz.parked where direction = 'inbox' and "
            "next_attempt_at <= now()");
    };
    EXPECT_EQ(run({"parked", "replay", "--consumer", "billing", "--dry-run"}).out,
              "would replay 1 messages\n");
    EXPECT_EQ(due(), "");
    EXPECT_EQ(run({"parked", "replay", "--consumer", "shipping", "--yes"}).out,
              "replayed 0 messages\n");
    EXPECT_EQ(run({"parked", "replay", "--consumer", "billing", "--yes"}).out,
              "replayed 1 messages\n");
    EXPECT_EQ(due(), "1") << "what is behind it follows by itself";
    EXPECT_EQ(run({"parked", "replay", "--consumer", "billing", "--yes"}).out,
              "replayed 0 messages\n");
    EXPECT_EQ(sql().value("select detail -> 'filter' ->> 'consumer_name' from sagaz.audit"),
              "billing");
    EXPECT_EQ(run({"parked", "discard", id_of(1), "--consumer", "billing", "--yes"}).out,
              "discarded 1 messages\n");
    EXPECT_EQ(due(), "2") << "nobody is in front of it any more";
    EXPECT_EQ(sql().value("select state from sagaz.parked where direction = 'outbox'"), "dead");
}

TEST_F(CliParked, SpreadsWhatItReplaysOverTime) {
    for (int n = 1; n <= 4; ++n) park(n, std::to_string(n), "dead", 10);
    EXPECT_EQ(run({"parked", "replay", "--rate", "1", "--yes"}).code, 0);
    EXPECT_EQ(sql().number("select round(extract(epoch from max(next_attempt_at) - "
                           "min(next_attempt_at))) from sagaz.parked"),
              3);
}

// One that is frozen between two statements, or whose network is gone, must not hold up the relay.
TEST_F(CliParked, F101_HoldsNoLockWhileItIsFrozen) {
    park(1, "a", "dead", 10);
    for (const char* verb : {"replay", "discard"}) {
        auto auditor = sql();
        auditor.run("begin; lock table sagaz.audit in access exclusive mode");
        CliProcess command{{"parked", verb, id_of(1), "--yes", "--store", url_}};
        wait_for("the command to come to its audit", [&] {
            return sql().number(
                       "select count(*) from pg_locks where not granted and relation = "
                       "'sagaz.audit'::regclass") == 1;
        });
        command.signal(SIGSTOP);
        auditor.run("commit");
        wait_for(
            std::string{verb} + " to let go of the row",
            [&] { return sql().failure("select from sagaz.parked for update nowait").empty(); },
            std::chrono::seconds{5});
        command.signal(SIGCONT);
        EXPECT_EQ(command.wait(), 0) << command.err();
    }
    EXPECT_EQ(parked(), 0);
}

// The transaction ends, and the connection with it, before the answer is there.
TEST_F(CliParked, SaysThatAChangeIsInDoubtWhenItsAnswerIsLost) {
    park(1, "a", "dead", 10);
    sql().run(
        "create function sagaz.die() returns trigger language plpgsql as 'begin perform "
        "pg_terminate_backend(pg_backend_pid()); return null; end'; "
        "create constraint trigger die after insert on sagaz.audit deferrable initially deferred "
        "for each row execute function sagaz.die()");
    for (const char* verb : {"replay", "discard"}) {
        const auto result = run({"parked", verb, id_of(1), "--yes"});
        EXPECT_EQ(result.code, 1);
        EXPECT_NE(result.err.find("error[commit_in_doubt]"), std::string::npos) << result.err;
        EXPECT_NE(result.err.find("run it again"), std::string::npos) << result.err;
    }
    sql().run("drop trigger die on sagaz.audit");
    EXPECT_EQ(parked(), 1);
    EXPECT_EQ(run({"parked", "discard", id_of(1), "--yes"}).code, 0);
}

// The same commands on the other database.
TEST(CliParkedInSqlite, ReplaysAndDiscardsInTheOrderOfTheKey) {
    const TemporaryFolder folder;
    const auto file = (folder.path() / "log.db").string();
    const auto out = (folder.path() / "out").string();
    const auto run = [&](Words words) {
        words.insert(words.end(), {"--store", "sqlite:" + file});
        const auto result =
            run_cli(words, {.environment = {{"SAGAZ_ADMIN_LISTEN", "127.0.0.1:0"}}});
        EXPECT_EQ(result.code, 0) << result.err;
        return result.out;
    };
    run({"migrate"});
    sqlite3* raw = nullptr;
    ASSERT_EQ(sqlite3_open(file.c_str(), &raw), SQLITE_OK);
    const std::unique_ptr<sqlite3, int (*)(sqlite3*)> database{raw, sqlite3_close};
    for (int n = 1; n <= 3; ++n) {
        const std::string insert =
            "insert into sagaz_parked (direction, destination, position, event_id, slot, state, "
            "reason, attempts, topic, key, event_type, content_type, payload) values ('outbox', "
            "'default', " +
            std::to_string(n) + ", '" + id_of(n) + "', 0, '" + (n < 3 ? "dead" : "waiting") +
            "', 'r', " + (n < 3 ? "10" : "0") + ", 'orders', 'a', 'T', 'text/plain', '" +
            std::to_string(n) + "')";
        ASSERT_EQ(sqlite3_exec(raw, insert.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
            << sqlite3_errmsg(raw);
    }
    EXPECT_EQ(lines_of(run({"parked", "ls", "--json", "--older-than", "0s"})).size(), 3U);
    EXPECT_EQ(run({"parked", "discard", id_of(1), "--yes"}), "discarded 1 events\n");
    EXPECT_EQ(run({"parked", "replay", "--rate", "100", "--yes"}), "replayed 1 events\n");
    EXPECT_EQ(run({"parked", "replay", "--yes"}), "replayed 0 events\n");
    run({"relay", "--until-drained", "--timeout", "60s", "--broker", "file:" + out});
    std::ifstream lines{out};
    Words ids;
    for (std::string line; std::getline(lines, line);) {
        ids.push_back(line.find(id_of(2)) != std::string::npos ? "2" : "3");
    }
    EXPECT_EQ(ids, (Words{"2", "3"}));
    EXPECT_EQ(run({"parked", "ls", "--json"}), "");
    for (int n = 1; n <= 2; ++n) {
        const std::string insert =
            "insert into sagaz_parked (direction, destination, consumer_name, event_id, state, "
            "reason, attempts, topic, key, event_type, content_type) values ('inbox', 'default', "
            "'billing', '" +
            id_of(n) +
            (n == 1 ? "', 'dead', 'max_attempts', 10" : "', 'waiting', 'key_parked', 0") +
            ", 'orders', 'a', 'T', '')";
        ASSERT_EQ(sqlite3_exec(raw, insert.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
    }
    const Words billing{"--consumer", "billing", "--yes"};
    const auto change = [&](Words words) {
        words.insert(words.end(), billing.begin(), billing.end());
        return run(words);
    };
    EXPECT_EQ(change({"parked", "replay"}), "replayed 1 messages\n");
    EXPECT_EQ(change({"parked", "replay"}), "replayed 0 messages\n");
    EXPECT_EQ(change({"parked", "discard", id_of(1)}), "discarded 1 messages\n");
    const auto left = json::parse(run({"parked", "ls", "--json"}));
    EXPECT_EQ(left["event_id"], id_of(2));
    EXPECT_FALSE(left["next_attempt_at"].is_null()) << "nobody is in front of it any more";
}

}  // namespace
}  // namespace sagaz::test
