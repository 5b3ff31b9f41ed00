// What a snapshot that somebody holds for long costs: dead rows of cursors and heartbeats cannot
// go.
//
// What is compared stands at the same place behind a fresh schema: the disk is busier with each
// 500,000 events, and without any snapshot the third look had 3.7 times the first one's p99.
// Latencies are taken for longer than a relay's interval of measuring, which a held snapshot made
// slow once.
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
                                   {.rate = 1'000, .seconds = 2 * stage.sizes.latency_seconds});
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
    const std::string first = "normal";
    const std::string second = "normal, second";
    const std::string again = "normal again";
    const std::string under = "held over the events";
    const std::string after = "held, after " + stores + " cursor stores";
    for (std::int64_t round = 1; round <= stage.rounds; ++round) {
        const auto of = ", round " + std::to_string(round);
        const auto look_at = [&](const std::string& what) {
            stage.step("held: " + what + of);
            add(report, what, look(stage));
        };
        const auto without = [&] {
            stage.log.fresh();
            look_at(first);
            look_at(second);
        };
        const auto control = [&] {
            stage.log.fresh();
            look_at(again);
        };
        const auto with = [&] {
            stage.log.fresh();
            const HeldSnapshot snapshot{stage};
            look_at(under);
            store_cursors(stage, stage.sizes.held_stores);
            look_at(after);
        };
        if (round % 2 == 1) {
            without();
            with();
            control();
        } else {
            control();
            with();
            without();
        }
    }
    const auto compare = [&](const std::string& what, const std::string& to, Target drain,
                             Target p99) {
        const auto name = (what == again ? "A/A: " : "") + what;
        report.compare(name + ", drain", what + ", drain", to + ", drain", drain);
        report.compare(name + ", p99", what + ", p99 at 1,000/s", to + ", p99 at 1,000/s", p99);
    };
    compare(again, first, {}, {});
    compare(under, first, Target::at_least(0.8), Target::at_most(2));
    compare(after, second, Target::at_least(0.8), Target::at_most(2));
    report.note(grouped(stage.sizes.held_events) +
                " events are committed under the snapshot, 5,000 a transaction, and drained");
    return report;
}

}  // namespace sagaz::inline v0::app::bench
