#include "world.hpp"

#include "core/plant.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <optional>

namespace sagaz::simulation {
namespace {

/// Set SAGAZ_SEED to run one seed, SAGAZ_SEEDS to run more than the thousand.
constexpr std::uint64_t kSeeds = 1'000;
constexpr std::size_t kLinesShown = 60;

std::optional<std::uint64_t> number_from(const char* name) {
    const char* text = std::getenv(name);
    if (text == nullptr) return std::nullopt;
    return std::strtoull(text, nullptr, 10);
}

std::uint64_t g_seed = 0;

/// A broken assertion in the core ends the process: say first which seed it was.
void on_abort(int) {
    std::fprintf(stderr, "aborted in seed %llu\n", static_cast<unsigned long long>(g_seed));
    if (const auto* lines = lines_of_current_run()) {
        for (std::size_t n = lines->size() > kLinesShown ? lines->size() - kLinesShown : 0;
             n < lines->size(); ++n) {
            std::fprintf(stderr, "%s\n", (*lines)[n].c_str());
        }
    }
}

Result run_seed(std::uint64_t seed) {
    g_seed = seed;
    return run(plan_of(seed));
}

std::string report(std::uint64_t seed, const Result& result) {
    std::string text;
    const auto& lines = result.last_lines;
    for (std::size_t n = lines.size() > kLinesShown ? lines.size() - kLinesShown : 0;
         n < lines.size(); ++n) {
        text += lines[n] + '\n';
    }
    for (const std::string& violation : result.violations) text += violation + '\n';
    text += fmt::format("again: SAGAZ_SEED={} simulation_test --gtest_filter='Simulation.*Seed*'\n",
                        seed);
    return text;
}

}  // namespace

TEST(Simulation, KeepsEveryPromiseUnderEverySeed) {
    std::signal(SIGABRT, on_abort);
    const auto only = number_from("SAGAZ_SEED");
    const std::uint64_t first = only.value_or(1);
    const std::uint64_t last = only ? first : number_from("SAGAZ_SEEDS").value_or(kSeeds);
    Tally sum;
    std::uint64_t idle_turns = 0;
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        const Result result = run_seed(seed);
        ASSERT_TRUE(result.violations.empty()) << report(seed, result);
        sum.add(result.tally);
        if (idle_turns < result.idle_turns) fmt::print("idle {} {}\n", seed, result.idle_turns);
        idle_turns = std::max(idle_turns, result.idle_turns);
    }
    fmt::print("{} seeds: {} events ({} rolled back, {} lost in {} crashes), {} arrived, {} of them "
               "by publishers, {} repeats, {} breaks, {} parked, {} take-overs, {} turns\n",
               last - first + 1, sum.events, sum.rolled_back, sum.lost_in_crashes, sum.crashes,
               sum.arrived, sum.sent_by_publishers, sum.repeats, sum.breaks, sum.parked,
               sum.takeovers, sum.turns);
}

TEST(Simulation, GivesTheSameTraceForTheSameSeed) {
    for (const std::uint64_t seed : {1U, 7U, 42U, 99U}) {
        const Result one = run_seed(seed);
        const Result two = run_seed(seed);
        EXPECT_EQ(one.trace_hash, two.trace_hash) << seed;
        EXPECT_EQ(one.last_lines, two.last_lines) << seed;
        EXPECT_GT(one.trace_lines, 10U);
    }
    EXPECT_NE(run_seed(1).trace_hash, run_seed(2).trace_hash);
}

}  // namespace sagaz::simulation
