// The inbox in the shape of the original, against a schema of the usual name.
#include "stores/postgres/migration.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>

#include <gtest/gtest.h>

namespace sagaz {
namespace {

using test::PostgresServer;
using test::Sql;

TEST(ConsumerInbox, WorksInTheShapeOfTheOriginal) {
    auto& server = PostgresServer::shared();
    const auto url = server.url(server.fresh_database());
    postgres::migrate(url, "sagaz", false);
    Sql sql(url);
    PGconn* connection = sql.raw();
    ConsumerInbox inbox{connection, "billing"};
    const auto handle = [&] {
        return inbox.process_idempotent("e1", "orders", "OrderPlaced", R"({"total": 12})",
                                        [](const std::string& payload) { return payload.size(); });
    };
    EXPECT_EQ(handle().value, 13U);
    EXPECT_EQ(handle().settlement, Settlement::duplicate);
    const auto with_transaction = inbox.process_idempotent(
        "e2", "orders", "OrderPlaced", "", [](PGconn* transaction, const Message& m) {
            EXPECT_EQ(PQtransactionStatus(transaction), PQTRANS_INTRANS);
            return m.source_topic;
        });
    EXPECT_EQ(with_transaction.value, "orders");
}

}  // namespace
}  // namespace sagaz
