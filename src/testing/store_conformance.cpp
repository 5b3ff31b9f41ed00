// What every Store must do, said in tests that know no backend.
#include "testing/store_case.hpp"
#include "testing/store_reader.hpp"

#include <sagaz/error.hpp>
#include <sagaz/testing/store_conformance.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

namespace sagaz::inline v0::testing {

Writer::~Writer() = default;
StoreSubject::~StoreSubject() = default;

namespace {

// ------------------------------------------------------------------------------------- attaching

void attaches_to_the_same_incarnation_twice(Case& c) {
    const auto one = c.open();
    const auto two = c.open();
    const Attached first = one->attach(Id::generate());
    EXPECT_EQ(first.incarnation, two->attach(Id::generate()).incarnation);
    EXPECT_EQ(first.incarnation, one->attach(Id::generate()).incarnation);
    EXPECT_GE(first.settings.slot_count, 1);
    EXPECT_FALSE(first.settings.topic_template.empty());
}

void acts_only_within_its_incarnation(Case& c) {
    c.commit("before");
    const auto store = c.open();
    StoreReader reader(*store);
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"before"});
    const auto moves = reader.moves();
    const Snapshot none;
    const Snapshot target = reader.opening().target;
    c.forget();
    // Somebody else is quicker to find out, so there is a memory again, but another one.
    const auto other = c.open();
    (void)other->attach(Id::generate());
    // The first call after a crash may meet the broken connection instead.
    (void)code_of([&] { (void)store->flushed(false); });
    const std::vector<std::pair<const char*, std::function<void()>>> calls{
        {"observe", [&] { (void)store->observe({}); }},
        {"acquire", [&] { (void)store->acquire({}); }},
        {"load", [&] { (void)store->load(reader.owned()); }},
        {"open_window", [&] { (void)store->open_window(); }},
        {"find_late", [&] { (void)store->find_late({}); }},
        {"read",
         [&] {
             ReadRequest request{{{reader.owned()[0].slot, &none, &target, 0, 9, {}}}, 10, 1'000};
             store->start_read(request);
             (void)store->finish_read();
         }},
        {"late read",
         [&] {
             ReadRequest request{{{reader.owned()[0].slot, &none, &target, 0, 9, {7}}}, 10, 1'000};
             store->start_read(request);
             (void)store->finish_read();
         }},
        {"flushed", [&] { (void)store->flushed(false); }},
        {"flush", [&] { (void)store->flushed(true); }},
        {"store", [&] { (void)store->store(moves, {}); }},
        {"look_at_parked", [&] { (void)store->look_at_parked({}); }},
        {"read_parked", [&] { (void)store->read_parked({}); }},
        {"settle_parked", [&] { (void)store->settle_parked(reader.owned()[0], {}); }},
        {"look_at", [&] { (void)store->look_at(std::vector<RowRef>{{0, 1, {}}}); }},
        {"mark_delivered", [&] { store->mark_delivered(std::vector<RowRef>{{0, 1, {}}}); }},
        {"release", [&] { store->release(reader.owned()); }},
        {"leave", [&] { store->leave(); }},
        {"tidy", [&] { store->tidy(reader.owned()); }},
        {"measure", [&] { (void)store->measure(); }},
        {"reclaim", [&] { (void)store->reclaim({}); }},
        {"keep_inbox", [&] { (void)store->keep_inbox({}); }},
    };
    for (const auto& [name, call] : calls) {
        EXPECT_EQ(code_of(call), "incarnation_changed") << name;
    }
    StoreReader again(*store);
    EXPECT_EQ(payloads_of(again.read_window()), Words{"before"}) << "it was never stored";
}

// ------------------------------------------------------------------------------------- ownership

void gives_a_slot_to_one_of_two(Case& c) {
    const auto one = c.open();
    const auto two = c.open();
    one->attach(Id::generate());
    two->attach(Id::generate());
    const auto seen = one->observe({}).slots;
    ASSERT_FALSE(seen.empty());
    EXPECT_EQ(two->observe({}).slots.size(), seen.size());
    EXPECT_EQ(one->acquire(seen).size(), seen.size());
    EXPECT_TRUE(two->acquire(seen).empty());
}

// After a crash of the database a relay has forgotten that slots are its own. Its own look has
// beaten its heart since the beat that the look shows.
void gives_a_relay_its_own_slots_again(Case& c) {
    const auto store = c.open();
    StoreReader owner(*store);
    const auto taken = store->acquire(store->observe({}).slots);
    ASSERT_EQ(taken.size(), owner.owned().size());
    EXPECT_GT(taken[0].epoch, owner.owned()[0].epoch);
}

void takes_a_silent_owners_slots_and_not_a_beating_ones(Case& c) {
    const auto one = c.open();
    const auto two = c.open();
    StoreReader owner(*one);
    two->attach(Id::generate());
    const auto before = two->observe({}).slots;
    ASSERT_EQ(before.size(), owner.owned().size());
    EXPECT_EQ(before[0].owner, owner.relay());
    (void)one->observe({});
    EXPECT_TRUE(two->acquire(before).empty()) << "its heart has beaten since";
    const auto after = two->observe({}).slots;
    EXPECT_NE(after[0].owner_beat, before[0].owner_beat);
    const auto taken = two->acquire(after);
    ASSERT_EQ(taken.size(), owner.owned().size());
    EXPECT_GT(taken[0].epoch, owner.owned()[0].epoch);
}

void releases_what_it_owns_in_that_epoch(Case& c) {
    const auto one = c.open();
    const auto two = c.open();
    StoreReader first(*one);
    auto wrong = first.owned();
    for (auto& slot : wrong) ++slot.epoch;
    one->release(wrong);
    two->attach(Id::generate());
    EXPECT_TRUE(two->observe({}).slots[0].owner.has_value());
    one->release(first.owned());
    const auto free = two->observe({}).slots;
    EXPECT_FALSE(free[0].owner.has_value());
    EXPECT_EQ(two->acquire(free).size(), free.size());
    one->release(first.owned());
    EXPECT_TRUE(two->observe({}).slots[0].owner.has_value())
        << "a stale owner released another's slot";
}

void tells_who_beats(Case& c) {
    const auto one = c.open();
    const auto two = c.open();
    const Id first = Id::generate();
    const Id second = Id::generate();
    one->attach(first);
    two->attach(second);
    const auto beat_of = [&](const Id& relay) {
        std::optional<std::int64_t> beat;
        for (const RelayView& seen : one->observe({}).relays) {
            if (seen.relay == relay) beat = seen.beat;
        }
        return beat;
    };
    EXPECT_TRUE(beat_of(first).has_value());
    const auto before = beat_of(second);
    ASSERT_TRUE(before.has_value());
    EXPECT_EQ(beat_of(second), before) << "the others' hearts are their own";
    (void)two->observe({});
    EXPECT_NE(beat_of(second), before);
}

// What `observe` says of the log is as good as `open_window`: nothing is passed over by it.
void opens_a_window_with_a_look_at_ownership(Case& c) {
    const auto store = c.open();
    StoreReader reader(*store);
    c.commit("before");
    const Opening seen = store->observe({}).opening;
    c.commit("after");
    EXPECT_EQ(payloads_of(reader.read_window(seen)), Words{"before"});
    EXPECT_GE(store->flushed(true), seen.gate);
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"after"});
}

