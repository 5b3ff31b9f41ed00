// The inbox in SQLite's SQL, over the smallest unit of work that can run it.
#include <sagaz/error.hpp>
#include <sagaz/inbox.hpp>

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <sqlite3.h>

#include <array>
#include <memory>
#include <string>

namespace sagaz {
namespace {

using enum Settlement;

void sha256(sqlite3_context* context, int, sqlite3_value** values) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
    unsigned size = 0;
    const auto* bytes = sqlite3_value_blob(values[0]);
    EVP_Digest(bytes == nullptr ? "" : bytes,
               static_cast<std::size_t>(sqlite3_value_bytes(values[0])), hash.data(), &size,
               EVP_sha256(), nullptr);
    sqlite3_result_blob(context, hash.data(), static_cast<int>(size), SQLITE_TRANSIENT);
}

class SmallUnit final : public UnitOfWork {
public:
    explicit SmallUnit(sqlite3* connection) : connection_(connection) {}
    ~SmallUnit() override { rollback(); }

    sqlite3*& native() { return connection_; }
    Dialect dialect() const noexcept override { return Dialect::sqlite; }
    void begin() override { command("BEGIN IMMEDIATE"); }
    void commit() override { command("COMMIT"); }
    void rollback() noexcept override {
        if (sqlite3_get_autocommit(connection_) == 0) {
            sqlite3_exec(connection_, "ROLLBACK", nullptr, nullptr, nullptr);
        }
    }
    void command(std::string_view sql) override { execute({std::string(sql), {}}); }
    Rows execute(const Statement& statement) override {
        sqlite3_stmt* raw = nullptr;
        if (sqlite3_prepare_v2(connection_, statement.sql.c_str(), -1, &raw, nullptr) !=
            SQLITE_OK) {
            fail(statement.sql);
        }
        const std::unique_ptr<sqlite3_stmt, decltype(&sqlite3_finalize)> owner(raw,
                                                                               sqlite3_finalize);
        for (std::size_t n = 0; n < statement.parameters.size(); ++n) {
            const auto& value = statement.parameters[n];
            const int place = static_cast<int>(n) + 1;
            const char* bytes = value.bytes.empty() ? "" : value.bytes.data();
            const int size = static_cast<int>(value.bytes.size());
            if (value.null) {
                sqlite3_bind_null(raw, place);
            } else if (value.binary) {
                sqlite3_bind_blob(raw, place, bytes, size, SQLITE_STATIC);
            } else {
                sqlite3_bind_text(raw, place, bytes, size, SQLITE_STATIC);
            }
        }
        Rows rows;
        int result = SQLITE_OK;
        while ((result = sqlite3_step(raw)) == SQLITE_ROW) {
            auto& row = rows.emplace_back();
            for (int column = 0; column < sqlite3_column_count(raw); ++column) {
                const auto* text = sqlite3_column_text(raw, column);
                row.push_back(text == nullptr ? std::nullopt
                                              : std::optional<std::string>(
                                                    reinterpret_cast<const char*>(text)));
            }
        }
        if (result != SQLITE_DONE) fail(statement.sql);
        return rows;
    }

private:
    [[noreturn]] void fail(const std::string& sql) {
        throw Error(ErrorKind::invalid, "statement_failed",
                    std::string(sqlite3_errmsg(connection_)) + " in " + sql, "");
    }

    sqlite3* connection_;
};

constexpr const char* kTables = R"(
CREATE TABLE sagaz_consumer_inbox (
    event_id TEXT NOT NULL, consumed_at TEXT, processing_duration_ms REAL,
    consumer_name TEXT NOT NULL, original_id TEXT, source_topic TEXT NOT NULL,
    event_type TEXT NOT NULL, payload_hash BLOB NOT NULL, payload BLOB,
    PRIMARY KEY (consumer_name, event_id)) STRICT;
CREATE TABLE sagaz_inbox_attempt (
    consumer_name TEXT NOT NULL, event_id TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 1,
    last_cause TEXT NOT NULL DEFAULT '', last_at TEXT,
    PRIMARY KEY (consumer_name, event_id)) STRICT;
CREATE TABLE sagaz_parked (
    position INTEGER PRIMARY KEY AUTOINCREMENT, direction TEXT NOT NULL, destination TEXT NOT NULL,
    consumer_name TEXT NOT NULL, event_id TEXT NOT NULL, slot INTEGER, state TEXT NOT NULL,
    reason TEXT NOT NULL, detail TEXT NOT NULL, attempts INTEGER NOT NULL, original_id TEXT,
    topic TEXT, key TEXT, event_type TEXT NOT NULL, content_type TEXT NOT NULL, headers TEXT,
    payload ANY) STRICT;
CREATE TABLE effect (id TEXT) STRICT;)";

class InboxInSqlite : public ::testing::Test {
protected:
    InboxInSqlite() {
        sqlite3* raw = nullptr;
        sqlite3_open(":memory:", &raw);
        connection_.reset(raw);
        sqlite3_create_function_v2(raw, "sagaz_sha256", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC,
                                   nullptr, sha256, nullptr, nullptr, nullptr);
        EXPECT_EQ(sqlite3_exec(raw, kTables, nullptr, nullptr, nullptr), SQLITE_OK)
            << sqlite3_errmsg(raw);
        options_.consumer_name = "billing";
    }

