// One business row and the event that tells of it, in one transaction of your own.
#include <sagaz/adapters/pqxx.hpp>
#include <sagaz/outbox.hpp>

#include <pqxx/pqxx>

#include <iostream>
#include <string>

int main(int, char** argv) {
    pqxx::connection connection{argv[1]};
    pqxx::work tx{connection};
    const auto order = tx.exec("INSERT INTO orders (total) VALUES (12) RETURNING id")[0][0];

    const sagaz::Outbox outbox;
    const auto ticket = outbox.append(tx, {.topic = "orders",
                                           .key = order.c_str(),
                                           .event_type = "OrderPlaced",
                                           .payload = R"({"total": 12})"});
    tx.commit();
    std::cout << ticket.ids().front().text() << '\n';
}
