#include "connections.hpp"

#include <sagaz/error.hpp>

#include <chrono>
#include <utility>

namespace shop {
namespace {

constexpr std::chrono::seconds kPatience{2};

sagaz::Error unavailable(const std::string& code, const std::string& what,
                         const std::string& hint) {
    return {sagaz::ErrorKind::unavailable, code, what, hint};
}

// Time-outs of ours that the URL may override: a server that is gone without a word is noticed.
Connection connect(const std::string& url) {
    const char* const names[] = {"connect_timeout", "tcp_user_timeout", "fallback_application_name",
                                 "dbname", nullptr};
    const char* const values[] = {"5", "10000", "order_service", url.c_str(), nullptr};
    Connection made{PQconnectdbParams(names, values, 1)};
    if (PQstatus(made.get()) != CONNECTION_OK) {
        throw unavailable("database_unavailable", PQerrorMessage(made.get()),
                          "start the database, or correct ORDERS_DATABASE_URL");
    }
    return made;
}

}  // namespace

Connections::Connections(std::string url, std::size_t most)
    : url_{std::move(url)}, free_{static_cast<std::ptrdiff_t>(most)} {
    idle_.reserve(most);  // so that giving one back never fails
}

Connections::Lease Connections::take() {
    if (!free_.try_acquire_for(kPatience)) {
        throw unavailable("connections_taken", "every connection is taken",
                          "try again, or raise ORDERS_CONNECTIONS");
    }
    try {
        return {*this, idle_or_new()};
    } catch (...) {
        free_.release();
        throw;
    }
}

Connection Connections::idle_or_new() {
    {
        const std::lock_guard lock{mutex_};
        if (!idle_.empty()) {
            auto connection = std::move(idle_.back());
            idle_.pop_back();
            return connection;
        }
    }
    return connect(url_);
}

Connections::Lease::Lease(Connections& pool, Connection connection)
    : pool_{pool}, connection_{std::move(connection)} {}

Connections::Lease::~Lease() {
    if (PQtransactionStatus(connection_.get()) == PQTRANS_IDLE) {
        const std::lock_guard lock{pool_.mutex_};
        pool_.idle_.push_back(std::move(connection_));
    }
    connection_.reset();
    pool_.free_.release();
}

}  // namespace shop
