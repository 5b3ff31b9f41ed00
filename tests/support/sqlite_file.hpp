#pragma once

#include "stores/sqlite/migration.hpp"
#include "tests/support/temporary_folder.hpp"

#include <sagaz/outbox.hpp>
#include <sagaz/sqlite.hpp>
#include <sagaz/testing/store_conformance.hpp>

#include <sqlite3.h>

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace sagaz::test {

/// An application's own connection.
class SqliteConnection {
public:
    explicit SqliteConnection(const std::string& path, int busy_timeout_ms = 5'000) {
        if (sqlite3_open(path.c_str(), &raw_) != SQLITE_OK) throw std::runtime_error(path);
        sqlite3_busy_timeout(raw_, busy_timeout_ms);
    }
    ~SqliteConnection() { sqlite3_close_v2(raw_); }
    SqliteConnection(const SqliteConnection&) = delete;
    SqliteConnection& operator=(const SqliteConnection&) = delete;

    sqlite3* raw() { return raw_; }

    /// Runs one or more statements and returns the first column of each row.
    std::vector<std::string> run(const std::string& sql) {
        std::vector<std::string> values;
        char* message = nullptr;
        const auto take = [](void* to, int count, char** row, char** /*names*/) {
            static_cast<std::vector<std::string>*>(to)->emplace_back(
                count > 0 && row[0] != nullptr ? row[0] : "");
            return 0;
        };
        if (sqlite3_exec(raw_, sql.c_str(), take, &values, &message) != SQLITE_OK) {
            const std::string text = message == nullptr ? "?" : message;
            sqlite3_free(message);
            throw std::runtime_error(text);
        }
        return values;
    }
    std::string value(const std::string& sql) { return run(sql).at(0); }

private:
    sqlite3* raw_{};
};

/// A file with an empty log.
class SqliteFile {
public:
    SqliteFile() { sqlite::migrate(path(), "sagaz"); }

    std::string path() const { return folder_.path() / "shop.db"; }
    std::unique_ptr<Store> open(Milliseconds busy_timeout = Milliseconds{5'000}) const {
        return sqlite::open(path(), {.busy_timeout = busy_timeout});
    }

    std::unique_ptr<PublisherStore> open_publisher(Milliseconds busy_timeout = Milliseconds{
                                                       5'000}) const {
        return sqlite::open_publisher(path(), {.busy_timeout = busy_timeout});
    }

    /// Takes a copy as a backup does; `replace` puts it into the file's place, as mv does. SQLite
    /// itself copies: opening the file by other means here would drop its locks.
    std::string copy() const {
        const std::string to = folder_.path() / "copy.db";
        std::filesystem::remove(to);
        SqliteConnection(path()).run("VACUUM INTO '" + to + "'");
        return to;
    }
    void replace(const std::string& by) const {
        std::filesystem::remove(path() + "-wal");
        std::filesystem::remove(path() + "-shm");
        std::filesystem::rename(by, path());
    }

private:
    TemporaryFolder folder_;
};

/// A producer's transaction on a connection of its own.
class SqliteWriter final : public testing::Writer {
public:
    explicit SqliteWriter(const std::string& path) : connection_(path) {
        connection_.run("BEGIN IMMEDIATE");
    }

    void append(const Event& event, Milliseconds hold = Milliseconds{0}) override {
        sqlite3* raw = connection_.raw();
        const auto ticket = Outbox().append(raw, event);
        if (hold.count() == 0) return;
        connection_.run(
            "UPDATE sagaz_outbox SET held_until = strftime('%Y-%m-%dT%H:%M:%fZ', "
            "'now', '+" +
            std::to_string(static_cast<double>(hold.count()) / 1'000) +
            " seconds') WHERE id = " + std::to_string(ticket.entries()[0].position));
    }
    void append(const std::string& payload, const std::string& key = "k") {
        append(Event{.topic = "t", .key = key, .event_type = "E", .payload = payload});
    }
    void commit() override { connection_.run("COMMIT"); }
    SqliteConnection& connection() { return connection_; }

private:
    SqliteConnection connection_;
};

/// Commits one event of key `key`.
inline void commit_event(const SqliteFile& file, const std::string& payload,
                         const std::string& key = "k") {
    SqliteWriter writer(file.path());
    writer.append(payload, key);
    writer.commit();
}

}  // namespace sagaz::test
