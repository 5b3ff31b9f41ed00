#include "app/verify/sources.hpp"

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

TEST(Base64, ReadsTheVectorsOfRfc4648) {
    const std::pair<const char*, const char*> kVectors[] = {{"", ""},
                                                            {"Zg==", "f"},
                                                            {"Zm8=", "fo"},
                                                            {"Zm9v", "foo"},
                                                            {"Zm9vYg==", "foob"},
                                                            {"Zm9vYmE=", "fooba"},
                                                            {"Zm9vYmFy", "foobar"}};
    for (const auto& [text, bytes] : kVectors) EXPECT_EQ(decode_base64(text), bytes);
    for (const char* bad : {"Zg=", "Z", "Zg==Zg==", "Z?==", "===="}) {
        EXPECT_THROW(decode_base64(bad), Error) << bad;
    }
}

}  // namespace sagaz::verify
