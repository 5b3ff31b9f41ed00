#pragma once

#include "app/store.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace sagaz::inline v0::app::demo {

/// The business tables of a shop or a warehouse, in the database of its log or inbox: in a schema
/// of their own in PostgreSQL, as plain tables in SQLite. Belongs to one thread.
class Books {
public:
    /// `owner` is "shop" or "warehouse".
    Books(const StoreTarget& store, std::string_view owner);

    /// As `StoreSession::run`, and `sql` names business tables as "@shop@.orders".
    Rows run(std::string_view sql, const std::vector<std::string>& values = {});
    /// The one value of the one row, a whole number; 0 for NULL.
    std::int64_t number(std::string_view sql, const std::vector<std::string>& values = {});

    /// Makes the place of the tables where it is no schema of the log.
    void make_place();
    bool has_table(std::string_view name);

    /// Lays another's books beside these, to read from both.
    void open_too(const StoreTarget& store, std::string_view owner);

    StoreSession& session() { return session_; }

private:
    std::string place_of(std::string_view owner) const;

    StoreSession session_;
    std::string schema_;
    std::string owner_;
};

}  // namespace sagaz::inline v0::app::demo
