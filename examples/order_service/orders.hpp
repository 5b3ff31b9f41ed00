#pragma once

#include "connections.hpp"

#include <sagaz/outbox.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace shop {

struct NewOrder {
    std::string idempotency_key{};
    std::string customer{};
    std::int64_t amount_cents{};
};

struct Order {
    std::int64_t id{};
    std::string customer{};
    std::int64_t amount_cents{};
    std::int64_t paid_cents{};
};

/// An order, and whether this call placed it or an earlier one with the same key.
struct Placed {
    Order order{};
    bool is_new{};
};

struct Payment {
    std::int64_t order{};
    std::int64_t amount_cents{};
};

/// What the service does in its database. Each change and the event that tells of it are one
/// transaction. Throws `sagaz::Error`. Thread-safe.
class Orders {
public:
    /// What to do with a ticket whose transaction has committed.
    using AfterCommit = std::function<void(sagaz::Ticket&&)>;

    Orders(Connections& connections, const sagaz::Outbox& outbox, AfterCommit after_commit);

    /// May be called again with the same key, as often as it takes to get an answer.
    Placed place(const NewOrder& wanted);
    std::optional<Order> find(std::int64_t id);

    /// Works in the transaction that is open on `connection`; its caller commits, then hands the
    /// ticket to `committed`.
    sagaz::Ticket pay(PGconn* connection, const Payment& payment) const;
    void committed(sagaz::Ticket&& ticket) const { after_commit_(std::move(ticket)); }

    /// Throws when no order could be placed now.
    void check();

private:
    Placed place_in(sagaz::Transaction& transaction, const NewOrder& wanted,
                    sagaz::Ticket& ticket) const;

    Connections& connections_;
    const sagaz::Outbox& outbox_;
    const AfterCommit after_commit_;
};

}  // namespace shop
