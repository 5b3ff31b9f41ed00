#include "brokers/file/json_line.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>

namespace sagaz::file {

TEST(JsonLine, ReadsLikeThis) {
    const HeaderView headers[] = {{"ce_id", "42"}, {"b", "\xFF"}};
    EXPECT_EQ(encode_line({1, "orders", "k", headers, R"({"total": 12})"}),
              R"({"topic":"orders","key":"k","headers":[["ce_id","42"],["b",{"base64":"/w=="}]],)"
              R"("payload":"{\"total\": 12}"})"
              "\n");
    EXPECT_EQ(encode_line({1, "orders", std::nullopt, {}, "\xC3"}),
              R"({"topic":"orders","headers":[],"payload_base64":"ww=="})"
              "\n");
}

TEST(JsonLine, BeginsAsEachLineOfOursDoes) {
    EXPECT_TRUE(encode_line({1, "t", "k", {}, "x"}).starts_with(kLineBegin));
    EXPECT_TRUE(encode_line({1, "\xFF", std::nullopt, {}, ""}).starts_with(kLineBegin));
}

TEST(JsonLine, ReadsBackWhatItWrote) {
    for (std::size_t length = 0; length < 10; ++length) {
        for (const std::string& part :
             {std::string(length, '\xFE'), std::string(length, '\0'), std::string(length, '\n'),
              std::string("\xE2\x82\xAC\x7F")}) {
            const HeaderView headers[] = {{"n", part}, {part, "v"}};
            const std::string line = encode_line({1, "t", part, headers, part});
            EXPECT_EQ(line.find('\n'), line.size() - 1) << "one line, whatever the bytes";
            const Message message = decode_line(line);
            EXPECT_EQ(message.event.topic, "t");
            EXPECT_EQ(message.event.key, part);
            EXPECT_EQ(message.event.payload, part);
            EXPECT_EQ(message.event.headers, (std::vector<Header>{{"n", part}, {part, "v"}}));
        }
    }
}

TEST(JsonLine, TakesOnlyRealUtf8AsText) {
    for (const char* bad : {"\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\x80",
                            "\xF0\x80\x80\x80", "\xE0\x80\x80"}) {
        EXPECT_NE(encode_line({1, "t", std::nullopt, {}, bad}).find("payload_base64"),
                  std::string::npos);
    }
}

TEST(JsonLine, RefusesWhatItDidNotWrite) {
    for (const char* line :
         {"", "[]", "{}", "{\"payload\":1,\"headers\":[]}", "{\"payload\":\"x\"}",
          R"({"payload_base64":"x","headers":[]})", R"({"payload_base64":"==aa","headers":[]})",
          R"({"payload":"x","headers":[["a"]]})", R"({"payload":"x","headers":[["a",{}]]})",
          R"({"payload":"x","headers":[]})", R"({"topic":"t","key":1,"payload":"x","headers":[]})",
          R"({"topic_base64":1,"payload":"x","headers":[]})", "{\"topic\":\"half"}) {
        EXPECT_THROW(decode_line(line), Error) << line;
    }
}

TEST(JsonLine, ReadsTheBase64OfRfc4648) {
    const auto payload = [](const std::string& base64) {
        return decode_line(R"({"topic":"t","headers":[],"payload_base64":")" + base64 + "\"}")
            .event.payload;
    };
    const std::pair<const char*, const char*> kVectors[] = {{"", ""},
                                                            {"Zg==", "f"},
                                                            {"Zm8=", "fo"},
                                                            {"Zm9v", "foo"},
                                                            {"Zm9vYg==", "foob"},
                                                            {"Zm9vYmE=", "fooba"},
                                                            {"Zm9vYmFy", "foobar"}};
    for (const auto& [text, bytes] : kVectors) EXPECT_EQ(payload(text), bytes);
    for (const char* bad : {"Zg=", "Z", "Zg==Zg==", "Z?==", "===="}) {
        EXPECT_THROW(payload(bad), Error) << bad;
    }
}

}  // namespace sagaz::file
