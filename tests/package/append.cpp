// A user's program: an event in a transaction of its own, by libpq. append URL EVENT_TYPE.
#include <sagaz/outbox.hpp>
#include <sagaz/postgres.hpp>

#include <libpq-fe.h>

#include <cstdio>
#include <exception>
#include <memory>

namespace {

bool run(PGconn* connection, const char* sql) {
    const std::unique_ptr<PGresult, decltype(&PQclear)> result{PQexec(connection, sql), &PQclear};
    return PQresultStatus(result.get()) == PGRES_COMMAND_OK;
}

int append(PGconn* connection, const char* event_type) {
    if (!run(connection, "BEGIN")) return 1;
    const sagaz::Outbox outbox;
    const auto ticket = outbox.append(
        connection, {.topic = "orders", .key = "42", .event_type = event_type, .payload = "{}"});
    if (!run(connection, "COMMIT")) return 1;
    std::puts(ticket.ids().front().text().c_str());
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const std::unique_ptr<PGconn, decltype(&PQfinish)> connection{PQconnectdb(argv[1]), &PQfinish};
    try {
        return append(connection.get(), argv[2]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
