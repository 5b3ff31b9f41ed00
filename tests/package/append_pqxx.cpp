// A user's program: an event in a transaction of its own, by libpqxx. append_pqxx URL EVENT_TYPE.
#include <sagaz/adapters/pqxx.hpp>
#include <sagaz/outbox.hpp>

#include <pqxx/pqxx>

#include <cstdio>
#include <exception>

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    try {
        pqxx::connection connection{argv[1]};
        pqxx::work tx{connection};
        const sagaz::Outbox outbox;
        const auto ticket = outbox.append(
            tx, {.topic = "orders", .key = "42", .event_type = argv[2], .payload = "{}"});
        tx.commit();
        std::puts(ticket.ids().front().text().c_str());
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
