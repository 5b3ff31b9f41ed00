#include "tests/support/history.hpp"

#include "tests/support/history_check.hpp"

#include <gtest/gtest.h>

#include <sstream>
#include <stdexcept>

namespace sagaz::history {
namespace {

/// A history under construction: each call is one operation.
class Story {
public:
    Story& append(const std::string& id, Type end, std::int64_t order = 1) {
        return line("append", Type::invoke, id, order).line("append", end, id, order);
    }
    Story& arrive(const std::string& id, const std::string& digest = "d") {
        return line("arrive", Type::ok, id, std::nullopt, digest);
    }
    Story& say(const std::string& f, const std::string& id) { return line(f, Type::ok, id); }
    Story& line(const std::string& f, Type type, const std::string& id,
                std::optional<std::int64_t> order = std::nullopt, const std::string& digest = "d") {
        Operation operation;
        operation.proc = "test";
        operation.f = f;
        operation.type = type;
        operation.topic = topic;
        operation.key = key;
        operation.id = id;
        operation.order = order;
        operation.digest = digest;
        operation.partition = partition;
        checker_.feed(operation);
        return *this;
    }
    Story& with_key(std::optional<std::string> other) {
        key = std::move(other);
        return *this;
    }
    Story& with_topic(std::string other) {
        topic = std::move(other);
        return *this;
    }
    Verdict end() { return checker_.finish(); }

