#pragma once

#include <sagaz/export.hpp>
#include <sagaz/publisher_store.hpp>
#include <sagaz/store.hpp>
#include <sagaz/transaction.hpp>

#include <memory>
#include <string>

struct sqlite3;  // SQLite's connection

namespace sagaz::inline v0 {

/// The embedded store: the log is a few tables in the application's own SQLite file. The relay may
/// be a thread of the application or `sagaz relay --store sqlite:PATH`, also both.
///
/// The file is in WAL mode (`sagaz migrate` sees to it; it stays so) and on a local disk. A process
/// that is killed loses nothing that was committed; a power cut loses what was not yet on the disk,
/// and the relay publishes nothing before it is. What belongs together has to be in this one file:
/// SQLite commits an attached file apart from it, so the log and the inbox are never looked for in
/// one, and a crash between the two commits keeps the one without the other. Do not open the file
/// by other means in a process that has it open in SQLite (closing it would drop SQLite's locks),
/// and do not carry a connection over a fork.
namespace sqlite {

struct Options {
    std::string schema{"sagaz"};  ///< The tables' prefix: `sagaz_outbox` and so on.
    std::string destination{"default"};
    /// How long a call waits while another connection writes; then it throws `unavailable`
    /// (`busy`).
    Milliseconds busy_timeout{5'000};
};

/// Opens the log of a destination in the file at `path`, which `sagaz migrate` has made. Opens the
/// file at the first `attach`, not here; throws `invalid` (`store_url`) for `:memory:`, which only
/// one connection could see, and `invalid` (`schema_name`).
///
/// A store belongs to one thread and has a connection of its own. A call blocks for the disk and
/// at most `busy_timeout` for another writer. When the file was replaced, or set back by a restore
/// in place, the next call throws `unavailable` (`incarnation_changed`).
SAGAZ_EXPORT std::unique_ptr<Store> open(const std::string& path, Options options = {});

/// Opens the log for an `OptimisticPublisher`, as `open` does.
SAGAZ_EXPORT std::unique_ptr<PublisherStore> open_publisher(const std::string& path,
                                                            Options options = {});

/// What to make of a connection whose `PRAGMA synchronous` is NORMAL: a power cut may take its last
/// transactions back, each together with its events.
enum class Synchronous {
    full,    ///< Refuse to append there: `invalid`, code `synchronous_normal`.
    normal,  ///< The caller knows; append.
};

/// The caller's own connection, with a transaction open on it; begin it with `BEGIN IMMEDIATE`, so
/// that another writer is met before any work is done. Belongs to the connection's thread. Blocks
/// as long as the connection's own busy time-out says. Each statement is prepared, run and
/// finalised: no session state stays, but for the functions `sagaz_sha256` and `sagaz_event_id`,
/// which an inbox's first statement registers on the connection.
///
/// A failed statement throws `sagaz::Error`: `unavailable` (`busy`) while another connection
/// writes, `conflict` (`busy_snapshot`) when one has written since this transaction began to read.
/// `synchronous` OFF is always refused (`synchronous_off`), since a power cut can ruin the whole
/// file, and so is a `journal_mode` that is OFF or MEMORY (`journal_unsafe`).
class SAGAZ_EXPORT SqliteTransaction final : public Transaction {
public:
    explicit SqliteTransaction(sqlite3* connection, Synchronous accepted = Synchronous::full);
    Rows execute(const Statement& statement) override;
    Dialect dialect() const noexcept override { return Dialect::sqlite; }

private:
    sqlite3* connection_;
    Synchronous accepted_;
};

class KeptStatements;

/// The caller's own connection, outside a transaction, for the inbox: begins by BEGIN IMMEDIATE.
/// Keeps its statements prepared, so one that serves many messages saves time; they are finalised
/// with it, which has to be before the connection is closed. Leaves the same functions behind as
/// `SqliteTransaction`. Needs what that needs of `synchronous`, and fails as it does; nothing is
/// ever in doubt.
class SAGAZ_EXPORT SqliteUnitOfWork final : public UnitOfWork {
public:
    explicit SqliteUnitOfWork(sqlite3* connection, Synchronous accepted = Synchronous::full);
    ~SqliteUnitOfWork() override;

    sqlite3*& native() noexcept { return connection_; }
    Rows execute(const Statement& statement) override;
    Dialect dialect() const noexcept override { return Dialect::sqlite; }
    void begin() override;
    void commit() override;
    void rollback() noexcept override;
    void command(std::string_view sql) override;
    bool is_open() noexcept override;

private:
    sqlite3* connection_;
    Synchronous accepted_;
    bool is_open_{};
    std::unique_ptr<KeptStatements> kept_;
};

}  // namespace sqlite

/// `outbox.append(connection, event)` with a `sqlite3*`.
template <>
struct Adapter<sqlite3*> {
    using type = sqlite::SqliteTransaction;
};

/// `inbox.process(connection, message, handler)` with a `sqlite3*`; the handler gets it too.
template <>
struct ConnectionAdapter<sqlite3*> {
    using type = sqlite::SqliteUnitOfWork;
};

}  // namespace sagaz::inline v0
