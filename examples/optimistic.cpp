// The order of append.cpp, on its way to Kafka right after its commit.
#include <sagaz/adapters/pqxx.hpp>
#include <sagaz/kafka.hpp>
#include <sagaz/optimistic_publisher.hpp>
#include <sagaz/postgres.hpp>

#include <pqxx/pqxx>

int main(int, char** argv) {
    sagaz::OptimisticPublisher publisher{
        sagaz::postgres::open_publisher(argv[1]),
        sagaz::kafka::open_for_publisher({.bootstrap_servers = argv[2]})};
    const sagaz::Outbox outbox{publisher};

    pqxx::connection connection{argv[1]};
    pqxx::work tx{connection};
    const auto order = tx.exec("INSERT INTO orders (total) VALUES (12) RETURNING id")[0][0];
    auto ticket = outbox.append(tx, {.topic = "orders",
                                     .key = order.c_str(),
                                     .event_type = "OrderPlaced",
                                     .payload = R"({"total": 12})"});
    tx.commit();
    publisher.publish_after_commit(std::move(ticket));
}
