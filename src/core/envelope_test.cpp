#include "core/envelope.hpp"

#include <gtest/gtest.h>

#include <chrono>

namespace sagaz::core {
namespace {

Settings settings() {
    Settings settings;
    settings.source = "/sagaz/shop";
    return settings;
}

Row row() {
    Row row{};
    row.position = 7;
    row.event_id = Id::parse("0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa");
    row.created_at = std::chrono::sys_days{std::chrono::year{2026} / 11 / 24} +
                     std::chrono::hours{15} + std::chrono::minutes{4} + std::chrono::seconds{5} +
                     std::chrono::microseconds{6'007};
    row.topic = "orders";
    row.key = "42";
    row.event_type = "OrderPlaced";
    row.content_type = "application/json";
    row.payload = std::string_view{"{\"total\":\0 12}", 14};
    row.aggregate_id = "order-42";
    return row;
}

/// The whole message as one text, so that a test compares every byte.
std::string bytes_of(const Envelope& envelope) {
    std::string text = "topic=" + std::string(envelope.topic) + "\n";
    text += envelope.key ? "key=" + std::string(*envelope.key) + "\n" : "no key\n";
    for (const HeaderView& header : envelope.headers) {
        text += std::string(header.name) + ": " + std::string(header.value) + "\n";
    }
    return text + "\n" + std::string(envelope.payload);
}

}  // namespace

TEST(EnvelopeEncoder, WritesTheGoldenBytes) {
    EnvelopeEncoder encoder{settings()};
    Row full = row();
    full.headers = R"({"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                       "tenant": "blue", "attempt": 3, "flags": {"a": [1, true]}})";
    const std::string expected =
        "topic=orders\n"
        "key=42\n"
        "ce_specversion: 1.0\n"
        "ce_id: 0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa\n"
        "ce_source: /sagaz/shop\n"
        "ce_type: OrderPlaced\n"
        "ce_time: 2026-11-24T15:04:05.006007Z\n"
        "ce_subject: order-42\n"
        "content-type: application/json\n"
        "message_id: 0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa\n"
        "attempt: 3\n"
        "flags: {\"a\":[1,true]}\n"
        "tenant: blue\n"
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n"
        "\n" +
        std::string("{\"total\":\0 12}", 14);
    EXPECT_EQ(bytes_of(encoder.encode(full, 9)), expected);
    encoder.clear();
    EXPECT_EQ(bytes_of(encoder.encode(full, 10)), expected) << "a repeat has the same bytes";
}

TEST(EnvelopeEncoder, KeepsRepeatedNamesInTheirOrder) {
    EnvelopeEncoder encoder{settings()};
    Row repeated = row();
    repeated.headers = R"([["b", "1"], ["a", "2"], ["b", "3"], [7, "no name"]])";
    const Envelope envelope = encoder.encode(repeated, 1);
    const auto headers = envelope.headers.last(3);
    EXPECT_EQ(headers[0].name, "b");
    EXPECT_EQ(headers[1].name, "a");
    EXPECT_EQ(headers[2].value, "3");
    EXPECT_EQ(encoder.headers_dropped(), 1U);
}

TEST(EnvelopeEncoder, NeverLetsAUserOverrideItsOwnHeaders) {
    EnvelopeEncoder encoder{settings()};
    Row forged = row();
    forged.headers = R"({"ce_id": "x", "CE_Type": "x", "Content-Type": "x", "message_id": "x"})";
    EXPECT_EQ(encoder.encode(forged, 1).headers.size(), 8U);
    EXPECT_EQ(encoder.headers_dropped(), 4U);
}

TEST(EnvelopeEncoder, TellsAnEmptyKeyFromNone) {
    EnvelopeEncoder encoder{settings()};
    Row bare = row();
    bare.key = "";
    EXPECT_EQ(encoder.encode(bare, 1).key, std::string_view{});
    bare.key.reset();
    EXPECT_FALSE(encoder.encode(bare, 2).key.has_value());
}

TEST(EnvelopeEncoder, KeepsTheViewsOfAWholeBatch) {
    EnvelopeEncoder encoder{settings()};
    Row untitled = row();
    untitled.topic = {};
    untitled.headers = R"({"tenant": "blue"})";
    std::vector<Envelope> envelopes;
    for (std::uint64_t n = 0; n < 500; ++n) envelopes.push_back(encoder.encode(untitled, n));
    for (const Envelope& envelope : envelopes) {
        EXPECT_EQ(envelope.topic, "events.orderplaced");
        EXPECT_EQ(envelope.headers.back().value, "blue");
        EXPECT_EQ(envelope.headers[1].value, "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa");
    }
}

TEST(TopicOf, FollowsTheTemplateAsTheOriginalDoes) {
    EXPECT_EQ(topic_of("events.{event_type}", "OrderPlaced"), "events.orderplaced");
    EXPECT_EQ(topic_of("events.{event_type}", "order_placed"), "events.order.placed");
    EXPECT_EQ(topic_of("all", "OrderPlaced"), "all");
}

}  // namespace sagaz::core
