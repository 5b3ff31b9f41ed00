// The mistakes that it takes a broker to make, on a real Kafka that makes no topic by itself.
#include "tests/integration/first_mistakes.hpp"
#include "tests/support/kafka_of_all.hpp"
#include "tests/support/kafka_reader.hpp"

#include <sagaz/id.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <regex>
#include <sstream>

namespace sagaz::test {
namespace {

const std::map<std::string, std::string> kAnyPort{{"SAGAZ_ADMIN_LISTEN", "127.0.0.1:0"}};

using tests::kafka_of_all;

std::string page() {
    std::ifstream file{SAGAZ_SOURCE_DIR "/docs/guides/first-mistakes.md"};
    return {std::istreambuf_iterator<char>{file}, {}};
}

class FirstMistakesOfBrokers : public FirstMistakes {
protected:
    void SetUp() override { migrate(); }

    void append(const std::string& topic, const std::string& key, const std::string& payload) {
        const auto result = run({"append", "--topic", topic, "--key", key, "--type", "T",
                                 "--payload", "@" + file("payload", payload)});
        ASSERT_EQ(result.code, 0) << result.err;
    }
    Arguments relay(const std::string& broker, Arguments more) const {
        Arguments words{"relay", "--broker", broker, "--store", url_};
        words.insert(words.end(), more.begin(), more.end());
        return words;
    }
    CliResult drain(const std::string& broker, const std::string& config = {},
                    const std::string& timeout = "30s") const {
        Arguments words{"--until-drained", "--timeout", timeout};
        if (!config.empty()) words.insert(words.end(), {"--config", config});
        return run_cli(relay(broker, words), {.environment = kAnyPort});
    }
    std::int64_t parked() const { return sql().number("select count(*) from sagaz.parked"); }
    std::int64_t pending() const {
        return sql().number("select pending_events from sagaz.backlog");
    }
    void expect_words(const std::string& text, const std::vector<std::string>& words) {
        for (const auto& word : words) EXPECT_NE(text.find(word), std::string::npos) << text;
    }
};

TEST_F(FirstMistakesOfBrokers, ABrokerThatIsNotThereIsNamedAndNothingIsParked) {
    const std::string nowhere = "kafka://127.0.0.1:1";
    expect_help({"the broker cannot be reached",
                 {"wait", "--for", "broker", "--timeout", "300ms", "--broker", nowhere},
                 "wait_timeout",
                 {"start it, or correct --broker"}});
    append("orders", "1", "{}");
    const auto drained = drain(nowhere, {}, "1s");
    EXPECT_EQ(drained.code, 3);
    expect_words(drained.err, {"not drained", "no server of 127.0.0.1:1 can be reached"});
    const auto doctor = run({"doctor", "--broker", nowhere});
    EXPECT_EQ(doctor.code, 3);
    expect_words(doctor.out, {"FINDING  broker", "127.0.0.1:1", "refused", "correct --broker"});
    EXPECT_EQ(parked(), 0);
    EXPECT_EQ(pending(), 1);
}

class FirstMistakesWithKafka : public FirstMistakesOfBrokers {
protected:
    static void SetUpTestSuite() { tests::await_kafka(); }

    std::string kafka_ = "kafka://" + kafka_of_all->bootstrap();
    /// A name that no topic has.
    std::string missing_ = database_ + ".missing";

