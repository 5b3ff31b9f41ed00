// What a relay remembers of each stopped key. After an outage of permissions there may be millions.
#include "core/retry_step.hpp"

#include <gtest/gtest.h>
#include <malloc.h>

#include <string>
#include <vector>

namespace sagaz::inline v0::core {
namespace {

using namespace std::chrono_literals;

std::size_t bytes_in_use() { return ::mallinfo2().uordblks; }

TEST(StoppedMemory, AStoppedKeyTakesFewBytes) {
    constexpr std::size_t kKeys = 100'000;
    constexpr std::size_t kMost = 240;
    Delivery delivery{1s};
    delivery.limit_stopped(kKeys);
    RetryStep step{RelayOptions{}, delivery, 1};
    const Settings settings{.slot_count = 1};
    delivery.configure(settings);
    step.configure(settings);
    delivery.add({0, 1}, {}, 0);
    const std::size_t before = bytes_in_use();
    {
        std::vector<StoppedKey> keys;
        for (std::size_t n = 0; n < kKeys; ++n) {
            std::string key = "00000000-0000-7000-8000-000000000000";
            const std::string number = std::to_string(n);
            key.replace(key.size() - number.size(), number.size(), number);
            keys.push_back({0, "", key, "OrderPlacedByCustomer"});
        }
        delivery.stop_keys(0, keys, Instant{1h});
    }
    step.next(Instant{1h}, 0);
    // Under a sanitizer nothing is counted.
    EXPECT_LE((bytes_in_use() - before) / kKeys, kMost);
}

TEST(StoppedMemory, OfVeryManyKeysMostTakeAFewBytes) {
    constexpr std::size_t kKeys = 400'000;
    Delivery delivery{1s};
    delivery.configure({.slot_count = 1});
    delivery.add({0, 1}, {}, 0);
    const std::size_t before = bytes_in_use();
    {
        std::vector<StoppedKey> keys;
        for (std::size_t n = 0; n < kKeys; ++n) {
            keys.push_back({0, "orders", "a key of some length " + std::to_string(n), ""});
        }
        delivery.stop_keys(0, keys, Instant{1h});
    }
    EXPECT_LE((bytes_in_use() - before) / kKeys, 24U);
    EXPECT_TRUE(
        delivery.find(0)->stopped.stops(std::string("orders\0a key of some length 399999", 34)));
}

TEST(StoppedMemory, NothingIsLeftOfKeysThatCameAndWent) {
    constexpr std::size_t kTypes = 12;
    StoppedIndex index;
    std::size_t before = 0;
    for (std::size_t n = 0; n < (1U << kTypes); ++n) {
        for (std::size_t type = 0; type < kTypes; ++type) {
            if ((n >> type & 1U) == 0) continue;
            const std::string name = "AnEventOfAnOrder" + std::to_string(type);
            index.add("key", {0, "", "key", name}, Instant{});
        }
        index.erase("key");
        if (n == 100) before = bytes_in_use();
    }
    EXPECT_LE(bytes_in_use(), before + 100'000);
}

}  // namespace
}  // namespace sagaz::inline v0::core
