#pragma once

#include <sagaz/event.hpp>

#include <sqlite3.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace sagaz::inline v0::sqlite {

struct FinalizeStatement {
    void operator()(sqlite3_stmt* statement) const noexcept { sqlite3_finalize(statement); }
};
using StatementHandle = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

/// One statement of a connection. Throws the error table's error.
StatementHandle prepare(sqlite3* connection, std::string_view sql);

/// Which file a path leads to. A copy has another inode.
struct FileIdentity {
    std::int64_t device{};
    std::int64_t inode{};

    bool operator==(const FileIdentity&) const = default;
};

/// None when nothing is there. Does not open the file: closing it would drop SQLite's locks.
std::optional<FileIdentity> identity_of(const std::string& path);

/// One statement being run. Values are bound in their order; views live until the next `step`.
class Query {
public:
    Query(sqlite3* connection, std::string_view sql);

    Query& text(std::string_view value);
    Query& optional_text(const std::optional<std::string>& value);
    Query& number(std::int64_t value);
    Query& null();

    /// True: a row is there. False: the statement has ended. Throws the error table's error.
    bool step();
    /// Steps to the end.
    void run();

    int columns() const { return sqlite3_column_count(statement_.get()); }
    std::string_view name_of(int column) const;
    bool is_null(int column) const;
    bool is_integer(int column) const;
    std::int64_t number_at(int column) const;
    double real_at(int column) const;
    std::string_view text_at(int column) const;   ///< "" for NULL.
    std::string_view bytes_at(int column) const;  ///< Text in UTF-8, blobs as they are.

private:
    sqlite3* connection_;
    StatementHandle statement_;
    int next_{1};
};

enum class Access {
    create,  ///< Makes the file where there is none.
    open,
    look,  ///< Leaves the file in the mode in which it is.
};

/// A connection of ours: WAL, `synchronous` FULL, a bounded wait for other writers. Belongs to one
/// thread. Throws `invalid` (`database_missing`) when there is no file to open.
class Database {
public:
    Database(std::string path, Access access, Milliseconds busy_timeout);

    Query query(std::string_view sql) { return {connection_.get(), sql}; }
    /// Runs a text of statements without values.
    void run_script(const std::string& sql);

    /// Makes durable all that was committed before, by whomever; takes no lock. Read something of
    /// the file before, so that its log is open.
    void sync_log();

    /// For another connection that writes.
    void wait_at_most(Milliseconds patience) noexcept;

    std::int64_t changes() const { return sqlite3_changes64(connection_.get()); }
    const FileIdentity& identity() const { return identity_; }
    /// True when the path does not lead to the opened file any more.
    bool is_replaced() const;
    sqlite3* raw() { return connection_.get(); }

private:
    struct Close {
        void operator()(sqlite3* connection) const noexcept { sqlite3_close_v2(connection); }
    };

    void begin_wal();

    std::string path_;
    std::unique_ptr<sqlite3, Close> connection_;
    FileIdentity identity_;
};

/// A transaction of ours: rolls back unless committed. `read` sees one state of the database;
/// `write` takes the place of the one writer at once, so it cannot be refused later.
class Scope {
public:
    enum class Kind { read, write };

    Scope(Database& database, Kind kind);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    void commit();

private:
    Database& database_;
    bool open_{true};
};

}  // namespace sagaz::inline v0::sqlite
