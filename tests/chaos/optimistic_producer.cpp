// A service that publishes right after its commits, to be killed: tests/chaos/optimistic.sh.
//
//   optimistic_producer STORE SERVERS PHASE EVENTS RATE KEYS HOT LEDGER SEED
//
// Each of its threads has a connection of its own: it takes an account's row lock, counts the
// account's events up, appends the event with that number, writes it to the truth, and commits.
// RATE is in events a second of the whole process, 0 as fast as it can. Half of the events are of
// the first HOT keys, when HOT is not 0. Of a hundred transactions three are rolled back and their
// tickets handed over all the same, and one ticket is dropped.
//
// A line of LEDGER is "event_id phase outcome appended_us answered_us", appended by one write, so
// that a kill leaves all of it or nothing. Times are of CLOCK_REALTIME.
//
// Until the first event was sent, or for five seconds, there is one thread, and the phase is
// PHASE_start: a client that has no connection yet is no calm.
#include "tests/support/line_file.hpp"

#include <sagaz/kafka.hpp>
#include <sagaz/optimistic_publisher.hpp>
#include <sagaz/outbox.hpp>
#include <sagaz/postgres.hpp>

#include <fcntl.h>
#include <libpq-fe.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kThreads = 4;
constexpr auto kOutageMax = 60s;  ///< Of the database, before a thread gives up.
constexpr auto kStartMax = 5s;

std::int64_t now_us() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

class Ledger {
public:
    explicit Ledger(const std::string& path) : file_(path) {}

    /// Ends the process when it cannot: what is told of it would be wrong.
    void add(const std::string& id, const std::string& phase, std::string_view outcome,
             std::int64_t appended) const {
        try {
            file_.add(id + " " + phase + " " + std::string{outcome} + " " +
                      std::to_string(appended) + " " + std::to_string(now_us()));
        } catch (const std::exception& error) {
            std::fprintf(stderr, "the ledger: %s\n", error.what());
            std::_Exit(2);
        }
    }

private:
    sagaz::test::LineFile file_;
};

std::string_view word_of(sagaz::Published published) {
    return published ? "published" : sagaz::word_of(published.reason);
}

class Connection {
public:
    explicit Connection(const std::string& store) : connection_(PQconnectdb(store.c_str())) {
        if (PQstatus(connection_) == CONNECTION_OK) return;
        const std::string why = PQerrorMessage(connection_);
        PQfinish(connection_);
        throw std::runtime_error(why);
    }
    ~Connection() { PQfinish(connection_); }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    PGconn*& native() { return connection_; }

    void command(const char* sql) {
        PGresult* result = PQexec(connection_, sql);
        const bool is_good = PQresultStatus(result) == PGRES_COMMAND_OK &&
                             std::string_view{PQcmdStatus(result)} == sql;
        PQclear(result);
        if (!is_good) throw std::runtime_error(PQerrorMessage(connection_));
    }
    std::string value(const char* sql, const std::vector<std::string>& values) {
        sagaz::Statement statement{sql, {}};
        for (const auto& one : values) statement.parameters.push_back({one});
        const auto rows = sagaz::postgres::LibpqTransaction{connection_}.execute(statement);
        return rows.empty() ? std::string{} : rows.front().front().value_or("");
    }

private:
    PGconn* connection_;
};

struct Settings {
    std::string store, phase;
    int events, rate, keys, hot;
    std::uint64_t seed;
};

class Worker {
public:
    Worker(const Settings& settings, sagaz::OptimisticPublisher& publisher, const Ledger& ledger,
           std::uint64_t seed)
        : settings_(settings),
          publisher_(publisher),
          outbox_(publisher),
          ledger_(ledger),
          random_(seed),
          connection_(settings.store) {}

