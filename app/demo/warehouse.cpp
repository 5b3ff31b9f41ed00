#include "app/demo/stage.hpp"
#include "app/errors.hpp"
#include "app/verify/sources.hpp"
#include "stores/sqlite/migration.hpp"

#include <sagaz/inbox.hpp>
#include <sagaz/sqlite.hpp>

#include <nlohmann/json.hpp>

#include <unordered_set>

namespace sagaz::inline v0::app::demo {
namespace {

constexpr std::size_t kBatch = 200;

// No constraint keeps a shipment from being there twice: only the inbox does.
constexpr auto kTables = R"(
CREATE TABLE shipment (arrival INTEGER PRIMARY KEY AUTOINCREMENT, "order" INTEGER NOT NULL,
                       customer TEXT NOT NULL, total INTEGER NOT NULL) STRICT;
)";

void ship(sqlite3* warehouse, const Message& message) {
    const auto order = nlohmann::json::parse(message.event.payload);
    sqlite::Query{warehouse,
                  R"(INSERT INTO shipment ("order", customer, total) VALUES (?1, ?2, ?3))"}
        .number(order.at("order").get<std::int64_t>())
        .text(order.at("customer").get_ref<const std::string&>())
        .number(order.at("total").get<std::int64_t>())
        .run();
}

class Consumer {
public:
    Consumer(const Stage& stage, Deliveries& deliveries)
        : database_{stage.warehouse(), sqlite::Access::open, kBusy}, deliveries_{deliveries} {
        database_.run_script(kTables);
    }

    void take(Message message) {
        batch_.push_back(std::move(message));
        if (batch_.size() == kBatch) {
            finish();
        }
    }

    void finish() {
        sqlite3* connection = database_.raw();
        const auto outcomes = inbox_.process_batch(
            connection, batch_,
            [](sqlite3* warehouse, const Message& message) { ship(warehouse, message); });
        for (const auto& outcome : outcomes) {
            ++deliveries_.handed_over;
            if (outcome.settlement == Settlement::processed) {
                ++deliveries_.processed;
            } else if (outcome.settlement == Settlement::duplicate) {
                ++deliveries_.duplicates;
            } else {
                throw Error{ErrorKind::fatal, "demo_consumer",
                            "the consumer could not handle a message: " + outcome.reason,
                            "please report this"};
            }
        }
        batch_.clear();
    }

private:
    sqlite::Database database_;
    Deliveries& deliveries_;
    Inbox inbox_{InboxOptions{.consumer_name = "warehouse"}};
    std::vector<Message> batch_;
};

}  // namespace

Deliveries deliver_twice(const Stage& stage, const Progress& progress) {
    for (const auto* const ending : {"", "-wal", "-shm"}) {
        std::filesystem::remove(stage.warehouse() + ending);
    }
    sqlite::migrate(stage.warehouse(), "sagaz");
    Deliveries deliveries;
    std::unordered_set<std::string> ids;
    Consumer consumer{stage, deliveries};
    for (const int pass : {1, 2}) {
        verify::read_messages(
            stage.events(),
            [&](Message message) {
                if (pass == 1) {
                    ++deliveries.messages;
                    ids.insert(message.id);
                }
                consumer.take(std::move(message));
            },
            [&] { progress("delivered " + std::to_string(deliveries.handed_over)); });
        consumer.finish();
    }
    deliveries.events = static_cast<std::int64_t>(ids.size());
    return deliveries;
}

}  // namespace sagaz::inline v0::app::demo
