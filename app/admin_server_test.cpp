#include "app/admin_server.hpp"

#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <sstream>
#include <thread>
#include <vector>

namespace sagaz::app {
namespace {

struct Answer {
    int code{};
    std::string said{};
};

Answer ask(const std::string& probe, const std::string& address) {
    std::istringstream in;
    std::ostringstream out;
    std::ostringstream err;
    Console console{in, out, err, {}};
    try {
        const int code = run_healthcheck({.probe = probe, .address = address}, console);
        return {code, err.str()};
    } catch (const Error& error) {
        return {exit_of(error), error.what()};
    }
}

TEST(AdminServer, TellsLivenessAndReadinessApart) {
    const AdminServer server{
        "127.0.0.1:0",
        {.live = [] { return std::string{}; },
         .ready = [] { return std::string{"store: postgresql://u:hush@h/d is down"}; },
         .metrics = [] { return std::string{}; }}};
    EXPECT_EQ(ask("live", server.address()).code, 0);
    const auto ready = ask("ready", server.address());
    EXPECT_EQ(ready.code, 1);
    EXPECT_EQ(ready.said, "store: postgresql://u:***@h/d is down\n");
}

TEST(AdminServer, RefusesAPortThatIsTaken) {
    const AdminPages pages{.live = [] { return std::string{}; },
                           .ready = [] { return std::string{}; },
                           .metrics = [] { return std::string{}; }};
    const AdminServer first{"127.0.0.1:0", pages};
    try {
        const AdminServer second{first.address(), pages};
        FAIL() << "both listen on " << first.address();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), "admin_listen");
    }
}

// Every page waits until five are being served: the four threads and, since the queue is full by
// then, the accepting one.
TEST(AdminServer, AnswersEverybodyWhenMoreAskThanItHasRoomFor) {
    std::mutex mutex;
    std::condition_variable wake;
    int inside = 0;
    int most = 0;
    const auto page = [&] {
        std::unique_lock lock{mutex};
        most = std::max(most, ++inside);
        wake.notify_all();
        wake.wait_for(lock, std::chrono::seconds{2}, [&] { return most >= 5; });
        --inside;
        return std::string{};
    };
    const AdminServer server{"127.0.0.1:0", {.live = page, .ready = page, .metrics = page}};
    std::atomic<int> answered{};
    std::vector<std::jthread> askers;
    for (int n = 0; n < 40; ++n) {
        askers.emplace_back([&] { answered += ask("live", server.address()).code == 0; });
    }
    askers.clear();
    EXPECT_EQ(answered, 40);
    EXPECT_EQ(most, 5);
}

TEST(AdminServer, EndsWithoutBeingAsked) {
    for (int n = 0; n < 20; ++n) {
        const AdminServer server{"127.0.0.1:0",
                                 {.live = [] { return std::string{}; },
                                  .ready = [] { return std::string{}; },
                                  .metrics = [] { return std::string{}; }}};
        EXPECT_TRUE(server.address().starts_with("127.0.0.1:"));
    }
}

TEST(SplitAddress, TakesBracketsOffIpv6) {
    EXPECT_EQ(split_address("[::1]:9464"), (std::pair<std::string, int>{"::1", 9464}));
    EXPECT_EQ(split_address("0.0.0.0:0"), (std::pair<std::string, int>{"0.0.0.0", 0}));
}

}  // namespace
}  // namespace sagaz::app
