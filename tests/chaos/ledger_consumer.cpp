// A consumer whose handler writes what it handled into a ledger, for tests/chaos/consumers.sh.
//
//   ledger_consumer run SERVERS GROUP TOPIC LEDGER DELAY_US     until SIGTERM
//   ledger_consumer committed SERVERS GROUP TOPIC PARTITIONS    prints "partition offset" lines
//
// A line of the ledger is "partition position pid payload", appended by one write, so that a kill
// leaves all of it or nothing; members share one file, whose order is that of their writes. It
// stands for the database's commit: a message counts as finished once its line is there. Now and
// then a message is not settled at first, long enough for commits to pass it if they could, and now
// and then it was written and is not settled.
#include "tests/support/kafka_reader.hpp"
#include "tests/support/line_file.hpp"

#include <sagaz/consumer.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sagaz::Message;
using sagaz::Reply;
using sagaz::Settlement;

class Ledger {
public:
    explicit Ledger(const std::string& path) : file_(path) {}

    void add(const Message& message) const {
        file_.add(std::to_string(message.partition) + " " + std::to_string(message.position) + " " +
                  std::to_string(::getpid()) + " " + message.event.payload);
    }

private:
    sagaz::test::LineFile file_;
};

// One line each to standard error.
class Log final : public sagaz::Telemetry {
public:
    void count(std::string_view, double, std::span<const sagaz::Field>) noexcept override {}
    void gauge(std::string_view, double, std::span<const sagaz::Field>) noexcept override {}
    void observe(std::string_view, double, std::span<const sagaz::Field>) noexcept override {}
    void log(sagaz::LogLevel, std::string_view event,
             std::span<const sagaz::Field> fields) noexcept override {
        std::string line{event};
        for (const auto& [name, value] : fields) {
            line += " " + std::string{name} + "=" + std::string{value};
        }
        std::fprintf(stderr, "%s\n", line.c_str());
    }
};

sagaz::MessageHandler writing_into(const Ledger& ledger, std::chrono::microseconds delay) {
    return [&ledger, delay, random = std::mt19937{std::random_device{}()}](
               const Message& message) mutable -> Reply {
        if (random() % 300 == 0) return {Settlement::retry_later, 100ms};
        if (delay > 0us) std::this_thread::sleep_for(delay);
        ledger.add(message);
        if (random() % 500 == 0) throw std::runtime_error("the answer to the commit was lost");
        return Settlement::processed;
    };
}

int run(const std::vector<std::string>& arguments) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::fprintf(stderr, "started\n");
    const Ledger ledger{arguments.at(3)};
    Log log;
    sagaz::kafka::ConsumerOptions options;
    options.bootstrap_servers = arguments.at(0);
    options.group = arguments.at(1);
    options.topics = {arguments.at(2)};
    options.session_timeout = 1'500ms;
    options.handler_max = 1'500ms;
    options.commit_interval = 50ms;
    options.client["fetch.wait.max.ms"] = "50";
    sagaz::kafka::Consumer consumer{options, &log};
    std::atomic<int> code{0};
    std::jthread worker{[&](const std::stop_token& stop) {
        try {
            consumer.run(
                stop, writing_into(ledger, std::chrono::microseconds{std::stol(arguments.at(4))}));
        } catch (const std::exception& error) {
            std::fprintf(stderr, "ended: %s\n", error.what());
            code = 1;
            ::kill(::getpid(), SIGTERM);
        }
    }};
    int caught = 0;
    sigwait(&signals, &caught);
    worker.request_stop();
    worker.join();
    return code;
}

int print_committed(const std::vector<std::string>& arguments) {
    const auto offsets = sagaz::tests::committed_offsets(
        arguments.at(0), arguments.at(1), arguments.at(2), std::stoi(arguments.at(3)));
    for (std::size_t n = 0; n < offsets.size(); ++n) {
        std::printf("%zu %lld\n", n, static_cast<long long>(offsets[n]));
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const std::vector<std::string> arguments(argv + 1, argv + argc);
        const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
        if (arguments.at(0) == "run") return run(rest);
        if (arguments.at(0) == "committed") return print_committed(rest);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "ledger_consumer: %s\n", error.what());
        return 1;
    }
    return 2;
}
