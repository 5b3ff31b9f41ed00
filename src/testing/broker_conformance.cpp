#include <sagaz/testing/broker_conformance.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <utility>

namespace sagaz::inline v0::testing {

Destination::~Destination() = default;

Sample Destination::poison() { return {}; }
void Destination::cut() {}
void Destination::heal() {}

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kPatience = 60'000ms;  // For what must come; a healthy destination needs far less.
constexpr auto kSlack = 3'000ms;      // Beyond a deadline, on a busy machine.

// What one test has. A value of the suite's own, so that the tests are plain functions.
struct Ground {
    Capabilities can;
    std::unique_ptr<Destination> destination;
    std::string topic;
    PromiseWatch broker;

    Sample sample(std::optional<std::string> key, std::string payload) const {
        return {topic, std::move(key), {}, std::move(payload)};
    }
};

std::vector<Sample> numbered(const Ground& ground, std::size_t keys, std::size_t count) {
    std::vector<Sample> samples;
    samples.reserve(count);
    for (std::size_t n = 0; n < count; ++n) {
        samples.push_back(ground.sample("key-" + std::to_string(n % keys), std::to_string(n)));
    }
    return samples;
}

// Views of the samples, with tokens that count up from `token`.
std::vector<Envelope> envelopes_of(std::span<const Sample> samples, std::uint64_t token = 0) {
    std::vector<Envelope> envelopes;
    envelopes.reserve(samples.size());
    for (const Sample& sample : samples) {
        envelopes.push_back({token++, sample.topic, *sample.key, {}, sample.payload});
    }
    return envelopes;
}

void expect_all_accepted(std::span<const Receipt> receipts) {
    for (std::size_t n = 0; n < receipts.size(); ++n) {
        ASSERT_EQ(receipts[n].state, Receipt::State::accepted)
            << "sample " << n << ": " << receipts[n].reason << " " << receipts[n].detail;
    }
}

Sample as_sample(const Message& message) {
    return {message.event.topic, message.event.key, message.event.headers, message.event.payload};
}

using Order = std::map<std::string, std::vector<std::string>>;

Order order_of(std::span<const Sample> samples) {
    Order order;
    for (const Sample& sample : samples) order[sample.key.value_or("")].push_back(sample.payload);
    return order;
}

// Per key the first arrival of each payload, and how many came again.
Order first_arrivals(std::span<const Message> messages) {
    Order order;
    for (const Message& message : messages) {
        auto& seen = order[message.event.key.value_or("")];
        if (std::find(seen.begin(), seen.end(), message.event.payload) == seen.end()) {
            seen.push_back(message.event.payload);
        }
    }
    return order;
}

void expect_kept(Ground& ground, const Sample& sample) {
    expect_all_accepted(Courier{ground.broker}.deliver({&sample, 1}, kPatience));
    if (!ground.can.keeps) return;
    const std::vector<Message> arrived = ground.destination->arrived();
    ASSERT_EQ(arrived.size(), 1U);
    EXPECT_TRUE(as_sample(arrived[0]) == sample) << "the message came changed";
}

void gives_one_receipt_each(Ground& ground) {
    const auto samples = numbered(ground, 7, 1'000);
    expect_all_accepted(Courier{ground.broker}.deliver(samples, kPatience));
    EXPECT_EQ(ground.broker.outstanding(), 0U);
    EXPECT_TRUE(ground.broker.poll(200ms).empty()) << "a receipt for nothing";
    if (ground.can.keeps) {
        EXPECT_EQ(ground.destination->arrived().size(), samples.size());
    }
}

void keeps_the_order_of_a_key(Ground& ground) {
    const auto samples = numbered(ground, 5, 2'000);
    expect_all_accepted(Courier{ground.broker}.deliver(samples, kPatience));
    if (ground.can.keeps) {
        EXPECT_EQ(first_arrivals(ground.destination->arrived()), order_of(samples));
    }
}

void tells_a_null_key_from_an_empty_one(Ground& ground) {
    const std::vector<Sample> samples{ground.sample("", "empty"),
                                      ground.sample(std::nullopt, "null")};
    expect_all_accepted(Courier{ground.broker}.deliver(samples, kPatience));
    if (!ground.can.keeps) return;
    const std::vector<Message> arrived = ground.destination->arrived();
    ASSERT_EQ(arrived.size(), 2U);
    for (const Message& message : arrived) {
        EXPECT_EQ(message.event.key.has_value(), message.event.payload == "empty");
    }
}

void keeps_an_empty_payload(Ground& ground) { expect_kept(ground, ground.sample("k", "")); }

void keeps_any_bytes(Ground& ground) {
    std::string all;
    for (int n = 0; n < 512; ++n) all += static_cast<char>(n % 256);
    expect_kept(ground, ground.sample(all, all + std::string(3, '\0')));
}

void keeps_bad_utf8(Ground& ground) {
    expect_kept(ground, ground.sample("\xC3", "\xFF\xFE\x80 \xED\xA0\x80 \xF8\x88"));
}

void keeps_a_large_payload(Ground& ground) {
    std::string large(ground.can.payload_max, 'x');
    for (std::size_t n = 0; n < large.size(); n += 997) large[n] = static_cast<char>(n % 251);
    expect_kept(ground, ground.sample("k", large));
}

void keeps_headers(Ground& ground) {
    Sample sample = ground.sample("k", "p");
    sample.headers = {{"trace", "1"}, {"trace", "2"},         {"empty", ""},
                      {"trace", "1"}, {"bytes", "\xFF\x01 "}, {"Ünïcode", "✓"}};
    sample.headers[4].value += '\0';
    expect_kept(ground, sample);
}

void pushes_back_and_goes_on(Ground& ground) {
    const std::string payload(1'000, 'p');
    std::vector<Sample> samples;
    samples.reserve(30'000);
    for (int n = 0; n < 30'000; ++n) {
        samples.push_back(ground.sample("key-" + std::to_string(n % 100), payload));
    }
    const std::vector<Envelope> envelopes = envelopes_of(samples);
    // Offers everything at once, again and again: what is not taken is back-pressure, not a loss.
    std::size_t taken = 0;
    const auto end = Clock::now() + kPatience;
    while (Clock::now() < end && (taken < envelopes.size() || ground.broker.outstanding() > 0)) {
        taken += ground.broker.publish(std::span{envelopes}.subspan(taken));
        for (const Receipt& receipt : ground.broker.poll(100ms)) {
            ASSERT_EQ(receipt.state, Receipt::State::accepted) << receipt.detail;
        }
    }
    EXPECT_EQ(taken, envelopes.size());
    EXPECT_EQ(ground.broker.outstanding(), 0U);
}

void polls_no_longer_than_its_deadline(Ground& ground) {
    for (const auto deadline : {0ms, 50ms, 300ms}) {
        const auto start = Clock::now();
        EXPECT_TRUE(ground.broker.poll(deadline).empty());
        EXPECT_LT(Clock::now() - start, deadline + kSlack);
    }
}

void is_up_once_it_accepted(Ground& ground) {
    const Sample sample = ground.sample("k", "p");
    expect_all_accepted(Courier{ground.broker}.deliver({&sample, 1}, kPatience));
    EXPECT_EQ(ground.broker.down(), "");
}

void abandons_within_its_deadline_and_settles_everything(Ground& ground) {
    const auto samples = numbered(ground, 3, 3'000);
    const std::vector<Envelope> envelopes = envelopes_of(samples);
    const std::size_t taken = ground.broker.publish(envelopes);
    const auto start = Clock::now();
    ground.broker.abandon(2'000ms);
    EXPECT_LT(Clock::now() - start, 2'000ms + kSlack);
    std::size_t first_open = taken;
    std::size_t receipts = 0;
    while (ground.broker.outstanding() > 0) {
        const std::vector<Receipt> polled = ground.broker.poll(0ms);
        ASSERT_FALSE(polled.empty()) << "abandon left " << ground.broker.outstanding();
        receipts += polled.size();
        for (const Receipt& receipt : polled) {
            ASSERT_NE(receipt.state, Receipt::State::refused);
            if (receipt.state == Receipt::State::accepted) continue;
            first_open = std::min(first_open, static_cast<std::size_t>(receipt.token));
        }
    }
    EXPECT_EQ(receipts, taken);
    // The object lives on: from the first that was not accepted, everything goes again.
    const auto rest = std::span{samples}.subspan(first_open);
    auto other = PromiseWatch{ground.destination->open()};
    expect_all_accepted(Courier{other}.deliver(rest, kPatience));
    if (ground.can.keeps) {
        EXPECT_EQ(first_arrivals(ground.destination->arrived()), order_of(samples));
    }
}

void works_after_abandoning(Ground& ground) {
    const Sample before = ground.sample("k", "before");
    const Envelope envelope{1, before.topic, *before.key, {}, before.payload};
    ASSERT_EQ(ground.broker.publish({&envelope, 1}), 1U);
    ground.broker.abandon(1'000ms);
    ASSERT_EQ(ground.broker.poll(0ms).size(), 1U);
    ground.broker.abandon(0ms);  // Nothing is on its way: nothing happens.
    EXPECT_TRUE(ground.broker.poll(0ms).empty());
    std::vector<Envelope> after{{2, before.topic, *before.key, {}, before.payload}};
    const auto end = Clock::now() + kPatience;
    std::size_t taken = 0;
    std::vector<Receipt> receipts;
    while (receipts.empty() && Clock::now() < end) {
        if (taken == 0) taken = ground.broker.publish(after);
        receipts = ground.broker.poll(100ms);
    }
    ASSERT_EQ(receipts.size(), 1U);
    EXPECT_EQ(receipts[0].state, Receipt::State::accepted) << receipts[0].detail;
}

void serves_two_brokers_on_one_destination(Ground& ground) {
    PromiseWatch other{ground.destination->open()};
    const Sample one = ground.sample("a", "one");
    const Sample two = ground.sample("b", "two");
    expect_all_accepted(Courier{ground.broker}.deliver({&one, 1}, kPatience));
    expect_all_accepted(Courier{other}.deliver({&two, 1}, kPatience));
    EXPECT_TRUE(other.violations().empty());
    if (ground.can.keeps) {
        EXPECT_EQ(ground.destination->arrived().size(), 2U);
    }
}

void refuses_poison_and_lets_the_rest_pass(Ground& ground) {
    auto samples = numbered(ground, 4, 400);
    Sample poison = ground.destination->poison();
    samples.insert(samples.begin() + 200, poison);
    const std::vector<Receipt> receipts = Courier{ground.broker}.deliver(samples, kPatience);
    for (std::size_t n = 0; n < receipts.size(); ++n) {
        ASSERT_EQ(receipts[n].state, n == 200 ? Receipt::State::refused : Receipt::State::accepted)
            << "sample " << n << ": " << receipts[n].detail;
    }
    EXPECT_FALSE(receipts[200].reason.empty());
    samples.erase(samples.begin() + 200);
    if (ground.can.keeps) {
        EXPECT_EQ(first_arrivals(ground.destination->arrived()), order_of(samples));
    }
}

void refuses_nothing_during_an_outage(Ground& ground) {
    const auto before = numbered(ground, 2, 10);
    expect_all_accepted(Courier{ground.broker}.deliver(before, kPatience));
    ground.destination->cut();
    const auto samples = numbered(ground, 2, 20);
    const std::vector<Envelope> envelopes = envelopes_of(samples, 1'000'000);
    // Down is noticed, with or without something on its way; meanwhile nothing is refused.
    std::size_t taken = 10;
    std::size_t accepted = 0;
    const auto settle = [&](Milliseconds wait) {
        for (const Receipt& receipt : ground.broker.poll(wait)) {
            ASSERT_NE(receipt.state, Receipt::State::refused) << receipt.detail;
            if (receipt.state == Receipt::State::accepted) {
                ++accepted;
            } else {
                taken = std::min(taken, static_cast<std::size_t>(receipt.token - 1'000'000));
            }
        }
    };
    auto end = Clock::now() + kPatience;
    while (ground.broker.down().empty() && Clock::now() < end) {
        taken += ground.broker.publish(std::span{envelopes}.subspan(taken));
        settle(100ms);
    }
    EXPECT_FALSE(ground.broker.down().empty());
    ground.destination->heal();
    end = Clock::now() + kPatience;
    while ((taken < envelopes.size() || ground.broker.outstanding() > 0) && Clock::now() < end) {
        taken += ground.broker.publish(std::span{envelopes}.subspan(taken));
        settle(100ms);
    }
    EXPECT_EQ(ground.broker.outstanding(), 0U);
    EXPECT_GE(accepted, 10U);
    EXPECT_EQ(ground.broker.down(), "");
    if (ground.can.keeps) {
        EXPECT_EQ(first_arrivals(ground.destination->arrived()), order_of(samples));
    }
}

using Body = void (*)(Ground&);

struct Entry {
    const char* name;
    Body body;
};

constexpr Entry kAlways[] = {
    {"GivesOneReceiptEach", gives_one_receipt_each},
    {"KeepsTheOrderOfAKey", keeps_the_order_of_a_key},
    {"TellsANullKeyFromAnEmptyOne", tells_a_null_key_from_an_empty_one},
    {"KeepsAnEmptyPayload", keeps_an_empty_payload},
    {"KeepsAnyBytes", keeps_any_bytes},
    {"KeepsBadUtf8", keeps_bad_utf8},
    {"KeepsALargePayload", keeps_a_large_payload},
    {"KeepsHeadersAndTheirOrder", keeps_headers},
    {"PushesBackAndGoesOn", pushes_back_and_goes_on},
    {"PollsNoLongerThanItsDeadline", polls_no_longer_than_its_deadline},
    {"IsUpOnceItAccepted", is_up_once_it_accepted},
    {"AbandonsWithinItsDeadlineAndSettlesEverything",
     abandons_within_its_deadline_and_settles_everything},
    {"WorksAfterAbandoning", works_after_abandoning},
    {"ServesTwoBrokersOnOneDestination", serves_two_brokers_on_one_destination},
};
constexpr Entry kIfRefuses{"RefusesPoisonAndLetsTheRestPass",
                           refuses_poison_and_lets_the_rest_pass};
constexpr Entry kIfOutages{"RefusesNothingDuringAnOutage", refuses_nothing_during_an_outage};

class ConformanceTest : public ::testing::Test {
public:
    ConformanceTest(Body body, Capabilities can, MakeDestination make)
        : body_(body), can_(can), make_(std::move(make)) {}

    void TestBody() override {
        std::unique_ptr<Destination> destination = make_();
        std::unique_ptr<Broker> broker = destination->open();
        std::string topic = destination->topic();
        Ground ground{can_, std::move(destination), std::move(topic),
                      PromiseWatch{std::move(broker)}};
        body_(ground);
        for (const std::string& violation : ground.broker.violations()) {
            ADD_FAILURE() << violation;
        }
    }

private:
    Body body_;
    Capabilities can_;
    MakeDestination make_;
};

}  // namespace

int register_broker_conformance(std::string_view name, Capabilities capabilities,
                                MakeDestination make) {
    const std::string suite = std::string{name} + "Conformance";
    int count = 0;
    const auto add = [&](const Entry& entry) {
        ::testing::RegisterTest(suite.c_str(), entry.name, nullptr, nullptr, __FILE__, __LINE__,
                                [body = entry.body, capabilities, make]() -> ConformanceTest* {
                                    return new ConformanceTest(body, capabilities, make);
                                });
        ++count;
    };
    for (const Entry& entry : kAlways) add(entry);
    if (capabilities.refuses) add(kIfRefuses);
    if (capabilities.outages) add(kIfOutages);
    return count;
}

}  // namespace sagaz::inline v0::testing
