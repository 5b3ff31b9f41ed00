// The inbox over a unit of work that only writes down what it was told.
#include "inbox/metrics.hpp"
#include "inbox/script.hpp"
#include "tests/support/error_code.hpp"

#include <sagaz/inbox.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <new>

namespace sagaz {
namespace {

using namespace std::string_literals;
using test::code_of;
using Log = std::vector<std::string>;

// Answers with words that a test laid out, `processed` and one attempt when there are none.
class FakeUnit final : public UnitOfWork {
public:
    FakeUnit& native() { return *this; }

    Rows execute(const Statement& statement) override {
        const auto says = [&](std::string_view name) {
            return statement.sql.find(name) != std::string::npos;
        };
        last = statement.sql;
        values.clear();
        for (const auto& value : statement.parameters) values.emplace_back(value.bytes);
        if (says("inbox_mark_all")) return mark_all();
        if (says("inbox_mark")) {
            log.push_back("mark " + values[1]);
            fail("mark");
            return {{next(marks, "processed")}};
        }
        if (says("inbox_count")) {
            log.push_back("count " + values[1] + " " + values[10] + "/" + values[9]);
            fail("count");
            return {{next(counts, "retry_later"), "1"}};
        }
        if (says("inbox_parked_as")) return {{"why"}};
        if (says("inbox_park")) log.push_back("park " + values[8]);
        return {{std::nullopt}};
    }
    void begin() override {
        log.emplace_back("begin");
        fail("begin");
    }
    void commit() override {
        log.emplace_back("commit");
        fail("commit");
    }
    void rollback() noexcept override { log.emplace_back("rollback"); }
    void command(std::string_view sql) override { log.emplace_back(sql); }
    std::optional<bool> was_ended() const noexcept override { return is_ended; }

    std::optional<bool> is_ended{false};  // by somebody else; none: it cannot tell
    std::size_t lost_rows{};
    std::map<std::string, std::deque<Error>> failures;  // what a step throws, once each
    std::deque<std::string> marks;
    std::deque<std::string> counts;
    Log log;
    std::string last;
    std::vector<std::string> values;

private:
    // Of ids without quotes and commas, as the tests have them.
    Rows mark_all() {
        std::string ids = values[1].substr(1, values[1].size() - 2);
        std::erase(ids, '"');
        Rows rows(static_cast<std::size_t>(1 + std::ranges::count(ids, ',')));
        std::ranges::replace(ids, ',', ' ');
        log.push_back("mark " + ids);
        fail("mark");
        for (std::size_t n = 0; n < rows.size(); ++n) {
            rows[n] = {next(marks, "processed")};
            if (rows[n][0] == "in_progress") rows.resize(n + 1);
        }
        rows.resize(rows.size() - lost_rows);
        return rows;
    }
    void fail(const std::string& step) {
        auto& waiting = failures[step];
        if (waiting.empty()) return;
        const Error error = waiting.front();
        waiting.pop_front();
        throw error;
    }
    static std::string next(std::deque<std::string>& words, const std::string& otherwise) {
        if (words.empty()) return otherwise;
        std::string word = words.front();
        words.pop_front();
        return word;
    }
};

Error error_of(ErrorKind kind, const std::string& code) { return {kind, code, "seen " + code, ""}; }

Message message(const std::string& id, const std::string& key = "") {
    Message made{.id = id, .event = {.event_type = "E", .payload = "p"}, .source_topic = "t"};
    if (!key.empty()) made.event.key = key;
    return made;
}

InboxOptions named(const std::string& name = "billing") {
    InboxOptions options;
    options.consumer_name = name;
    return options;
}

class InboxTest : public ::testing::Test {
protected:
    template <class Handler>
    auto process(Handler handler) {
        return Inbox(options_).process(unit_, message("a"), handler);
    }

