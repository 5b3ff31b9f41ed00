// What a snapshot that somebody holds for long costs: dead rows of cursors and heartbeats cannot
// go.
#include "app/bench/bare.hpp"
#include "app/bench/bench.hpp"
#include "app/bench/open_loop.hpp"
#include "app/bench/runs.hpp"
#include "app/store.hpp"
#include "app/table.hpp"

#include <algorithm>

namespace sagaz::inline v0::app::bench {
namespace {

// Somebody else's transaction: a report, a dump, a forgotten session.
class HeldSnapshot {
public:
    explicit HeldSnapshot(const Stage& stage) : connection_{stage.log.store().url} {
        connection_.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        connection_.run(stage.log.named("SELECT count(*) FROM @schema@.setting"));
    }

private:
    BareConnection connection_;
};

// A relay's cursors, stored over and over through its own port.
void store_cursors(const Stage& stage, std::int64_t times) {
    auto target = stage.log.store();
    const auto store = open_store(target);
    store->attach(Id::generate());
    const std::vector<SlotView> free = store->observe({}).slots;
    const auto owned = store->acquire(free);
    const auto loaded = store->load(owned);
    std::vector<CursorMove> moves;
    for (const auto& slot : owned) {
        const auto of_slot = std::find_if(loaded.cursors.begin(), loaded.cursors.end(),
                                          [&](const auto& c) { return c.slot == slot.slot; });
        moves.push_back({slot.slot, slot.epoch, of_slot->cursor});
    }
    for (std::int64_t n = 0; n < times; ++n) {
        for (auto& move : moves) ++move.cursor.n;
        store->store(moves, {});
        if (n % 50 == 0) store->tidy(owned);  // a relay stores ten times a second, tidies every 5 s
        if (n % 1'000 == 0) stage.step("held: cursor store " + grouped(n));
    }
    store->leave();  // Or the next relay leaves half of the slots to it for a while.
}

struct Seen {
    double rate{};
    double p50{};
    double p99{};
};

Seen look(const Stage& stage) {
    Seen seen;
    stage.log.fill({.events = stage.sizes.held_events, .in_transaction = 5'000});
    const auto cost = drain_here(stage, destination(stage, false), stage.sizes.held_events);
    seen.rate = static_cast<double>(stage.sizes.held_events) / cost.seconds;
    const auto got = run_open_loop(stage, destination(stage, false),
                                   {.rate = 1'000, .seconds = stage.sizes.latency_seconds});
    seen.p50 = Latencies::quantile(got.to_acknowledgement, 0.5);
    seen.p99 = Latencies::quantile(got.to_acknowledgement, 0.99);
    return seen;
}

void add(Report& report, const std::string& what, const Seen& seen) {
    report.add(what + ", drain", "events/s", seen.rate);
    report.add(what + ", p50 at 1,000/s", "ms", seen.p50);
    report.add(what + ", p99 at 1,000/s", "ms", seen.p99);
}

}  // namespace

Report held_snapshot(const Stage& stage) {
    Report report{"held", "the same while a REPEATABLE READ transaction stays open"};
    const auto stores = grouped(stage.sizes.held_stores);
    const std::string under = "held over the events";
    const std::string after = "held, after " + stores + " cursor stores";
    for (std::int64_t round = 1; round <= stage.rounds; ++round) {
        const auto of = ", round " + std::to_string(round);
        stage.log.fresh();
        stage.step("held: normal" + of);
        add(report, "normal", look(stage));
        stage.step("held: normal again" + of);
        add(report, "normal again", look(stage));
        const HeldSnapshot snapshot{stage};
        stage.step("held: over events" + of);
        add(report, under, look(stage));
        store_cursors(stage, stage.sizes.held_stores);
        stage.step("held: after stores" + of);
        add(report, after, look(stage));
    }
    report.compare("A/A: normal again, drain", "normal again, drain", "normal, drain");
    report.compare("A/A: normal again, p99", "normal again, p99 at 1,000/s",
                   "normal, p99 at 1,000/s");
    for (const auto& held : {under, after}) {
        report.compare(held + ", drain", held + ", drain", "normal, drain", Target::at_least(0.8));
        report.compare(held + ", p99", held + ", p99 at 1,000/s", "normal, p99 at 1,000/s",
                       Target::at_most(2));
    }
    report.note(grouped(stage.sizes.held_events) +
                " events are committed under the snapshot, 5,000 a transaction, and drained");
    return report;
}

}  // namespace sagaz::inline v0::app::bench
