#pragma once

#include <sagaz/export.hpp>
#include <sagaz/publisher_store.hpp>
#include <sagaz/store.hpp>
#include <sagaz/transaction.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

struct pg_conn;  // libpq's PGconn

namespace sagaz::inline v0 {

namespace postgres {

/// Where a committed event has to be before it is sent.
enum class Durability {
    local,  ///< On the server's disk: a crash of the server takes back nothing that was sent.
    /// On a synchronous standby's disk too, as `synchronous_standby_names` asks of commits: nor
    /// does a failover, even of an event that became visible by a crash, or by the cancelling of
    /// its commit, while it still waited for the standby. Costs a commit's wait each time events
    /// come; while no standby answers nothing is sent (`standby_missing`).
    standby,
};

struct Options {
    std::string schema{"sagaz"};
    std::string destination{"default"};
    Milliseconds connect_timeout{5'000};
    Milliseconds statement_timeout{15'000};  ///< Kept by the client: works through a pooler.
    /// Asked for the URL before each new connection, when set, so that a rotated password counts
    /// without a restart; on the store's own thread. When it throws, or gives what cannot be a
    /// URL, the last one is kept. A password refused after an accepted one is then `unavailable`:
    /// the new one may not have arrived yet.
    std::function<std::string()> current_url{};
    Durability durability{Durability::local};
};

/// Opens the log of a destination. `url` is any libpq connection string. Connects at the first
/// `attach`, not here; throws `invalid` for a URL or a schema name that cannot be right.
SAGAZ_EXPORT std::unique_ptr<Store> open(const std::string& url, Options options = {});

/// Opens the log for an `OptimisticPublisher`, as `open` does; the login needs no more than
/// `sagaz_publisher`. Throws `invalid` (`destination`) for any destination but the only one of the
/// schema: what one of several has accepted must not be removed.
SAGAZ_EXPORT std::unique_ptr<PublisherStore> open_publisher(const std::string& url,
                                                            Options options = {});

/// What an error of the server means, by its SQLSTATE; empty: the connection is lost. Of `message`
/// the first line is kept, which carries no payload. For adapters of other drivers.
SAGAZ_EXPORT Error sqlstate_error(std::string_view sqlstate, std::string_view message);

/// The caller's own libpq connection, borrowed, with a transaction open on it. Blocks for one round
/// trip per statement. Throws `invalid` (`no_transaction`, `transaction_failed`, `pipeline_mode`)
/// before anything is sent; a failed statement throws `sagaz::Error` of the kind of its SQLSTATE.
class SAGAZ_EXPORT LibpqTransaction final : public Transaction {
public:
    explicit LibpqTransaction(pg_conn* connection);
    Rows execute(const Statement& statement) override;

private:
    pg_conn* connection_;
};

/// The caller's own libpq connection, borrowed, outside a transaction. Each call blocks for a round
/// trip, without a deadline of its own. Failures throw `sagaz::Error` of the kind of their
/// SQLSTATE; a connection in pipeline mode `invalid` (`pipeline_mode`).
///
/// A COMMIT whose wait for a standby was cancelled is `in_doubt`. To hear of it `commit` sets the
/// connection's notice receiver while it runs; one of the owner's own stays, and then the owner
/// alone gets the warning (`PG_DIAG_SOURCE_FUNCTION`: `SyncRepWaitForLSN`) and must not
/// acknowledge.
class SAGAZ_EXPORT LibpqUnitOfWork final : public UnitOfWork {
public:
    explicit LibpqUnitOfWork(pg_conn* connection);
    ~LibpqUnitOfWork() override;

    pg_conn*& native() noexcept { return connection_; }
    Rows execute(const Statement& statement) override;
    void begin() override;
    Rows begin_with(const Statement& first) override;
    void commit() override;
    void rollback() noexcept override;
    void command(std::string_view sql) override;
    bool is_open() noexcept override;
    std::optional<bool> was_ended() const noexcept override;

private:
    void check_is_idle() const;

    pg_conn* connection_;
    bool is_open_{};
};

}  // namespace postgres

/// `outbox.append(connection, event)` with a `PGconn*`.
template <>
struct Adapter<pg_conn*> {
    using type = postgres::LibpqTransaction;
};

/// `inbox.process(connection, message, handler)` with a `PGconn*`; the handler gets it too.
template <>
struct ConnectionAdapter<pg_conn*> {
    using type = postgres::LibpqUnitOfWork;
};

}  // namespace sagaz::inline v0
