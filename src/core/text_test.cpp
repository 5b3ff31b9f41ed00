#include "core/text.hpp"

#include <gtest/gtest.h>

namespace sagaz::core {
namespace {

using namespace std::string_literals;

TEST(Text, KnowsUtf8) {
    for (const auto& text : {""s, "plain"s, "\x7f"s, "\xc2\x80"s, "\xe0\xa0\x80"s, "\xed\x9f\xbf"s,
                             "\xee\x80\x80"s, "\xf0\x90\x80\x80"s, "\xf4\x8f\xbf\xbf"s}) {
        EXPECT_TRUE(is_text(text)) << text;
    }
    for (const auto& text :
         {"\0"s, "\x80"s, "\xc1\xbf"s, "\xc2"s, "\xc2\x20"s, "\xe0\x9f\xbf"s, "\xed\xa0\x80"s,
          "\xf0\x8f\xbf\xbf"s, "\xf5\x80\x80\x80"s, "\xf1\x80\x80"s, "ok\xff"s}) {
        EXPECT_FALSE(is_text(text));
    }
}

TEST(Text, WritesWhatIsNoTextInHex) {
    EXPECT_EQ(as_text("42"), "42");
    EXPECT_EQ(as_text("\0\xff"s), "\\x00ff");
}

TEST(Text, CutsBetweenCharacters) {
    EXPECT_EQ(cut("abc", 3), "abc");
    EXPECT_EQ(cut("abc", 2), "ab");
    EXPECT_EQ(cut("a\xc3\xa4z", 2), "a");
    EXPECT_EQ(cut("a\xc3\xa4z", 3), "a\xc3\xa4");
    EXPECT_EQ(cut("\xe2\x82\xac", 2), "");
}

TEST(Text, ACauseIsOneShortLine) {
    EXPECT_EQ(as_cause("first\nsecond"), "first");
    EXPECT_EQ(as_cause(std::string(1000, 'x')).size(), 300U);
    EXPECT_EQ(as_cause("\xff\n"), "\\xff");
}

}  // namespace
}  // namespace sagaz::core
