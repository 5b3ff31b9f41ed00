// What every PublisherStore must do, said in tests that know no backend.
#include "testing/store_case.hpp"
#include "testing/store_reader.hpp"

#include <sagaz/testing/publisher_store_conformance.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

namespace sagaz::inline v0::testing {

PublisherSubject::~PublisherSubject() = default;

namespace {

constexpr Milliseconds kHold{60'000};
constexpr Milliseconds kMargin{1'000};

using Verdicts = std::vector<Verdict>;

RowRef ref_of(const ReadRow& row) { return {row.slot, row.position, row.event_id}; }

// The body of every test has a new log. What it appends it finds again by its payload.
class PublisherCase {
public:
    explicit PublisherCase(PublisherSubject& subject) : subject_(subject) {}

    std::unique_ptr<Store> open() { return subject_.open(); }
    std::unique_ptr<PublisherStore> open_publisher() { return subject_.open_publisher(); }
    void forget() { subject_.forget(); }

    /// One transaction.
    void commit(const std::vector<Event>& events, Milliseconds hold = kHold) {
        const auto writer = subject_.begin();
        for (const auto& event : events) writer->append(event, hold);
        writer->commit();
    }
    void roll_back(const Event& event) { subject_.begin()->append(event, kHold); }

private:
    PublisherSubject& subject_;
};

// A relay that reads and stores when it is told to, and a publisher.
class Stage {
public:
    explicit Stage(PublisherCase& c)
        : case_(c), relay_(c.open()), reader_(*relay_), publisher_(c.open_publisher()) {
        attached_ = publisher_->attach();
    }

    PublisherStore& publisher() { return *publisher_; }
    const Attached& attached() const { return attached_; }
    Store& relay() { return *relay_; }
    const StoreReader& reader() const { return reader_; }

    void append(const std::vector<Event>& events, Milliseconds hold = kHold) {
        case_.commit(events, hold);
        for (const auto& row : reader_.read_window()) rows_[row.payload] = row;
    }
    void append(const std::string& payload, Milliseconds hold = kHold) {
        append(std::vector{event_of(payload)}, hold);
    }

    const ReadRow& row(const std::string& payload) const { return rows_.at(payload); }
    RowRef ref(const std::string& payload) const { return ref_of(row(payload)); }
    std::vector<RowRef> refs(const Words& payloads) const {
        std::vector<RowRef> refs;
        for (const auto& payload : payloads) refs.push_back(ref(payload));
        return refs;
    }

    /// Stores that all which was read so far is delivered, or parked.
    void store(const std::vector<Parking>& parked = {}) {
        auto moves = reader_.moves();
        for (auto& move : moves) move.cursor.n += stores_;
        ++stores_;
        ASSERT_EQ(relay_->store(moves, parked).size(), moves.size());
    }
    void store_parked(const std::string& payload) {
        const RowRef parked = ref(payload);
        store({{parked.slot, parked.position, parked.event_id, "refused", ""}});
    }
    bool settle_parked(const std::string& payload) {
        const RowRef row = ref(payload);
        const auto owner = std::ranges::find(reader_.owned(), row.slot, &OwnedSlot::slot);
        const std::vector<ParkedOutcome> accepted{{.row = row, .accepted = true}};
        return relay_->settle_parked(*owner, accepted);
    }
    HoldState hold(const std::string& payload) { return relay_->look_at(refs({payload})).at(0); }

    Verdicts ask(const std::vector<RowRef>& asked, const std::vector<RowRef>& acknowledged = {},
                 Milliseconds margin = kMargin) {
        return publisher_->confirm(asked, acknowledged, margin).verdicts;
    }
    Verdicts ask(const Words& payloads) { return ask(refs(payloads)); }

private:
    PublisherCase& case_;
    std::unique_ptr<Store> relay_;
    StoreReader reader_;
    std::unique_ptr<PublisherStore> publisher_;
    Attached attached_;
    std::map<std::string, ReadRow> rows_;
    std::int64_t stores_{};
};

using enum Verdict;

// ------------------------------------------------------------------------------------- attaching

void learns_what_shapes_bytes(PublisherCase& c) {
    Stage stage(c);
    EXPECT_EQ(stage.attached().settings.source, stage.reader().settings().source);
    EXPECT_EQ(stage.attached().settings.topic_template, stage.reader().settings().topic_template);
    EXPECT_EQ(stage.attached().settings.slot_count, stage.reader().settings().slot_count);
    EXPECT_EQ(stage.attached().incarnation, c.open()->attach(Id::generate()).incarnation);
}

void leaves_all_to_the_relay_until_there_has_been_one(PublisherCase& c) {
    const auto publisher = c.open_publisher();
    EXPECT_TRUE(publisher->attach().incarnation.is_zero());
    c.commit({event_of("a")});
    const std::vector<RowRef> made_up{{0, 1, Id::generate()}};
    const Confirmation answer = publisher->confirm(made_up, {}, kMargin);
    EXPECT_EQ(answer.verdicts, Verdicts{late});
    EXPECT_TRUE(answer.batch->rows.empty());
    publisher->settle({}, made_up);
    const auto relay = c.open();
    StoreReader reader(*relay);
    const auto rows = reader.read_window();
    ASSERT_EQ(rows.size(), 1U) << "attaching and asking changed nothing";
    const std::vector<RowRef> asked{ref_of(rows[0])};
    EXPECT_EQ(code_of([&] { (void)publisher->confirm(asked, {}, kMargin); }),
              "incarnation_changed");
    EXPECT_FALSE(publisher->attach().incarnation.is_zero());
    EXPECT_EQ(publisher->confirm(asked, {}, kMargin).verdicts, Verdicts{ready});
}

void acts_for_a_publisher_only_within_its_incarnation(PublisherCase& c) {
    Stage stage(c);
    stage.append("a");
    const auto asked = stage.refs({"a"});
    c.forget();
    // Somebody else is quicker to find out, so there is a memory again, but another one.
    const auto other = c.open();
    (void)other->attach(Id::generate());
    auto& publisher = stage.publisher();
    // The first call after a crash may meet the broken connection instead.
    (void)code_of([&] { (void)publisher.flushed(false); });
    const std::vector<std::pair<const char*, std::function<void()>>> calls{
        {"confirm", [&] { (void)publisher.confirm(asked, {}, kMargin); }},
        {"flushed", [&] { (void)publisher.flushed(false); }},
        {"flush", [&] { (void)publisher.flushed(true); }},
        {"settle", [&] { publisher.settle(asked, {}); }},
        {"leave", [&] { publisher.settle({}, asked); }},
    };
    for (const auto& [name, call] : calls) {
        EXPECT_EQ(code_of(call), "incarnation_changed") << name;
    }
    EXPECT_FALSE(publisher.attach().incarnation.is_zero());
    EXPECT_EQ(publisher.confirm(asked, {}, kMargin).verdicts, Verdicts{ready})
        << "nothing of it was removed";
}

// ------------------------------------------------------------------------------------ confirming

void confirms_with_the_bytes_that_a_relay_reads(PublisherCase& c) {
    Stage stage(c);
    Event full = event_of(std::string("\0\\x00\xff\"\n", 8), "");
    full.headers = {{"a", "1"}, {"b", "\"quoted\""}};
    full.aggregate_id = "agg";
    full.content_type = "text/plain";
    Event bare = event_of("", std::nullopt);
    bare.topic = "";
    stage.append({full, bare});
    const auto asked = stage.refs({bare.payload, full.payload});
    const Confirmation answer = stage.publisher().confirm(asked, {}, kMargin);
    EXPECT_EQ(answer.verdicts, (Verdicts{ready, ready}));
    ASSERT_EQ(answer.batch->rows.size(), 2U);
    for (std::size_t n = 0; n < 2; ++n) {
        const Row& row = answer.batch->rows[n];
        const ReadRow& read = stage.row(n == 0 ? bare.payload : full.payload);
        EXPECT_EQ(row.event_id, read.event_id) << "in the order of the question";
        EXPECT_EQ(row.slot, read.slot);
        EXPECT_EQ(row.position, read.position);
        EXPECT_EQ(row.payload, read.payload);
        EXPECT_EQ(row.key, read.key);
        EXPECT_EQ(row.topic, read.topic);
        EXPECT_EQ(row.event_type, read.event_type);
        EXPECT_EQ(row.content_type, read.content_type);
        EXPECT_EQ(row.headers, read.headers);
        EXPECT_EQ(row.aggregate_id, read.aggregate_id);
        EXPECT_EQ(row.created_at, read.created_at);
    }
    EXPECT_GE(stage.publisher().flushed(true), answer.gate);
}

void confirms_nothing_when_nothing_is_asked(PublisherCase& c) {
    Stage stage(c);
    const Confirmation answer = stage.publisher().confirm({}, {}, kMargin);
    EXPECT_TRUE(answer.verdicts.empty());
    ASSERT_NE(answer.batch, nullptr);
    EXPECT_TRUE(answer.batch->rows.empty());
    stage.publisher().settle({}, {});
}

void finds_nothing_but_what_was_committed_under_that_id(PublisherCase& c) {
    Stage stage(c);
    c.roll_back(event_of("rolled back"));
    stage.append("a");
    const RowRef a = stage.ref("a");
    const std::vector<RowRef> asked{{a.slot, a.position, Id::generate()},
                                    {a.slot, a.position + 1, a.event_id},
                                    {static_cast<std::int16_t>(a.slot + 1), a.position, a.event_id},
                                    a};
    const Confirmation answer = stage.publisher().confirm(asked, {}, kMargin);
    EXPECT_EQ(answer.verdicts, (Verdicts{not_committed, not_committed, not_committed, ready}));
    ASSERT_EQ(answer.batch->rows.size(), 1U);
    EXPECT_EQ(answer.batch->rows[0].payload, "a");
}

void is_late_where_the_hold_is_over_or_nearly(PublisherCase& c) {
    Stage stage(c);
    stage.append({event_of("unheld", "1")}, Milliseconds{0});
    stage.append({event_of("held", "2")});
    EXPECT_EQ(stage.ask(Words{"unheld", "held"}), (Verdicts{late, ready}));
    EXPECT_EQ(stage.ask(stage.refs({"held"}), {}, 2 * kHold), Verdicts{late});
}

void is_late_once_the_stored_cursor_has_passed_it(PublisherCase& c) {
    Stage stage(c);
    stage.append("a");
    EXPECT_EQ(stage.ask(Words{"a"}), Verdicts{ready}) << "read, and nothing of it stored";
    stage.store();
    EXPECT_EQ(stage.ask(Words{"a"}), Verdicts{late});
}

// ----------------------------------------------------------------------------------------- order

void keeps_the_order_of_a_key_and_of_nothing_else(PublisherCase& c) {
    Stage stage(c);
    Event other_topic = event_of("other topic", "1");
    other_topic.topic = "payments";
    stage.append({event_of("first", "1"), event_of("second", "1"), event_of("other key", "2"),
                  other_topic, event_of("none", std::nullopt), event_of("none 2", std::nullopt)});
    stage.append({event_of("third", "1")});
    EXPECT_EQ(stage.ask(Words{"third", "second", "first", "other key", "other topic", "none 2"}),
              (Verdicts{behind, behind, ready, ready, ready, ready}));
}

void goes_on_when_the_elder_is_settled(PublisherCase& c) {
    Stage stage(c);
    const auto other = c.open_publisher();
    (void)other->attach();
    stage.append("a");
    stage.append("b");
    EXPECT_EQ(stage.ask(Words{"b"}), Verdicts{behind});
    EXPECT_EQ(stage.ask(stage.refs({"b"}), stage.refs({"a"})), Verdicts{ready})
        << "acknowledged here, and not settled yet";
    RowRef another = stage.ref("a");
    another.event_id = Id::generate();
    EXPECT_EQ(stage.ask(stage.refs({"b"}), {another}), Verdicts{behind});
    other->settle(stage.refs({"a"}), {});
    EXPECT_EQ(stage.ask(Words{"b", "a"}), (Verdicts{ready, not_committed}));
}

void goes_on_when_the_stored_cursor_has_passed_the_elder(PublisherCase& c) {
    Stage stage(c);
    stage.append("a");
    c.commit({event_of("b")});
    stage.store();
    stage.append("c");
    EXPECT_EQ(stage.ask(Words{"c", "b"}), (Verdicts{behind, ready}));
    stage.publisher().settle(stage.refs({"b"}), {});
    EXPECT_EQ(stage.ask(Words{"c"}), Verdicts{ready});
}

void waits_behind_an_elder_that_a_relay_was_left_with(PublisherCase& c) {
    Stage stage(c);
    stage.append("a");
    stage.append("b");
    stage.publisher().settle({}, stage.refs({"a"}));
    EXPECT_EQ(stage.ask(Words{"a", "b"}), (Verdicts{late, behind}));
}

void goes_on_when_a_relay_has_marked_the_elder(PublisherCase& c) {
    Stage stage(c);
    stage.append("a");
    stage.append("b");
    EXPECT_EQ(stage.ask(Words{"b"}), Verdicts{behind});
    stage.relay().mark_delivered(stage.refs({"a"}));
    EXPECT_EQ(stage.ask(Words{"a", "b"}), (Verdicts{late, ready}));
    stage.publisher().settle({}, stage.refs({"a"}));
    EXPECT_EQ(stage.hold("a"), HoldState::gone) << "its publisher takes no mark back";
    EXPECT_EQ(stage.ask(Words{"b"}), Verdicts{ready});
}

void waits_behind_a_parked_elder(PublisherCase& c) {
    Stage stage(c);
    stage.append("parked");
    stage.store_parked("parked");
    stage.append({event_of("b"), event_of("other", "2"), event_of("none", std::nullopt)});
    EXPECT_EQ(stage.ask(Words{"b", "other", "none"}), (Verdicts{behind, ready, ready}));
    EXPECT_TRUE(stage.settle_parked("parked"));
    EXPECT_EQ(stage.ask(Words{"b"}), Verdicts{ready});
}

// -------------------------------------------------------------------------------------- settling

void removes_what_was_accepted_and_releases_what_is_left(PublisherCase& c) {
    Stage stage(c);
    stage.append({event_of("accepted", "1"), event_of("left", "2"), event_of("kept", "3"),
                  event_of("mistaken", "4")});
    RowRef mistaken = stage.ref("mistaken");
    mistaken.event_id = Id::generate();
    for (int n = 0; n < 2; ++n) {  // The answer of the first was lost.
        stage.publisher().settle(std::vector{stage.ref("accepted"), mistaken},
                                 std::vector{stage.ref("left"), mistaken});
        EXPECT_EQ(stage.hold("accepted"), HoldState::gone);
        EXPECT_EQ(stage.hold("left"), HoldState::released);
        EXPECT_EQ(stage.hold("kept"), HoldState::held);
        EXPECT_EQ(stage.hold("mistaken"), HoldState::held) << "that is another event";
    }
    EXPECT_EQ(stage.ask(Words{"left", "kept"}), (Verdicts{late, ready}));
}

void leaves_the_relay_nothing_of_what_it_settled(PublisherCase& c) {
    Stage stage(c);
    stage.append({event_of("accepted", "1"), event_of("left", "2")});
    stage.publisher().settle(stage.refs({"accepted"}), stage.refs({"left"}));
    const auto relay = c.open();
    StoreReader reader(*relay);
    const auto rows = reader.read_window();
    EXPECT_EQ(payloads_of(rows), Words{"left"});
    EXPECT_FALSE(rows.at(0).held);
}

struct PublisherEntry {
    using Body = void (*)(PublisherCase&);
    const char* name{};
    Body body{};
};

constexpr PublisherEntry kEntries[] = {
    {"LearnsWhatShapesBytes", learns_what_shapes_bytes},
    {"LeavesAllToTheRelayUntilThereHasBeenOne", leaves_all_to_the_relay_until_there_has_been_one},
    {"ActsForAPublisherOnlyWithinItsIncarnation", acts_for_a_publisher_only_within_its_incarnation},
    {"ConfirmsWithTheBytesThatARelayReads", confirms_with_the_bytes_that_a_relay_reads},
    {"ConfirmsNothingWhenNothingIsAsked", confirms_nothing_when_nothing_is_asked},
    {"F01_FindsNothingButWhatWasCommittedUnderThatId",
     finds_nothing_but_what_was_committed_under_that_id},
    {"IsLateWhereTheHoldIsOverOrNearly", is_late_where_the_hold_is_over_or_nearly},
    {"IsLateOnceTheStoredCursorHasPassedIt", is_late_once_the_stored_cursor_has_passed_it},
    {"KeepsTheOrderOfAKeyAndOfNothingElse", keeps_the_order_of_a_key_and_of_nothing_else},
    {"GoesOnWhenTheElderIsSettled", goes_on_when_the_elder_is_settled},
    {"GoesOnWhenTheStoredCursorHasPassedTheElder",
     goes_on_when_the_stored_cursor_has_passed_the_elder},
    {"WaitsBehindAnElderThatARelayWasLeftWith", waits_behind_an_elder_that_a_relay_was_left_with},
    {"GoesOnWhenARelayHasMarkedTheElder", goes_on_when_a_relay_has_marked_the_elder},
    {"WaitsBehindAParkedElder", waits_behind_a_parked_elder},
    {"RemovesWhatWasAcceptedAndReleasesWhatIsLeft",
     removes_what_was_accepted_and_releases_what_is_left},
    {"LeavesTheRelayNothingOfWhatItSettled", leaves_the_relay_nothing_of_what_it_settled},
};

class PublisherConformanceTest : public ::testing::Test {
public:
    PublisherConformanceTest(std::function<std::unique_ptr<PublisherSubject>()> make,
                             PublisherEntry::Body body)
        : make_(std::move(make)), body_(body) {}

    void TestBody() override {
        const auto subject = make_();
        PublisherCase one(*subject);
        body_(one);
    }

private:
    std::function<std::unique_ptr<PublisherSubject>()> make_;
    PublisherEntry::Body body_;
};

}  // namespace

int register_publisher_store_conformance(const std::string& name,
                                         std::function<std::unique_ptr<PublisherSubject>()> make) {
    const std::string suite = "PublisherStoreConformance/" + name;
    for (const auto& entry : kEntries) {
        ::testing::RegisterTest(suite.c_str(), entry.name, nullptr, nullptr, __FILE__, __LINE__,
                                [make, body = entry.body]() -> PublisherConformanceTest* {
                                    return new PublisherConformanceTest(make, body);
                                });
    }
    return static_cast<int>(std::size(kEntries));
}

}  // namespace sagaz::inline v0::testing
