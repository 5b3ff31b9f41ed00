#include "app/demo/stage.hpp"
#include "app/errors.hpp"
#include "stores/sqlite/migration.hpp"

#include <sagaz/outbox.hpp>
#include <sagaz/sqlite.hpp>

#include <nlohmann/json.hpp>

namespace sagaz::inline v0::app::demo {
namespace {

constexpr std::int64_t kCustomers = 200;
constexpr std::int64_t kOrdersOfTransaction = 4;

// `attempts` says how many orders were tried; those that rolled back left nothing else behind.
constexpr auto kTables = R"(
CREATE TABLE customer (name TEXT PRIMARY KEY, balance INTEGER NOT NULL) STRICT;
CREATE TABLE "order" (id INTEGER PRIMARY KEY, customer TEXT NOT NULL,
                      total INTEGER NOT NULL) STRICT;
CREATE TABLE attempts (count INTEGER NOT NULL) STRICT;
INSERT INTO attempts VALUES (0);
)";

std::string customer_of(std::int64_t order) {
    return "customer-" + std::to_string(order * 7'919 % kCustomers);
}

std::int64_t total_of(std::int64_t order) { return 100 + order * 104'729 % 9'900; }

// The business of one order, and its event, in the transaction that is open.
void place(sqlite::Database& shop, const Outbox& outbox, std::int64_t order) {
    const auto customer = customer_of(order);
    const auto total = total_of(order);
    shop.query(R"(INSERT INTO "order" (id, customer, total) VALUES (?1, ?2, ?3))")
        .number(order)
        .text(customer)
        .number(total)
        .run();
    shop.query(
            "INSERT INTO customer VALUES (?1, ?2) "
            "ON CONFLICT (name) DO UPDATE SET balance = balance + excluded.balance")
        .text(customer)
        .number(total)
        .run();
    sqlite3* connection = shop.raw();
    outbox.append(connection, {.topic = "orders",
                               .key = customer,
                               .event_type = "OrderPlaced",
                               .payload = nlohmann::ordered_json{
                                   {"order", order},
                                   {"customer", customer},
                                   {"total",
                                    total}}.dump()});
}

}  // namespace

void build_shop(const Stage& stage) {
    if (std::filesystem::exists(stage.shop()) || std::filesystem::exists(stage.events())) {
        refuse("demo_folder", "there is a demo in " + stage.folder.string() + " already",
               "give --folder a new one, or look at that one by --check");
    }
    sqlite::migrate(stage.shop(), "sagaz");
    sqlite::Database{stage.shop(), sqlite::Access::open, kBusy}.run_script(kTables);
}

void take_orders(const Stage& stage, std::int64_t attempts,
                 const std::function<void(std::int64_t)>& between) {
    sqlite::Database shop{stage.shop(), sqlite::Access::open, kBusy};
    const Outbox outbox;
    std::int64_t transactions = 0;
    for (std::int64_t order = 1; order <= attempts;) {
        const auto end = std::min(order + kOrdersOfTransaction, attempts + 1);
        {
            sqlite::Scope transaction{shop, sqlite::Scope::Kind::write};
            for (; order < end; ++order) {
                place(shop, outbox, order);
            }
            if (++transactions % 20 != 0) {  // else it rolls back, orders and events together
                transaction.commit();
            }
        }
        between(order - 1);
    }
    shop.query("UPDATE attempts SET count = ?1").number(attempts).run();
}

}  // namespace sagaz::inline v0::app::demo
