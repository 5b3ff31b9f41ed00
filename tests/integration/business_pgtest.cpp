// What a business transaction may do, and whatever the database answers meanwhile: rows 11, 12, 17,
// 26, 27 and 29 of the failure catalogue, on the whole path from the insert to the destination.
#include "stores/postgres/migration.hpp"
#include "tests/support/error_code.hpp"
#include "tests/support/postgres_process.hpp"
#include "tests/support/postgres_writer.hpp"

#include <sagaz/broker.hpp>
#include <sagaz/brokers.hpp>
#include <sagaz/error.hpp>
#include <sagaz/inbox.hpp>
#include <sagaz/relay.hpp>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <map>
#include <regex>
#include <thread>

namespace sagaz {
namespace {

using namespace std::string_literals;
using test::code_of;
using test::open_store;
using test::PostgresServer;
using test::Schema;
using test::Sql;
using Words = std::vector<std::string>;

constexpr Milliseconds kDeadline{120'000};

class BusinessTransaction : public ::testing::Test {
protected:
    std::string append(const std::string& payload) const {
        return schema_.sql("SELECT @s@.append('t', 'k', 'E', '" + payload + "'::text);");
    }
    std::vector<Message> drain() {
        memory::Topic topic;
        EXPECT_TRUE(Relay(open_store(schema_), memory::open(topic)).drain(kDeadline));
        return topic.messages();
    }
    Words drained() {
        Words payloads;
        for (const auto& message : drain()) payloads.push_back(message.event.payload);
        return payloads;
    }

    Schema schema_;
    Sql sql_{schema_.client()};
};

TEST_F(BusinessTransaction, F11_LeavesOutWhatASavepointTookBack) {
    sql_.run("BEGIN; " + append("1") + "SAVEPOINT a; " + append("gone") + "SAVEPOINT b; " +
             append("gone too") + "ROLLBACK TO a; " + append("2") + "SAVEPOINT c; " + append("3") +
             "RELEASE c; " + append("4") + "COMMIT");
    EXPECT_EQ(drained(), (Words{"1", "2", "3", "4"}));
}

TEST_F(BusinessTransaction, F11_LeavesOutWhatAnErrorInATriggerTookBack) {
    sql_.run(schema_.sql(R"(
        CREATE TABLE @s@.orders (id int);
        CREATE FUNCTION @s@.announce() RETURNS trigger LANGUAGE plpgsql AS $f$
        BEGIN
            PERFORM @s@.append('t', 'k', 'E', new.id::text);
            IF new.id = 2 THEN RAISE EXCEPTION 'no stock'; END IF;
            RETURN new;
        END $f$;
        CREATE TRIGGER announce BEFORE INSERT ON @s@.orders
        FOR EACH ROW EXECUTE FUNCTION @s@.announce())"));
    const auto order = [&](const std::string& ids) {
        return sql_.failure(schema_.sql("INSERT INTO @s@.orders VALUES " + ids));
    };
    EXPECT_EQ(order("(1)"), "");
    EXPECT_EQ(order("(5), (2)"), "P0001");
    EXPECT_EQ(order("(3)"), "");
    // Caught where it is raised: what came before it in the transaction stays.
    sql_.run(append("4") +
             schema_.sql("DO $$ BEGIN INSERT INTO @s@.orders VALUES (2); "
                         "EXCEPTION WHEN raise_exception THEN NULL; END $$; ") +
             append("5"));
    EXPECT_EQ(drained(), (Words{"1", "3", "4", "5"}));
}

TEST_F(BusinessTransaction, F11_TakesRowsOfACopyInTheirOrder) {
    constexpr int kRows = 5'000;
    PGconn* connection = sql_.raw();
    const auto copy = [&](bool commit) {
        PQclear(PQexec(connection, "BEGIN"));
        PQclear(PQexec(
            connection,
            schema_.sql("COPY @s@.outbox (topic, key, event_type, payload) FROM STDIN").c_str()));
        std::string rows;
        for (int n = 0; n < kRows; ++n) {
            rows += fmt::format("t\tk\tE\t\\\\x{:08x}\n", commit ? n : 0);
        }
        EXPECT_EQ(PQputCopyData(connection, rows.data(), static_cast<int>(rows.size())), 1);
        EXPECT_EQ(PQputCopyEnd(connection, nullptr), 1);
        while (PGresult* result = PQgetResult(connection)) {
            EXPECT_EQ(PQresultStatus(result), PGRES_COMMAND_OK) << PQerrorMessage(connection);
            PQclear(result);
        }
        PQclear(PQexec(connection, commit ? "COMMIT" : "ROLLBACK"));
    };
    copy(false);
    copy(true);
    const auto messages = drain();
    ASSERT_EQ(messages.size(), std::size_t{kRows});
    EXPECT_TRUE(std::ranges::is_sorted(
        messages, {}, [](const Message& message) { return message.event.payload; }));
}

// Counts, and checks that each key's numbers come one after the other.
class Counting final : public Broker {
public:
    Counting(std::size_t& count, std::size_t& disordered)
        : count_(count), disordered_(disordered) {}
    std::size_t publish(std::span<const Envelope> envelopes) override {
        for (const Envelope& envelope : envelopes) {
            std::int64_t number{};
            std::from_chars(envelope.payload.data(),
                            envelope.payload.data() + envelope.payload.size(), number);
            std::int64_t& last = last_[std::string(*envelope.key)];
            if (number != last + 1) ++disordered_;
            last = number;
            ++count_;
            receipts_.push_back({envelope.token, Receipt::State::accepted, "", ""});
        }
        return envelopes.size();
    }
    std::vector<Receipt> poll(Milliseconds) override { return std::exchange(receipts_, {}); }
    std::string down() const override { return {}; }
    void abandon(Milliseconds) override {}

private:
    std::size_t& count_;
    std::size_t& disordered_;
    std::map<std::string, std::int64_t> last_;
    std::vector<Receipt> receipts_;
};

// Of this process, in KiB.
std::int64_t peak_memory() {
    std::smatch found;
    const std::string status = test::read_file("/proc/self/status");
    return std::regex_search(status, found, std::regex{"VmHWM:\\s+(\\d+)"}) ? std::stoll(found[1])
                                                                            : -1;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::int64_t kGrowthMax = 1'000'000;
#else
constexpr std::int64_t kGrowthMax = 60'000;  // a quarter of what the transaction wrote
#endif

TEST_F(BusinessTransaction, F11_OfAMillionEventsIsDeliveredInOrderInBoundedMemory) {
    constexpr std::size_t kEvents = 1'000'000;
    sql_.run(schema_.sql(fmt::format(
        "INSERT INTO @s@.outbox (topic, key, event_type, payload) SELECT 't', (n % 50)::text, 'E', "
        "convert_to(n / 50 + (n % 50 > 0)::int || repeat(' ', 200), 'UTF8') "
        "FROM generate_series(1, {}) n",
        kEvents)));
    std::size_t count = 0;
    std::size_t disordered = 0;
    std::ofstream("/proc/self/clear_refs") << "5";  // the peak from here on
    const auto before = peak_memory();
    EXPECT_TRUE(
        Relay(open_store(schema_), std::make_unique<Counting>(count, disordered)).drain(kDeadline));
    EXPECT_EQ(count, kEvents);
    EXPECT_EQ(disordered, 0U);
    EXPECT_LT(peak_memory() - before, kGrowthMax);
}

TEST_F(BusinessTransaction, F12_CarriesEveryByteOrRefusesTheEventAtTheAppend) {
    const Outbox outbox(schema_.name());
    PGconn* connection = sql_.raw();
    std::string all(256, '\0');
    for (std::size_t n = 0; n < all.size(); ++n) all[n] = static_cast<char>(n);
    const std::vector<Event> good{
        {.topic = "t", .event_type = "E", .payload = all},
        {.topic = "t", .key = "", .event_type = "E", .payload = ""},
        {.topic = "t", .key = "schlüssel\n\"\\", .event_type = "E", .payload = "\0"s},
        {.topic = "t", .key = std::string(kKeyMax, 'k'), .event_type = "E", .payload = "\xff"},
        {.topic = "t", .key = "k", .event_type = "E", .payload = std::string(kPayloadMax, 'p')}};
    sql_.run("BEGIN");
    for (const auto& event : good) outbox.append(connection, event);
    const auto code = [&](const Event& event) {
        return code_of([&] { (void)outbox.append(connection, event); });
    };
    EXPECT_EQ(code({.topic = "t", .key = "a\0b"s, .event_type = "E"}), "text_encoding");
    EXPECT_EQ(code({.topic = "t", .key = "\xc3\x28", .event_type = "E"}), "text_encoding");
    EXPECT_EQ(code({.topic = "\xff", .event_type = "E"}), "text_encoding");
    EXPECT_EQ(code({.topic = "t", .event_type = "E", .headers = {{"h", "\xed\xa0\x80"}}}),
              "text_encoding");
    EXPECT_EQ(code({.topic = "t", .event_type = "E", .payload = std::string(kPayloadMax + 1, 'p')}),
              "limit_exceeded");
    sql_.run("COMMIT");  // nothing of them reached the transaction
    EXPECT_EQ(sql_.failure(schema_.sql("SELECT @s@.append('t', E'\\xc3\\x28', 'E', 'p')")),
              "22021");

    const auto messages = drain();
    ASSERT_EQ(messages.size(), good.size());
    for (const auto& event : good) {
        EXPECT_EQ(std::ranges::count_if(messages,
                                        [&](const Message& message) {
                                            return message.event.key == event.key &&
                                                   message.event.payload == event.payload;
                                        }),
                  1)
            << event.key.value_or("null");
    }
}

// Each once, where the relay stores its cursor, in the midst of its work.
TEST_F(BusinessTransaction, F17_ArrivesThoughEveryErrorThatTimeHealsComesOnce) {
    const Words states{"40001", "40P01", "40002", "55P03", "57014", "57P01", "57P02",
                       "57P03", "57P05", "53300", "53100", "53200", "25006", "08006",
                       "58030", "XX000", "55000", "0A000", "23505"};
    std::string array;
    for (const auto& state : states) array += (array.empty() ? "'" : ", '") + state + "'";
    sql_.run(schema_.sql(R"(
        CREATE SEQUENCE @s@.raised;
        CREATE FUNCTION @s@.inject() RETURNS trigger LANGUAGE plpgsql AS $f$
        DECLARE state text := (ARRAY[)" +
                         array + R"(])[nextval('@s@.raised')];
        BEGIN
            IF state IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = state,
                MESSAGE = state; END IF;
            RETURN NULL;
        END $f$;
        CREATE TRIGGER inject AFTER INSERT ON @s@.cursor
        FOR EACH STATEMENT EXECUTE FUNCTION @s@.inject())"));
    sql_.run(
        schema_.sql("SELECT @s@.append('t', 'k', 'E', n::text) FROM generate_series(1, 100) n"));
    memory::Topic topic;
    RelayOptions options;
    options.retry_initial = Milliseconds{1};
    options.retry_max = Milliseconds{50};
    EXPECT_TRUE(Relay(open_store(schema_), memory::open(topic), options).drain(kDeadline));
    EXPECT_GT(sql_.number(schema_.sql("SELECT last_value FROM @s@.raised")),
              static_cast<std::int64_t>(states.size()))
        << "all were raised";
    int next = 1;
    for (const auto& message : topic.messages()) {
        const int number = std::stoi(message.event.payload);
        EXPECT_LE(number, next) << "a repeat or the next, never one further";
        if (number == next) ++next;
    }
    EXPECT_EQ(next, 101);
    EXPECT_EQ(sql_.number(schema_.sql("SELECT count(*) FROM @s@.parked")), 0);
}

// A server that takes connections and ends them, as one that starts and dies does.
TEST(Outage, F29_IsAskedAboutAFewTimesASecondAtMost) {
    constexpr std::chrono::seconds kWatched{4};
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    ASSERT_EQ(::bind(listener, generic, size), 0);
    ASSERT_EQ(::listen(listener, 64), 0);
    ASSERT_EQ(::getsockname(listener, generic, &size), 0);
    Relay relay(
        postgres::open(fmt::format("postgresql://u@127.0.0.1:{}/d", ntohs(address.sin_port))),
        null::open());
    std::jthread relaying([&](std::stop_token stop) { relay.run(stop); });
    int tries = 0;
    const auto end = std::chrono::steady_clock::now() + kWatched;
    while (std::chrono::steady_clock::now() < end) {
        pollfd waiting{listener, POLLIN, 0};
        (void)::poll(&waiting, 1, 50);
        for (int each = 0; (each = ::accept(listener, nullptr, nullptr)) >= 0; ++tries) {
            ::close(each);
        }
    }
    relaying.request_stop();
    relaying.join();
    ::close(listener);
    EXPECT_GE(tries, 2) << "it does try again";
    EXPECT_LE(tries, 5 * static_cast<int>(kWatched.count()));
}

// --------------------------------------------------------------------- each with its rights alone

// The whole relay, not a store's methods one by one: what a relay learns to do is asked for here.
TEST(RightsOfEach, S06_AreEnoughForProducerRelayConsumerAndReader) {
    const Schema schema(PostgresServer::shared(), true);
    const auto login = [&](const std::string& role) {
        const std::string name = schema.name() + "_only_" + role;
        schema.connect().run(
            fmt::format("CREATE ROLE {} LOGIN IN ROLE {}_{}", name, schema.name(), role));
        return schema.server().url("postgres", name);
    };
    InboxOptions inbox;
    inbox.consumer_name = "c";
    inbox.schema = schema.name();
    inbox.max_attempts = 1;
    Sql producer(login("producer"));
    producer.run(
        schema.sql("SELECT @s@.append('t', n::text, 'E', n::text) "
                   "FROM generate_series(1, 100) n"));
    memory::Topic topic;
    RelayOptions options;
    options.store_interval = Milliseconds{10};
    Relay relay(postgres::open(login("relay"), {.schema = schema.name()}), memory::open(topic),
                options);
    EXPECT_TRUE(relay.drain(kDeadline));
    EXPECT_EQ(topic.size(), 100U);

    Sql consumer(login("consumer"));
    PGconn* connection = consumer.raw();
    for (const auto& message : topic.messages()) {
        const auto outcome =
            Inbox(inbox).process(connection, message, [](PGconn*, const Message& m) {
                if (m.event.payload == "7") throw std::runtime_error("no stock");
            });
        EXPECT_TRUE(outcome.is_settled());
    }
    EXPECT_EQ(
        Sql(login("reader"))
            .value(schema.sql(
                "SELECT concat_ws(' ', pending_events, (SELECT count(event_id) FROM "
                "@s@.consumer_inbox), (SELECT count(reason) FROM @s@.parked)) FROM @s@.backlog")),
        "0 99 1");
}

// ----------------------------------------------------------- what our statements are, by the log

class ServersLog : public ::testing::Test {
protected:
    // All that the product does to a database once.
    void work() {
        postgres::migrate(url_, "sagaz", true);
        postgres::set_setting(url_, "sagaz", "source", "/here");
        Sql sql(url_);
        PGconn* connection = sql.raw();
        sql.run("BEGIN");
        for (const char* payload : {"1", "2", "3"}) {
            Outbox().append(connection,
                            {.topic = "t", .key = "k", .event_type = "E", .payload = payload});
        }
        sql.run("COMMIT");
        memory::Topic topic;
        EXPECT_TRUE(Relay(postgres::open(url_), memory::open(topic)).drain(kDeadline));
        EXPECT_EQ(topic.size(), 3U);
        const Inbox inbox({.consumer_name = "billing", .max_attempts = 1});
        for (const char* id : {"e1", "e2"}) {
            inbox.process(connection, {.id = id, .event = {.event_type = "E"}},
                          [](PGconn*, const Message& m) {
                              if (m.id == "e2") throw std::runtime_error("no stock");
                          });
        }
        const std::vector<Message> batch{{.id = "e3", .event = {.event_type = "E"}},
                                         {.id = "e4", .event = {.event_type = "E"}}};
        inbox.process_batch(connection, batch, [](PGconn*, const Message&) {});
        EXPECT_EQ(sql.number("SELECT count(*) FROM pg_cursors"), 0);
    }
    std::string log() const { return test::read_file(server_.data().parent_path() / "server.log"); }

    PostgresServer server_{{.config = {"log_statement = all"}, .bin = ""}};
    std::string url_ = server_.direct_url("the server's log is to show our statements alone");
};

std::string found_in(const std::string& text, const char* pattern) {
    std::smatch found;
    return std::regex_search(text, found, std::regex(pattern, std::regex::icase)) ? found.str()
                                                                                  : "";
}

TEST_F(ServersLog, F26_ShowsNoStatementThatLeavesAnythingInASession) {
    work();
    const std::string seen = log();
    ASSERT_NE(seen.find("execute <unnamed>"), std::string::npos) << "statements are logged";
    // SET LOCAL and set_config(..., true) end with the transaction; a cursor without HOLD too, and
    // the one of a batch's marks, which no COMMIT can keep.
    for (const char* pattern : {"LOG: *execute [^<][^\n]*",
                                "statement: *(SET (?!LOCAL|TRANSACTION)|PREPARE|DISCARD)[^\n]*",
                                "\\b(LISTEN|UNLISTEN) [^\n]*", "pg_(try_)?advisory_lock[^\n]*",
                                "WITH HOLD(?! FOR ')[^\n]*", "CREATE (TEMP|TEMPORARY) [^\n]*",
                                "set_config\\([^)]*false\\)[^\n]*"}) {
        EXPECT_EQ(found_in(seen, pattern), "");
    }
}

TEST_F(ServersLog, F27_ShowsNoNotifyNorDoesAFunctionOfOurs) {
    work();
    EXPECT_EQ(found_in(log(), "\\b(NOTIFY|LISTEN|pg_notify)\\b[^\n]*"), "")
        << "it takes a lock of the whole database at the commit";
    EXPECT_EQ(server_.connect().rows(
                  "SELECT proname FROM pg_proc WHERE pronamespace = 'sagaz'::regnamespace AND "
                  "pg_get_functiondef(oid) ~* '\\m(notify|listen|pg_notify)\\M'"),
              std::vector<Sql::Row>{});
}

}  // namespace
}  // namespace sagaz
