#include "app/known_defects.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace sagaz::app {
namespace {

bool is_found(Product product, std::int64_t version) {
    return std::ranges::any_of(defects_of(product, version),
                               [](const Defect& defect) { return !defect.is_lived_with; });
}

TEST(KnownDefects, HaveARangeAndASource) {
    for (const auto& defect : known_defects()) {
        EXPECT_LT(defect.from, defect.before) << defect.what;
        EXPECT_TRUE(defect.source.starts_with("https://")) << defect.what;
        EXPECT_FALSE(defect.what.empty());
    }
}

TEST(KnownDefects, EndWithTheReleaseThatMendsThem) {
    EXPECT_TRUE(is_found(Product::postgres, version_number(14, 3)));
    EXPECT_FALSE(is_found(Product::postgres, version_number(14, 4)));
    EXPECT_TRUE(is_found(Product::postgres, version_number(15, 16)));
    EXPECT_FALSE(is_found(Product::postgres, version_number(15, 15)));
    EXPECT_FALSE(is_found(Product::postgres, version_number(15, 17)));
    EXPECT_TRUE(is_found(Product::librdkafka, version_number(1, 8, 2)));
    EXPECT_TRUE(is_found(Product::librdkafka, version_number(2, 5, 0)));
    EXPECT_FALSE(is_found(Product::librdkafka, version_number(2, 5, 3)));
    EXPECT_TRUE(is_found(Product::librdkafka, version_number(2, 10, 0)));
    EXPECT_FALSE(is_found(Product::librdkafka, version_number(2, 10, 1)));
}

// Debian 12 and 13 have these: there is nothing that their users could do.
TEST(KnownDefects, AreNoFindingWhereSagazLivesWithThem) {
    for (const auto version : {version_number(2, 0, 2), version_number(2, 8, 0)}) {
        EXPECT_FALSE(is_found(Product::librdkafka, version));
        EXPECT_FALSE(defects_of(Product::librdkafka, version).empty());
    }
    EXPECT_FALSE(is_found(Product::sqlite, version_number(3, 40, 1)));
}

TEST(KnownDefects, WriteVersionsAsTheirProjectsDo) {
    EXPECT_EQ(version_text(Product::postgres, version_number(15, 18)), "15.18");
    EXPECT_EQ(version_text(Product::librdkafka, version_number(2, 10, 1)), "2.10.1");
}

}  // namespace
}  // namespace sagaz::app
