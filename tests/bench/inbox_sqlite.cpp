// inbox_sqlite FOLDER [ROUNDS]: what the inbox on SQLite costs a message, beside the least that
// could be done: one INSERT for the mark and one for the effect, both prepared once. Every round
// takes new messages through each way; the median of the rounds and their spread are printed.
// A folder in memory leaves out what the disk takes, which is the same for all.
#include "stores/sqlite/migration.hpp"

#include <sagaz/inbox.hpp>
#include <sagaz/sqlite.hpp>

#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::size_t kBatch = 200;

struct Close {
    void operator()(sqlite3* connection) const { sqlite3_close(connection); }
};
struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};

void run(sqlite3* connection, const char* sql) {
    if (sqlite3_exec(connection, sql, nullptr, nullptr, nullptr) != SQLITE_OK) {
        throw std::runtime_error(sqlite3_errmsg(connection));
    }
}

class Insert {
public:
    Insert(sqlite3* connection, const char* sql) {
        sqlite3_stmt* statement = nullptr;
        if (sqlite3_prepare_v2(connection, sql, -1, &statement, nullptr) != SQLITE_OK) {
            throw std::runtime_error(sqlite3_errmsg(connection));
        }
        statement_.reset(statement);
    }
    void run(const std::string& id) {
        sqlite3_bind_text(statement_.get(), 1, id.data(), static_cast<int>(id.size()),
                          SQLITE_STATIC);
        if (sqlite3_step(statement_.get()) != SQLITE_DONE) throw std::runtime_error("insert");
        sqlite3_reset(statement_.get());
    }

private:
    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

class Bench {
public:
    explicit Bench(const std::string& path) {
        sagaz::sqlite::migrate(path, "sagaz");
        sqlite3* connection = nullptr;
        if (sqlite3_open(path.c_str(), &connection) != SQLITE_OK) throw std::runtime_error(path);
        connection_.reset(connection);
        ::run(connection,
              "CREATE TABLE effect (id TEXT) STRICT; CREATE TABLE mark (id TEXT "
              "PRIMARY KEY) STRICT");
        mark_ = std::make_unique<Insert>(connection, "INSERT INTO mark VALUES (?1)");
        effect_ = std::make_unique<Insert>(connection, "INSERT INTO effect VALUES (?1)");
    }

    void round() {
        sqlite3* connection = connection_.get();
        const auto handler = [&](sqlite3*, const sagaz::Message& m) { effect_->run(m.id); };
        time("bare, one by one", [&](const auto& messages) {
            for (const auto& m : messages) bare({&m, 1});
        });
        time("process, a sqlite3*", [&](const auto& messages) {
            for (const auto& m : messages) inbox_.process(connection, m, handler);
        });
        time("process, a kept unit of work", [&](const auto& messages) {
            sagaz::sqlite::SqliteUnitOfWork unit(connection);
            for (const auto& m : messages) inbox_.process(unit, m, handler);
        });
        time("bare, in one transaction", [&](const auto& messages) { bare(messages); });
        time("process_batch",
             [&](const auto& messages) { inbox_.process_batch(connection, messages, handler); });
    }

    void print() {
        for (auto& [way, each] : microseconds_) {
            std::sort(each.begin(), each.end());
            std::printf("%-30s %8.1f us a message, %.1f to %.1f\n", way.c_str(),
                        each[each.size() / 2], each.front(), each.back());
        }
    }

private:
    using Way = std::function<void(const std::vector<sagaz::Message>&)>;

    void bare(std::span<const sagaz::Message> messages) {
        ::run(connection_.get(), "BEGIN IMMEDIATE");
        for (const auto& m : messages) {
            mark_->run(m.id);
            effect_->run(m.id);
        }
        ::run(connection_.get(), "COMMIT");
    }

    void time(const std::string& what, const Way& way) {
        std::vector<sagaz::Message> messages(kBatch);
        for (auto& m : messages) {
            m.id = sagaz::Id::generate().text();
            m.event = {.key = "k", .event_type = "Paid", .payload = R"({"order": 1, "total": 2})"};
            m.source_topic = "payments";
        }
        const auto from = std::chrono::steady_clock::now();
        way(messages);
        const std::chrono::duration<double, std::micro> took =
            std::chrono::steady_clock::now() - from;
        microseconds_[what].push_back(took.count() / static_cast<double>(kBatch));
    }

    std::unique_ptr<sqlite3, Close> connection_;
    std::unique_ptr<Insert> mark_;
    std::unique_ptr<Insert> effect_;
    sagaz::Inbox inbox_{sagaz::InboxOptions{.consumer_name = "bench"}};
    std::map<std::string, std::vector<double>> microseconds_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fputs("usage: inbox_sqlite FOLDER [ROUNDS]\n", stderr);
        return 2;
    }
    try {
        const auto path = std::filesystem::path(argv[1]) / "inbox.db";
        if (std::filesystem::exists(path)) throw std::runtime_error(path.string() + " is there");
        Bench bench(path);
        for (int round = argc > 2 ? std::atoi(argv[2]) : 21; round > 0; --round) bench.round();
        bench.print();
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "inbox_sqlite: %s\n", error.what());
        return 1;
    }
}
