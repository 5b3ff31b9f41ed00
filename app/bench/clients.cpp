#include "app/bench/clients.hpp"

#include "app/bench/runs.hpp"

#include <algorithm>
#include <exception>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace sagaz::inline v0::app::bench {
namespace {

struct Client {
    BareConnection connection;
    Random random;
    std::int64_t commits{};
    std::exception_ptr failure{};
};

// The processor time of a server process of this machine, in nanoseconds. Of another machine's the
// process of that number is something else here, or not there: then it is not known.
std::int64_t cpu_of(int pid) {
    const auto folder = "/proc/" + std::to_string(pid);
    std::string name;
    std::ifstream{folder + "/comm"} >> name;
    std::int64_t nanoseconds = 0;
    if (name == "postgres") std::ifstream{folder + "/schedstat"} >> nanoseconds;
    return nanoseconds;
}

std::int64_t cpu_of(const std::vector<std::unique_ptr<Client>>& clients) {
    std::int64_t sum = 0;
    for (const auto& client : clients) sum += cpu_of(client->connection.backend_pid());
    return sum;
}

}  // namespace

Throughput work_for(const Stage& stage, int count, double seconds, const Work& work) {
    std::vector<std::unique_ptr<Client>> clients;
    for (int n = 0; n < count; ++n) {
        clients.push_back(std::make_unique<Client>(
            Client{BareConnection{stage.log.store().url}, Random{static_cast<unsigned>(n)}}));
        work.prepare(clients.back()->connection);
        work.commit_once(clients.back()->connection, clients.back()->random);
    }
    const auto wal_from = stage.log.wal_written();
    const auto cpu_from = cpu_of(clients);
    const double from = seconds_now();
    {
        std::vector<std::jthread> threads;
        threads.reserve(clients.size());
        for (auto& client : clients) {
            threads.emplace_back([&work, &each = *client, end = from + seconds] {
                try {
                    for (; seconds_now() < end; ++each.commits) {
                        work.commit_once(each.connection, each.random);
                    }
                } catch (...) {
                    each.failure = std::current_exception();
                }
            });
        }
    }
    const double took = seconds_now() - from;
    std::int64_t commits = 0;
    for (const auto& client : clients) {
        if (client->failure) std::rethrow_exception(client->failure);
        commits += client->commits;
    }
    const auto per_commit = [&](std::int64_t amount) {
        return static_cast<double>(amount) /
               static_cast<double>(std::max<std::int64_t>(commits, 1));
    };
    return {static_cast<double>(commits) / took, per_commit(stage.log.wal_written() - wal_from),
            per_commit(cpu_of(clients) - cpu_from) / 1e3};
}

}  // namespace sagaz::inline v0::app::bench