    FakeUnit unit_;
    InboxOptions options_ = named();
};

// ------------------------------------------------------------------------------------ one message

TEST_F(InboxTest, MarksFirstThenHandlesThenCommits) {
    const auto outcome = process([&](auto& unit, const Message& m) {
        unit.log.push_back("handler " + m.id);
        return 7;
    });
    EXPECT_EQ(unit_.log, (Log{"begin", "mark a", "handler a", "commit"}));
    EXPECT_EQ(outcome.settlement, Settlement::processed);
    EXPECT_EQ(outcome.value, 7);
}

TEST_F(InboxTest, NeverTakesADuplicateForAHandlerThatReturnedNothing) {
    EXPECT_TRUE(process([](auto&, const Message&) {}).value.has_value());
    unit_.marks = {"duplicate"};
    const auto outcome = process([](auto&, const Message&) { ADD_FAILURE(); });
    EXPECT_EQ(outcome.settlement, Settlement::duplicate);
    EXPECT_FALSE(outcome.value.has_value());
}

TEST_F(InboxTest, RollsBackAndCountsApartWhenTheHandlerThrows) {
    const auto outcome = process(
        [](auto&, const Message&) -> int { throw std::runtime_error("no stock\nsecond line"); });
    EXPECT_EQ(unit_.log, (Log{"begin", "mark a", "rollback", "begin", "count a 1/10", "commit"}));
    EXPECT_EQ(outcome.settlement, Settlement::retry_later);
    EXPECT_EQ(outcome.reason, "no stock");
    EXPECT_EQ(outcome.retry_in, Milliseconds{1'000});
    EXPECT_FALSE(outcome.value.has_value());
}

TEST_F(InboxTest, F73_IsParkedWhenTheCountSaysSo) {
    unit_.counts = {"parked"};
    const auto outcome = process([](auto&, const Message&) { throw 42; });
    EXPECT_EQ(outcome.settlement, Settlement::parked);
    EXPECT_TRUE(outcome.is_settled());
    EXPECT_EQ(outcome.reason, "the handler threw what is no exception");
}

TEST_F(InboxTest, CountsNoAttemptForAConflictOfTheHandler) {
    const auto outcome = process([](auto&, const Message&) {
        throw error_of(ErrorKind::conflict, "serialization_failure");
    });
    EXPECT_EQ(unit_.log, (Log{"begin", "mark a", "rollback"}));
    EXPECT_EQ(outcome.settlement, Settlement::retry_later);
    EXPECT_EQ(outcome.retry_in, Milliseconds{0});
}

TEST_F(InboxTest, LetsEscapeOnlyWhatSaysThatTheProcessIsBroken) {
    EXPECT_THROW(process([](auto&, const Message&) { throw std::bad_alloc(); }), std::bad_alloc);
    EXPECT_EQ(unit_.log.back(), "rollback");
    EXPECT_EQ(
        code_of([&] {
            process([](auto&, const Message&) { throw error_of(ErrorKind::fatal, "broken"); });
        }),
        "broken");
    EXPECT_EQ(unit_.log.back(), "rollback");
}

TEST_F(InboxTest, ThrowsWhatTheCallItselfMet) {
    for (const auto& [step, kind, code] :
         {std::tuple{"begin", ErrorKind::invalid, "transaction_open"},
          std::tuple{"begin", ErrorKind::unavailable, "connection_lost"},
          std::tuple{"mark", ErrorKind::invalid, "schema_missing"},
          std::tuple{"commit", ErrorKind::in_doubt, "commit_in_doubt"}}) {
        unit_.failures[step] = {error_of(kind, code)};
        EXPECT_EQ(code_of([&] { process([](auto&, const Message&) {}); }), code);
        EXPECT_EQ(unit_.log.back(), "rollback");
    }
}

TEST_F(InboxTest, F69_IsInProgressWhenTheMarkIsHeldForTooLong) {
    unit_.failures["mark"] = {error_of(ErrorKind::unavailable, "lock_not_available")};
    const auto outcome = process([](auto&, const Message&) { ADD_FAILURE(); });
    EXPECT_EQ(outcome.settlement, Settlement::in_progress);
    EXPECT_FALSE(outcome.is_settled());
    EXPECT_EQ(unit_.log, (Log{"begin", "mark a", "rollback"}));
}

TEST_F(InboxTest, CountsWhatTheCommitFoundWrong) {
    unit_.failures["commit"] = {error_of(ErrorKind::invalid, "duplicate")};
    EXPECT_EQ(process([](auto&, const Message&) {}).settlement, Settlement::retry_later);
    EXPECT_EQ(unit_.log,
              (Log{"begin", "mark a", "commit", "rollback", "begin", "count a 1/10", "commit"}));
}

TEST_F(InboxTest, F73_CountsBeforeTheHandlerWhenAsked) {
    options_.count_attempts = CountAttempts::before_handler;
    process([](auto&, const Message&) { throw std::runtime_error("x"); });
    EXPECT_EQ(unit_.log, (Log{"begin", "count a 1/11", "commit", "begin", "mark a", "rollback",
                              "begin", "count a 0/10", "commit"}));
    unit_.counts = {"parked"};
    EXPECT_EQ(process([](auto&, const Message&) { ADD_FAILURE(); }).settlement, Settlement::parked);
}

// ------------------------------------------------------------------------------------- identities

TEST_F(InboxTest, TakesAnAttemptBackThatWasNotTheMessagesFault) {
    options_.count_attempts = CountAttempts::before_handler;
    process([](auto&, const Message&) {
        throw error_of(ErrorKind::conflict, "serialization_failure");
    });
    EXPECT_EQ(unit_.log, (Log{"begin", "count a 1/11", "commit", "begin", "mark a", "rollback",
                              "begin", "count a -1/2147483647", "commit"}));
}

TEST_F(InboxTest, F69_HandlesNothingWhoseAttemptCannotBeCounted) {
    options_.count_attempts = CountAttempts::before_handler;
    unit_.failures["count"] = {error_of(ErrorKind::unavailable, "lock_not_available")};
    const auto outcome = process([](auto&, const Message&) { ADD_FAILURE(); });
    EXPECT_EQ(outcome.settlement, Settlement::in_progress);
    EXPECT_EQ(unit_.log, (Log{"begin", "count a 1/11", "rollback"}));
}

TEST_F(InboxTest, ReadsTheIdFromTheHeadersInTheirOrderOfRank) {
    Message m = message("");
    m.event.headers = {{"event_id", "4"}, {"id", "3"}, {"message_id", "2"}, {"ce_id", "1"}};
    for (const char* expected : {"mark 1", "mark 2", "mark 3", "mark 4"}) {
        Inbox(options_).process(unit_, m, [](auto&, const Message&) {});
        EXPECT_EQ(unit_.log.at(unit_.log.size() - 2), expected);
        m.event.headers.pop_back();
    }
    m.event.headers = {{"ce_id", "1"}, {"mine", "5"}};
    options_.id_headers = {"mine"};
    Inbox(options_).process(unit_, m, [](auto&, const Message&) {});
    EXPECT_EQ(unit_.log.at(unit_.log.size() - 2), "mark 5");
}

TEST_F(InboxTest, ParksAMessageWithoutAnIdUnderItsPlace) {
    Message m = message("");
    m.partition = 3;
    m.position = 99;
    const auto outcome =
        Inbox(options_).process(unit_, m, [](auto&, const Message&) { ADD_FAILURE(); });
    EXPECT_EQ(outcome.settlement, Settlement::parked);
    EXPECT_EQ(outcome.reason, "id_missing");
    EXPECT_EQ(unit_.log, (Log{"begin", "park id_missing", "commit"}));
    EXPECT_EQ(unit_.values.at(1), "t/3/99");
}

TEST_F(InboxTest, SendsTextWhateverBytesCame) {
    Message m = message("\xff\x00"s, "\xfe");
    m.event.headers = {{"n", "\x00"s}};
    m.source_topic = std::string(300, 'x');
    Inbox(options_).process(unit_, m, [](auto&, const Message&) {});
    EXPECT_EQ(unit_.values.at(1), "\\xff00");
    EXPECT_EQ(unit_.values.at(2).size(), kTopicMax);
    EXPECT_EQ(unit_.values.at(5), "\\xfe");
    EXPECT_EQ(unit_.values.at(6), R"([["n","\\x00"]])");
}

TEST_F(InboxTest, RefusesOptionsThatCannotBeRight) {
    EXPECT_EQ(code_of([] { Inbox{named("")}; }), "consumer_name");
    EXPECT_EQ(code_of([] { Inbox{named("\xff")}; }), "consumer_name");
    EXPECT_EQ(code_of([] { Inbox{named(std::string(256, 'c'))}; }), "consumer_name");
    options_.schema = "a b";
    EXPECT_EQ(code_of([&] { Inbox{options_}; }), "schema_name");
    options_ = named();
    options_.max_attempts = 0;
    EXPECT_EQ(code_of([&] { Inbox{options_}; }), "option_range");
}

// ------------------------------------------------------------------------------------------ batch

class InboxBatch : public InboxTest {
protected:
    // Handles, and throws for the ids in `bad`.
    std::vector<Settlement> run(const std::vector<Message>& messages, const std::string& bad) {
        const auto outcomes =
            Inbox(options_).process_batch(unit_, messages, [&](auto&, const Message& m) {
                unit_.log.push_back("handler " + m.id);
                if (bad.find(m.id) != std::string::npos) throw std::runtime_error("bad");
            });
        std::vector<Settlement> settlements;
        settlements.reserve(outcomes.size());
        for (const auto& outcome : outcomes) settlements.push_back(outcome.settlement);
        return settlements;
    }
};

TEST_F(InboxBatch, IsOneTransactionWithoutSavepointsWhileAllIsWell) {
    using enum Settlement;
    EXPECT_EQ(run({message("a"), message("b")}, ""), (std::vector{processed, processed}));
    EXPECT_EQ(unit_.log,
              (Log{"begin", "mark a b", "handler a", "handler b", "CLOSE sagaz_batch", "commit"}));
}

TEST_F(InboxBatch, RunsAgainWithSavepointsWhenAHandlerThrows) {
    using enum Settlement;
    EXPECT_EQ(run({message("a"), message("b"), message("c")}, "b"),
              (std::vector{processed, retry_later, processed}));
    EXPECT_EQ(unit_.log, (Log{"begin",
                              "mark a b c",
                              "handler a",
                              "handler b",
                              "rollback",
                              "begin",
                              "SAVEPOINT sagaz",
                              "mark a",
                              "handler a",
                              "RELEASE SAVEPOINT sagaz",
                              "SAVEPOINT sagaz",
                              "mark b",
                              "handler b",
                              "ROLLBACK TO SAVEPOINT sagaz",
                              "RELEASE SAVEPOINT sagaz",
                              "SAVEPOINT sagaz",
                              "mark c",
                              "handler c",
                              "RELEASE SAVEPOINT sagaz",
                              "commit",
                              "begin",
                              "count b 1/10",
                              "commit"}));
}

TEST_F(InboxBatch, RunsOneByOneAfterADeadlockAndCountsNothing) {
    using enum Settlement;
    unit_.failures["mark"] = {error_of(ErrorKind::conflict, "deadlock")};
    EXPECT_EQ(run({message("a"), message("b")}, ""), (std::vector{processed, processed}));
    EXPECT_EQ(unit_.log, (Log{"begin", "mark a b", "rollback", "begin", "mark a", "handler a",
                              "commit", "begin", "mark b", "handler b", "commit"}));
}

TEST_F(InboxBatch, HoldsALaterMessageOfAKeyBehindOneThatFailed) {
    using enum Settlement;
    EXPECT_EQ(run({message("a", "k"), message("b", "k"), message("c", "l")}, "a"),
              (std::vector{retry_later, retry_later, processed}));
    EXPECT_EQ(std::ranges::count(unit_.log, "handler b"), 0);
}

TEST_F(InboxBatch, MarksNothingOfAKeyBehindAMessageInProgress) {
    using enum Settlement;
    unit_.marks = {"processed", "in_progress"};
    EXPECT_EQ(run({message("a", "k"), message("b", "l"), message("c", "l"), message("d", "k"),
                   message("e", "l"), message("f"), message("g")},
                  ""),
              (std::vector{processed, in_progress, retry_later, processed, retry_later, processed,
                           processed}));
    EXPECT_EQ(unit_.log, (Log{"begin", "mark a b c d e f g", "handler a", "CLOSE sagaz_batch",
                              "mark d", "handler d", "mark f g", "handler f", "handler g",
                              "CLOSE sagaz_batch", "commit"}));
}

TEST_F(InboxBatch, ParksAMessageWithoutAnIdInItsTurn) {
    run({message("a"), message("b"), message(""), message("c"), message("d")}, "");
    EXPECT_EQ(unit_.log, (Log{"begin", "mark a b", "handler a", "handler b", "CLOSE sagaz_batch",
                              "park id_missing", "mark c d", "handler c", "handler d",
                              "CLOSE sagaz_batch", "commit"}));
}

TEST_F(InboxBatch, MarksNothingAheadWhereItCannotTellThatAHandlerEndedTheTransaction) {
    unit_.is_ended.reset();
    run({message("a"), message("b")}, "");
    EXPECT_EQ(unit_.log, (Log{"begin", "mark a", "handler a", "mark b", "handler b", "commit"}));
}

// Before, the call failed: what suits one mark was too short for two that were waited for.
TEST_F(InboxBatch, RunsOneByOneAfterATimeOutOfTheMarks) {
    using enum Settlement;
    unit_.failures["mark"] = {error_of(ErrorKind::unavailable, "statement_canceled")};
    EXPECT_EQ(run({message("a"), message("b")}, ""), (std::vector{processed, processed}));
}

TEST_F(InboxBatch, BoundsWhatOneStatementMarks) {
    const auto marks = [&] {
        return std::ranges::count_if(
            unit_.log, [](const std::string& line) { return line.starts_with("mark"); });
    };
    run(std::vector<Message>(401, message("a")), "");
    EXPECT_EQ(marks(), 3);
    unit_.log.clear();
    auto large = message("b");
    large.event.payload = std::string(600'000, 'x');
    run({large, large, message("c"), large}, "");
    EXPECT_EQ(marks(), 3) << "b, b c, b";
    EXPECT_EQ(unit_.log.at(3), "mark b c");
}

TEST_F(InboxBatch, QuotesWhateverIsInTheValues) {
    auto odd = message("a\"\\{}NULL", "k");
    odd.event.payload = "\x00\xff\"\\"s;
    odd.event.headers = {{"n", "\""}};
    const std::vector<Message> messages{odd, message("b")};
    Inbox(options_).process_batch(unit_, messages, [&](auto& unit, const Message& m) {
        EXPECT_TRUE(m.id == "b" || unit.values.size() == 11U);
    });
    EXPECT_EQ(unit_.values.at(1), R"({"a\"\\{}NULL","b"})");
    EXPECT_EQ(unit_.values.at(4), R"({"\\x00ff225c","\\x70"})");
    EXPECT_EQ(unit_.values.at(5), R"({"k",NULL})");
    EXPECT_EQ(unit_.values.at(6), R"({"[[\"n\",\"\\\"\"]]",NULL})");
}

TEST_F(InboxBatch, RefusesAnAnswerThatLacksAMessage) {
    unit_.lost_rows = 1;
    EXPECT_EQ(code_of([&] { run({message("a"), message("b")}, ""); }), "unexpected_answer");
}

TEST_F(InboxBatch, StopsAfterAHandlerThatEndedTheTransaction) {
    const std::vector<Message> messages{message("a"), message("b")};
    EXPECT_EQ(code_of([&] {
                  Inbox(options_).process_batch(unit_, messages, [&](auto& unit, const Message& m) {
                      unit.log.push_back("handler " + m.id);
                      unit.is_ended = true;
                  });
              }),
              "transaction_ended");
    EXPECT_EQ(unit_.log, (Log{"begin", "mark a b", "handler a", "rollback"}));
}

TEST_F(InboxBatch, GivesEachItsOwnValue) {
    unit_.marks = {"processed", "duplicate", "processed"};
    const std::vector<Message> messages{message("a"), message("b"), message("c")};
    const auto outcomes = Inbox(options_).process_batch(
        unit_, messages, [](auto&, const Message& m) { return m.id; });
    EXPECT_EQ(outcomes[0].value, "a");
    EXPECT_EQ(outcomes[1].value, std::nullopt);
    EXPECT_EQ(outcomes[2].value, "c");
}

TEST_F(InboxBatch, OfNothingDoesNothing) {
    EXPECT_TRUE(run({}, "").empty());
    EXPECT_TRUE(unit_.log.empty());
}

// ---------------------------------------------------------------------------------------- metrics

class Counters final : public Telemetry {
public:
    void count(std::string_view metric, double by,
               std::span<const Field> labels) noexcept override {
        add(metric, labels, by);
    }
    void gauge(std::string_view, double, std::span<const Field>) noexcept override {}
    void observe(std::string_view metric, double, std::span<const Field> labels) noexcept override {
        add(metric, labels, 1);
    }
    void log(LogLevel, std::string_view event, std::span<const Field>) noexcept override {
        ++seen[std::string(event)];
    }
    std::map<std::string, double> seen;

private:
    void add(std::string_view metric, std::span<const Field> labels, double by) {
        std::string name(metric);
        for (const auto& label : labels) name += " " + std::string(label.value);
        seen[name] += by;
    }
};

TEST_F(InboxTest, ReportsEachSettlementOnce) {
    Counters counters;
    const Inbox inbox(options_, &counters);
    unit_.marks = {"processed", "duplicate", "parked", "processed"};
    for (int n = 0; n < 3; ++n) inbox.process(unit_, message("a"), [](auto&, const Message&) {});
    inbox.process(unit_, message("a"),
                  [](auto&, const Message&) { throw std::runtime_error("x"); });
    EXPECT_EQ(counters.seen, (std::map<std::string, double>{
                                 {"consumer_inbox_processed_total billing E", 1},
                                 {"consumer_inbox_processing_duration_seconds billing E", 1},
                                 {"consumer_inbox_duplicates_total billing E", 1},
                                 {"consumer_inbox_parked_total billing E", 1},
                                 {"consumer_inbox_failures_total billing E", 1},
                                 {"message_parked", 1}}));
}

}  // namespace
}  // namespace sagaz