    /// True when the event is known to be sent.
    bool once() {
        const int kind = static_cast<int>(random_() % 100);
        const std::string account = std::to_string(pick());
        connection_.command("BEGIN");
        const std::string number = connection_.value(
            "UPDATE account SET event_count = event_count + 1 WHERE id = $1::integer "
            "RETURNING event_count",
            {account});
        const std::string body = R"({"account": )" + account + R"(, "number": )" + number +
                                 R"(, "phase": ")" + settings_.phase + R"("})";
        const std::int64_t appended = now_us();
        sagaz::Ticket ticket = outbox_.append(
            connection_.native(),
            {.topic = "orders", .key = account, .event_type = "OrderPlaced", .payload = body});
        const std::string id = ticket.ids().front().text();
        connection_.value(
            "INSERT INTO truth (event_id, key, order_number, topic, event_type, "
            "payload_md5) VALUES ($1::uuid, $2, $3::bigint, 'orders', 'OrderPlaced', "
            "md5($4))",
            {id, account, number, body});
        if (kind < 3) {
            connection_.command("ROLLBACK");
            if (publisher_.publish_after_commit(std::move(ticket))) {
                std::fprintf(stderr, "published what was rolled back: %s\n", id.c_str());
                std::_Exit(3);
            }
            return false;
        }
        connection_.command("COMMIT");
        if (kind == 3) {
            ledger_.add(id, settings_.phase, "dropped", appended);
        } else if (kind % 2 == 0) {
            const auto published = publisher_.publish_after_commit(std::move(ticket));
            ledger_.add(id, settings_.phase, word_of(published), appended);
            return bool{published};
        } else {
            // It may be called when this worker is gone.
            publisher_.submit(std::move(ticket), [&ledger = ledger_, &phase = settings_.phase, id,
                                                  appended](sagaz::Published published) {
                ledger.add(id, phase, word_of(published), appended);
            });
        }
        return false;
    }

private:
    int pick() {
        const bool is_hot = settings_.hot > 0 && random_() % 2 == 0;
        const int among = is_hot ? settings_.hot : settings_.keys;
        return 1 + static_cast<int>(random_() % static_cast<std::uint64_t>(among));
    }

    const Settings& settings_;
    sagaz::OptimisticPublisher& publisher_;
    sagaz::Outbox outbox_;
    const Ledger& ledger_;
    std::mt19937_64 random_;
    Connection connection_;
};

void start(const Settings& settings, sagaz::OptimisticPublisher& publisher, const Ledger& ledger) {
    try {
        Worker worker{settings, publisher, ledger, settings.seed * 1'000'000 + kThreads * 100'000};
        for (const auto end = Clock::now() + kStartMax; Clock::now() < end && !worker.once();) {
            std::this_thread::sleep_for(20ms);
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "start: %s\n", error.what());
    }
}

/// Runs transactions until enough were begun; a lost connection is followed by a new one.
void work(const Settings& settings, sagaz::OptimisticPublisher& publisher, const Ledger& ledger,
          std::uint64_t seed, std::atomic<int>& begun) {
    const auto between =
        std::chrono::microseconds{settings.rate > 0 ? 1'000'000 * kThreads / settings.rate : 0};
    auto next = Clock::now();
    auto good = Clock::now();
    while (begun < settings.events) {
        try {
            Worker worker{settings, publisher, ledger, seed++};
            while (begun.fetch_add(1) < settings.events) {
                std::this_thread::sleep_until(next);
                next = std::max(next + between, Clock::now() - 100ms);
                worker.once();
                good = Clock::now();
            }
        } catch (const std::exception& error) {
            std::fprintf(stderr, "again: %s\n", error.what());
            if (Clock::now() - good > kOutageMax) std::_Exit(4);
            std::this_thread::sleep_for(100ms);
        }
    }
}

int run(const std::vector<std::string>& arguments) {
    const Settings settings{arguments.at(0),
                            arguments.at(2),
                            std::stoi(arguments.at(3)),
                            std::stoi(arguments.at(4)),
                            std::stoi(arguments.at(5)),
                            std::stoi(arguments.at(6)),
                            std::stoull(arguments.at(8))};
    Settings first = settings;
    first.phase += "_start";
    const Ledger ledger{arguments.at(7)};
    sagaz::OptimisticPublisher publisher{
        sagaz::postgres::open_publisher(settings.store),
        sagaz::kafka::open_for_publisher({.bootstrap_servers = arguments.at(1)})};
    start(first, publisher, ledger);
    std::atomic<int> begun{0};
    {
        std::vector<std::jthread> threads;
        for (std::uint64_t n = 0; n < kThreads; ++n) {
            threads.emplace_back([&, n] {
                work(settings, publisher, ledger, settings.seed * 1'000'000 + n * 100'000, begun);
            });
        }
    }
    publisher.stop(5s);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run({argv + 1, argv + argc});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "optimistic_producer: %s\n", error.what());
        return 1;
    }
}
