// Built once for each planted bug, with SAGAZ_PLANT and a name for the test: a simulator that
// misses one is red.
#include "core/plant.hpp"
#include "world.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace sagaz::simulation {

constexpr std::uint64_t kSeeds = 1'000;

TEST(SAGAZ_PLANT_NAME, IsFoundWithinAThousandSeeds) {
    static_assert(core::kPlant != core::Plant::none);
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        const Result result = run(plan_of(seed));
        if (result.violations.empty()) continue;
        fmt::print("found in seed {}: {}\n", seed, result.violations.front());
        return;
    }
    FAIL() << "planted bug " << SAGAZ_PLANT << " was not found in " << kSeeds << " seeds";
}

}  // namespace sagaz::simulation
