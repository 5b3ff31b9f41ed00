#include "core/id_time.hpp"

#include <sagaz/error.hpp>
#include <sagaz/id.hpp>

#include <gtest/gtest.h>

#include <set>

namespace sagaz {

TEST(Id, ReadsWhatItWrites) {
    const Id id = Id::generate();
    EXPECT_EQ(Id::parse(id.text()), id);
    EXPECT_EQ(Id::parse("0190A6F2-7c3b-7d11-8a51-3f1c9be2d0aa").text(),
              "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa");
}

TEST(Id, IsAVersion7WithTheRfcVariant) {
    const std::string text = Id::generate().text();
    EXPECT_EQ(text[14], '7') << text;
    EXPECT_NE(std::string("89ab").find(text[19]), std::string::npos) << text;
}

TEST(Id, DoesNotRepeat) {
    std::set<Id> seen;
    for (int n = 0; n < 10'000; ++n) seen.insert(Id::generate());
    EXPECT_EQ(seen.size(), 10'000U);
}

TEST(Id, OfATimeComesAfterAllThatWereMadeBefore) {
    const auto made = Id::parse("0190a6f2-7c3b-7d11-8a51-3f1c9be2d0aa");
    constexpr Milliseconds kMade{0x0190a6f27c3b};
    EXPECT_LT(core::first_id_of(kMade), made);
    EXPECT_GT(core::first_id_of(kMade + Milliseconds{1}), made);
}

TEST(Id, RefusesWhatIsNoUuid) {
    for (const char* text :
         {"", "42", "0190a6f27c3b7d118a513f1c9be2d0aa", "0190a6f2-7c3b-7d11-8a51-3f1c9be2d0ag",
          "0190a6f2+7c3b-7d11-8a51-3f1c9be2d0aa"}) {
        EXPECT_THROW(Id::parse(text), Error) << text;
    }
}

}  // namespace sagaz