    std::string value(const std::string& sql) {
        return SmallUnit(connection_.get()).execute({sql, {}}).at(0).at(0).value_or("<null>");
    }
    static Message message(const std::string& id, const std::string& key = "",
                           const std::string& payload = "body") {
        Message made{.id = id,
                     .event = {.event_type = "Paid", .payload = payload},
                     .source_topic = "payments"};
        if (!key.empty()) made.event.key = key;
        return made;
    }
    // The handler of an id that holds "bad" throws after its effect.
    std::vector<Settlement> batch(const std::vector<Message>& messages) {
        SmallUnit unit(connection_.get());
        std::vector<Settlement> settlements;
        for (const auto& outcome :
             Inbox(options_).process_batch(unit, messages, [&](sqlite3*, const Message& m) {
                 unit.execute({"INSERT INTO effect VALUES (?1)", {{m.id, false, false}}});
                 if (m.id.find("bad") != std::string::npos) throw std::runtime_error("no stock");
             })) {
            settlements.push_back(outcome.settlement);
        }
        return settlements;
    }
    Settlement process(const Message& m) { return batch({m}).at(0); }
    std::string parked() {
        return value(
            "SELECT coalesce(group_concat(coalesce(original_id, event_id) || ' ' || "
            "reason || ' ' || state || ' ' || attempts, ', '), '') FROM sagaz_parked");
    }

    struct Close {
        void operator()(sqlite3* connection) const { sqlite3_close(connection); }
    };
    std::unique_ptr<sqlite3, Close> connection_;
    InboxOptions options_;
};

TEST_F(InboxInSqlite, F67_ARepeatAfterTheCommitIsADuplicate) {
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(process(message("e1")), duplicate);
    EXPECT_EQ(value("SELECT count(*) FROM effect"), "1");
    EXPECT_EQ(value("SELECT original_id || '|' || source_topic || '|' || event_type || '|' || "
                    "length(payload_hash) || '|' || coalesce(payload, 'none') "
                    "FROM sagaz_consumer_inbox"),
              "e1|payments|Paid|32|none");
}

TEST_F(InboxInSqlite, TurnsAnyTextIntoTheSameIdAsPostgresDoes) {
    EXPECT_EQ(process(message("order-42")), processed);
    EXPECT_EQ(value("SELECT event_id FROM sagaz_consumer_inbox"),
              "3bf8b157-c423-8eef-a5ae-4a66eca81c6b");
    EXPECT_EQ(process(message("0190A6F2-7C3B-7D11-8A51-3F1C9BE2D0AA")), processed);
    EXPECT_EQ(process(message("0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa")), duplicate);
}

TEST_F(InboxInSqlite, F73_PoisonIsParkedAfterItsLastAttemptAndItsKeyBehindIt) {
    options_.max_attempts = 2;
    EXPECT_EQ(process(message("bad", "k")), retry_later);
    EXPECT_EQ(value("SELECT attempts || last_cause FROM sagaz_inbox_attempt"), "1no stock");
    EXPECT_EQ(process(message("bad", "k")), Settlement::parked);
    EXPECT_EQ(process(message("bad", "k")), Settlement::parked);
    EXPECT_EQ(process(message("e2", "k")), Settlement::parked);
    EXPECT_EQ(process(message("e2", "k")), Settlement::parked);
    EXPECT_EQ(process(message("e3", "l")), processed);
    EXPECT_EQ(parked(), "bad max_attempts dead 2, e2 key_parked waiting 0");
    EXPECT_EQ(value("SELECT count(*) FROM effect"), "1");
    EXPECT_EQ(value("SELECT count(*) FROM sagaz_inbox_attempt"), "0");
}

TEST_F(InboxInSqlite, F76_TheSameIdWithAnotherBodyIsParkedAndStopsNobody) {
    EXPECT_EQ(process(message("e1", "k", "one")), processed);
    EXPECT_EQ(process(message("e1", "k", "two")), Settlement::parked);
    EXPECT_EQ(process(message("e1", "k", "two")), Settlement::parked);
    EXPECT_EQ(process(message("e1", "k", "one")), duplicate);
    EXPECT_EQ(process(message("e2", "k")), processed);
    EXPECT_EQ(parked(), "e1 id_conflict dead 0");
}

TEST_F(InboxInSqlite, SuccessForgetsTheAttempts) {
    SmallUnit unit(connection_.get());
    const Inbox inbox(options_);
    unit.begin();
    EXPECT_EQ(inbox.failed(unit, message("e1"), "why"), retry_later);
    unit.commit();
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(value("SELECT count(*) FROM sagaz_inbox_attempt"), "0");
    unit.begin();
    EXPECT_EQ(inbox.failed(unit, message("e1"), "late"), duplicate);
    unit.commit();
    EXPECT_EQ(value("SELECT count(*) FROM sagaz_inbox_attempt"), "0");
}

TEST_F(InboxInSqlite, LeavesOutOfABatchOnlyTheMessageWhoseHandlerThrows) {
    EXPECT_EQ(batch({message("a"), message("bad", "k"), message("c", "k"), message("a")}),
              (std::vector{processed, retry_later, retry_later, duplicate}));
    EXPECT_EQ(value("SELECT group_concat(id) FROM effect"), "a");
}

TEST_F(InboxInSqlite, KeepsWhatIsAskedForAndParksWhatHasNoId) {
    options_.keep_payload = true;
    options_.keep_duration = true;
    EXPECT_EQ(process(message("e1")), processed);
    EXPECT_EQ(value("SELECT payload || (processing_duration_ms >= 0) FROM sagaz_consumer_inbox"),
              "body1");
    EXPECT_EQ(process(message("")), Settlement::parked);
    EXPECT_EQ(process(message("")), Settlement::parked);
    EXPECT_EQ(parked(), "payments/-1/-1 id_missing dead 0");
}

}  // namespace
}  // namespace sagaz
