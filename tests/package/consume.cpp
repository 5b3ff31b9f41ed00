// A user's program: one message that comes twice, through the inbox. consume URL DRIVER, which is
// libpq or libpqxx; prints what became of each.
#include <sagaz/adapters/pqxx.hpp>
#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>

#include <libpq-fe.h>
#include <pqxx/pqxx>

#include <cstdio>
#include <exception>
#include <memory>
#include <string_view>

namespace {

const sagaz::Message kMessage{
    .id = "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa",
    .event = {.topic = "orders", .key = "42", .event_type = "OrderPlaced", .payload = "{}"},
    .source_topic = "orders"};

void tell(sagaz::Settlement settlement) {
    std::puts(settlement == sagaz::Settlement::processed   ? "processed"
              : settlement == sagaz::Settlement::duplicate ? "duplicate"
                                                           : "another");
}

template <class Connection, class Handler>
void twice(Connection& connection, const char* consumer, Handler handler) {
    const sagaz::Inbox inbox{{.consumer_name = consumer}};
    for (int n = 0; n < 2; ++n) tell(inbox.process(connection, kMessage, handler).settlement);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const std::string_view driver = argv[2];
    try {
        if (driver == "libpq") {
            const std::unique_ptr<PGconn, decltype(&PQfinish)> owner{PQconnectdb(argv[1]),
                                                                     &PQfinish};
            PGconn* connection = owner.get();
            twice(connection, argv[2], [](PGconn* tx, const sagaz::Message&) {
                sagaz::postgres::LibpqTransaction{tx}.execute(
                    {.sql = "INSERT INTO effects VALUES ('libpq')"});
            });
        } else {
            pqxx::connection connection{argv[1]};
            twice(connection, argv[2], [](pqxx::work& tx, const sagaz::Message&) {
                tx.exec("INSERT INTO effects VALUES ('libpqxx')");
            });
        }
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
