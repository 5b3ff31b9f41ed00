#include "core/backoff.hpp"

#include <gtest/gtest.h>

namespace sagaz::inline v0::core {
namespace {

using namespace std::chrono_literals;

TEST(Backoff, DoublesUpToTheMaximum) {
    Backoff backoff{100ms, 450ms, 1};
    for (const Duration step : {100ms, 200ms, 400ms, 450ms, 450ms}) {
        const Duration wait = backoff.next();
        EXPECT_GE(wait, step / 4);
        EXPECT_LE(wait, step);
    }
}

TEST(Backoff, StaysInItsRangeHoweverLongTheFirstWaitIs) {
    for (const Duration initial : {Duration{3h}, Duration{24h}, Duration{87'600h}}) {
        Backoff backoff{initial, 87'600h, 1};
        for (int n = 1; n < 100; ++n) {
            const Duration wait = backoff.after(n);
            EXPECT_GE(wait, initial / 4) << n;
            EXPECT_LE(wait, Duration{87'600h}) << n;
        }
    }
}

}  // namespace
}  // namespace sagaz::inline v0::core
