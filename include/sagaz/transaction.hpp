#pragma once

#include <sagaz/error.hpp>
#include <sagaz/export.hpp>

#include <exception>
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

/// A connection that runs transactions one after the other, for the inbox, which begins and
/// commits by itself. An adapter of a driver derives from it and adds `native()`, which returns a
/// reference to what the driver's users call their transaction: `PGconn*`, `pqxx::work`,
/// `sqlite3*`. Its destructor rolls back what is open. Its calls throw the driver's own exceptions,
/// of which `error_of` says what they mean. Belongs to one thread, as the connection does.
class SAGAZ_EXPORT UnitOfWork : public Transaction {
public:
    /// Begins a transaction. Throws `invalid` (`transaction_open`) when one is open already, and
    /// `unavailable` (`connection_lost`) on a connection that is gone. SQLite: BEGIN IMMEDIATE.
    virtual void begin() = 0;

    /// `begin` and `execute`. An adapter overrides it where the two can be sent together, which
    /// saves a round trip. `first` must not run when BEGIN did not, since it would be committed by
    /// itself. After any error the transaction may be open: `rollback` sees to it.
    virtual Rows begin_with(const Statement& first);

    /// Returns when everything is committed. Throws `in_doubt` (`commit_in_doubt`) when COMMIT was
    /// sent and its answer lost; after any other error nothing was committed. Throws `invalid`
    /// (`transaction_failed`) where the server would answer COMMIT with a rollback, and `fatal`
    /// (`transaction_ended`) when somebody else ended the transaction.
    virtual void commit() = 0;

    /// Undoes what `begin` opened; nothing when there is none, or the connection is gone.
    virtual void rollback() noexcept = 0;

    /// Runs a command without values, also in a transaction that has failed: savepoints.
    virtual void command(std::string_view sql) = 0;

    /// What an exception of this driver means; none for exceptions that are not its own. Knows
    /// `sagaz::Error`; an adapter adds its driver's types.
    virtual std::optional<Error> error_of(const std::exception& thrown) const;

    /// False when somebody else ended the transaction that `begin` opened. Asked after a handler
    /// has thrown; may ask the server. An adapter that cannot tell says true.
    virtual bool is_open() noexcept;

    /// What `is_open` would say the contrary of, if the adapter can tell without asking the server;
    /// else none. Asked after each handler of a batch. Where it is none, the marks of a batch are
    /// set one by one.
    virtual std::optional<bool> was_ended() const noexcept;
};

/// How a driver's connection becomes a `UnitOfWork`. An adapter specialises it with a `type` that
/// derives from `UnitOfWork` and is constructible from `Connection&`; see sagaz/postgres.hpp.
template <class Connection>
struct ConnectionAdapter;

}  // namespace sagaz::inline v0
