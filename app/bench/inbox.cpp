// What the inbox costs a consumer: its handler's transaction alone, the same with a mark, and many
// messages in one transaction. One consumer with one connection, as most are. Each round takes new
// messages through every way, in turns of a hundred, so that what disturbs one disturbs all; and in
// another order each turn, since a way is faster or slower by a fifth after what kept both
// processes awake (one statement a commit) or let one sleep (a batch).
#include "app/bench/bare.hpp"
#include "app/bench/bench.hpp"
#include "app/bench/runs.hpp"

#include <sagaz/error.hpp>
#include <sagaz/id.hpp>
#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>

#include <algorithm>
#include <map>
#include <random>
#include <span>
#include <vector>

namespace sagaz::inline v0::app::bench {
namespace {

constexpr std::size_t kTurn = 100;
constexpr std::size_t kBatch = 100;

using Messages = std::span<const Message>;

class Consumer {
public:
    explicit Consumer(const Stage& stage)
        : connection_{stage.log.store().url},
          inbox_{{.consumer_name = "bench", .schema = stage.log.store().schema}},
          effect_{stage.log.named("INSERT INTO @schema@.payment (order_id, body) VALUES ($1, $2)")},
          bare_mark_{stage.log.named("INSERT INTO @schema@.bare_mark (id, hash) VALUES ($1::uuid, "
                                     "sha256(convert_to($2, 'UTF8'))) ON CONFLICT DO NOTHING")} {}

    void without(Messages messages) {
        auto* connection = connection_.native();
        postgres::LibpqUnitOfWork unit{connection};
        for (const auto& message : messages) {
            unit.begin();
            handle(connection, message);
            unit.commit();
        }
    }
    /// The least that any inbox can take which has a statement of its own.
    void with_bare_mark(Messages messages) {
        auto* connection = connection_.native();
        postgres::LibpqUnitOfWork unit{connection};
        for (const auto& message : messages) {
            unit.begin();
            unit.execute({.sql = bare_mark_,
                          .parameters = {{.bytes = message.id}, {.bytes = message.event.payload}}});
            handle(connection, message);
            unit.commit();
        }
    }
    void autocommitted(Messages messages) {
        for (const auto& message : messages) {
            connection_.read(effect_, {{*message.event.key}, {message.event.payload}});
        }
    }
    void one_by_one(Messages messages) {
        auto* connection = connection_.native();
        for (const auto& message : messages) {
            expect(inbox_.process(connection, message, handler()).settlement);
        }
    }
    void batched(Messages messages) {
        auto* connection = connection_.native();
        for (; !messages.empty(); messages = messages.subspan(std::min(kBatch, messages.size()))) {
            const auto batch = messages.first(std::min(kBatch, messages.size()));
            for (const auto& outcome : inbox_.process_batch(connection, batch, handler())) {
                expect(outcome.settlement);
            }
        }
    }
    void want(Settlement settlement) { wanted_ = settlement; }

private:
    void handle(PGconn* connection, const Message& message) const {
        postgres::LibpqTransaction{connection}.execute(
            {.sql = effect_,
             .parameters = {{.bytes = *message.event.key}, {.bytes = message.event.payload}}});
    }
    std::function<void(PGconn*, const Message&)> handler() const {
        return [this](PGconn* connection, const Message& message) { handle(connection, message); };
    }
    void expect(Settlement settlement) const {
        if (settlement == wanted_) return;
        throw Error{ErrorKind::fatal, "bench_failed", "the inbox said something else than expected",
                    "run it on a schema that nobody else uses"};
    }

    BareConnection connection_;
    Inbox inbox_;
    std::string effect_;
    std::string bare_mark_;
    Settlement wanted_{Settlement::processed};
};

std::vector<Message> fresh(std::size_t count) {
    std::vector<Message> messages(count);
    const auto payload = letters(200);
    for (std::size_t n = 0; n < count; ++n) {
        messages[n].id = Id::generate().text();
        messages[n].source_topic = "orders";
        messages[n].event = {
            .key = std::to_string(n), .event_type = "OrderPlaced", .payload = payload};
    }
    return messages;
}

}  // namespace

Report inbox_cost(const Stage& stage) {
    Report report{"inbox", "what handling a message exactly once costs its consumer"};
    stage.step("inbox: making tables");
    stage.log.fresh();
    stage.log.run(
        "CREATE TABLE @schema@.payment (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY "
        "KEY, order_id text NOT NULL, body text NOT NULL)");
    stage.log.run("CREATE TABLE @schema@.bare_mark (id uuid PRIMARY KEY, hash bytea NOT NULL)");
    // As a relay would have made it a week ago: the default partition costs an insert more.
    stage.log.run(
        "SELECT @schema@.inbox_add_partition('consumer_inbox_today', @schema@.inbox_first_id("
        "now() - interval '1 day'), @schema@.inbox_first_id(now() + interval '1 day'))");
    Consumer consumer{stage};
    std::vector<std::pair<std::string, void (Consumer::*)(Messages)>> ways{
        {"handler alone", &Consumer::without},
        {"handler with a bare mark", &Consumer::with_bare_mark},
        {"one by one", &Consumer::one_by_one},
        {"batched", &Consumer::batched},
        {"handler alone again", &Consumer::without},
        {"handler alone, no BEGIN", &Consumer::autocommitted}};
    std::mt19937 order{1};
    const auto turns =
        std::max<std::int64_t>(1, stage.sizes.inbox_messages / static_cast<std::int64_t>(kTurn));
    for (std::int64_t round = 0; round <= stage.rounds; ++round) {
        stage.step("inbox: round " + std::to_string(round));
        std::map<std::string, double> seconds;
        for (std::int64_t turn = 0; turn < turns; ++turn) {
            std::ranges::shuffle(ways, order);
            for (const auto& [name, way] : ways) {
                const auto messages = fresh(kTurn);
                consumer.want(Settlement::processed);
                const Stopwatch stopwatch;
                (consumer.*way)(messages);
                seconds[name] += stopwatch.cost().seconds;
                if (name != "one by one") continue;
                consumer.want(Settlement::duplicate);
                const Stopwatch again;
                consumer.one_by_one(messages);
                seconds["duplicates, one by one"] += again.cost().seconds;
            }
            if (stage.stop.stop_requested()) throw Interrupted{};
        }
        if (round == 0) continue;  // to warm up
        for (const auto& [name, taken] : seconds) {
            report.add(name, "messages/s", static_cast<double>(turns) * kTurn / taken);
        }
    }
    report.compare("handler alone again to handler alone", "handler alone again", "handler alone");
    report.compare("one by one to handler alone", "one by one", "handler alone",
                   Target::at_least(0.6));
    report.compare("handler with a bare mark to handler alone", "handler with a bare mark",
                   "handler alone");
    report.compare("batched to one by one", "batched", "one by one", Target::at_least(3));
    report.compare("one by one to handler alone, no BEGIN", "one by one",
                   "handler alone, no BEGIN");
    report.note(
        "bare mark: BEGIN, an INSERT of id and SHA-256 into a table with nothing but a primary "
        "key, the handler, COMMIT; what no inbox with a statement of its own can better");
    report.note(
        "handler: one INSERT of 200 bytes into a table with a primary key; alone: BEGIN, "
        "INSERT, COMMIT by the same code; batches of " +
        std::to_string(kBatch) + "; one connection; synchronous_commit = " +
        std::string{PQgetvalue(stage.log.run("SHOW synchronous_commit").get(), 0, 0)});
    return report;
}

}  // namespace sagaz::inline v0::app::bench
