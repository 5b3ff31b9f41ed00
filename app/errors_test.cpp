#include "app/errors.hpp"

#include "app/console.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

namespace sagaz::app {
namespace {

Error error_of(const std::string& code, const std::string& seen, const std::string& hint) {
    return {ErrorKind::invalid, code, seen, hint};
}

TEST(ErrorText, IsThreeLinesThatSayWhatWasSeenAndWhatToDo) {
    EXPECT_EQ(
        three_lines(error_of("store_url_missing", "no --store", "give --store")),
        "error[store_url_missing]: no database is configured\nseen: no --store\ndo: give --store");
}

TEST(ErrorText, StaysThreeLinesWhateverAServerPutsIntoItsMessage) {
    const auto text = three_lines(error_of("made_up", "FATAL:\n\tgone \x1b[2J\r\n", "look\n"));
    EXPECT_EQ(text, "error[made_up]: the input is wrong\nseen: FATAL: gone [2J\ndo: look");
}

TEST(ErrorText, HidesPasswords) {
    const auto text =
        three_lines(error_of("store_unreachable", "postgresql://ann:s3cret@db:5432/x refused",
                             "try host=db password='s3 cret' user=ann"));
    EXPECT_EQ(text.find("s3"), std::string::npos) << text;
    EXPECT_NE(text.find("postgresql://ann:***@db:5432/x"), std::string::npos) << text;
    EXPECT_NE(text.find("password=*** user=ann"), std::string::npos) << text;
}

TEST(HideSecrets, KnowsTheWaysToWriteAPassword) {
    EXPECT_EQ(hide_secrets("postgresql://u:p@h/d"), "postgresql://u:***@h/d");
    EXPECT_EQ(hide_secrets("postgresql://u:p@ss@h/d"), "postgresql://u:***@h/d");
    EXPECT_EQ(hide_secrets("postgresql://u:p@h"), "postgresql://u:***@h");
    EXPECT_EQ(hide_secrets("postgresql://u@h/d"), "postgresql://u@h/d");
    EXPECT_EQ(hide_secrets("postgresql://h/d?user=u&password=p&sslmode=require"),
              "postgresql://h/d?user=u&password=***&sslmode=require");
    EXPECT_EQ(hide_secrets("host=h password = 'a\\'b' user=u"), "host=h password = *** user=u");
    EXPECT_EQ(hide_secrets("sslpassword=p x"), "sslpassword=*** x");
    EXPECT_EQ(hide_secrets("kafka://u:p@h:1,h:2"), "kafka://u:***@h:1,h:2");
    EXPECT_EQ(hide_secrets("a postgresql://u:p@h/d and postgresql://v:q@h/d"),
              "a postgresql://u:***@h/d and postgresql://v:***@h/d");
    EXPECT_EQ(hide_secrets("file:/tmp/x"), "file:/tmp/x");
}

TEST(ErrorCodes, AreSortedOnceEachAndInTheReference) {
    std::ifstream file{SAGAZ_SOURCE_DIR "/docs/reference/errors.md"};
    std::stringstream page;
    page << file.rdbuf();
    std::string_view last;
    for (const auto& info : codes()) {
        EXPECT_LT(last, info.code);
        last = info.code;
        EXPECT_FALSE(info.what.empty()) << info.code;
        EXPECT_EQ(info_of(info.code).what, info.what);
        const auto row = "| `" + std::string{info.code} + "` | " + std::to_string(info.exit) + " |";
        EXPECT_NE(page.str().find(row), std::string::npos) << "no row in errors.md: " << row;
    }
}

// The codes of a source: each word in quotes that follows an error's kind or a refusal.
std::vector<std::string> codes_thrown_in(const std::string& text) {
    constexpr std::array<std::string_view, 7> kBefore{"invalid,",       "conflict,", "unavailable,",
                                                      "in_doubt,",      "fatal,",    "refuse(",
                                                      "refuse_at(mark,"};
    std::vector<std::string> found;
    for (auto at = text.find('"'); at != std::string::npos; at = text.find('"', at + 1)) {
        const auto end = text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_", at + 1);
        if (end == std::string::npos || end == at + 1 || text[end] != '"') {
            continue;
        }
        const auto last = text.find_last_not_of(" \n", at - 1);
        const auto before = std::string_view{text}.substr(0, last + 1);
        if (std::any_of(kBefore.begin(), kBefore.end(),
                        [&](std::string_view word) { return before.ends_with(word); })) {
            found.push_back(text.substr(at + 1, end - at - 1));
        }
    }
    return found;
}

TEST(ErrorCodes, HoldEveryCodeThatTheSourcesThrow) {
    std::size_t found = 0;
    for (const auto* const folder : {"/src", "/app"}) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(
                 SAGAZ_SOURCE_DIR + std::string{folder})) {
            const auto name = entry.path().filename().string();
            if (!name.ends_with(".cpp") || name.find("test.cpp") != std::string::npos ||
                entry.path().string().find("/testing/") != std::string::npos) {
                continue;
            }
            std::ifstream file{entry.path()};
            const std::string text{std::istreambuf_iterator<char>{file}, {}};
            for (const auto& code : codes_thrown_in(text)) {
                ++found;
                EXPECT_FALSE(info_of(code).what.empty()) << code << " in " << name;
            }
        }
    }
    EXPECT_GT(found, 100U) << "the search itself must work";
}

TEST(Console, DrawsNoProgressWhereNobodyLooks) {
    std::istringstream in;
    std::ostringstream out;
    std::ostringstream err;
    Console console{in, out, err, {.err_is_terminal = false, .color = false}};
    console.progress("half way");
    console.say("done");
    EXPECT_EQ(err.str(), "done\n");
    EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace sagaz::app