void misses_no_late_commit_by_a_look_at_ownership(Case& c) {
    if (!c.writes_concurrently()) return;
    const auto store = c.open();
    StoreReader reader(*store);
    const auto late = c.begin();
    late->append(event_of("late"));
    c.commit({event_of("early", "other")});
    EXPECT_EQ(payloads_of(reader.read_window(store->observe({}).opening)), Words{"early"});
    late->commit();
    EXPECT_EQ(payloads_of(reader.read_window(store->observe({}).opening)), Words{"late"});
    EXPECT_TRUE(reader.read_window(store->observe({}).opening).empty());
}

void takes_a_relay_off_the_list_with_its_slots(Case& c) {
    const auto one = c.open();
    const auto two = c.open();
    StoreReader first(*one);
    two->attach(Id::generate());
    EXPECT_EQ(two->observe({}).relays.size(), 2U);
    one->leave();
    const auto seen = two->observe({});
    EXPECT_EQ(seen.relays.size(), 1U);
    for (const SlotView& slot : seen.slots) EXPECT_FALSE(slot.owner.has_value()) << slot.slot;
    EXPECT_EQ(two->acquire(seen.slots).size(), first.owned().size());
    EXPECT_EQ(two->observe({}).slots.size(), first.owned().size());
}

void stores_nothing_in_a_stale_epoch(Case& c) {
    c.commit("a");
    const auto one = c.open();
    const auto two = c.open();
    StoreReader stale(*one);
    const auto rows = stale.read_window();
    ASSERT_EQ(rows.size(), 1U);
    two->attach(Id::generate());
    (void)two->acquire(two->observe({}).slots);
    const std::vector<Parking> parked{
        {rows[0].slot, rows[0].position, rows[0].event_id, "refused", ""}};
    EXPECT_TRUE(one->store(stale.moves(), parked).empty());
    const Loaded loaded = two->load(two->acquire(two->observe({}).slots));
    for (const auto& [slot, cursor] : loaded.cursors) EXPECT_EQ(cursor.position, 0) << slot;
    EXPECT_TRUE(loaded.stopped.empty());
}

