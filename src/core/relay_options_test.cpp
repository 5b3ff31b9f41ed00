#include "core/relay_options.hpp"

#include <sagaz/error.hpp>

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace sagaz::inline v0::core {
namespace {

using namespace std::chrono_literals;

std::string refusal_of(const RelayOptions& options) {
    try {
        checked(options);
        return "accepted";
    } catch (const Error& error) {
        return std::string(error.code()) + " | " + error.what();
    }
}

// Beyond 292 years a time does not fit into the clock's nanoseconds: it would lie in the past.
TEST(RelayOptionsTest, NoTimeIsLongerThanTenYears) {
    using Times = std::pair<const char*, Milliseconds RelayOptions::*>;
    for (const auto& [name, time] : {Times{"idle_poll_interval", &RelayOptions::idle_poll_interval},
                                     Times{"lease", &RelayOptions::lease},
                                     Times{"store_interval", &RelayOptions::store_interval},
                                     Times{"grace", &RelayOptions::grace},
                                     Times{"drain_timeout", &RelayOptions::drain_timeout},
                                     Times{"retention", &RelayOptions::retention},
                                     Times{"inbox_retention", &RelayOptions::inbox_retention},
                                     Times{"retry_max", &RelayOptions::retry_max},
                                     Times{"parked_retry_max", &RelayOptions::parked_retry_max},
                                     Times{"attempt_timeout", &RelayOptions::attempt_timeout}}) {
        RelayOptions options;
        options.*time = 87'600h;
        EXPECT_EQ(refusal_of(options), "accepted") << name;
        for (const Milliseconds wrong : {Milliseconds{-1}, 87'600h + 1ms, Milliseconds::max()}) {
            options.*time = wrong;
            const std::string refusal = refusal_of(options);
            EXPECT_TRUE(refusal.starts_with("option_range | ")) << name << ": " << refusal;
            EXPECT_NE(refusal.find(name), std::string::npos) << refusal;
        }
    }
}

TEST(RelayOptionsTest, F71_MarksAreKeptForAnHourAtLeastOrLeftAlone) {
    RelayOptions options;
    options.inbox_retention = 0ms;
    EXPECT_EQ(refusal_of(options), "accepted");
    options.inbox_retention = 59min;
    EXPECT_NE(refusal_of(options).find("inbox_retention"), std::string::npos);
}

TEST(RelayOptionsTest, ABatchFitsIntoTheMemoryOfAMachine) {
    RelayOptions options;
    options.batch_max_bytes = ~std::size_t{0};
    EXPECT_TRUE(refusal_of(options).starts_with("option_range | ")) << refusal_of(options);
}

}  // namespace
}  // namespace sagaz::inline v0::core
