// The consumer of consume.cpp, with what its inbox counts for Prometheus to scrape.
#include <sagaz/adapters/prometheus.hpp>
#include <sagaz/consumer.hpp>
#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>

#include <libpq-fe.h>
#include <prometheus/exposer.h>

int main(int, char** argv) {
    const auto registry = std::make_shared<prometheus::Registry>();
    prometheus::Exposer exposer{"0.0.0.0:9465"};  // answers /metrics
    exposer.RegisterCollectable(registry);
    sagaz::prometheus::Telemetry telemetry{*registry};

    PGconn* connection = PQconnectdb(argv[1]);
    const sagaz::Inbox inbox{{.consumer_name = "billing"}, &telemetry};
    sagaz::kafka::Consumer consumer{
        {.bootstrap_servers = argv[2], .group = "billing", .topics = {"orders"}}};
    consumer.run({}, [&](const sagaz::Message& message) {
        if (PQstatus(connection) != CONNECTION_OK) PQreset(connection);
        return inbox.process(connection, message, [](PGconn*, const sagaz::Message&) {});
    });
}
