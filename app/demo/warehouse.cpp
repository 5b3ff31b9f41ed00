#include "app/demo/books.hpp"
#include "app/demo/stage.hpp"
#include "app/url.hpp"
#include "app/verify/sources.hpp"

#include <sagaz/error.hpp>

#include <nlohmann/json.hpp>

#include <unordered_set>

namespace sagaz::inline v0::app::demo {
namespace {

constexpr std::size_t kBatch = 200;

// No constraint keeps a shipment from being there twice: only the inbox does.
std::string shipment_table(bool is_sqlite) {
    return std::string{"CREATE TABLE @warehouse@.shipment (arrival "} +
           (is_sqlite ? "INTEGER PRIMARY KEY AUTOINCREMENT"
                      : "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY") +
           ", order_id bigint NOT NULL, customer text NOT NULL, total bigint NOT NULL)";
}

// Impatient, so that a person sees within seconds what becomes of a message that fails.
InboxOptions inbox_options(const StoreTarget& store) {
    return {.consumer_name = "warehouse",
            .schema = store.schema,
            .max_attempts = 3,
            .retry_initial = Milliseconds{250},
            .retry_max = Milliseconds{1'000}};
}

}  // namespace

struct Warehouse::State {
    Books books;
    Inbox inbox;

    void ship(const Message& message) {
        if (message.event.event_type != "OrderPlaced") return;
        const auto order = nlohmann::json::parse(message.event.payload);
        books.run(
            "INSERT INTO @warehouse@.shipment (order_id, customer, total) VALUES ($1, $2, $3)",
            {std::to_string(order.at("order").get<std::int64_t>()),
             order.at("customer").get<std::string>(),
             std::to_string(order.at("total").get<std::int64_t>())});
    }
};

Warehouse::Warehouse(const StoreTarget& store)
    : state_{new State{Books{store, "warehouse"}, Inbox{inbox_options(store)}}} {}

Warehouse::~Warehouse() = default;

void Warehouse::build() {
    state_->books.make_place();
    if (!state_->books.has_table("shipment")) {
        state_->books.run(shipment_table(state_->books.session().is_sqlite()));
    }
}

Outcome<std::monostate> Warehouse::take(const Message& message) {
    return state_->inbox.process(
        state_->books.session(), message,
        [this](StoreSession&, const Message& received) { state_->ship(received); });
}

std::vector<Outcome<std::monostate>> Warehouse::take(std::span<const Message> messages) {
    return state_->inbox.process_batch(
        state_->books.session(), messages,
        [this](StoreSession&, const Message& received) { state_->ship(received); });
}

namespace {

void hand_over(Warehouse& warehouse, std::vector<Message>& batch, Deliveries& deliveries) {
    for (const auto& outcome : warehouse.take(batch)) {
        ++deliveries.handed_over;
        if (outcome.settlement == Settlement::duplicate) {
            ++deliveries.duplicates;
        } else if (outcome.settlement != Settlement::processed) {
            throw Error{ErrorKind::fatal, "demo_consumer",
                        "the consumer could not handle a message: " + outcome.reason,
                        "please report this"};
        }
    }
    batch.clear();
}

}  // namespace

Deliveries deliver_twice(const Stage& stage, const Progress& progress) {
    for (const auto* const ending : {"", "-wal", "-shm"}) {
        std::filesystem::remove(sqlite_path(stage.warehouse.url).value() + ending);
    }
    migrate_schema(stage.warehouse, false);
    Warehouse warehouse{stage.warehouse};
    warehouse.build();
    Deliveries deliveries;
    std::unordered_set<std::string> ids;
    std::vector<Message> batch;
    for (const int pass : {1, 2}) {
        verify::FileReader arrivals{stage.events()};
        while (auto message = arrivals.next()) {
            if (pass == 1) {
                ++deliveries.messages;
                ids.insert(message->id);
            }
            batch.push_back(std::move(*message));
            if (batch.size() == kBatch) {
                hand_over(warehouse, batch, deliveries);
                progress("delivered " + std::to_string(deliveries.handed_over));
            }
        }
        hand_over(warehouse, batch, deliveries);
    }
    deliveries.events = static_cast<std::int64_t>(ids.size());
    return deliveries;
}

}  // namespace sagaz::inline v0::app::demo
