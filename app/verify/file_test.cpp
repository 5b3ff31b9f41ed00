#include "app/verify/sources.hpp"

#include <sagaz/brokers.hpp>
#include <sagaz/error.hpp>

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace sagaz::verify {
namespace {

constexpr const char* kHeaders =
    R"([["ce_specversion","1.0"],["ce_id","00000000-0000-7000-8000-000000000001"],)"
    R"(["message_id","00000000-0000-7000-8000-000000000001"],["ce_source","/s"],["ce_type","T"],)"
    R"(["content-type","c"]])";

class VerifyFile : public testing::Test {
protected:
    VerifyFile() {
        std::string name = (std::filesystem::temp_directory_path() / "verify-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
        folder_ = name;
    }
    ~VerifyFile() override { std::filesystem::remove_all(folder_); }

    void write(const std::string& text) { std::ofstream(path()) << text; }
    std::string path() const { return (folder_ / "out.jsonl").string(); }
    Report read(std::string_view payload) {
        Account account;
        account.expect({.id = Id::parse("00000000-0000-7000-8000-000000000001"),
                        .key = "k",
                        .payload = digest_of(payload)});
        read_file(path(), account, [] {});
        return account.close();
    }
    // By the destination itself.
    void publish(const Envelope& envelope) const {
        const auto destination = file::open(path());
        ASSERT_EQ(destination->publish({&envelope, 1}), 1U);
        const auto receipts = destination->poll(Milliseconds{10'000});
        ASSERT_EQ(receipts.size(), 1U);
        ASSERT_EQ(receipts[0].state, Receipt::State::accepted) << receipts[0].detail;
    }
    std::vector<Message> read_all() const {
        std::vector<Message> messages;
        FileReader reader{path()};
        while (auto message = reader.next()) messages.push_back(std::move(*message));
        return messages;
    }

private:
    std::filesystem::path folder_;
};

std::string line(const std::string& payload) {
    return std::string(R"({"topic":"orders","key":"k","headers":)") + kHeaders + "," + payload +
           "}\n";
}

}  // namespace

TEST_F(VerifyFile, ReadsTextAndBase64) {
    write(line(R"("payload":"{\"a\":1}")") + line(R"("payload":"{\"a\":1}")"));
    const Report text = read(R"({"a":1})");
    EXPECT_FALSE(text.is_damaged());
    EXPECT_EQ(text.repeats, 1U);
    write(line(R"("payload_base64":"AP8=")"));
    EXPECT_FALSE(read(std::string("\0\xFF", 2)).is_damaged());
}

TEST_F(VerifyFile, GoesOnWhereAFileThatIsWrittenToHadEnded) {
    const std::string whole = line(R"("payload":"x")");
    write(whole + whole.substr(0, 10));
    FileReader reader{path()};
    EXPECT_TRUE(reader.next());
    EXPECT_FALSE(reader.next());
    EXPECT_FALSE(reader.next());
    write(whole + whole);
    EXPECT_TRUE(reader.next());
    EXPECT_FALSE(reader.next());
    EXPECT_EQ(reader.position(), static_cast<std::int64_t>(2 * whole.size()));
}

TEST_F(VerifyFile, TakesAnUnfinishedLineForNoMessage) {
    const std::string whole = line(R"("payload":"x")");
    write(whole + whole.substr(0, whole.size() / 2));
    EXPECT_EQ(read("x").messages, 1U);
    write(whole + whole.substr(0, whole.size() - 1));
    EXPECT_EQ(read("x").messages, 1U);
}

TEST_F(VerifyFile, NamesTheLineThatIsNoMessage) {
    for (const char* bad : {"{", "[]", R"({"topic":"orders"})", R"({"topic":1,"headers":[]})"}) {
        write(line(R"("payload":"x")") + bad + "\n");
        try {
            read("x");
            ADD_FAILURE() << "was read: " << bad;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), "file_line");
            EXPECT_NE(std::string(error.what()).find("line 2"), std::string::npos) << error.what();
        }
    }
}

TEST_F(VerifyFile, SaysWhenThereIsNoFile) { EXPECT_THROW(read("x"), Error); }

// A destination may be handed any bytes; each part of a message is written as base64 on its own.
TEST_F(VerifyFile, ReadsBackWhateverBytesTheDestinationWrote) {
    const std::string bytes{"\xFF\0\xC3\n\"", 5};
    const std::string text = "\xC3\xA4\n\"";
    const std::vector<Header> headers{{bytes, text}, {text, bytes}, {"", ""}};
    const std::vector<HeaderView> views{{bytes, text}, {text, bytes}, {"", ""}};
    for (const std::string& topic : {bytes, text}) {
        for (const std::optional<std::string>& key :
             {std::optional{bytes}, std::optional{text}, std::optional<std::string>{}}) {
            std::filesystem::remove(path());
            publish({1, topic, key, views, bytes});
            publish({2, topic, key, {}, text});
            const auto messages = read_all();
            ASSERT_EQ(messages.size(), 2U);
            EXPECT_EQ(messages[0].event,
                      (Event{.topic = topic, .key = key, .payload = bytes, .headers = headers}));
            EXPECT_EQ(messages[1].event, (Event{.topic = topic, .key = key, .payload = text}));
            EXPECT_EQ(messages[1].position, 1);
        }
    }
}

// The account sees what was read: a key that is bytes is no damage.
TEST_F(VerifyFile, JudgesAKeyThatIsNoText) {
    const std::string id = "00000000-0000-7000-8000-000000000001";
    const std::string key = "\xFE";
    const HeaderView headers[] = {
        {"ce_specversion", "1.0"}, {"ce_id", id},         {"message_id", id}, {"ce_source", "/s"},
        {"ce_type", "T"},          {"content-type", "c"}, {"raw", "\xFF"}};
    publish({1, "orders", key, headers, "\xFF"});
    Account account;
    account.expect({.id = Id::parse(id),
                    .key = key,
                    .payload = digest_of("\xFF"),
                    .headers = OwnHeaders{.headers = {{"raw", "\xFF"}}}});
    read_file(path(), account, [] {});
    const Report report = account.close();
    EXPECT_EQ(report.messages, 1U);
    EXPECT_FALSE(report.is_damaged());
}

}  // namespace sagaz::verify
