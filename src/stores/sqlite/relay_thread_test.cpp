// The relay as a thread of the application that writes the file.
#include "tests/support/sqlite_file.hpp"

#include <sagaz/brokers.hpp>
#include <sagaz/relay.hpp>

#include <gtest/gtest.h>

#include <map>
#include <thread>

namespace sagaz {
namespace {

TEST(SqliteRelayThread, PublishesWhatItsApplicationCommits) {
    constexpr int kEach = 40;
    const test::SqliteFile file;
    memory::Topic topic;
    Relay relay(file.open(), memory::open(topic));
    std::jthread thread([&](const std::stop_token& stop) { relay.run(stop); });
    std::vector<std::jthread> producers;
    for (const char* key : {"a", "b"}) {
        producers.emplace_back([&, key] {
            for (int n = 0; n < kEach; ++n) test::commit_event(file, std::to_string(n), key);
        });
    }
    producers.clear();
    while (topic.size() < std::size_t{2} * kEach) std::this_thread::yield();
    thread.request_stop();
    thread.join();
    std::map<std::string, int> next;
    for (const auto& message : topic.messages()) {
        EXPECT_EQ(message.event.payload, std::to_string(next[*message.event.key]++));
    }
    EXPECT_EQ(topic.size(), std::size_t{2} * kEach);
    EXPECT_EQ(file.open()->attach(Id::generate()).settings.slot_count, 1);
    test::SqliteConnection sql(file.path());
    EXPECT_EQ(sql.value("SELECT count(owner) FROM sagaz_slot"), "0") << "given back";
    EXPECT_EQ(sql.value("SELECT pending_events FROM sagaz_backlog"), "0");
}

}  // namespace
}  // namespace sagaz
