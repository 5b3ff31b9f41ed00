#include "app/store_look.hpp"

#include <gtest/gtest.h>

namespace sagaz::app {
namespace {

// One live relay that owns both slots and nothing to complain of.
StoreLook fine() {
    StoreLook look;
    look.version = 1;
    look.relays = {
        {.id = "a", .up_seconds = 100, .beat_age_seconds = 1, .beat = 50, .published = 500}};
    look.slots = {{0, "a", 1}, {1, "a", 1}};
    return look;
}

TEST(Diagnosis, IsSilentWhenAllIsWell) { EXPECT_EQ(diagnosis(fine(), 1), ""); }

TEST(Diagnosis, NamesTheWorstFirst) {
    auto look = fine();
    look.backlog.oldest_age_seconds = 125;
    EXPECT_EQ(diagnosis(look, 1), "the relay is behind: the oldest event has waited 2m 5s");
    look.parked = {{"waiting", "payload_too_large", 3, "7 bytes; send less"},
                   {"waiting", "behind_parked", 9, "an earlier event of this key is parked"}};
    EXPECT_EQ(diagnosis(look, 1),
              "12 events are parked, first of all for payload_too_large: 7 bytes; send less (later "
              "events of its key are parked behind it): see sagaz parked ls");
    look.slots[1].owner = "gone";
    EXPECT_TRUE(diagnosis(look, 1).starts_with("1 of 2 slots have no live owner"));
    look.relays[0].down_reason = "no broker answers";
    look.relays[0].down_for_ms = 62'000;
    EXPECT_EQ(diagnosis(look, 1), "the destination has been down for 1m 3s: no broker answers");
    look.relays[0].beat_age_seconds = 60;
    EXPECT_TRUE(diagnosis(look, 1).starts_with("no relay is running"));
    EXPECT_TRUE(
        diagnosis(look, 2).starts_with("the schema is at version 1 and this build knows 2"));
    look.version = look.compatible_from = 2;
    EXPECT_EQ(diagnosis(look, 1),
              "the schema is at version 2 and this build knows 1, which no longer works with it: "
              "update sagaz");
    look.compatible_from = 1;
    EXPECT_TRUE(diagnosis(look, 1).starts_with("no relay is running"))
        << "a newer schema that lets this build work is no trouble";
}

TEST(Rate, ComesFromTwoBeatsByTheDatabasesClock) {
    const std::vector<RelayLook> before{
        {.id = "a", .up_seconds = 100, .beat_age_seconds = 1, .beat = 50, .published = 500}};
    auto after = before;
    after[0].up_seconds = 101.5;
    EXPECT_LT(rate_between(before, after), 0) << "no second beat yet";
    after[0].beat = 51;
    after[0].beat_age_seconds = 0.5;  // so the beats are two seconds apart
    after[0].published = 700;
    EXPECT_DOUBLE_EQ(rate_between(before, after), 100);
    after.push_back({.id = "new", .beat = 1, .published = 9});
    EXPECT_DOUBLE_EQ(rate_between(before, after), 100) << "a relay seen once has no rate";
}

}  // namespace
}  // namespace sagaz::app