// --------------------------------------------------------------------------------------- reading

void delivers_what_was_committed_once_and_in_order(Case& c) {
    Words expected;
    for (int n = 0; n < 20; ++n) {
        expected.push_back(std::to_string(n));
        c.commit(expected.back());
    }
    const auto store = c.open();
    StoreReader reader(*store);
    EXPECT_EQ(payloads_of(reader.read_window()), expected);
    EXPECT_TRUE(reader.read_window().empty());
    c.commit("later");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"later"});
}

void delivers_nothing_that_was_rolled_back(Case& c) {
    const auto store = c.open();
    StoreReader reader(*store);
    {
        const auto writer = c.begin();
        writer->append(event_of("gone"));
        EXPECT_TRUE(reader.read_window().empty()) << "not committed yet";
    }
    c.commit("kept");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"kept"});
}

// An event whose position is below ones already delivered. With one writer at a time there is none:
// a later commit has only higher positions, and no window is ever without its end.
void delivers_a_late_commit(Case& c) {
    const auto store = c.open();
    StoreReader reader(*store);
    const auto early = c.begin();
    early->append(event_of("early"));
    if (c.writes_concurrently()) {
        c.commit("quick");
        EXPECT_EQ(payloads_of(reader.read_window()), Words{"quick"});
        early->commit();
        EXPECT_EQ(payloads_of(reader.read_window()), Words{"early"});
    } else {
        EXPECT_TRUE(reader.read_window().empty());
        early->commit();
        c.commit("quick");
        const auto rows = reader.read_window();
        ASSERT_EQ(payloads_of(rows), (Words{"early", "quick"}));
        EXPECT_LT(rows[0].position, rows[1].position);
    }
    EXPECT_TRUE(reader.read_window().empty());
}

