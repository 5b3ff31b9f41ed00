#pragma once

#include <libpq-fe.h>
#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// A real PostgreSQL started by the test itself: on a free loopback port, in a temporary folder,
/// as a user that is not root. fsync is on, since durability is what is tested.
///
/// With SAGAZ_TEST_POOLER=1 every URL leads through a pgbouncer in transaction mode of the server's
/// own, so that what is tested meets another session with each transaction. The test's own eyes,
/// `connect`, look past it.
namespace sagaz::test {

class PgbouncerServer;

/// A plain blocking connection for tests: throws std::runtime_error with the server's text.
class Sql {
public:
    using Row = std::vector<std::string>;  ///< SQL NULL reads as "<null>".

    explicit Sql(const std::string& url);

    std::vector<Row> rows(const std::string& sql);  ///< Several statements: the last one's.
    std::string value(const std::string& sql);      ///< One row, one column.
    std::int64_t number(const std::string& sql);
    void run(const std::string& sql) { rows(sql); }
    /// The SQLSTATE of a statement that must fail; empty when it did not.
    std::string failure(const std::string& sql);
    /// Sends without waiting; `finish` collects.
    void start(const std::string& sql);
    bool is_busy();  ///< Still no answer.
    std::vector<Row> finish();

    int backend_pid() const { return PQbackendPID(connection_.get()); }
    PGconn* raw() { return connection_.get(); }

private:
    std::vector<Row> take(PGresult* result);

    struct Finish {
        void operator()(PGconn* connection) const { PQfinish(connection); }
    };
    std::unique_ptr<PGconn, Finish> connection_;
};

enum class StopMode { smart, fast, immediate };

/// One server. Started by the constructor; the destructor ends it by its pid and removes the
/// folder. If the test process dies the server is told to quit by the kernel.
class PostgresServer {
public:
    struct Options {
        std::vector<std::string> config{};  ///< Lines of postgresql.conf, after our own.
        std::string bin{};                  ///< Empty: the newest under /usr/lib/postgresql.
    };

    PostgresServer();
    explicit PostgresServer(Options options);
    ~PostgresServer();
    PostgresServer(const PostgresServer&) = delete;
    PostgresServer& operator=(const PostgresServer&) = delete;

    /// The server that all tests of one binary share; ended when the process exits.
    static PostgresServer& shared();

    /// Where what is tested connects to.
    std::string url(std::string_view database = "postgres",
                    std::string_view user = "postgres") const;
    /// Past a pooler, for a test that means nothing through one; says `why` when there is one.
    std::string direct_url(std::string_view why, std::string_view database = "postgres",
                           std::string_view user = "postgres") const;
    /// The test's own connection, which may look at sessions: never through a pooler.
    Sql connect(std::string_view database = "postgres", std::string_view user = "postgres") const;
    int port() const { return port_; }
    /// A program of its own version: pg_dump, psql.
    std::string program(const std::string& name) const { return bin_ + "/" + name; }
    int version() const;                ///< Major: 15, 17.
    pid_t pid() const { return pid_; }  ///< Of the postmaster; 0 while stopped.
    const std::filesystem::path& data() const { return data_; }
    const std::string& bin() const { return bin_; }  ///< The folder of its programs.

    /// An empty database with a name of its own.
    std::string fresh_database();

    void start();  ///< On the same port; returns when it answers.
    void stop(StopMode mode = StopMode::fast);
    void restart(StopMode mode = StopMode::immediate) {
        stop(mode);
        start();
    }
    void kill9();  ///< The postmaster and every child, as a power cut would.
    void configure(
        const std::string& line);  ///< Appends to postgresql.conf; takes effect at reload.
    void reload();
    /// From now on, for sessions that begin; "": for no standby.
    void let_commits_wait_for(const std::string& standby);
    void freeze(pid_t backend);  ///< SIGSTOP
    void thaw(pid_t backend);    ///< SIGCONT

    /// A second server on a copy of this one's files that stays in recovery, as a standby does.
    /// This one is stopped for the copy and started again.
    std::unique_ptr<PostgresServer> standby();

private:
    struct Copy {};
    PostgresServer(Copy, const PostgresServer& original);
    void spawn();
    void wait_until_it_answers();
    bool has_ended();  ///< Reaps the postmaster when it has.
    void end_and_remove() noexcept;

    Options options_;
    std::string bin_;
    std::filesystem::path folder_;
    std::filesystem::path data_;
    int port_{};
    pid_t pid_{};
    std::unique_ptr<PgbouncerServer> pooler_;  ///< Null unless SAGAZ_TEST_POOLER asks for it.
};

/// A schema of its own for one test, in a database of its own when asked: migrated, with
/// connections to it. Dropped with the server.
class Schema {
public:
    /// With `with_roles` false (the default) no cluster-wide roles are made.
    explicit Schema(PostgresServer& server = PostgresServer::shared(), bool with_roles = false);

    const std::string& name() const { return name_; }
    std::string url() const { return server_->url(); }
    std::string direct_url(std::string_view why) const { return server_->direct_url(why); }
    PostgresServer& server() const { return *server_; }
    Sql connect() const { return server_->connect(); }  ///< The test's own eyes.
    Sql client() const { return Sql(url()); }           ///< For what is tested to work on.
    /// `text` with "@s@" replaced by the schema's name.
    std::string sql(std::string_view text) const;

private:
    PostgresServer* server_;
    std::string name_;
};

/// Calls `fact` until it is true; throws std::runtime_error naming `what` at the deadline.
template <class Fact>
void wait_for(std::string_view what, Fact&& fact,
              std::chrono::milliseconds deadline = std::chrono::seconds{20});

[[noreturn]] void throw_deadline(std::string_view what);
void pause_briefly();

template <class Fact>
void wait_for(std::string_view what, Fact&& fact, std::chrono::milliseconds deadline) {
    const auto end = std::chrono::steady_clock::now() + deadline;
    while (!fact()) {
        if (std::chrono::steady_clock::now() > end) throw_deadline(what);
        pause_briefly();
    }
}

}  // namespace sagaz::test
