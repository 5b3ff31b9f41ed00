// The suite on the destinations that need no server.
#include "brokers/file/json_line.hpp"

#include <sagaz/brokers.hpp>
#include <sagaz/testing/broker_conformance.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace sagaz {

namespace {

class InMemory final : public testing::Destination {
public:
    std::unique_ptr<Broker> open() override { return memory::open(topic_); }
    std::string topic() override { return "orders"; }
    std::vector<Message> arrived() override { return topic_.messages(); }

private:
    memory::Topic topic_;
};

class InFile final : public testing::Destination {
public:
    InFile() {
        std::string name = (std::filesystem::temp_directory_path() / "sagaz-XXXXXX").string();
        folder_ = ::mkdtemp(name.data());
    }
    ~InFile() override { std::filesystem::remove_all(folder_); }

    std::unique_ptr<Broker> open() override { return file::open(path()); }
    std::string topic() override { return "orders"; }
    std::vector<Message> arrived() override {
        std::vector<Message> messages;
        std::ifstream lines{path()};
        for (std::string line; std::getline(lines, line);) {
            messages.push_back(file::decode_line(line));
        }
        return messages;
    }

    // The outage: another process that holds the file's lock.
    void cut() override {
        lock_ = ::open(path().c_str(), O_RDONLY | O_CLOEXEC);
        ASSERT_EQ(::flock(lock_, LOCK_EX), 0);
    }
    void heal() override { ::close(lock_); }

    std::string path() const { return folder_ + "/events.jsonl"; }

private:
    std::string folder_;
    int lock_{-1};
};

class Nowhere final : public testing::Destination {
public:
    std::unique_ptr<Broker> open() override { return null::open(); }
    std::string topic() override { return "orders"; }
    std::vector<Message> arrived() override { return {}; }
};

}  // namespace

SAGAZ_BROKER_CONFORMANCE(Memory, {}, [] { return std::make_unique<InMemory>(); });
SAGAZ_BROKER_CONFORMANCE(File, {.outages = true}, [] { return std::make_unique<InFile>(); });
SAGAZ_BROKER_CONFORMANCE(Null, {.keeps = false}, [] { return std::make_unique<Nowhere>(); });

}  // namespace sagaz
