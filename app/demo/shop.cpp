#include "app/demo/books.hpp"
#include "app/demo/stage.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace sagaz::inline v0::app::demo {
namespace {

constexpr std::int64_t kCustomers = 200;
constexpr std::int64_t kOrdersOfTransaction = 4;
constexpr std::int64_t kRolledBack = 20;  // one transaction in so many

// `attempts` says how many orders were tried; those that rolled back left nothing else behind.
constexpr std::array kTables{
    "CREATE TABLE @shop@.customer (name text PRIMARY KEY, balance bigint NOT NULL)",
    "CREATE TABLE @shop@.orders (id bigint PRIMARY KEY, customer text NOT NULL, "
    "total bigint NOT NULL)",
    "CREATE TABLE @shop@.attempts (newest bigint NOT NULL)",
    "INSERT INTO @shop@.attempts VALUES (0)"};

std::string customer_of(std::int64_t order) {
    return "customer-" + std::to_string(order * 7'919 % kCustomers);
}

std::int64_t total_of(std::int64_t order) { return 100 + order * 104'729 % 9'900; }

}  // namespace

struct Shop::State {
    Books books;
    Outbox outbox;

    // The business of one order, and its event, in the transaction that is open.
    Id place(std::int64_t order) {
        const auto customer = customer_of(order);
        const auto total = total_of(order);
        books.run("INSERT INTO @shop@.orders (id, customer, total) VALUES ($1, $2, $3)",
                  {std::to_string(order), customer, std::to_string(total)});
        books.run(
            "INSERT INTO @shop@.customer AS c (name, balance) VALUES ($1, $2) "
            "ON CONFLICT (name) DO UPDATE SET balance = c.balance + excluded.balance",
            {customer, std::to_string(total)});
        const auto ticket = outbox.append(books.session(), {.topic = "orders",
                                                            .key = customer,
                                                            .event_type = "OrderPlaced",
                                                            .payload = nlohmann::ordered_json{
                                                                {"order", order},
                                                                {"customer", customer},
                                                                {"total",
                                                                 total}}.dump()});
        return ticket.ids().at(0);
    }

    void tried(std::int64_t newest) {
        books.run("UPDATE @shop@.attempts SET newest = $1", {std::to_string(newest)});
    }
};

Shop::Shop(const StoreTarget& store)
    : state_{new State{Books{store, "shop"}, Outbox{store.schema}}} {}

Shop::~Shop() = default;

void Shop::build() {
    state_->books.make_place();
    for (const auto* const statement : kTables) state_->books.run(statement);
}

bool Shop::is_built() { return state_->books.has_table("attempts"); }

std::int64_t Shop::newest() { return state_->books.number("SELECT newest FROM @shop@.attempts"); }

std::optional<Id> Shop::take(std::int64_t order) {
    auto& session = state_->books.session();
    state_->tried(order);
    session.begin();
    try {
        auto id = state_->place(order);
        if (order % kRolledBack != 0) {
            session.commit();
            return id;
        }
    } catch (...) {
        session.rollback();
        throw;
    }
    session.rollback();
    return std::nullopt;
}

void Shop::take_many(std::int64_t newest, const std::function<void(std::int64_t)>& between) {
    auto& session = state_->books.session();
    std::int64_t transactions = 0;
    for (std::int64_t order = 1; order <= newest;) {
        const auto end = std::min(order + kOrdersOfTransaction, newest + 1);
        session.begin();
        for (; order < end; ++order) state_->place(order);
        if (++transactions % kRolledBack == 0) {
            session.rollback();  // orders and events together
        } else {
            session.commit();
        }
        between(order - 1);
    }
    state_->tried(newest);
}

}  // namespace sagaz::inline v0::app::demo
