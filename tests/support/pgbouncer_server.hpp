#pragma once

#include "tests/support/postgres_server.hpp"

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>

namespace sagaz::test {

/// pgbouncer in front of a PostgresServer. In transaction mode any two transactions of a client
/// may run on different server connections, and a restart of the server behind it goes unnoticed
/// by the client. Ended by pid by the destructor.
class PgbouncerServer {
public:
    /// `pool_size` server connections for all clients; 1 makes every client share one.
    explicit PgbouncerServer(const PostgresServer& server, int pool_size = 4,
                             std::string_view mode = "transaction");
    ~PgbouncerServer();
    PgbouncerServer(const PgbouncerServer&) = delete;
    PgbouncerServer& operator=(const PgbouncerServer&) = delete;

    std::string url(std::string_view database = "postgres",
                    std::string_view user = "postgres") const;
    int port() const { return port_; }
    pid_t pid() const { return pid_; }

private:
    std::filesystem::path folder_;
    int port_{};
    pid_t pid_{};
};

}  // namespace sagaz::test
