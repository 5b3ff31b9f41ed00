#include "app/demo/stage.hpp"

namespace sagaz::inline v0::app::demo {
namespace {

std::int64_t number(sqlite::Database& database, std::string_view sql) {
    auto query = database.query(sql);
    return query.step() ? query.number_at(0) : 0;
}

}  // namespace

Account balance(const Stage& stage) {
    sqlite::Database shop{stage.shop(), sqlite::Access::open, kBusy};
    shop.query("ATTACH ?1 AS warehouse").text(stage.warehouse()).run();
    Account account;
    account.attempts = number(shop, "SELECT count FROM attempts");
    account.orders = number(shop, R"(SELECT count(*) FROM "order")");
    account.shipments = number(shop, "SELECT count(*) FROM warehouse.shipment");
    shop.run_script(R"(CREATE TEMP TABLE shipped AS
SELECT s."order" AS id, min(s.arrival) AS arrival, count(*) AS times, min(s.customer) AS customer,
       min(s.total) AS total
FROM warehouse.shipment s GROUP BY s."order";
CREATE UNIQUE INDEX temp.shipped_id ON shipped (id);)");
    account.lost = number(shop, R"(SELECT count(*) FROM "order" o
WHERE NOT EXISTS (SELECT 1 FROM shipped s WHERE s.id = o.id))");
    account.invented = number(shop, R"(SELECT count(*) FROM shipped s
WHERE NOT EXISTS (SELECT 1 FROM "order" o
                  WHERE o.id = s.id AND o.customer = s.customer AND o.total = s.total))");
    account.reordered = number(shop, R"(SELECT count(*)
FROM (SELECT s.id, max(s.id) OVER (PARTITION BY s.customer ORDER BY s.arrival
                                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
      FROM shipped s) p
WHERE p.id < p.before)");
    account.doubled = number(shop, "SELECT coalesce(sum(s.times - 1), 0) FROM shipped s");
    return account;
}

}  // namespace sagaz::inline v0::app::demo
