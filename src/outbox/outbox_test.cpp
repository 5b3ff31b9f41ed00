#include "outbox/validation.hpp"

#include <sagaz/error.hpp>
#include <sagaz/outbox.hpp>

#include <gtest/gtest.h>

#include <functional>

namespace sagaz {
namespace {

using namespace std::string_literals;

Event good() { return {.topic = "t", .key = "k", .event_type = "E", .payload = "p"}; }

std::string failure(const Event& event) {
    try {
        (void)Outbox().append_statement(event);
        return "";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid);
        return std::string(error.code()) + ": " + error.what();
    }
}

// A driver that answers as PostgreSQL does, and counts.
class FakeTransaction final : public Transaction {
public:
    Rows execute(const Statement& statement) override {
        ++statements;
        parameters_most = std::max(parameters_most, statement.parameters.size());
        Rows rows;
        const bool is_call = statement.sql.find("append_ticket") != std::string::npos;
        const char* each = is_call ? "append_ticket" : "uuid_v7()";
        for (std::size_t at = 0; (at = statement.sql.find(each, at)) != std::string::npos; ++at) {
            ++position;
            rows.push_back(
                {Id::generate().text(), std::to_string(position), "77", "3", std::nullopt});
        }
        return rows;
    }

    int statements{};
    std::int64_t position{};
    std::size_t parameters_most{};
};

TEST(Outbox, RefusesAnEventOverALimitAndNamesTheField) {
    const std::vector<std::pair<std::string, std::function<void(Event&)>>> cases{
        {"limit_exceeded: topic", [](Event& e) { e.topic = std::string(250, 't'); }},
        {"limit_exceeded: key", [](Event& e) { e.key = std::string(2'001, 'k'); }},
        {"event_type_missing: event_type", [](Event& e) { e.event_type = ""; }},
        {"limit_exceeded: event_type", [](Event& e) { e.event_type = std::string(256, 'e'); }},
        {"limit_exceeded: content_type", [](Event& e) { e.content_type = std::string(256, 'e'); }},
        {"limit_exceeded: payload", [](Event& e) { e.payload.resize(kPayloadMax + 1); }},
        {"limit_exceeded: aggregate_type",
         [](Event& e) { e.aggregate_type = std::string(256, 'a'); }},
        {"limit_exceeded: aggregate_id",
         [](Event& e) { e.aggregate_id = std::string(2'001, 'a'); }},
        {"limit_exceeded: saga_id", [](Event& e) { e.saga_id = std::string(256, 'a'); }},
        {"limit_exceeded: headers", [](Event& e) { e.headers.resize(65, {"a", "b"}); }},
        {"limit_exceeded: headers",
         [](Event& e) { e.headers = {{"a", std::string(32'768, 'b')}}; }},
        {"header_name: headers", [](Event& e) { e.headers = {{"", "b"}}; }},
        {"header_reserved: headers", [](Event& e) { e.headers = {{"ce_id", "b"}}; }},
        {"header_reserved: headers", [](Event& e) { e.headers = {{"Content-Type", "b"}}; }},
        {"header_reserved: headers", [](Event& e) { e.headers = {{"message_id", "b"}}; }},
        {"text_encoding: topic", [](Event& e) { e.topic = "a\0b"s; }},
        {"text_encoding: key", [](Event& e) { e.key = "\xff"; }},
        {"text_encoding: event_type", [](Event& e) { e.event_type = "\xc0\xaf"; }},
        {"text_encoding: content_type", [](Event& e) { e.content_type = "\xed\xa0\x80"; }},
        {"text_encoding: aggregate_type", [](Event& e) { e.aggregate_type = "\xe2\x82"; }},
        {"text_encoding: aggregate_id", [](Event& e) { e.aggregate_id = "\0"s; }},
        {"text_encoding: saga_id", [](Event& e) { e.saga_id = "\xf4\x90\x80\x80"; }},
        {"text_encoding: header name", [](Event& e) { e.headers = {{"\xff", "b"}}; }},
        {"text_encoding: header value", [](Event& e) { e.headers = {{"a", "\0"s}}; }},
    };
    for (const auto& [expected, damage] : cases) {
        Event event = good();
        damage(event);
        EXPECT_TRUE(failure(event).starts_with(expected)) << expected << " / " << failure(event);
    }
}

TEST(Outbox, TakesAnEventAtEveryLimit) {
    Event event = good();
    event.topic = std::string(kTopicMax, 't');
    event.key = std::string(kKeyMax, 'k');
    event.event_type = std::string(kEventTypeMax, 'e');
    event.payload.resize(kPayloadMax);
    event.headers.resize(kHeadersMax, {"a", "b"});
    EXPECT_EQ(failure(event), "");
    event.headers = {{"traceparent", "00-1-2-01"}, {"tracestate", "a=b"}};
    EXPECT_EQ(failure(event), "");
}

TEST(Outbox, PutsNothingOfTheEventIntoTheTextOfTheStatement) {
    Event event = good();
    event.topic = "'; DROP TABLE x; --";
    event.key = "$1";
    event.payload = "secret-payload";
    event.headers = {{"evil", "'); --"}};
    const Statement statement = Outbox().append_statement(event);
    for (const char* part : {"DROP", "secret", "evil", "--"}) {
        EXPECT_EQ(statement.sql.find(part), std::string::npos) << statement.sql;
    }
    EXPECT_EQ(statement.parameters.size(), 11U);
    EXPECT_EQ(statement.parameters[5].bytes.data(), event.payload.data()) << "a view, not a copy";
    EXPECT_TRUE(statement.parameters[5].binary);
    EXPECT_TRUE(statement.parameters[0].null) << "no id: the database makes one";
}

TEST(Outbox, TakesNoHoldWithoutAPublisher) {
    for (const auto dialect : {Dialect::postgres, Dialect::sqlite}) {
        const Statement statement = Outbox().append_statement(good(), dialect);
        EXPECT_EQ(statement.sql.find("held_until"), std::string::npos) << statement.sql;
        EXPECT_EQ(statement.sql.find("hold_ms"), std::string::npos) << statement.sql;
    }
}

TEST(Outbox, MakesATicketOfWhatAStatementReturned) {
    const Event event = good();
    FakeTransaction transaction;
    const Rows returned = transaction.execute(Outbox().append_statement(event));
    const Ticket ticket = Outbox().ticket_of(event, returned);
    ASSERT_EQ(ticket.entries().size(), 1U);
    EXPECT_EQ(ticket.ids()[0].text(), returned[0][0]);
    EXPECT_EQ(ticket.entries()[0].bytes, event.payload.size());
    EXPECT_NE(ticket.entries()[0].order, 0U);
    EXPECT_THROW((void)Outbox().ticket_of(event, {}), Error);
}

TEST(Outbox, TellsEventsOfOneKeyByTheirOrder) {
    FakeTransaction transaction;
    const auto order = [&](Event event) {
        return Outbox().append(transaction, event).entries()[0].order;
    };
    const auto of_good = order(good());
    EXPECT_EQ(order(good()), of_good);
    Event other = good();
    other.key = "other";
    EXPECT_NE(order(other), of_good);
    other = good();
    other.topic = "other";
    EXPECT_NE(order(other), of_good);
    other.key.reset();
    EXPECT_EQ(order(other), 0U) << "no key, no order";
}

TEST(Outbox, RefusesASchemaThatIsNoPlainIdentifier) {
    for (const char* name : {"", "A", "1", "a b", "a;b", "a\"b", "pg_a"}) {
        EXPECT_THROW(Outbox{name}, Error) << name;
    }
    EXPECT_NO_THROW(Outbox{"my_schema2"});
}

TEST(Outbox, AppendsManyEventsInOneStatement) {
    const std::vector<Event> events(Outbox::kEventsMax, good());
    FakeTransaction transaction;
    const Ticket ticket = Outbox().append(transaction, events);
    EXPECT_EQ(transaction.statements, 1);
    ASSERT_EQ(ticket.ids().size(), events.size());
    EXPECT_EQ(ticket.entries()[999].position, 1'000);
    EXPECT_EQ(ticket.entries()[0].transaction, 77U);
    EXPECT_EQ(ticket.entries()[0].slot, 3);
    EXPECT_TRUE(ticket.entries()[0].incarnation.is_zero());
    EXPECT_THROW(Outbox().append(transaction, std::vector<Event>(1'001, good())), Error);
}

TEST(Outbox, StaysWithinTheProtocolWithThousandsOfHeaders) {
    Event event = good();
    for (std::size_t n = 0; n < kHeadersMax; ++n) event.headers.push_back({std::to_string(n), "v"});
    FakeTransaction transaction;
    const std::vector<Event> events(Outbox::kEventsMax, event);
    EXPECT_EQ(Outbox().append(transaction, events).ids().size(), events.size());
    EXPECT_LE(transaction.parameters_most, 65'535U);
    EXPECT_EQ(transaction.statements, 3);
}

TEST(Outbox, SendsNothingWhenOneOfManyEventsIsInvalid) {
    std::vector<Event> events(3, good());
    events[2].event_type = "";
    FakeTransaction transaction;
    EXPECT_THROW(Outbox().append(transaction, events), Error);
    EXPECT_EQ(transaction.statements, 0);
}

TEST(Ticket, MergesAndMovesWhatItStandsFor) {
    FakeTransaction transaction;
    Ticket one = Outbox().append(transaction, good());
    Ticket two = Outbox().append(transaction, good());
    const Id second = two.ids()[0];
    one.merge(std::move(two));
    ASSERT_EQ(one.ids().size(), 2U);
    EXPECT_EQ(one.ids()[1], second);
    const Ticket moved = std::move(one);
    EXPECT_EQ(moved.entries().size(), 2U);
}

}  // namespace
}  // namespace sagaz
