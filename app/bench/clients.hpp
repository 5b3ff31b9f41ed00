#pragma once

#include "app/bench/bare.hpp"
#include "app/bench/bench.hpp"

#include <cstdint>
#include <functional>
#include <random>

/// Clients that do the same thing over and over, each on a connection of its own.
namespace sagaz::inline v0::app::bench {

using Random = std::mt19937_64;

struct Work {
    std::function<void(BareConnection&)> prepare{};
    std::function<void(BareConnection&, Random&)> commit_once{};
};

struct Throughput {
    double commits_per_second{};
    double wal_bytes{};          ///< A commit.
    double server_cpu_micros{};  ///< A commit, of the clients' own server processes; 0: not known.
};

/// Lets so many clients work for so long.
Throughput work_for(const Stage& stage, int clients, double seconds, const Work& work);

}  // namespace sagaz::inline v0::app::bench
