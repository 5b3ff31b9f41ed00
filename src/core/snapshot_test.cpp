#include <sagaz/error.hpp>
#include <sagaz/store.hpp>

#include <gtest/gtest.h>

namespace sagaz {

TEST(Snapshot, SeesWhatHadFinished) {
    const Snapshot snapshot = Snapshot::parse("10:20:10,14");
    EXPECT_TRUE(snapshot.sees(9));
    EXPECT_FALSE(snapshot.sees(10));
    EXPECT_TRUE(snapshot.sees(11));
    EXPECT_FALSE(snapshot.sees(14));
    EXPECT_TRUE(snapshot.sees(19));
    EXPECT_FALSE(snapshot.sees(20));
}

TEST(Snapshot, WritesWhatItReads) {
    for (const char* text : {"1:1:", "10:20:10,14", "18446744073709551614:18446744073709551615:"}) {
        EXPECT_EQ(Snapshot::parse(text).text(), text);
    }
}

TEST(Snapshot, RefusesWhatPostgresNeverWrites) {
    for (const char* text : {"", "1", "1:2", "2:1:", "10:20:9", "10:20:20", "10:20:14,12",
                             "10:20:,", "10:20:14,", "a:b:"}) {
        EXPECT_THROW(Snapshot::parse(text), Error) << text;
    }
}

}  // namespace sagaz
