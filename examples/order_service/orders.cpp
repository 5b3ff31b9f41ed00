#include "orders.hpp"

#include <sagaz/error.hpp>
#include <sagaz/postgres.hpp>

#include <nlohmann/json.hpp>

#include <stdexcept>
#include <string_view>
#include <utility>

namespace shop {
namespace {

constexpr int kAttempts = 3;

sagaz::Parameter value(const std::string& text) { return {.bytes = text}; }

Order order_in(const std::vector<std::optional<std::string>>& row) {
    return {.id = std::stoll(*row[0]),
            .customer = *row[1],
            .amount_cents = std::stoll(*row[2]),
            .paid_cents = std::stoll(*row[3])};
}

// An order's events have its id as their key, so consumers see them in the order of their commits.
sagaz::Event event_of(const Order& order, const std::string& type) {
    const nlohmann::ordered_json payload{
        {"order_id", order.id}, {"customer", order.customer}, {"amount_cents", order.amount_cents}};
    return {.topic = "orders",
            .key = std::to_string(order.id),
            .event_type = type,
            .payload = payload.dump()};
}

// Runs it again after a deadlock, after a connection that had died in the pool, and when the answer
// to COMMIT was lost. The last is safe for work that looks first whether it has been done.
template <class Work>
auto in_transaction(Connections& connections, Work work) {
    for (int attempt = 1;; ++attempt) {
        const auto connection = connections.take();
        sagaz::postgres::LibpqUnitOfWork unit{connection.get()};
        try {
            unit.begin();
            auto result = work(unit);
            unit.commit();
            return result;
        } catch (const sagaz::Error& error) {
            const bool may_help = error.kind() == sagaz::ErrorKind::conflict ||
                                  error.kind() == sagaz::ErrorKind::in_doubt ||
                                  error.code() == "connection_lost";
            if (!may_help || attempt == kAttempts) throw;
        }
    }
}

}  // namespace

Orders::Orders(Connections& connections, const sagaz::Outbox& outbox, AfterCommit after_commit)
    : connections_{connections}, outbox_{outbox}, after_commit_{std::move(after_commit)} {}

Placed Orders::place(const NewOrder& wanted) {
    sagaz::Ticket ticket;
    auto placed = in_transaction(connections_, [&](sagaz::Transaction& transaction) {
        return place_in(transaction, wanted, ticket);
    });
    committed(std::move(ticket));
    return placed;
}

Placed Orders::place_in(sagaz::Transaction& transaction, const NewOrder& wanted,
                        sagaz::Ticket& ticket) const {
    const auto amount = std::to_string(wanted.amount_cents);
    // Waits for another transaction with this key, so of two at once the second finds the first's.
    const auto added = transaction.execute(
        {.sql = "INSERT INTO shop.orders (customer, idempotency_key, amount_cents) "
                "VALUES ($1, $2, $3) ON CONFLICT (customer, idempotency_key) DO NOTHING "
                "RETURNING id, customer, amount_cents, paid_cents",
         .parameters = {value(wanted.customer), value(wanted.idempotency_key), value(amount)}});
    if (added.empty()) {
        const auto found = transaction.execute(
            {.sql = "SELECT id, customer, amount_cents, paid_cents FROM shop.orders "
                    "WHERE customer = $1 AND idempotency_key = $2",
             .parameters = {value(wanted.customer), value(wanted.idempotency_key)}});
        return {.order = order_in(found.at(0)), .is_new = false};
    }
    transaction.execute({.sql = "INSERT INTO shop.account AS a (customer, balance_cents) "
                                "VALUES ($1, $2) ON CONFLICT (customer) DO UPDATE "
                                "SET balance_cents = a.balance_cents + excluded.balance_cents",
                         .parameters = {value(wanted.customer), value(amount)}});
    const auto order = order_in(added[0]);
    ticket = outbox_.append(transaction, event_of(order, "OrderPlaced"));
    return {.order = order, .is_new = true};
}

std::optional<Order> Orders::find(std::int64_t id) {
    return in_transaction(connections_, [&](sagaz::Transaction& transaction) {
        const auto number = std::to_string(id);
        const auto found = transaction.execute(
            {.sql = "SELECT id, customer, amount_cents, paid_cents FROM shop.orders WHERE id = $1",
             .parameters = {value(number)}});
        return found.empty() ? std::nullopt : std::optional{order_in(found[0])};
    });
}

sagaz::Ticket Orders::pay(PGconn* connection, const Payment& payment) const {
    sagaz::postgres::LibpqTransaction transaction{connection};
    const auto id = std::to_string(payment.order);
    const auto amount = std::to_string(payment.amount_cents);
    const auto paid = transaction.execute(
        {.sql = "UPDATE shop.orders SET paid_cents = paid_cents + $2 WHERE id = $1 "
                "RETURNING id, customer, amount_cents, paid_cents",
         .parameters = {value(id), value(amount)}});
    if (paid.empty()) throw std::runtime_error("there is no such order");
    const auto order = order_in(paid[0]);
    transaction.execute(
        {.sql = "UPDATE shop.account SET balance_cents = balance_cents - $2 WHERE customer = $1",
         .parameters = {value(order.customer), value(amount)}});
    const bool was_paid = order.paid_cents - payment.amount_cents >= order.amount_cents;
    if (was_paid || order.paid_cents < order.amount_cents) return {};
    return outbox_.append(transaction, event_of(order, "OrderPaid"));
}

void Orders::check() { find(0); }

}  // namespace shop
