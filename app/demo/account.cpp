#include "app/demo/books.hpp"
#include "app/demo/stage.hpp"

namespace sagaz::inline v0::app::demo {
namespace {

// Each order's shipments in one row.
constexpr std::string_view kShipped =
    "WITH shipped AS (SELECT s.order_id AS id, min(s.arrival) AS arrival, count(*) AS times, "
    "min(s.customer) AS customer, min(s.total) AS total FROM @warehouse@.shipment s "
    "WHERE s.order_id >= $1 GROUP BY s.order_id) ";

}  // namespace

std::string Account::damage() const {
    return "lost " + std::to_string(lost) + ", invented " + std::to_string(invented) +
           ", reordered " + std::to_string(reordered) + ", doubled " + std::to_string(doubled) +
           (holds() ? "" : "  <- this must not be");
}

Account balance(const Stage& stage, std::int64_t first) {
    Books books{stage.shop, "shop"};
    books.open_too(stage.warehouse, "warehouse");
    const auto count = [&](std::string_view sql) {
        return books.number(std::string{kShipped} + std::string{sql}, {std::to_string(first)});
    };
    Account account;
    account.attempts = books.number("SELECT newest FROM @shop@.attempts") - first + 1;
    account.orders = count("SELECT count(*) FROM @shop@.orders o WHERE o.id >= $1");
    account.shipments = count("SELECT coalesce(sum(s.times), 0) FROM shipped s");
    account.lost = count(
        "SELECT count(*) FROM @shop@.orders o LEFT JOIN shipped s ON s.id = o.id "
        "WHERE o.id >= $1 AND s.id IS NULL");
    account.invented = count(
        "SELECT count(*) FROM shipped s LEFT JOIN @shop@.orders o ON o.id = s.id "
        "AND o.customer = s.customer AND o.total = s.total WHERE o.id IS NULL");
    account.reordered = count(
        "SELECT count(*) FROM (SELECT s.id, max(s.id) OVER (PARTITION BY s.customer "
        "ORDER BY s.arrival ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before "
        "FROM shipped s) p WHERE p.id < p.before");
    account.doubled = count("SELECT coalesce(sum(s.times - 1), 0) FROM shipped s");
    return account;
}

}  // namespace sagaz::inline v0::app::demo