void keeps_every_byte_of_an_event(Case& c) {
    Event full = event_of(std::string("\0\\x00\xff\"\n", 8), "");
    full.headers = {{"a", "1"}, {"b", "\"quoted\""}};
    full.content_type = "application/octet-stream";
    full.aggregate_id = "agg";
    Event bare = event_of("", std::nullopt);
    bare.topic = "";
    c.commit({full, bare});
    const auto store = c.open();
    StoreReader reader(*store);
    auto rows = reader.read_window();
    ASSERT_EQ(rows.size(), 2U);
    if (rows[0].position > rows[1].position) std::swap(rows[0], rows[1]);
    EXPECT_EQ(rows[0].payload, full.payload);
    EXPECT_EQ(rows[0].key, std::optional<std::string>(""));
    EXPECT_EQ(rows[0].topic, "orders");
    EXPECT_EQ(rows[0].event_type, "Happened");
    EXPECT_EQ(rows[0].content_type, "application/octet-stream");
    EXPECT_EQ(rows[0].aggregate_id, std::optional<std::string>("agg"));
    EXPECT_NE(rows[0].headers.find("quoted"), std::string::npos);
    EXPECT_FALSE(rows[0].event_id.is_zero());
    EXPECT_GT(rows[0].created_at.time_since_epoch().count(), 1'600'000'000'000'000);
    EXPECT_EQ(rows[1].payload, "");
    EXPECT_EQ(rows[1].key, std::nullopt);
    EXPECT_EQ(rows[1].topic, "");
    EXPECT_EQ(rows[1].headers, "");
    EXPECT_EQ(rows[1].aggregate_id, std::nullopt);
}

void keeps_batches_within_rows_and_bytes(Case& c) {
    std::vector<Event> events;
    for (int n = 0; n < 300; ++n) {
        events.push_back(event_of(std::string(static_cast<std::size_t>(n % 50) * 20, 'x'),
                                  std::to_string(n % 30)));
    }
    c.commit(events);
    const auto store = c.open();
    StoreReader reader(*store, {64, 40'000});
    const auto rows = reader.read_window();
    EXPECT_EQ(rows.size(), events.size());
    std::set<Id> ids;
    for (const auto& row : rows) ids.insert(row.event_id);
    EXPECT_EQ(ids.size(), events.size());
    EXPECT_LE(reader.payload_bytes_most(), 40'000U);
    EXPECT_GT(reader.batches(), 4U);
}

void reads_a_row_larger_than_a_batch(Case& c) {
    const std::string large(300'000, 'x');
    c.commit({event_of("a"), event_of(large), event_of("b"), event_of(large), event_of("c")});
    const auto store = c.open();
    StoreReader reader(*store, {100, 10'000});
    EXPECT_EQ(payloads_of(reader.read_window()), (Words{"a", large, "b", large, "c"}));
    EXPECT_LE(reader.payload_bytes_most(), large.size() + 10'000);
}

void answers_an_empty_read(Case& c) {
    const auto store = c.open();
    StoreReader reader(*store);
    store->start_read({});
    const ReadResult result = store->finish_read();
    EXPECT_TRUE(result.batch->rows.empty());
    EXPECT_TRUE(result.progress.empty());
    EXPECT_TRUE(store->find_late({}).empty());
    EXPECT_TRUE(store->store({}, {}).empty());
}

void passes_what_was_written_before_when_forced(Case& c) {
    const auto store = c.open();
    StoreReader reader(*store);
    c.commit("a");
    (void)reader.read_window();
    EXPECT_GE(store->flushed(true), reader.opening().gate);
}

// --------------------------------------------------------------------------------------- storing

void goes_on_from_the_stored_cursor(Case& c) {
    c.commit("a");
    const auto one = c.open();
    StoreReader first(*one);
    EXPECT_EQ(first.read_window().size(), 1U);
    EXPECT_EQ(one->store(first.moves(), {}).size(), first.owned().size());
    one->release(first.owned());
    c.commit("b");
    const auto two = c.open();
    StoreReader second(*two);
    EXPECT_EQ(payloads_of(second.read_window()), Words{"b"});
}

void starts_over_from_what_was_not_stored(Case& c) {
    c.commit("a");
    const auto one = c.open();
    StoreReader first(*one);
    EXPECT_EQ(first.read_window().size(), 1U);
    one->release(first.owned());
    const auto two = c.open();
    StoreReader second(*two);
    EXPECT_EQ(payloads_of(second.read_window()), Words{"a"});
}

void parks_once_when_the_answer_was_lost(Case& c) {
    c.commit("a");
    const auto store = c.open();
    StoreReader reader(*store);
    const auto rows = reader.read_window();
    const std::vector<Parking> parked{
        {rows[0].slot, rows[0].position, rows[0].event_id, "refused", ""}};
    auto moves = reader.moves();
    EXPECT_EQ(store->store(moves, parked).size(), moves.size());
    for (auto& move : moves) ++move.cursor.n;
    EXPECT_EQ(store->store(moves, parked).size(), moves.size());
    EXPECT_EQ(store->load(reader.owned()).stopped.size(), 1U);
}

// A statement that was given up may run late: it must not take the newest cursor's place.
void keeps_the_newest_cursor_when_an_older_store_comes_late(Case& c) {
    c.commit("a");
    const auto store = c.open();
    StoreReader reader(*store);
    const auto late = reader.moves();
    (void)reader.read_window();
    auto moves = reader.moves();
    for (auto& move : moves) ++move.cursor.n;
    (void)store->store(moves, {});
    (void)store->store(late, {});
    for (const auto& [slot, cursor] : store->load(reader.owned()).cursors) {
        EXPECT_EQ(cursor.n, moves[0].cursor.n) << slot;
        EXPECT_EQ(cursor.done, moves[0].cursor.done) << slot;
    }
}

void parks_with_the_cursor_and_stops_the_key(Case& c) {
    Event templated = event_of("c", "k3");
    templated.topic = "";
    c.commit({event_of("a", "k1"), event_of("b", std::nullopt), templated});
    const auto store = c.open();
    StoreReader reader(*store);
    std::vector<Parking> parked;
    for (const auto& row : reader.read_window()) {
        parked.push_back({row.slot, row.position, row.event_id, "payload_too_large", "detail"});
    }
    (void)store->store(reader.moves(), parked);
    auto stopped = store->load(reader.owned()).stopped;
    ASSERT_EQ(stopped.size(), 2U) << "an event without a key stops nothing";
    std::ranges::sort(stopped, {}, &StoppedKey::key);
    EXPECT_EQ(stopped[0].topic, "orders");
    EXPECT_EQ(stopped[0].key, "k1");
    EXPECT_EQ(stopped[1].topic, "");
    EXPECT_EQ(stopped[1].event_type, "Happened");
}

void tidies_cursors_and_keeps_the_newest(Case& c) {
    c.commit("a");
    const auto store = c.open();
    StoreReader reader(*store);
    (void)reader.read_window();
    auto moves = reader.moves();
    for (int n = 0; n < 10; ++n) {
        for (auto& move : moves) ++move.cursor.n;
        (void)store->store(moves, {});
    }
    store->tidy(reader.owned());
    const Loaded loaded = store->load(reader.owned());
    ASSERT_EQ(loaded.cursors.size(), moves.size());
    for (std::size_t n = 0; n < moves.size(); ++n) {
        const auto found =
            std::ranges::find(loaded.cursors, moves[n].slot, &Loaded::SlotCursor::slot);
        ASSERT_NE(found, loaded.cursors.end());
        EXPECT_EQ(found->cursor, moves[n].cursor);
    }
}

// Until it has nothing more; returns whether something went.
bool reclaim_all(Store& store, const ReclaimLimits& limits) {
    bool is_any = false;
    while (true) {
        const Reclaimed reclaimed = store.reclaim(limits);
        is_any = is_any || reclaimed.truncations > 0 || reclaimed.deleted > 0;
        if (!reclaimed.has_more) return is_any;
    }
}

// With no age to wait for, even of the part that is being written.
constexpr ReclaimLimits kAtOnce{.age = Milliseconds{0}};

void reclaims_what_stored_cursors_have_passed_and_nothing_else(Case& c) {
    c.commit("a");
    const auto store = c.open();
    StoreReader reader(*store);
    (void)reader.read_window();
    EXPECT_FALSE(reclaim_all(*store, kAtOnce)) << "read, and nothing of it stored";
    (void)store->store(reader.moves(), {});
    c.commit("b");
    (void)reclaim_all(*store, kAtOnce);
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"b"});
    auto moves = reader.moves();
    for (auto& move : moves) ++move.cursor.n;
    (void)store->store(moves, {});
    EXPECT_TRUE(reclaim_all(*store, kAtOnce));
    EXPECT_FALSE(reclaim_all(*store, kAtOnce)) << "nothing is left";
    c.commit("c");
    EXPECT_EQ(payloads_of(reader.read_window()), Words{"c"}) << "positions go on growing";
}

void keeps_what_is_young(Case& c) {
    c.commit("a");
    const auto store = c.open();
    StoreReader reader(*store);
    (void)reader.read_window();
    (void)store->store(reader.moves(), {});
    EXPECT_FALSE(reclaim_all(*store, {})) << "the part being written goes by age";
    EXPECT_FALSE(reclaim_all(*store, {.retention = Milliseconds{60'000}, .age = Milliseconds{0}}));
    EXPECT_TRUE(reclaim_all(*store, kAtOnce));
}

constexpr StoreEntry kEntries[] = {
    {"AttachesToTheSameIncarnationTwice", attaches_to_the_same_incarnation_twice},
    {"ActsOnlyWithinItsIncarnation", acts_only_within_its_incarnation},
    {"GivesASlotToOneOfTwo", gives_a_slot_to_one_of_two},
    {"GivesARelayItsOwnSlotsAgain", gives_a_relay_its_own_slots_again},
    {"TakesASilentOwnersSlotsAndNotABeatingOnes",
     takes_a_silent_owners_slots_and_not_a_beating_ones},
    {"ReleasesWhatItOwnsInThatEpoch", releases_what_it_owns_in_that_epoch},
    {"TellsWhoBeats", tells_who_beats},
    {"TakesARelayOffTheListWithItsSlots", takes_a_relay_off_the_list_with_its_slots},
    {"OpensAWindowWithALookAtOwnership", opens_a_window_with_a_look_at_ownership},
    {"MissesNoLateCommitByALookAtOwnership", misses_no_late_commit_by_a_look_at_ownership},
    {"F22_StoresNothingInAStaleEpoch", stores_nothing_in_a_stale_epoch},
    {"DeliversWhatWasCommittedOnceAndInOrder", delivers_what_was_committed_once_and_in_order},
    {"DeliversNothingThatWasRolledBack", delivers_nothing_that_was_rolled_back},
    {"F09_DeliversALateCommit", delivers_a_late_commit},
    {"KeepsEveryByteOfAnEvent", keeps_every_byte_of_an_event},
    {"KeepsBatchesWithinRowsAndBytes", keeps_batches_within_rows_and_bytes},
    {"ReadsARowLargerThanABatch", reads_a_row_larger_than_a_batch},
    {"AnswersAnEmptyRead", answers_an_empty_read},
    {"PassesWhatWasWrittenBeforeWhenForced", passes_what_was_written_before_when_forced},
    {"GoesOnFromTheStoredCursor", goes_on_from_the_stored_cursor},
    {"F19_StartsOverFromWhatWasNotStored", starts_over_from_what_was_not_stored},
    {"ParksOnceWhenTheAnswerWasLost", parks_once_when_the_answer_was_lost},
    {"KeepsTheNewestCursorWhenAnOlderStoreComesLate",
     keeps_the_newest_cursor_when_an_older_store_comes_late},
    {"ParksWithTheCursorAndStopsTheKey", parks_with_the_cursor_and_stops_the_key},
    {"TidiesCursorsAndKeepsTheNewest", tidies_cursors_and_keeps_the_newest},
    {"F61_ReclaimsWhatStoredCursorsHavePassedAndNothingElse",
     reclaims_what_stored_cursors_have_passed_and_nothing_else},
    {"F61_KeepsWhatIsYoung", keeps_what_is_young},
};

class ConformanceTest : public ::testing::Test {
public:
    ConformanceTest(std::function<std::unique_ptr<StoreSubject>()> make, StoreEntry::Body body)
        : make_(std::move(make)), body_(body) {}

    void TestBody() override {
        const auto subject = make_();
        Case one(*subject);
        body_(one);
    }

private:
    std::function<std::unique_ptr<StoreSubject>()> make_;
    StoreEntry::Body body_;
};

}  // namespace

int register_store_conformance(const std::string& name,
                               std::function<std::unique_ptr<StoreSubject>()> make) {
    const std::string suite = "StoreConformance/" + name;
    std::vector<StoreEntry> entries(std::begin(kEntries), std::end(kEntries));
    std::ranges::copy(held_entries(), std::back_inserter(entries));
    std::ranges::copy(parked_entries(), std::back_inserter(entries));
    for (const auto& entry : entries) {
        ::testing::RegisterTest(suite.c_str(), entry.name, nullptr, nullptr, __FILE__, __LINE__,
                                [make, body = entry.body]() -> ConformanceTest* {
                                    return new ConformanceTest(make, body);
                                });
    }
    return static_cast<int>(entries.size());
}

}  // namespace sagaz::inline v0::testing
