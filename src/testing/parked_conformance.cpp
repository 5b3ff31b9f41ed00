// What every Store must do with the events that were taken off its log.
#include "testing/store_case.hpp"
#include "testing/store_reader.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace sagaz::inline v0::testing {
namespace {

// Reads the log and parks all of it: what the first was refused for, the others stand behind. One
// without a key stands behind nothing; which comes first, its slot decides, which is by chance.
std::vector<ReadRow> park_all(Store& store, StoreReader& reader) {
    auto rows = reader.read_window();
    std::vector<Parking> parked;
    for (const auto& row : rows) {
        const bool is_behind = !parked.empty() && row.key.has_value();
        const char* const reason = is_behind ? "behind_parked" : "refused";
        parked.push_back({row.slot, row.position, row.event_id, reason, "detail"});
    }
    (void)store.store(reader.moves(), parked);
    return rows;
}

RowRef ref_of(const ReadRow& row) { return {row.slot, row.position, row.event_id}; }

OwnedSlot owner_of(const StoreReader& reader, std::int16_t slot) {
    return *std::ranges::find(reader.owned(), slot, &OwnedSlot::slot);
}

ParkedQuery query_of(const ReadRow& row, std::size_t rows_max) {
    return {.keys = {{row.slot, row.topic, row.key.value_or(""), row.event_type}},
            .rows_max = rows_max};
}

void looks_at_a_keys_parked_events_in_their_order(Case& c) {
    Event templated = event_of("t", "k");
    templated.topic = "";
    c.commit({event_of("a"), event_of("b"), event_of("c"), templated});
    const auto store = c.open();
    StoreReader reader(*store);
    const auto rows = park_all(*store, reader);
    ASSERT_EQ(rows.size(), 4U);
    auto query = query_of(rows[0], 2);
    query.keys.push_back({rows[3].slot, "", "k", "Happened"});
    query.keys.push_back({rows[3].slot, "", "k", "Other"});
    const ParkedLook look = store->look_at_parked(query);
    ASSERT_EQ(look.of_keys.size(), 3U) << "two of three, and the template's";
    EXPECT_EQ(look.of_keys[0].row.position, rows[0].position);
    EXPECT_EQ(look.of_keys[0].row.event_id, rows[0].event_id);
    EXPECT_EQ(look.of_keys[0].attempts, 1);
    EXPECT_EQ(look.of_keys[0].due_in, Milliseconds{0});
    EXPECT_EQ(look.of_keys[0].bytes, 1U);
    EXPECT_FALSE(look.of_keys[0].dead);
    EXPECT_EQ(look.of_keys[1].row.position, rows[1].position);
    EXPECT_EQ(look.of_keys[1].attempts, 0) << "it was never tried";
    EXPECT_EQ(look.of_keys[2].row.position, rows[3].position);
    EXPECT_EQ(look.of_keys[2].key, 1U);
    EXPECT_TRUE(look.alone.empty());
    EXPECT_GE(store->flushed(true), look.gate);
}

void looks_at_parked_events_that_stand_alone(Case& c) {
    c.commit({event_of("a", std::nullopt), event_of("b")});
    const auto store = c.open();
    StoreReader reader(*store);
    const auto rows = park_all(*store, reader);
    ASSERT_EQ(rows.size(), 2U);
    ParkedQuery query;
    for (const auto& owned : reader.owned()) query.alone.push_back(owned.slot);
    EXPECT_EQ(store->look_at_parked(query).alone.size(), 1U);
    query.alone_with_key = true;
    EXPECT_EQ(store->look_at_parked(query).alone.size(), 2U);
}

void f12_keeps_every_byte_of_a_parked_event(Case& c) {
    Event full = event_of(std::string("\0\\x00\xff\"\n", 8), "");
    full.headers = {{"a", "1"}, {"b", "\"quoted\""}};
    full.aggregate_id = "agg";
    Event bare = event_of("", std::nullopt);
    bare.topic = "";
    c.commit({full, bare});
    const auto store = c.open();
    StoreReader reader(*store);
    auto rows = park_all(*store, reader);
    ASSERT_EQ(rows.size(), 2U);
    if (rows[0].key == std::nullopt) std::swap(rows[0], rows[1]);
    const std::vector<RowRef> refs{ref_of(rows[1]), ref_of(rows[0]), {rows[0].slot, 1'000, {}}};
    const auto batch = store->read_parked(refs);
    ASSERT_EQ(batch->rows.size(), 2U) << "one of the three is not there";
    for (std::size_t n = 0; n < 2; ++n) {
        const Row& row = batch->rows[n];
        const ReadRow& was = rows[1 - n];
        EXPECT_EQ(row.payload, was.payload);
        EXPECT_EQ(row.key, was.key);
        EXPECT_EQ(row.topic, was.topic);
        EXPECT_EQ(row.headers, was.headers);
        EXPECT_EQ(row.aggregate_id, was.aggregate_id);
        EXPECT_EQ(row.event_id, was.event_id);
        EXPECT_EQ(row.created_at, was.created_at) << "a repeat must have the same bytes";
        EXPECT_EQ(row.content_type, was.content_type);
    }
}

void counts_attempts_and_unparks_once(Case& c) {
    c.commit({event_of("a"), event_of("b")});
    const auto store = c.open();
    StoreReader reader(*store);
    const auto rows = park_all(*store, reader);
    const OwnedSlot owner = owner_of(reader, rows[0].slot);
    const auto look = [&] { return store->look_at_parked(query_of(rows[0], 9)).of_keys; };
    const std::vector<ParkedOutcome> refused{{.row = ref_of(rows[0]),
                                              .attempts = 2,
                                              .retry_in = Milliseconds{3'600'000},
                                              .reason = "unknown_topic",
                                              .detail = "d"}};
    for (int n = 0; n < 2; ++n) {  // The answer of the first was lost.
        EXPECT_TRUE(store->settle_parked(owner, refused));
        EXPECT_EQ(look()[0].attempts, 2);
        EXPECT_GT(look()[0].due_in, Milliseconds{3'000'000});
    }
    const std::vector<ParkedOutcome> last{
        {.row = ref_of(rows[0]), .dead = true, .attempts = 3, .reason = "unknown_topic"}};
    EXPECT_TRUE(store->settle_parked(owner, last));
    EXPECT_TRUE(look()[0].dead);
    const std::vector<ParkedOutcome> accepted{{.row = ref_of(rows[0]), .accepted = true},
                                              {.row = ref_of(rows[1]), .accepted = true}};
    for (int n = 0; n < 2; ++n) {
        EXPECT_TRUE(store->settle_parked(owner, accepted));
        EXPECT_TRUE(look().empty());
    }
    EXPECT_TRUE(store->load(reader.owned()).stopped.empty());
}

void f22_unparks_nothing_in_a_stale_epoch(Case& c) {
    c.commit("a");
    const auto one = c.open();
    const auto two = c.open();
    StoreReader stale(*one);
    const auto rows = park_all(*one, stale);
    two->attach(Id::generate());
    const auto taken = two->acquire(two->observe({}).slots);
    const OwnedSlot before = owner_of(stale, rows[0].slot);
    const std::vector<ParkedOutcome> accepted{{.row = ref_of(rows[0]), .accepted = true}};
    const std::vector<ParkedOutcome> refused{
        {.row = ref_of(rows[0]), .attempts = 2, .reason = "refused"}};
    EXPECT_FALSE(one->settle_parked(before, accepted));
    EXPECT_FALSE(one->settle_parked(before, refused));
    const auto left = two->look_at_parked(query_of(rows[0], 1)).of_keys;
    ASSERT_EQ(left.size(), 1U);
    EXPECT_EQ(left[0].attempts, 1);
    const auto now = *std::ranges::find(taken, rows[0].slot, &OwnedSlot::slot);
    EXPECT_TRUE(two->settle_parked(now, accepted));
    EXPECT_TRUE(two->look_at_parked(query_of(rows[0], 1)).of_keys.empty());
}

// A store that was given up may come when what it would park was sent or discarded long ago.
void parks_nothing_when_an_older_store_comes_late(Case& c) {
    c.commit("a");
    const auto store = c.open();
    StoreReader reader(*store);
    const auto rows = reader.read_window();
    const std::vector<Parking> parked{
        {rows[0].slot, rows[0].position, rows[0].event_id, "refused", ""}};
    const auto late = reader.moves();
    auto moves = late;
    for (auto& move : moves) ++move.cursor.n;
    (void)store->store(moves, parked);
    const std::vector<ParkedOutcome> accepted{{.row = ref_of(rows[0]), .accepted = true}};
    EXPECT_TRUE(store->settle_parked(owner_of(reader, rows[0].slot), accepted));
    (void)store->store(late, parked);
    EXPECT_TRUE(store->look_at_parked(query_of(rows[0], 1)).of_keys.empty());
}

constexpr StoreEntry kEntries[] = {
    {"LooksAtAKeysParkedEventsInTheirOrder", looks_at_a_keys_parked_events_in_their_order},
    {"LooksAtParkedEventsThatStandAlone", looks_at_parked_events_that_stand_alone},
    {"F12_KeepsEveryByteOfAParkedEvent", f12_keeps_every_byte_of_a_parked_event},
    {"CountsAttemptsAndUnparksOnce", counts_attempts_and_unparks_once},
    {"F22_UnparksNothingInAStaleEpoch", f22_unparks_nothing_in_a_stale_epoch},
    {"ParksNothingWhenAnOlderStoreComesLate", parks_nothing_when_an_older_store_comes_late},
};

}  // namespace

std::span<const StoreEntry> parked_entries() { return kEntries; }

}  // namespace sagaz::inline v0::testing
