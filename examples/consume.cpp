// Each message takes effect once, however often it comes: its mark commits with what it causes.
#include <sagaz/consumer.hpp>
#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>

#include <libpq-fe.h>

int main(int, char** argv) {
    PGconn* connection = PQconnectdb(argv[1]);
    const sagaz::Inbox inbox{{.consumer_name = "billing"}};
    sagaz::kafka::Consumer consumer{
        {.bootstrap_servers = argv[2], .group = "billing", .topics = {"orders"}}};

    // Until the process ends: whatever is not committed by then comes again.
    consumer.run({}, [&](const sagaz::Message& message) {
        if (PQstatus(connection) != CONNECTION_OK) PQreset(connection);
        return inbox.process(connection, message, [](PGconn* tx, const sagaz::Message& m) {
            sagaz::postgres::LibpqTransaction{tx}.execute(
                {.sql = "INSERT INTO payments (order_id) VALUES ($1)",
                 .parameters = {{.bytes = m.event.key.value()}}});
        });
    });
}
