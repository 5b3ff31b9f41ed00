#include "app/admin_server.hpp"

#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/errors.hpp"

#include <gtest/gtest.h>

#include <atomic>
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
    const int code = run_healthcheck({.probe = probe, .address = address}, console);
    return {code, err.str()};
}

TEST(AdminServer, TellsLivenessAndReadinessApart) {
    const AdminServer server{"127.0.0.1:0",
                             {.live = [] { return std::string{}; },
                              .ready = [] { return std::string{"store: postgresql://u:hush@h/d is down"}; },
                              .metrics = [] { return std::string{}; }}};
    EXPECT_EQ(ask("live", server.address()).code, 0);
    const auto ready = ask("ready", server.address());
    EXPECT_EQ(ready.code, 1);
    EXPECT_EQ(ready.said, "store: postgresql://u:***@h/d is down\n");
}

TEST(AdminServer, RefusesAPortThatIsTaken) {
    const AdminPages pages{.live = [] { return std::string{}; }, .ready = [] { return std::string{}; },
                           .metrics = [] { return std::string{}; }};
    const AdminServer first{"127.0.0.1:0", pages};
    try {
        const AdminServer second{first.address(), pages};
        FAIL() << "both listen on " << first.address();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), "admin_listen");
    }
}

TEST(AdminServer, AnswersEverybodyWhenMoreAskThanItHasRoomFor) {
    std::atomic<int> inside{};
    std::atomic<int> most{};
    const auto page = [&] {
        const int now = ++inside;
        for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
        }
        std::this_thread::yield();
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
    EXPECT_LE(most, 5) << "four threads and the accepting one";
}

TEST(AdminServer, EndsWithoutBeingAsked) {
    for (int n = 0; n < 20; ++n) {
        const AdminServer server{"127.0.0.1:0", {.live = [] { return std::string{}; },
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
