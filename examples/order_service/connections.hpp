#pragma once

#include <libpq-fe.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <semaphore>
#include <string>
#include <vector>

namespace shop {

struct Finish {
    void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
};
using Connection = std::unique_ptr<PGconn, Finish>;

/// The pool: at most so many connections to the database, each made when it is first needed.
/// Thread-safe.
class Connections {
public:
    Connections(std::string url, std::size_t most);

    /// A connection for one piece of work. It goes back with this object; a broken one is closed.
    class Lease {
    public:
        Lease(Connections& pool, Connection connection);
        ~Lease();
        Lease(const Lease&) = delete;
        Lease& operator=(const Lease&) = delete;
        PGconn* get() const noexcept { return connection_.get(); }

    private:
        Connections& pool_;
        Connection connection_;
    };

    /// Waits some seconds at most for one that is free, and for the server. Throws `sagaz::Error`
    /// of kind `unavailable`.
    Lease take();

private:
    Connection idle_or_new();

    const std::string url_;
    std::counting_semaphore<> free_;
    std::mutex mutex_;  // of idle_
    std::vector<Connection> idle_;
};

}  // namespace shop
