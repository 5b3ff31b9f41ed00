#pragma once

#include "app/bench/bench_log.hpp"
#include "app/bench/report.hpp"
#include "app/commands.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace sagaz::inline v0::app::bench {

/// Thrown between two measurements when a person has asked for the end.
struct Interrupted {};

/// How much is measured. Ratios are of rates, so the sizes of what is compared may differ.
struct Sizes {
    std::int64_t drain_events{};    ///< To `null:`, and by a bare read.
    std::int64_t kafka_events{};    ///< To Kafka.
    std::int64_t row_by_row{};      ///< For the ways that commit twice an event.
    std::int64_t in_bulk{};         ///< For the other ways to take rows from a table.
    std::int64_t memory_events{};   ///< Pending while a relay's memory is looked at.
    std::int64_t backlog_small{};   ///< The backlog that a large one is compared with,
    std::int64_t backlog_large{};   ///< and that one.
    std::int64_t late_rows{};       ///< Of one transaction that commits late.
    std::int64_t held_events{};     ///< Delivered while a snapshot is held.
    std::int64_t held_stores{};     ///< Cursor stores under it.
    std::int64_t shape_events{};    ///< For keys, slots and relays.
    std::int64_t shape_bytes{};     ///< Of payloads, for a payload size; bounds the events too.
    std::int64_t inbox_messages{};  ///< Of each way in a round.
    double insert_seconds{};        ///< Of one way with one number of clients.
    double latency_seconds{};       ///< Of one rate.

    static Sizes quick();
    static Sizes full();
};

/// What every benchmark works with. Belongs to one thread.
struct Stage {
    BenchLog& log;
    std::optional<BrokerTarget> kafka{};
    Sizes sizes{};
    std::int64_t rounds{5};
    std::string folder{};  ///< For the logs of relay processes.
    std::function<void(const std::string&)> progress{};
    std::stop_token stop{};

    /// Says what is measured now, and throws `Interrupted` when nobody wants it any more.
    void step(const std::string& what) const;
};

struct Benchmark {
    std::string name{};
    bool needs_kafka{};
    std::function<Report(const Stage&)> run{};
};

Report drain(const Stage& stage);
Report drain_to_kafka(const Stage& stage);
Report insert_cost(const Stage& stage);
Report inbox_cost(const Stage& stage);
Report latency(const Stage& stage);
Report optimistic(const Stage& stage);
Report backlog(const Stage& stage);
Report held_snapshot(const Stage& stage);
Report payload_sizes(const Stage& stage);
Report key_counts(const Stage& stage);
Report slot_counts(const Stage& stage);
Report relay_counts(const Stage& stage);
Report memory(const Stage& stage);
Report per_event(const Stage& stage);

}  // namespace sagaz::inline v0::app::bench
