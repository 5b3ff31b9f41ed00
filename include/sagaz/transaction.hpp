#pragma once

#include <sagaz/export.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sagaz::inline v0 {

/// One value of a statement: a view that lives as long as the event it came from.
struct Parameter {
    std::string_view bytes{};
    bool null{};
    bool binary{};  ///< Bytes as they are (bytea); otherwise text in the database's encoding.
};

/// Which database's SQL a transaction speaks.
enum class Dialect { postgres, sqlite };

/// One parameterised statement, ready for any driver: `$1`-style for PostgreSQL; for SQLite `?`, in
/// the order of the parameters.
struct Statement {
    std::string sql{};
    std::vector<Parameter> parameters{};
};

/// What a statement returned, each value as text; an empty optional is SQL NULL.
using Rows = std::vector<std::vector<std::optional<std::string>>>;

/// The one seam to a user's driver: runs a statement inside the caller's open transaction.
/// Never begins, commits or rolls back; leaves no session state behind. The driver's own
/// exceptions pass through untouched, since its retry logic depends on their types.
class SAGAZ_EXPORT Transaction {
public:
    Transaction() = default;
    virtual ~Transaction();
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;

    virtual Rows execute(const Statement& statement) = 0;

    /// The SQL that `execute` takes; an adapter of a PostgreSQL driver need not say it.
    virtual Dialect dialect() const noexcept;
};

/// How a driver's own type becomes a `Transaction`. An adapter specialises it with a class that
/// derives from `Transaction` and is constructible from `Driver&`; see sagaz/postgres.hpp.
template <class Driver>
struct Adapter;

}  // namespace sagaz::inline v0
