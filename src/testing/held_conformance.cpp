// What every Store must do with rows that an optimistic publisher may still send.
#include "testing/store_case.hpp"
#include "testing/store_reader.hpp"

#include <gtest/gtest.h>

namespace sagaz::inline v0::testing {
namespace {

void tells_held_rows(Case& c) {
    const auto writer = c.begin();
    writer->append(event_of("held"), Milliseconds{60'000});
    writer->append(event_of("free"));
    writer->commit();
    const auto store = c.open();
    StoreReader reader(*store);
    const auto rows = reader.read_window();
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_TRUE(rows[0].held);
    EXPECT_FALSE(rows[1].held);
    const std::vector<RowRef> refs{{rows[1].slot, rows[1].position, rows[1].event_id},
                                   {rows[0].slot, rows[0].position, rows[1].event_id},
                                   {rows[0].slot, rows[0].position, rows[0].event_id}};
    EXPECT_EQ(store->look_at(refs),
              (std::vector{HoldState::released, HoldState::gone, HoldState::held}));
}

void marks_what_a_relay_sent_of_held_rows(Case& c) {
    const auto writer = c.begin();
    writer->append(event_of("sent"), Milliseconds{60'000});
    writer->append(event_of("held"), Milliseconds{60'000});
    writer->append(event_of("free"));
    writer->commit();
    const auto store = c.open();
    StoreReader reader(*store);
    const auto rows = reader.read_window();
    ASSERT_EQ(rows.size(), 3U);
    std::vector<RowRef> refs;
    for (const auto& row : rows) refs.push_back({row.slot, row.position, row.event_id});
    RowRef another = refs[1];
    another.event_id = refs[0].event_id;
    for (int n = 0; n < 2; ++n) {
        store->mark_delivered(std::vector<RowRef>{refs[0], another, refs[2]});
        EXPECT_EQ(store->look_at(refs),
                  (std::vector{HoldState::gone, HoldState::held, HoldState::released}));
    }
    // It stays in the log: a relay that starts over sends it again, and no hold is on it any more.
    store->release(reader.owned());
    StoreReader again(*store);
    const auto left = again.read_window();
    EXPECT_EQ(payloads_of(left), (Words{"sent", "held", "free"}));
    EXPECT_FALSE(left[0].held);
}

constexpr StoreEntry kEntries[] = {
    {"TellsHeldRows", tells_held_rows},
    {"MarksWhatARelaySentOfHeldRows", marks_what_a_relay_sent_of_held_rows},
};

}  // namespace

std::span<const StoreEntry> held_entries() { return kEntries; }

}  // namespace sagaz::inline v0::testing
