#include "app/event_line.hpp"

#include "app/errors.hpp"

#include <gtest/gtest.h>

namespace sagaz::app {
namespace {

std::string refusal_of(const std::string& line) {
    try {
        parse_event_line(line);
    } catch (const Error& error) {
        return std::string{error.code()} + ": " + error.what();
    }
    return "";
}

std::string payload_of(const std::string& json) {
    return parse_event_line(R"({"event_type":"T","payload":)" + json + "}").payload;
}

TEST(EventLine, TakesEveryField) {
    const auto event = parse_event_line(
        R"({"topic":"t","key":"k","event_type":"E","payload_text":"p","content_type":"text/plain",
            "headers":{"a":"1","n":2},"event_id":"0190a000-0000-7000-8000-0000000000ff",
            "aggregate_type":"order","aggregate_id":"42","saga_id":"s"})");
    EXPECT_EQ(event.topic, "t");
    EXPECT_EQ(event.key, "k");
    EXPECT_EQ(event.event_type, "E");
    EXPECT_EQ(event.payload, "p");
    EXPECT_EQ(event.content_type, "text/plain");
    EXPECT_EQ(event.headers, (std::vector<Header>{{"a", "1"}, {"n", "2"}}));
    EXPECT_EQ(event.id.text(), "0190a000-0000-7000-8000-0000000000ff");
    EXPECT_EQ(event.aggregate_type, "order");
    EXPECT_EQ(event.aggregate_id, "42");
    EXPECT_EQ(event.saga_id, "s");
}

TEST(EventLine, KeepsAnEmptyKeyApartFromNone) {
    EXPECT_EQ(parse_event_line(R"({"event_type":"T","payload":1,"key":""})").key, "");
    EXPECT_EQ(parse_event_line(R"({"event_type":"T","payload":1,"key":null})").key, std::nullopt);
    EXPECT_EQ(parse_event_line(R"({"event_type":"T","payload":1})").key, std::nullopt);
}

TEST(EventLine, RepeatsHeaderNamesThatAreGivenAsAList) {
    const auto event =
        parse_event_line(R"({"event_type":"T","payload":1,"headers":[["a","1"],["a","2"]]})");
    EXPECT_EQ(event.headers, (std::vector<Header>{{"a", "1"}, {"a", "2"}}));
}

TEST(EventLine, WritesAPayloadAsItCame) {
    EXPECT_EQ(payload_of(R"({ "b" : 12345678901234567890123, "a" : [ 1.10, -0.0, 1e300 ] })"),
              R"({"b":12345678901234567890123,"a":[1.10,-0.0,1e300]})");
    EXPECT_EQ(payload_of("[ true , null, {} , [] ]"), "[true,null,{},[]]");
    EXPECT_EQ(payload_of(R"([[],[[]],{"a":{"b":{}}}])"), R"([[],[[]],{"a":{"b":{}}}])");
    EXPECT_EQ(payload_of(R"("text \"x\" \u00e9")"), "\"text \\\"x\\\" \u00e9\"");
    EXPECT_EQ(payload_of("null"), "null");
    EXPECT_EQ(payload_of("18446744073709551615"), "18446744073709551615");
    EXPECT_EQ(payload_of(R"({"topic":"inside","payload":1})"), R"({"topic":"inside","payload":1})");
}

TEST(EventLine, DecodesBase64Strictly) {
    EXPECT_EQ(decode_base64(""), "");
    EXPECT_EQ(decode_base64("Zg=="), "f");
    EXPECT_EQ(decode_base64("Zm8="), "fo");
    EXPECT_EQ(decode_base64("Zm9v"), "foo");
    EXPECT_EQ(decode_base64("+/+/"), "\xfb\xff\xbf");
    for (const auto* const wrong :
         {"Z", "Zg=", "Zg", "====", "Z===", "Zm9v\n", "Zm=v", "Zm9-", "=Zm9"}) {
        EXPECT_EQ(decode_base64(wrong), std::nullopt) << wrong;
    }
}

TEST(EventLine, RefusesWhatIsNotOneEvent) {
    for (const auto* const line : {"",
                                   "nonsense",
                                   "[]",
                                   "1",
                                   "null",
                                   "{",
                                   R"({"event_type":"T","payload":1} x)",
                                   R"({"event_type":"T"})",
                                   R"({"payload":1})",
                                   R"({"event_type":"T","payload":1,"payload_text":"x"})",
                                   R"({"event_type":"T","event_type":"U","payload":1})",
                                   R"({"event_type":1,"payload":1})",
                                   R"({"event_type":"T","payload_text":null})",
                                   R"({"event_type":"T","payload":1,"key":{}})",
                                   R"({"event_type":"T","payload":1,"headers":"x"})",
                                   R"({"event_type":"T","payload":1,"headers":["x"]})",
                                   R"({"event_type":"T","payload":1,"headers":[["x"]]})",
                                   R"({"event_type":"T","payload":1,"headers":{"a":{}}})",
                                   R"({"event_type":"T","payload":1,"headers":[["a",{}]]})",
                                   R"({"event_type":"T","payload":1,"event_id":"x"})",
                                   R"({"event_type":"T","payload_base64":"!"})",
                                   R"({"event_type":"T","payload":1e400})",
                                   R"({"event_type":"","payload":1})",
                                   "{\"event_type\":\"\xff\",\"payload\":1}"}) {
        EXPECT_TRUE(refusal_of(line).starts_with("append_line: "))
            << line << " gave " << refusal_of(line);
    }
    EXPECT_TRUE(refusal_of(R"({"event_type":"T","payload":)" + std::string(500, '['))
                    .starts_with("append_line: more than"));
}

TEST(EventLine, NeverQuotesThePayloadInItsRefusal) {
    const auto refusal = refusal_of(R"({"event_type":"T","payload":"hush hush" oops})");
    EXPECT_TRUE(refusal.starts_with("append_line: not JSON at byte ")) << refusal;
    EXPECT_EQ(refusal.find("hush"), std::string::npos) << refusal;
}

}  // namespace
}  // namespace sagaz::app