    std::vector<std::string> payloads(const std::string& topic) const {
        std::vector<std::string> all;
        for (const auto& message : tests::read_topic(kafka_of_all->bootstrap(), topic)) {
            all.push_back(message.event.payload);
        }
        return all;
    }
    // A drain of what the broker refuses: exit 3, and the relay's log says why.
    void expect_refused(const std::string& name, const std::string& config,
                        const std::string& reason, const std::vector<std::string>& says) {
        const auto drained = drain(kafka_, config);
        EXPECT_EQ(drained.code, 3) << drained.err;
        expect_words(drained.err, {"parked: see sagaz parked ls"});
        const auto line = line_with("event_refused", drained.err);
        expect_words(line, {reason});
        expect_words(line, says);
        note(name, "sagaz relay", reason, line.substr(line.find("event_refused")));
    }
    static std::string line_with(const std::string& words, const std::string& text) {
        for (const auto& line : lines_of(text)) {
            if (line.find(words) != std::string::npos) return line;
        }
        ADD_FAILURE() << words << " is not in\n" << text;
        return words;
    }
};

TEST_F(FirstMistakesWithKafka, ATopicThatIsMadeInTimeGoesOnByItself) {
    append(missing_, "1", "one");
    CliProcess process{relay(kafka_, {}), {.environment = kAnyPort}};
    wait_for("the relay to report the topic", [&] {
        return sql().number(
                   "select count(*) from sagaz.relay where report->>'down_reason' like '%" +
                   missing_ + "%'") > 0;
    });
    // A busy Kafka may miss a deadline of the relay's client now and then, which is said instead.
    const auto says = [&](const std::string& command, const std::vector<std::string>& words) {
        std::string out;
        wait_for(command + " to tell", [&] {
            out = run({command}).out;
            return std::ranges::all_of(
                words, [&](const auto& word) { return out.find(word) != std::string::npos; });
        });
        return out;
    };
    const auto seen =
        lines_of(says("status", {"topic '" + missing_ + "'", "create the topic"})).at(0);
    says("doctor", {"FINDING  delivery", "create the topic"});
    note("a topic that does not exist, meanwhile", "sagaz status", "unknown_topic", seen);
    EXPECT_EQ(parked(), 0);
    kafka_of_all->create_topic_named(missing_, 1);
    wait_for("the event", [&] { return pending() == 0; });
    EXPECT_EQ(payloads(missing_), std::vector<std::string>{"one"});
    process.signal(SIGTERM);
    EXPECT_EQ(process.wait(), 0) << process.err();
    EXPECT_EQ(parked(), 0);
}

// What the guide says to do then, to the letter.
TEST_F(FirstMistakesWithKafka, EventsOfAMissingTopicAreParkedAndCanBePutBack) {
    const auto there = kafka_of_all->create_topic(1);
    const auto soon =
        file("soon.yaml", "broker:\n  options:\n    topic.metadata.propagation.max.ms: 300\n");
    for (const auto* const payload : {"one", "two", "three"}) append(missing_, "1", payload);
    append(there, "1", "other");
    expect_refused("a topic that does not exist", soon, "unknown_topic",
                   {missing_, "create the topic"});
    EXPECT_EQ(parked(), 3);
    EXPECT_EQ(payloads(there), std::vector<std::string>{"other"}) << "every other key flows";

    kafka_of_all->create_topic_named(missing_, 1);
    const auto guide = page();
    std::smatch block;
    ASSERT_TRUE(std::regex_search(guide, block, std::regex{"```sh\nsagaz ([^\n`]+)\n```"}));
    std::istringstream words{block[1].str()};
    const Arguments replay{std::istream_iterator<std::string>{words}, {}};
    const auto replayed = run(replay);
    EXPECT_EQ(replayed.code, 0) << replayed.err;
    EXPECT_EQ(replayed.out, "replayed 1 events\n");
    EXPECT_EQ(run(replay).out, "replayed 0 events\n") << "twice changes nothing more";
    EXPECT_EQ(sql().number("select count(*) from sagaz.audit where action = 'parked_replay'"), 1);
    append(missing_, "1", "four");
    const auto again = drain(kafka_);
    EXPECT_EQ(again.code, 0) << again.err;
    EXPECT_EQ(payloads(missing_), (std::vector<std::string>{"one", "two", "three", "four"}));
    EXPECT_EQ(parked(), 0);
}

TEST_F(FirstMistakesWithKafka, APayloadOverTheLimitOfKafkaNamesBothSides) {
    const std::string body(2'000'000, 'x');
    const auto small = kafka_of_all->create_topic(1, {{"max.message.bytes", "1500000"}});
    const auto large = kafka_of_all->create_topic(1);
    const auto raised =
        file("raised.yaml", "broker:\n  options:\n    message.max.bytes: 4000000\n");
    const std::vector<std::string> both{"message.max.bytes in broker.options",
                                        "max.message.bytes of the topic"};
    append(large, "big", body);
    append(large, "small", "fits");
    expect_refused("a payload over message.max.bytes of the relay", {}, "payload_too_large", both);
    const auto line = line_with("parked ", run({"status"}).out);
    expect_words(line, {"1 waiting: payload_too_large"});
    expect_words(line, both);
    note("a payload that Kafka does not take", "sagaz status", "payload_too_large", line);
    EXPECT_EQ(payloads(large), std::vector<std::string>{"fits"});

    sql().run("delete from sagaz.parked");
    append(small, "big", body);
    append(large, "other", body);
    expect_refused("a payload over max.message.bytes of the topic", raised, "payload_too_large",
                   both);
    EXPECT_EQ(payloads(large), (std::vector<std::string>{"fits", body})) << "raised on both sides";
    EXPECT_TRUE(payloads(small).empty());
}

TEST_F(FirstMistakesWithKafka, F71_MarksThatGoBeforeTheirMessagesAreFound) {
    const auto week = kafka_of_all->create_topic(1, {{"retention.ms", "604800000"}});
    const auto compacted = kafka_of_all->create_topic(1, {{"cleanup.policy", "compact"}});
    const auto doctor = [&](const std::string& retention, int code = 3) {
        const auto result = run_cli({"doctor", "--store", url_, "--broker", kafka_},
                                    {.environment = {{"SAGAZ_INBOX_RETENTION", retention}}});
        EXPECT_EQ(result.code, code) << result.out;  // no relay makes partitions for the marks
        return line_with("inbox_retention: ", result.out);
    };
    const auto mark = [&](const std::string& topic, const std::string& id) {
        sql().run("select sagaz.inbox_mark('billing', '" + id + "', '" + topic +
                  "', 'E', ''::text)");
    };
    expect_words(doctor("30d", 0), {"ok ", "no consumer has a mark"});
    mark(week, "text id");
    mark(week, Id::generate().text());
    expect_words(doctor("30d"), {"ok ", "30d", "1 topics"});
    expect_words(doctor("7d"), {"FINDING", "marks are kept for 7d", week + " for 7d"});
    expect_words(doctor("0s"), {"ok ", "for ever"});
    mark(missing_, "of another cluster");
    expect_words(doctor("30d"), {"skipped", missing_});
    mark(compacted, "old");
    expect_words(doctor("30d"), {"FINDING", compacted + " for ever"});
}

// Last of all, when everything was made: the guide knows the codes.
void expect_guide_to_know_all() {
    const auto guide = page();
    for (const auto& code : codes_of_mistakes()) {
        EXPECT_NE(guide.find("`" + code + "`"), std::string::npos)
            << code << " is not in docs/guides/first-mistakes.md";
    }
}

class Ending final : public testing::Environment {
public:
    void TearDown() override {
        std::printf("\n%s\n", table_of_mistakes().c_str());
        expect_guide_to_know_all();
    }
};

}  // namespace
}  // namespace sagaz::test

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    ::testing::AddGlobalTestEnvironment(new sagaz::test::Ending);
    return sagaz::tests::run_tests_with_kafka("FirstMistakesWithKafka");
}
