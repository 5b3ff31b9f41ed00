// How long an event of plain SQL takes to the broker, at default settings. Runs alone.
#include "tests/integration/relay_group.hpp"
#include "tests/support/postgres_server.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>

namespace sagaz {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using test::Destination;
using test::Member;
using test::Schema;

class RelayLatency : public ::testing::Test {
protected:
    /// From the commit to the broker.
    steady_clock::duration send(int number) {
        sql_.run(schema_.sql(fmt::format("SELECT @s@.append('t', 'k', 'E', '{}')", number)));
        const auto committed = steady_clock::now();
        test::wait_for("the event to arrive", [&] { return destination_.has(number); });
        return destination_.when(number) - committed;
    }

    Schema schema_;
    test::Sql sql_{schema_.connect()};
    Destination destination_;
    Member one_{schema_.url(), schema_.name(), destination_};
    Member two_{schema_.url(), schema_.name(), destination_};
};

}  // namespace

TEST_F(RelayLatency, IsUnderThirtyMillisecondsWhileOneEventASecondComes) {
    send(1);
    std::vector<steady_clock::duration> took;
    for (int number = 2; number <= 16; ++number) {
        std::this_thread::sleep_for(1s);
        took.push_back(send(number));
    }
    std::ranges::sort(took);
    const auto median = took[took.size() / 2];
    fmt::print("p50 {} us, slowest {} us\n", median / 1us, took.back() / 1us);
    EXPECT_LT(median, 30ms);
}

TEST_F(RelayLatency, IsAboutHalfASecondForTheFirstEventAfterSilence) {
    send(1);
    for (int number = 2; number <= 4; ++number) {
        std::this_thread::sleep_for(7s);
        const auto took = send(number);
        fmt::print("after silence {} ms\n", took / 1ms);
        EXPECT_LT(took, 700ms);
    }
}

}  // namespace sagaz
