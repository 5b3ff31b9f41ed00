#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace sagaz::verify {

/// A statement prepared once and run often. Belongs to its `Scratch`, which must outlive it.
/// Parameters are numbered from 1, columns from 0. Texts bound must live until the next `reset`.
class Query {
public:
    Query(sqlite3* database, const char* sql);

    Query& bind(int index, std::int64_t value);
    Query& bind_blob(int index, std::string_view bytes);
    Query& bind_blob(int index, std::optional<std::string_view> bytes);

    /// True when there is a row. After false, or `reset`, it may be bound anew.
    bool step();
    void reset();
    void run();  ///< step to the end, and reset.

    std::int64_t number(int column) const;
    std::optional<std::int64_t> maybe_number(int column) const;
    /// Valid until the next `step` or `reset`. Nothing for NULL.
    std::optional<std::string_view> blob(int column) const;

private:
    void check(int code) const;

    struct Finalize {
        void operator()(sqlite3_stmt* statement) const noexcept;
    };
    sqlite3* database_;
    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// A nameless temporary database on disk: no journal, no sync, gone when closed or when the
/// process dies. SQLite puts it into SQLITE_TMPDIR or TMPDIR. Throws `fatal` (`scratch_file`)
/// when the disk gives out.
class Scratch {
public:
    explicit Scratch(std::size_t cache_bytes);

    void execute(const char* sql);
    Query prepare(const char* sql) { return Query(database_.get(), sql); }

private:
    struct Close {
        void operator()(sqlite3* database) const noexcept;
    };
    std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace sagaz::verify
