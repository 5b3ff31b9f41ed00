#include "app/bench/bench.hpp"
#include "app/bench/runs.hpp"
#include "app/commands.hpp"
#include "app/console.hpp"
#include "app/demo/stage.hpp"
#include "app/errors.hpp"
#include "app/signals.hpp"
#include "app/url.hpp"

#include <sagaz/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <ostream>

namespace sagaz::inline v0::app {
namespace {

using bench::Benchmark;
using Json = nlohmann::ordered_json;

const std::vector<Benchmark>& benchmarks() {
    static const std::vector<Benchmark> all{
        {"drain", false, bench::drain},           {"drain_kafka", true, bench::drain_to_kafka},
        {"insert", false, bench::insert_cost},    {"latency", false, bench::latency},
        {"optimistic", true, bench::optimistic},  {"held", false, bench::held_snapshot},
        {"payload", false, bench::payload_sizes}, {"keys", false, bench::key_counts},
        {"slots", false, bench::slot_counts},     {"relays", false, bench::relay_counts},
        {"memory", false, bench::memory},         {"per_event", false, bench::per_event},
        {"backlog", false, bench::backlog},       {"inbox", false, bench::inbox_cost},
    };
    return all;
}

std::string names() {
    std::string text;
    for (const auto& benchmark : benchmarks()) {
        text += (text.empty() ? "" : ", ") + benchmark.name;
    }
    return text;
}

// Those asked for, in our own order; all, without a word. What needs Kafka is left out of all when
// there is none.
std::vector<Benchmark> chosen(const BenchOptions& options) {
    for (const auto& name : options.only) {
        const auto known = std::any_of(benchmarks().begin(), benchmarks().end(),
                                       [&](const auto& each) { return each.name == name; });
        if (!known) refuse("argument_invalid", "--only " + name, "choose of " + names());
    }
    std::vector<Benchmark> list;
    for (const auto& benchmark : benchmarks()) {
        const bool asked = std::find(options.only.begin(), options.only.end(), benchmark.name) !=
                           options.only.end();
        if (!asked && !options.only.empty()) continue;
        if (benchmark.needs_kafka && !options.broker) {
            if (!asked) continue;
            refuse("broker_url_missing", benchmark.name + " measures Kafka",
                   "give --broker kafka://host:port");
        }
        list.push_back(benchmark);
    }
    return list;
}

void check_broker(const BenchOptions& options) {
    if (!options.broker) return;
    if (parse_broker_url(options.broker->url, "--broker").kind != BrokerKind::kafka) {
        refuse("argument_invalid", "--broker " + hide_secrets(options.broker->url),
               "give kafka://host:port, or leave it out: null: is always measured");
    }
}

bench::Sizes sizes_of(const BenchOptions& options) {
    auto sizes = options.full ? bench::Sizes::full() : bench::Sizes::quick();
    if (options.events) sizes.drain_events = sizes.kafka_events = *options.events;
    return sizes;
}

/// A folder that goes with this object.
struct Folder {
    std::string path{demo::folder_for({}, "bench").string()};
    ~Folder() {
        std::error_code trouble;
        std::filesystem::remove_all(path, trouble);
    }
};

// One that fails must not take the others' results with it.
bool run_one(const Benchmark& benchmark, const bench::Stage& stage, bool json, Console& console) {
    const bench::Stopwatch stopwatch;
    try {
        const auto report = benchmark.run(stage);
        if (json) {
            auto object = report.json();
            object["seconds"] = stopwatch.cost().seconds;
            console.out() << object.dump() << '\n' << std::flush;
        } else {
            report.print(console.out());
        }
        return true;
    } catch (const Error& error) {
        if (json) {
            console.out() << Json{{"schema", 1},
                                  {"benchmark", benchmark.name},
                                  {"error", three_lines(error)}}
                                 .dump()
                          << '\n'
                          << std::flush;
        }
        console.say(benchmark.name + " was not measured:");
        console.error(error);
        return false;
    }
}

}  // namespace

int run_bench(const BenchOptions& options, Console& console) {
    check_broker(options);
    const auto list = chosen(options);
    StopOnSignal::block();
    StopOnSignal stop{[&](int) { console.say("stopping: the schema is being removed"); }};
    const Folder folder;
    bench::BenchLog log{options.store};
    const bench::Stage stage{.log = log,
                             .kafka = options.broker,
                             .sizes = sizes_of(options),
                             .rounds = options.rounds,
                             .folder = folder.path,
                             .progress = [&](const std::string& what) { console.progress(what); },
                             .stop = stop.token()};
    bool all = true;
    try {
        for (const auto& benchmark : list) {
            all = run_one(benchmark, stage, options.json, console) && all;
        }
    } catch (const bench::Interrupted&) {
        return kInterrupted;
    }
    return all ? kOk : kFailed;
}

}  // namespace sagaz::inline v0::app

namespace sagaz::inline v0::app::bench {

Sizes Sizes::quick() {
    return {.drain_events = 200'000,
            .kafka_events = 100'000,
            .row_by_row = 500,
            .in_bulk = 30'000,
            .memory_events = 200'000,
            .backlog_small = 100'000,
            .backlog_large = 500'000,
            .late_rows = 100'000,
            .held_events = 50'000,
            .held_stores = 2'000,
            .shape_events = 50'000,
            .shape_bytes = 10'000'000,
            .inbox_messages = 500,
            .insert_seconds = 0.3,
            .latency_seconds = 1};
}

Sizes Sizes::full() {
    return {.drain_events = 1'000'000,
            .kafka_events = 500'000,
            .row_by_row = 2'000,
            .in_bulk = 200'000,
            .memory_events = 1'000'000,
            .backlog_small = 1'000'000,
            .backlog_large = 10'000'000,
            .late_rows = 1'000'000,
            .held_events = 500'000,
            .held_stores = 40'000,
            .shape_events = 300'000,
            .shape_bytes = 100'000'000,
            .inbox_messages = 3'000,
            .insert_seconds = 1,
            .latency_seconds = 4};
}

void Stage::step(const std::string& what) const {
    if (stop.stop_requested()) throw Interrupted{};
    if (progress) progress(what);
}

}  // namespace sagaz::inline v0::app::bench
