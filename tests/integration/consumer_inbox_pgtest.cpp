// The inbox in the shape of the original, against a schema of the usual name.
#include "stores/postgres/migration.hpp"
#include "tests/support/postgres_server.hpp"

#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>

#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>

namespace sagaz {
namespace {

using test::PostgresServer;
using test::Sql;

class ConsumerInboxTest : public ::testing::Test {
protected:
    ConsumerInboxTest() : url_(server_.url(server_.fresh_database())) {
        postgres::migrate(url_, "sagaz", false);
        sql_.emplace(url_);
        connection_ = sql_->raw();
        inbox_.emplace(connection_, "billing");
    }

    template <class Handler>
    auto handle(const std::string& id, Handler handler) {
        return inbox_->process_idempotent(id, "orders", "OrderPlaced", R"({"total": 12})", handler);
    }

    PostgresServer& server_ = PostgresServer::shared();
    std::string url_;
    std::optional<Sql> sql_;
    PGconn* connection_{};
    std::optional<ConsumerInbox<PGconn*>> inbox_;
};

// The tests of the original by their names, with what it expects.
TEST_F(ConsumerInboxTest, ProcessesANewEventAndReturnsWhatTheHandlerDid) {
    const auto outcome = handle("e1", [](const std::string& payload) { return payload.size(); });
    EXPECT_EQ(outcome.settlement, Settlement::processed);
    EXPECT_EQ(outcome.value, 13U);
    EXPECT_EQ(sql_->value("SELECT consumer_name || source_topic || event_type FROM "
                          "sagaz.consumer_inbox"),
              "billingordersOrderPlaced");
}

TEST_F(ConsumerInboxTest, SkipsADuplicateAndReturnsNothing) {
    int runs = 0;
    const auto count = [&](const std::string&) { return ++runs; };
    EXPECT_EQ(handle("e1", count).value, 1);
    const auto again = handle("e1", count);
    EXPECT_EQ(again.settlement, Settlement::duplicate);
    EXPECT_FALSE(again.value.has_value());
    EXPECT_EQ(runs, 1);
}

TEST_F(ConsumerInboxTest, LeavesNoMarkWhenTheHandlerFailsSoThatItCanBeTriedAgain) {
    const auto failed =
        handle("e1", [](const std::string&) -> int { throw std::runtime_error("no stock"); });
    EXPECT_EQ(failed.settlement, Settlement::retry_later);
    EXPECT_EQ(failed.reason, "no stock");
    EXPECT_EQ(sql_->number("SELECT count(*) FROM sagaz.consumer_inbox"), 0);
    EXPECT_EQ(handle("e1", [](const std::string&) { return 1; }).value, 1);
}

TEST_F(ConsumerInboxTest, CleansUpWhatIsOlderThanTheRetentionAndSaysHowMuch) {
    const auto ignore = [](const std::string&) {};
    handle("old", ignore);
    handle("young", ignore);
    sql_->run(
        "UPDATE sagaz.consumer_inbox SET consumed_at = now() - interval '8 days' WHERE "
        "original_id = 'old'");
    const auto store = postgres::open(url_, {});
    store->attach(Id::generate());
    std::int64_t removed = 0;
    InboxLimits limits{.retention = Milliseconds{7 * 86'400'000}};
    for (int n = 0; n < 20; ++n) {  // some calls make partitions
        const auto kept = store->keep_inbox(limits);
        removed += kept.removed;
        limits.place = kept.place;
    }
    EXPECT_EQ(removed, 1);
    EXPECT_EQ(handle("young", ignore).settlement, Settlement::duplicate);
    EXPECT_EQ(handle("old", ignore).settlement, Settlement::processed);
}

TEST_F(ConsumerInboxTest, GivesTheTransactionToAHandlerThatAsksForIt) {
    const auto with_transaction = inbox_->process_idempotent(
        "e2", "orders", "OrderPlaced", "", [](PGconn* transaction, const Message& m) {
            EXPECT_EQ(PQtransactionStatus(transaction), PQTRANS_INTRANS);
            return m.source_topic;
        });
    EXPECT_EQ(with_transaction.value, "orders");
}

}  // namespace
}  // namespace sagaz
