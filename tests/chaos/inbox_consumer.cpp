// A consumer of a feed of JSON lines, to be killed: reads messages from where it acknowledged last,
// moves money for each through the inbox, and acknowledges by writing its place to a file now and
// then, as a broker's client does. Its handler fails for some messages always, for some by chance,
// and kills the process by chance at the points that matter.
//
//   inbox_consumer STORE FEED PLACE SEED FAULT
//
// STORE: a PostgreSQL URL, or sqlite:PATH. Each run of a handler, rolled back or not, is a byte in
// PLACE.runs. FAULT: none, or mark_apart, which commits the mark before the effects: what the
// account must find.
#include <sagaz/inbox.hpp>
#include <sagaz/postgres.hpp>
#include <sagaz/sqlite.hpp>

#include <libpq-fe.h>
#include <nlohmann/json.hpp>
#include <sqlite3.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using sagaz::Message;
using sagaz::Outcome;
using sagaz::Settlement;

constexpr std::size_t kBatchMax = 12;
constexpr int kRoundsBetweenAcknowledgements = 4;
constexpr sagaz::Milliseconds kWaitMax{20};

class Chance {
public:
    explicit Chance(std::uint64_t seed) : random_(seed) {}
    /// True once in `n` times.
    bool once_in(std::uint64_t n) { return random_() % n == 0; }
    std::size_t up_to(std::size_t n) { return 1 + random_() % n; }
    /// A death without any chance to clean up.
    void die_once_in(std::uint64_t n) {
        if (once_in(n)) (void)std::raise(SIGKILL);
    }

private:
    std::mt19937_64 random_;
};

// ------------------------------------------------------------------------ a connection of each
// kind

struct PostgresBank {
    using Native = PGconn*;
    using Unit = sagaz::postgres::LibpqUnitOfWork;
    using InTransaction = sagaz::postgres::LibpqTransaction;
    static constexpr const char* kInteger = "::integer";  // of a value

    static Native open(const std::string& store) {
        for (;;) {
            Native connection = PQconnectdb(store.c_str());
            if (PQstatus(connection) == CONNECTION_OK) return connection;
            PQfinish(connection);
            std::this_thread::sleep_for(sagaz::Milliseconds{100});
        }
    }
    static void close(Native connection) { PQfinish(connection); }
};

struct SqliteBank {
    using Native = sqlite3*;
    using Unit = sagaz::sqlite::SqliteUnitOfWork;
    using InTransaction = sagaz::sqlite::SqliteTransaction;
    static constexpr const char* kInteger = "";

    static Native open(const std::string& store) {
        Native connection = nullptr;
        const auto path = store.substr(store.find(':') + 1);
        if (sqlite3_open_v2(path.c_str(), &connection, SQLITE_OPEN_READWRITE, nullptr) !=
            SQLITE_OK) {
            throw std::runtime_error("cannot open " + path);
        }
        constexpr int kBusyMs = 10'000;
        sqlite3_busy_timeout(connection, kBusyMs);
        return connection;
    }
    static void close(Native connection) { sqlite3_close_v2(connection); }
};

template <class Bank>
class Connection {
public:
    explicit Connection(std::string store)
        : store_(std::move(store)), native_(Bank::open(store_)) {}
    ~Connection() { Bank::close(native_); }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    void renew() {
        Bank::close(native_);
        native_ = Bank::open(store_);
    }
    typename Bank::Native native() const { return native_; }

private:
    std::string store_;
    typename Bank::Native native_;
};

std::vector<Message> read_feed(const std::string& name) {
    std::vector<Message> messages;
    std::ifstream file(name);
    for (std::string line; std::getline(file, line);) {
        const auto json = nlohmann::json::parse(line);
        Message message{.id = json.at("id").get<std::string>(),
                        .event = {.event_type = "MoneyMoved", .payload = json.at("body").dump()},
                        .source_topic = "money"};
        message.event.key = json.at("key").get<std::string>();
        messages.push_back(std::move(message));
    }
    return messages;
}

std::size_t read_place(const std::string& name) {
    std::ifstream file(name);
    std::size_t place = 0;
    file >> place;
    return file ? place : 0;
}

void write_place(const std::string& name, std::size_t place) {
    const std::string next = name + ".next";
    std::ofstream(next) << place << '\n';
    if (std::rename(next.c_str(), name.c_str()) != 0) std::perror("rename");
}

template <class Bank>
class Consumer {
public:
    Consumer(const std::string& store, const std::string& runs, std::uint64_t seed,
             bool marks_apart)
        : chance_(seed),
          marks_apart_(marks_apart),
          runs_(runs, std::ios::app),
          connection_(store) {}

    // Until every message of `messages` is settled.
    void settle(std::vector<Message> messages) {
        while (!messages.empty()) {
            try {
                keep_unsettled(messages, handle(messages));
            } catch (const sagaz::Error& error) {
                if (error.kind() != sagaz::ErrorKind::unavailable &&
                    error.kind() != sagaz::ErrorKind::in_doubt) {
                    throw;
                }
                connection_.renew();
            }
        }
    }

    Chance& chance() { return chance_; }

private:
    using Native = typename Bank::Native;

