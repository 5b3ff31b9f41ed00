#pragma once

#include "core/migration.hpp"

#include <sagaz/event.hpp>
#include <sagaz/store.hpp>
#include <sagaz/transaction.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The database that holds the log, whichever it is: only here is asked which.
namespace sagaz::inline v0::app {

struct StoreTarget;

std::unique_ptr<Store> open_store(const StoreTarget& target);

/// What a session is for: names what to grant when the login may not.
enum class Purpose {
    look,
    look_at_payloads,
    append,
    consume,
    clean_inbox,
    change_parked,
};

/// One connection for commands that read the log, append to it or handle messages by an inbox.
/// Belongs to one thread; every call ends within `deadline` and throws `sagaz::Error`. Connects
/// again by itself, but never within a transaction.
class StoreSession final : public UnitOfWork {
public:
    static constexpr Milliseconds kDeadline{15'000};

    StoreSession(const StoreTarget& target, Purpose purpose, Milliseconds deadline = kDeadline);
    ~StoreSession() override;

    StoreSession& native() noexcept { return *this; }
    Rows execute(const Statement& statement) override;
    Dialect dialect() const noexcept override;
    bool is_sqlite() const { return dialect() == Dialect::sqlite; }
    /// What the start of the connection named as the server's process; 0 without one.
    int backend_pid() const;

    /// `sql` names tables as "@schema@.outbox" and values as $1, $2, ..., first in this order.
    Rows run(std::string_view sql, const std::vector<std::string>& values = {});
    /// The same for who only looks, without values: a server that is slow gives up too, and does
    /// not go on for nobody. It leaves no setting behind, whatever pooler stands in between.
    Rows look(std::string_view sql);
    /// The same for PostgreSQL, of a statement that is a transaction of its own and changes
    /// something. Throws `in_doubt` (`commit_in_doubt`) with `hint` when its answer was lost.
    Rows run_change(std::string_view sql, const std::vector<std::string>& values,
                    const std::string& hint);
    /// The same for PostgreSQL, of statements that go out as one message and are over when the
    /// server has answered, so that a lock of theirs spans no round trip; rows of the last. Values
    /// stand in the text.
    Rows run_script(std::string_view sql);
    void begin() override;
    void commit() override;
    void rollback() noexcept override;
    void command(std::string_view sql) override;

private:
    struct State;
    std::unique_ptr<State> state_;
};

core::MigrationStatus schema_status(const StoreTarget& target,
                                    Milliseconds deadline = StoreSession::kDeadline);
int newest_version(const StoreTarget& target);
std::string name_of_version(const StoreTarget& target, int version);
std::string schema_script(const StoreTarget& target, int from, int to, bool with_roles);
/// Brings the schema up and returns the versions applied now. SQLite has no roles.
std::vector<int> migrate_schema(const StoreTarget& target, bool with_roles);
/// Re-bases the log of a restored database, waiting for it as long as that takes, and returns what
/// it did as JSON. Throws `invalid` (`store_scheme`) for SQLite, which needs none.
std::string rebase_log(const StoreTarget& target);
void change_setting(const StoreTarget& target, std::string_view key, std::string_view value);

}  // namespace sagaz::inline v0::app
