// The judge itself: each promise is broken once on purpose, and must be noticed.
#include <sagaz/testing/broker_conformance.hpp>

#include <gtest/gtest.h>

#include <utility>

namespace sagaz::testing {

namespace {

using State = Receipt::State;

// Says what it is told to say.
class Script final : public Broker {
public:
    explicit Script(std::vector<std::vector<Receipt>> polls) : polls_(std::move(polls)) {}

    std::size_t publish(std::span<const Envelope> envelopes) override { return envelopes.size(); }
    std::vector<Receipt> poll(Milliseconds) override {
        return at_ < polls_.size() ? polls_[at_++] : std::vector<Receipt>{};
    }
    std::string down() const override { return {}; }
    void abandon(Milliseconds) override {}

private:
    std::vector<std::vector<Receipt>> polls_;
    std::size_t at_{};
};

// Publishes 1 and 2 of key "a" and 3 of key "b", then polls twice.
std::vector<std::string> violations_of(std::vector<std::vector<Receipt>> polls) {
    PromiseWatch watch{std::make_unique<Script>(std::move(polls))};
    const Envelope envelopes[] = {
        {1, "t", "a", {}, "x"}, {2, "t", "a", {}, "y"}, {3, "t", "b", {}, "z"}};
    watch.publish(envelopes);
    watch.poll(Milliseconds{0});
    watch.poll(Milliseconds{0});
    return watch.violations();
}

}  // namespace

TEST(PromiseWatch, IsContentWithAGoodBroker) {
    EXPECT_TRUE(violations_of({{{3, State::accepted, "", ""}, {1, State::accepted, "", ""}},
                               {{2, State::refused, "why", ""}}})
                    .empty());
    EXPECT_TRUE(violations_of({{{1, State::accepted, "", ""},
                                {2, State::unknown, "", ""},
                                {3, State::accepted, "", ""}}})
                    .empty());
}

TEST(PromiseWatch, SeesASecondReceipt) {
    EXPECT_EQ(
        violations_of({{{1, State::accepted, "", ""}}, {{1, State::accepted, "", ""}}}).size(), 1U);
}

TEST(PromiseWatch, SeesAReceiptForNothing) {
    EXPECT_EQ(violations_of({{{9, State::accepted, "", ""}}}).size(), 1U);
}

TEST(PromiseWatch, SeesOvertaking) {
    const auto seen = violations_of({{{2, State::accepted, "", ""},
                                      {1, State::unknown, "", ""},
                                      {3, State::accepted, "", ""}}});
    ASSERT_EQ(seen.size(), 1U);
    EXPECT_NE(seen[0].find("promise 2"), std::string::npos);
}

TEST(PromiseWatch, SeesOvertakingAcrossPolls) {
    const auto seen =
        violations_of({{{2, State::accepted, "", ""}},
                       {{1, State::refused, "why", ""}, {3, State::unknown, "", ""}}});
    ASSERT_EQ(seen.size(), 1U);
    EXPECT_NE(seen[0].find("promise 2"), std::string::npos);
}

TEST(PromiseWatch, SeesABreakThatSettlesOnlySome) {
    const auto seen = violations_of({{{1, State::unknown, "", ""}, {2, State::unknown, "", ""}}});
    ASSERT_EQ(seen.size(), 1U);
    EXPECT_NE(seen[0].find("promise 3"), std::string::npos);
}

TEST(PromiseWatch, SeesARefusalWithoutAReason) {
    EXPECT_EQ(violations_of({{{1, State::accepted, "", ""},
                              {2, State::refused, "", ""},
                              {3, State::accepted, "", ""}}})
                  .size(),
              1U);
}

}  // namespace sagaz::testing
