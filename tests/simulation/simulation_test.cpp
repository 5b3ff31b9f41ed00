#include "core/plant.hpp"
#include "world.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <optional>

namespace sagaz::simulation {
namespace {

/// Set SAGAZ_SEED to run one seed, SAGAZ_SEEDS to run more than these.
#ifdef __SANITIZE_THREAD__
constexpr std::uint64_t kSeeds = 50;  // One thread, thirty times slower: nothing for TSan to find.
#else
constexpr std::uint64_t kSeeds = 1'000;
#endif
constexpr std::uint64_t kSeedsOfALongPlan = kSeeds / 50;
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
    for (std::uint64_t seed = first; seed <= last; ++seed) {
        const Result result = run_seed(seed);
        ASSERT_TRUE(result.violations.empty()) << report(seed, result);
        sum.add(result.tally);
    }
    fmt::print(
        "{} seeds: {} events ({} rolled back, {} lost in {} crashes), {} arrived, {} of them "
        "by publishers, {} tickets published and {} left, {} marked, {} repeats, {} breaks, "
        "{} parked, {} that were parked arrived, {} discarded, {} reclaimed, {} take-overs, {} "
        "moves, {} turns\n",
        last - first + 1, sum.events, sum.rolled_back, sum.lost_in_crashes, sum.crashes,
        sum.arrived, sum.sent_by_publishers, sum.tickets_published, sum.tickets_left(), sum.marked,
        sum.repeats, sum.breaks, sum.parked, sum.retried, sum.discarded, sum.reclaimed,
        sum.takeovers, sum.moves, sum.turns);
    if (only) return;
    // A run that met nothing proves nothing: so much and more in a thousand seeds.
    const std::uint64_t seeds = last - first + 1;
    EXPECT_GT(1'000 * sum.rolled_back, 1'000 * seeds);
    EXPECT_GT(1'000 * sum.lost_in_crashes, 500 * seeds);
    EXPECT_GT(1'000 * sum.crashes, 100 * seeds);
    EXPECT_GT(1'000 * sum.restores, 50 * seeds);
    EXPECT_GT(1'000 * sum.sent_by_publishers, 5'000 * seeds);
    EXPECT_GT(1'000 * sum.tickets_published, 3'000 * seeds);
    EXPECT_GT(1'000 * sum.tickets_left(), 1'000 * seeds);
    EXPECT_GT(1'000 * sum.repeats, 1'000 * seeds);
    EXPECT_GT(1'000 * sum.breaks, 500 * seeds);
    EXPECT_GT(1'000 * sum.parked, 500 * seeds);
    EXPECT_GT(1'000 * sum.reclaimed, 2'000 * seeds);
    EXPECT_GT(1'000 * sum.retried, 200 * seeds);
    EXPECT_GT(1'000 * sum.discarded, 50 * seeds);
    EXPECT_GT(1'000 * sum.takeovers, 2'000 * seeds);
    EXPECT_GT(1'000 * sum.moves, 500 * seeds);
    // A dead publisher's row between a held one and the cursor: not in every fifty seeds, which are
    // all that there is time for under ThreadSanitizer.
    if (seeds >= 200) {
        EXPECT_GT(1'000 * sum.marked, 50 * seeds);
    }
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

// ---- what the simulator found, by the plan that shows it

TEST(Simulation, PassesEqualPositionsTogether) {
    for (std::uint64_t seed = 1; seed <= 5 * kSeedsOfALongPlan; ++seed) {
        Plan plan = plan_of(seed);
        plan.calm = false;  // What follows may repeat.
        plan.settings.slot_count = 1;
        plan.business.copied = 40;
        plan.options.store_interval = milliseconds{1};
        plan.broker.capacity = 1;
        plan.broker.delay_max = milliseconds{8};
        const Result result = run(plan);
        ASSERT_TRUE(result.violations.empty()) << report(seed, result);
    }
}

TEST(Simulation, DoesNotSpinWithABatchOfOne) {
    for (std::uint64_t seed = 1; seed <= kSeedsOfALongPlan; ++seed) {
        Plan plan = plan_of(seed);
        plan.calm = false;  // What follows may repeat.
        plan.options.batch_max = 1;
        plan.business.async_commits = 1'000;
        plan.wal_writer = seconds{10};
        const Result result = run(plan);
        ASSERT_TRUE(result.violations.empty()) << report(seed, result);
    }
}

TEST(Simulation, RefusedEventsDoNotHoldUpOthers) {
    for (std::uint64_t seed = 1; seed <= kSeedsOfALongPlan; ++seed) {
        Plan plan = plan_of(seed);
        plan.calm = false;             // What follows may repeat.
        plan.broker.refusals_end = 0;  // Else they may end before anything was parked.
        plan.settings.on_refused = OnRefused::park_event;
        plan.broker.refused_events = 980;
        plan.options.retry_max = seconds{5};
        const Result result = run(plan);
        ASSERT_TRUE(result.violations.empty()) << report(seed, result);
        EXPECT_GT(result.tally.parked, 0U) << seed;
    }
}

TEST(Simulation, ParksManyEventsThroughASmallMemory) {
    for (std::uint64_t seed = 1; seed <= kSeedsOfALongPlan; ++seed) {
        Plan plan = plan_of(seed);
        plan.calm = false;             // What follows may repeat.
        plan.broker.refusals_end = 0;  // Else they may end before anything was parked.
        plan.settings.on_refused = OnRefused::park_key;
        plan.broker.refused_keys = 900;
        plan.business.transactions = 60;
        plan.business.long_transactions = 0;  // So many of them would outlast the run.
        plan.options.batch_max = 1;
        plan.options.store_interval = milliseconds{500};
        const Result result = run(plan);
        ASSERT_TRUE(result.violations.empty()) << report(seed, result);
        EXPECT_GT(result.tally.parked, 0U) << seed;
    }
}

// ---- the guards that live in the store: without one of them the simulator must find the harm

namespace {

template <class Change>
std::string first_violation(Change change) {
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        Plan plan = plan_of(seed);
        plan.calm = false;
        change(plan);
        const Result result = run(plan);
        if (!result.violations.empty()) return result.violations.front();
    }
    return "";
}

}  // namespace

TEST(Simulation, FindsAStoreThatDoesNotCheckTheIncarnation) {
    EXPECT_NE(first_violation([](Plan& plan) {
                  plan.store.ignores_token = plan.store.pooler = true;
                  plan.crashes = 3;
              }),
              "");
}

TEST(Simulation, FindsAStoreThatKeepsCursorsOfAnotherCluster) {
    EXPECT_NE(first_violation([](Plan& plan) {
                  plan.store.keeps_done = true;
                  plan.restores = 2;
              }),
              "");
}

TEST(Simulation, F60_LosesNothingThoughItIsRestoredAgainAndAgain) {
    for (std::uint64_t seed = 1; seed <= 5 * kSeedsOfALongPlan; ++seed) {
        Plan plan = plan_of(seed);
        plan.calm = false;
        plan.restores = 4;
        const Result result = run(plan);
        ASSERT_TRUE(result.violations.empty()) << report(seed, result);
    }
}

TEST(Simulation, FindsAStoreThatDoesNotCheckTheEpoch) {
    EXPECT_NE(first_violation([](Plan& plan) {
                  plan.store.ignores_epoch = true;
                  plan.relays = 3;
                  plan.freezes = 6;
              }),
              "");
}

TEST(Simulation, FindsAConfirmThatForgetsWhatIsInTheLog) {
    EXPECT_NE(first_violation([](Plan& plan) {
                  plan.store.confirms_by_parked = true;
                  plan.business.held = 800;
              }),
              "");
}

TEST(Simulation, FindsAConfirmThatForgetsWhatIsParked) {
    EXPECT_NE(first_violation([](Plan& plan) {
                  plan.store.confirms_by_the_log = true;
                  plan.settings.on_refused = OnRefused::park_key;
                  plan.broker.refused_events = 50;
                  plan.broker.refusals_end = 1'000;
                  plan.business.held = 800;
              }),
              "");
}

// Hot keys, several publishers and relays, and all of them die.
TEST(Simulation, KeepsTheOrderOfHotKeysThoughPublishersDie) {
    for (std::uint64_t seed = 1; seed <= 5 * kSeedsOfALongPlan; ++seed) {
        Plan plan = plan_of(seed);
        plan.calm = false;
        plan.relays = 2;
        plan.publishers = 4;
        plan.publisher_kills = 8;
        plan.kills = 3;
        plan.business.held = 1'000;
        plan.business.hot_keys = 2;
        plan.business.cold_keys = 5;
        plan.business.transactions = 40;
        plan.business.pause_max = milliseconds{5};
        const Result result = run(plan);
        ASSERT_TRUE(result.violations.empty()) << report(seed, result);
    }
}

namespace {

/// Nothing goes wrong, and all events have publishers.
Plan well(std::uint64_t seed) {
    Plan plan = plan_of(seed);
    plan.store = {};
    plan.broker = {.delay_max = milliseconds{1}};
    plan.crashes = plan.outages = plan.kills = plan.freezes = plan.restores = 0;
    plan.publisher_kills = plan.publisher_freezes = plan.publisher_stops = 0;
    plan.stops = plan.joins = plan.leaves = 0;
    plan.switches = plan.clock_jumps = plan.clock_rate_max = 0;
    plan.optimistic = {.timeout = milliseconds{100}, .grace = milliseconds{300}};
    plan.publishers_after = milliseconds{50};        // When there has been a relay.
    plan.options.store_interval = milliseconds{20};  // As in operation, a fifth of a time-out.
    plan.business.producers = 4;
    plan.business.held = 1'000;
    plan.business.careless = 0;
    plan.business.copied = 0;
    plan.business.long_transactions = 0;
    plan.calm = true;
    return plan;
}

}  // namespace

TEST(Simulation, PublishersSendNearlyAllWhenNothingGoesWrong) {
    Tally sum;
    for (std::uint64_t seed = 1; seed <= kSeedsOfALongPlan; ++seed) {
        Plan plan = well(seed);
        plan.business.hot_keys = 4;
        plan.business.pause_max = milliseconds{200};  // A key takes one event after the other.
        const Result result = run(plan);
        ASSERT_TRUE(result.violations.empty()) << report(seed, result);
        sum.add(result.tally);
    }
    fmt::print("{} of {} arrived by publishers\n", sum.sent_by_publishers, sum.arrived);
    EXPECT_EQ(sum.repeats, 0U);
    EXPECT_GT(100 * sum.sent_by_publishers, 95 * sum.arrived);
}

// More events of a key than can be sent one after the other: no fault of the destination.
TEST(Simulation, AKeyThatIsTooHotOpensNoBreaker) {
    Tally sum;
    for (std::uint64_t seed = 1; seed <= kSeedsOfALongPlan; ++seed) {
        Plan plan = well(seed);
        plan.business.hot_keys = 1;
        plan.business.cold_keys = 5;
        plan.business.transactions = 30;
        plan.business.pause_max = milliseconds{5};
        const Result result = run(plan);
        ASSERT_TRUE(result.violations.empty()) << report(seed, result);
        sum.add(result.tally);
    }
    EXPECT_EQ(sum.repeats, 0U);
    EXPECT_GT(sum.left_for(LeftReason::behind), 0U);
    EXPECT_EQ(sum.left_for(LeftReason::breaker_open), 0U);
    EXPECT_EQ(sum.left_for(LeftReason::unavailable), 0U);
}

TEST(Simulation, F61_FindsAStoreThatRemovesByTheCursorInMemory) {
    EXPECT_NE(first_violation([](Plan& plan) { plan.store.reclaims_what_was_read = true; }), "");
}

TEST(Simulation, F61_FindsAStoreThatRemovesByTheCursorOfOneSlot) {
    EXPECT_NE(first_violation([](Plan& plan) { plan.store.reclaims_by_one_slot = true; }), "");
}

}  // namespace sagaz::simulation