    std::string topic{"orders"};
    std::optional<std::string> key{"k"};
    std::optional<std::int32_t> partition{};

private:
    Checker checker_;
};

void expect_only(const Verdict& verdict, const std::string& invariant, const std::string& id) {
    ASSERT_EQ(verdict.violations_total, 1U);
    EXPECT_EQ(verdict.violations[0].invariant, invariant);
    EXPECT_EQ(verdict.violations[0].id, id);
}

}  // namespace

TEST(History, ReadsWhatItWrites) {
    Operation operation;
    operation.proc = "producer-1";
    operation.monotonic_ns = -5;
    operation.f = "append";
    operation.type = Type::info;
    operation.topic = "orders";
    operation.key = "";
    operation.id = "an id";
    operation.order = 0;
    operation.digest = "ff";
    operation.partition = 3;
    operation.offset = std::int64_t{1} << 40;
    operation.detail = "a \"word\"\n";
    operation.extra = {{"slot", 4}, {"target", "10:20:"}};
    std::stringstream stream;
    Writer writer(stream, 18'446'744'073'709'551'615U);
    writer.write(operation);
    writer.write({.proc = "nemesis", .f = "fault", .type = Type::invoke});
    Reader reader(stream);
    operation.seed = 18'446'744'073'709'551'615U;
    EXPECT_EQ(reader.next(), operation);
    const auto second = reader.next();
    ASSERT_TRUE(second);
    EXPECT_EQ(second->idx, 1U);
    EXPECT_EQ(second->key, std::nullopt);
    EXPECT_EQ(reader.next(), std::nullopt);
}

TEST(History, RefusesALineThatWasLost) {
    std::stringstream stream;
    Writer writer(stream, 1);
    for (int n = 0; n < 3; ++n) writer.write({.proc = "p", .f = "send"});
    std::string first, second, third;
    std::getline(stream, first);
    std::getline(stream, second);
    std::getline(stream, third);
    std::stringstream cut(first + "\n" + third + "\n");
    Reader reader(cut);
    EXPECT_TRUE(reader.next());
    EXPECT_THROW(reader.next(), std::runtime_error);
}

TEST(History, RefusesALineOfAnotherRun) {
    std::stringstream stream;
    stream << to_line({.seed = 1, .proc = "p", .idx = 0, .f = "send"}) << '\n'
           << to_line({.seed = 2, .proc = "p", .idx = 1, .f = "send"}) << '\n';
    Reader reader(stream);
    EXPECT_TRUE(reader.next());
    EXPECT_THROW(reader.next(), std::runtime_error);
}

TEST(History, NamesTheLineThatCannotBeRead) {
    for (const char* bad :
         {"", "{", "[]", R"({"seed":1})",
          R"({"seed":1,"proc":"p","monotonic_ns":0,"idx":0,"f":"x","type":"may"})",
          R"({"seed":1,"proc":"p","monotonic_ns":0,"idx":0,"f":3,"type":"ok"})"}) {
        std::stringstream stream(std::string(bad) + "\n");
        try {
            check(stream);
            ADD_FAILURE() << "was read: " << bad;
        } catch (const std::runtime_error& error) {
            EXPECT_NE(std::string(error.what()).find("line 1"), std::string::npos) << error.what();
        }
    }
}

TEST(HistoryCheck, FindsNothingInAMinimalGoodHistory) {
    Story story;
    story.append("a", Type::ok, 1).append("b", Type::fail).append("c", Type::ok, 2);
    story.append("d", Type::info, 3).append("e", Type::ok, 4).append("f", Type::ok, 5);
    story.arrive("a").arrive("c").arrive("a").arrive("c").say("park", "e").say("pending", "f");
    const Verdict verdict = story.end();
    EXPECT_TRUE(verdict.holds()) << verdict.violations[0].what;
    EXPECT_EQ(verdict.appended, 6U);
    EXPECT_EQ(verdict.committed, 4U);
    EXPECT_EQ(verdict.arrived, 2U);
    EXPECT_EQ(verdict.repeats, 2U);
    EXPECT_EQ(verdict.parked, 1U);
    EXPECT_EQ(verdict.pending, 1U);
}

TEST(HistoryCheck, FindsACommittedEventThatNeverArrived) {
    expect_only(Story().append("a", Type::ok, 1).append("b", Type::ok, 2).arrive("b").end(), "I1",
                "a");
}

TEST(HistoryCheck, FindsAnUnknownCommitThatSurvivedAndNeverArrived) {
    expect_only(Story().append("a", Type::info).say("truth", "a").end(), "I1", "a");
}

TEST(HistoryCheck, FindsASurvivorOfAKilledProducerThatNeverArrived) {
    Story story;
    story.line("append", Type::invoke, "a", 1).append("b", Type::ok, 2).arrive("b");
    expect_only(story.say("truth", "a").say("truth", "b").end(), "I1", "a");
}

TEST(HistoryCheck, DemandsNothingOfACommitThatACrashUndid) {
    EXPECT_TRUE(Story()
                    .append("a", Type::ok)
                    .append("b", Type::ok, 2)
                    .arrive("b")
                    .say("truth", "b")
                    .end()
                    .holds());
}

TEST(HistoryCheck, FindsAnEventOfATransactionThatRolledBack) {
    expect_only(Story().append("a", Type::fail).arrive("a").end(), "I2", "a");
}

TEST(HistoryCheck, FindsAnEventThatNobodyAppended) {
    expect_only(Story().append("a", Type::ok).arrive("a").arrive("x").end(), "I2", "x");
}

TEST(HistoryCheck, FindsAnEventWhoseCommitDidNotSurvive) {
    for (const Type end : {Type::ok, Type::info}) {
        Story story;
        story.append("a", end, 1).append("b", Type::ok, 2).arrive("a").arrive("b");
        expect_only(story.say("truth", "b").end(), "I3", "a");
    }
}

TEST(HistoryCheck, FindsTwoFirstArrivalsThatChangedPlaces) {
    Story story;
    story.append("a", Type::ok, 1).append("b", Type::ok, 2).append("c", Type::ok, 3);
    expect_only(story.arrive("a").arrive("c").arrive("b").end(), "I4", "b");
}

TEST(HistoryCheck, FindsAnEventThatCameLateAmongRepeats) {
    Story story;
    story.append("a", Type::ok, 1).append("b", Type::ok, 2).append("c", Type::ok, 3);
    expect_only(story.arrive("b").arrive("c").arrive("b").arrive("a").arrive("c").end(), "I4", "a");
}

TEST(HistoryCheck, FindsAnInversionThatWasRecordedBeforeItsCommit) {
    Story story;
    story.line("append", Type::invoke, "a").line("append", Type::invoke, "b");
    story.arrive("b").arrive("a");
    story.line("append", Type::ok, "a", 1).line("append", Type::ok, "b", 2);
    expect_only(story.end(), "I4", "a");
}

TEST(HistoryCheck, TakesARepeatForNoInversion) {
    Story story;
    story.append("a", Type::ok, 1).append("b", Type::ok, 2);
    EXPECT_TRUE(story.arrive("a").arrive("b").arrive("a").arrive("b").end().holds());
}

TEST(HistoryCheck, ComparesTheOrderOfEachKeyAndTopicAlone) {
    Story story;
    story.append("a", Type::ok, 7).arrive("a");
    story.with_key("other").append("b", Type::ok, 1).arrive("b");
    story.with_topic("bills").append("c", Type::ok, 0).arrive("c");
    story.with_key(std::nullopt).append("d", Type::ok, 9).append("e", Type::ok, 8);
    EXPECT_TRUE(story.arrive("d").arrive("e").end().holds());
}

TEST(HistoryCheck, FindsARepeatWithOtherBytes) {
    expect_only(Story().append("a", Type::ok).arrive("a").arrive("a", "other").end(), "I5", "a");
}

TEST(HistoryCheck, FindsARepeatWithAnotherKeyOrTopic) {
    Story keyed;
    keyed.append("a", Type::ok).arrive("a").with_key("other").arrive("a");
    expect_only(keyed.end(), "I5", "a");
    Story placed;
    placed.append("a", Type::ok).arrive("a").with_topic("bills").arrive("a");
    expect_only(placed.end(), "I5", "a");
}

TEST(HistoryCheck, FindsAnArrivalThatIsNotWhatWasAppended) {
    expect_only(Story().append("a", Type::ok).arrive("a", "other").end(), "I5", "a");
    Story keyed;
    keyed.append("a", Type::ok).with_key(std::nullopt).arrive("a");
    expect_only(keyed.end(), "I5", "a");
}

TEST(HistoryCheck, GivesTheSameVerdictTwice) {
    const auto tell = [] {
        Story story;
        for (int n = 0; n < 50; ++n) story.append("id-" + std::to_string(n), Type::ok, n);
        std::string told;
        for (const auto& violation : story.end().violations) told += violation.id + ",";
        return told;
    };
    EXPECT_EQ(tell(), tell());
}

TEST(HistoryCheck, I4_FindsAKeyInTwoPartitions) {
    Story story;
    story.append("a", Type::ok, 1).append("b", Type::ok, 2);
    story.partition = 1;
    story.arrive("a").arrive("a");
    story.partition = 2;
    expect_only(story.arrive("b").end(), "I4", "b");
    Story keyless;
    keyless.with_key(std::nullopt).append("a", Type::ok).append("b", Type::ok);
    keyless.partition = 1;
    keyless.arrive("a");
    keyless.partition = 2;
    EXPECT_TRUE(keyless.arrive("b").end().holds());
}

}  // namespace sagaz::history