    static sagaz::InboxOptions options() {
        sagaz::InboxOptions options;
        options.consumer_name = "bank";
        options.max_attempts = 3;
        options.lock_timeout = sagaz::Milliseconds{2'000};
        options.retry_initial = sagaz::Milliseconds{5};
        return options;
    }

    std::vector<Outcome<std::monostate>> handle(const std::vector<Message>& messages) {
        auto connection = connection_.native();
        const auto handler = [&](Native tx, const Message& m) { move_money(tx, m); };
        if (marks_apart_) return handle_with_marks_apart(messages);
        if (messages.size() > 1) return inbox_.process_batch(connection, messages, handler);
        return {inbox_.process(connection, messages[0], handler)};
    }

    // The planted fault: a mark that outlives its effects.
    std::vector<Outcome<std::monostate>> handle_with_marks_apart(
        const std::vector<Message>& messages) {
        auto connection = connection_.native();
        std::vector<Outcome<std::monostate>> outcomes;
        for (const auto& message : messages) {
            typename Bank::Unit unit(connection);
            unit.begin();
            Outcome<std::monostate> outcome{inbox_.mark(unit, message), {}, {}, {}};
            unit.commit();
            if (outcome.settlement == Settlement::processed) {
                try {
                    unit.begin();
                    move_money(connection, message);
                    unit.commit();
                } catch (const std::runtime_error&) {
                    unit.rollback();
                    outcome.settlement = Settlement::retry_later;
                }
            }
            outcomes.push_back(std::move(outcome));
        }
        return outcomes;
    }

    static void keep_unsettled(std::vector<Message>& messages,
                               const std::vector<Outcome<std::monostate>>& outcomes) {
        std::vector<Message> left;
        sagaz::Milliseconds wait{0};
        for (std::size_t n = 0; n < messages.size(); ++n) {
            if (outcomes[n].is_settled()) continue;
            left.push_back(std::move(messages[n]));
            wait = std::max(wait, outcomes[n].retry_in);
        }
        messages = std::move(left);
        if (!messages.empty()) std::this_thread::sleep_for(std::min(wait, kWaitMax));
    }

    void move_money(Native connection, const Message& message) {
        const auto body = nlohmann::json::parse(message.event.payload);
        const auto run = [&](const std::string& sql, const std::vector<std::string>& values) {
            sagaz::Statement statement{sql, {}};
            for (const auto& value : values) statement.parameters.push_back({value, false, false});
            typename Bank::InTransaction(connection).execute(statement);
        };
        const int debit = body.at("debit").get<int>();
        const int credit = body.at("credit").get<int>();
        const std::string amount = std::to_string(body.at("amount").get<int>());
        runs_ << 'x' << std::flush;
        chance_.die_once_in(3'000);
        const std::string integer = Bank::kInteger;
        const std::string of = integer + " WHERE id = $2" + integer;
        run("UPDATE account SET balance = balance - $1" + of, {amount, std::to_string(debit)});
        run("UPDATE account SET balance = balance + $1" + of, {amount, std::to_string(credit)});
        run("INSERT INTO effect (event_id, debit, credit, amount) VALUES ($1, $2" + integer +
                ", $3" + integer + ", $4" + integer + ")",
            {message.id, std::to_string(debit), std::to_string(credit), amount});
        if (body.at("poison").get<bool>()) throw std::runtime_error("a message that always fails");
        if (chance_.once_in(40)) throw std::runtime_error("bad luck");
        if (chance_.once_in(400)) run("INSERT INTO effect (event_id) VALUES (NULL)", {});
        chance_.die_once_in(3'000);
    }

    Chance chance_;
    bool marks_apart_;
    std::ofstream runs_;
    sagaz::Inbox inbox_{options()};
    Connection<Bank> connection_;
};

template <class Bank>
void consume(const std::vector<Message>& feed, const std::string& place_file,
             Consumer<Bank>& consumer) {
    int rounds = 0;
    std::size_t place = read_place(place_file);
    while (place < feed.size()) {
        const bool is_single = consumer.chance().once_in(3);
        const std::size_t wanted = is_single ? 1 : consumer.chance().up_to(kBatchMax);
        const std::size_t end = std::min(feed.size(), place + wanted);
        consumer.settle({feed.begin() + static_cast<std::ptrdiff_t>(place),
                         feed.begin() + static_cast<std::ptrdiff_t>(end)});
        place = end;
        consumer.chance().die_once_in(300);  // committed, and not yet acknowledged
        if (++rounds % kRoundsBetweenAcknowledgements == 0) write_place(place_file, place);
    }
    write_place(place_file, place);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fputs("usage: inbox_consumer STORE FEED PLACE SEED none|mark_apart\n", stderr);
        return 2;
    }
    try {
        const std::string store = argv[1];
        const std::string place = argv[3];
        const auto start = [&]<class Bank>(Bank) {
            Consumer<Bank> consumer(store, place + ".runs", std::stoull(argv[4]),
                                    std::string(argv[5]) == "mark_apart");
            consume(read_feed(argv[2]), place, consumer);
        };
        if (store.starts_with("sqlite:")) {
            start(SqliteBank{});
        } else {
            start(PostgresBank{});
        }
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "inbox_consumer: %s\n", error.what());
        return 1;
    }
}
