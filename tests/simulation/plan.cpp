#include "world.hpp"

#include <algorithm>

namespace sagaz::simulation {
namespace {

/// One of the given values.
template <class T>
T one_of(Random& random, std::initializer_list<T> values) {
    return values.begin()[random.below(values.size())];
}

/// `high` in some of the seeds, nothing in the others.
int sometimes(Random& random, int parts_of_seeds, int high) {
    return random.chance(parts_of_seeds) ? static_cast<int>(random.between(1, high)) : 0;
}

void plan_business(Random& random, Business& business) {
    business.producers = static_cast<int>(random.between(2, 6));
    business.transactions = static_cast<int>(random.between(4, 18));
    business.hot_keys = static_cast<int>(random.between(1, 4));
    business.cold_keys = one_of(random, {5, 40, 200});
    business.null_keys = one_of(random, {0, 100, 300});
    business.early_xids = one_of(random, {0, 300, 800});
    business.long_transactions = one_of(random, {0, 100, 300});
    business.long_max = milliseconds{random.between(50, 1500)};
    business.pause_max = milliseconds{one_of(random, {5, 40, 200})};
    business.savepoints = one_of(random, {0, 200, 500});
    business.rollbacks = one_of(random, {0, 80, 300});
    business.async_commits = one_of(random, {0, 300, 1000});
    business.held = one_of(random, {0, 300, 800, 1'000});
    business.careless = one_of(random, {0, 100, 400});
    business.copied = random.chance(100) ? static_cast<int>(random.between(2, 20)) : 0;
}

void plan_broker(Random& random, BrokerFaults& broker) {
    broker.refused_events = sometimes(random, 300, 100);
    broker.refused_keys = sometimes(random, 200, 200);
    broker.lost_acknowledgements = sometimes(random, 400, 60);
    broker.breaks = sometimes(random, 400, 60);
    broker.partial_takes = sometimes(random, 400, 500);
    broker.capacity = one_of<std::size_t>(random, {1, 5, 50, 1000});
    broker.delay_max = microseconds{one_of(random, {100, 1'000, 8'000})};
    broker.outage_takes_nothing = random.chance(500);
}

void plan_store(Random& random, StoreFaults& store) {
    store.fails_before = sometimes(random, 400, 30);
    store.fails_after = sometimes(random, 400, 30);
    store.slow = sometimes(random, 500, 60);
    store.slow_max = milliseconds{one_of(random, {5, 100, 1'500})};
    store.short_reads = sometimes(random, 500, 500);
    store.pooler = random.chance(400);
    store.writes_wait_for_disk = random.chance(600);
    store.takes_xids = random.chance(300);
}

void plan_options(Random& random, RelayOptions& options) {
    options.batch_max = one_of<std::size_t>(random, {1, 3, 20, 500});
    options.batch_max_bytes = one_of<std::size_t>(random, {1'024, 8'192, 1U << 20});
    options.poll_interval = milliseconds{one_of(random, {5, 10, 20})};
    options.idle_poll_interval = milliseconds{one_of(random, {100, 500})};
    options.lease = milliseconds{random.between(300, 1'500)};
    options.store_interval = milliseconds{one_of(random, {5, 50, 100})};
    options.grace = milliseconds{300};
    options.drain_timeout = milliseconds{one_of(random, {0, 200, 2'000})};
    options.retry_initial = milliseconds{20};
    options.retry_max = milliseconds{500};
}

/// With the relays' grace, so that holds last as long for both.
void plan_publishers(Random& random, Plan& plan) {
    plan.publishers = static_cast<int>(random.between(1, 4));
    plan.publishers_after = milliseconds{one_of(random, {0, 0, 50})};
    plan.optimistic.grace = plan.options.grace;
    plan.optimistic.timeout = milliseconds{one_of(random, {50, 100, 200})};
    plan.optimistic.queue_max = one_of<std::size_t>(random, {3, 30, 10'000, 10'000});
    plan.optimistic.breaker_failures = static_cast<int>(random.between(1, 5));
    plan.optimistic.breaker_initial = milliseconds{one_of(random, {20, 200})};
    plan.optimistic.breaker_max = milliseconds{400};
    plan.clock_rate_max = one_of(random, {0, 0, 100});
    plan.publisher_kills = sometimes(random, 500, 5);
    plan.publisher_freezes = sometimes(random, 300, 3);
    plan.publisher_stops = sometimes(random, 300, 2);
    plan.switches = sometimes(random, 200, 2);
    plan.clock_jumps = sometimes(random, 200, 3);
}

/// Transactions that take their xid long before their positions, and relays that rarely write, so
/// that snapshots are taken while transactions at or above their xmax run.
void make_late_commits(Random& random, Plan& plan) {
    plan.business.producers = 6;
    plan.business.early_xids = 800;
    plan.business.long_transactions = 700;
    plan.business.long_max = milliseconds{one_of(random, {20, 60, 150})};
    plan.business.pause_max = milliseconds{one_of(random, {5, 20})};
    plan.business.held = 0;
    plan.options.poll_interval = milliseconds{5};
    plan.options.lease = milliseconds{3'000};
    plan.options.store_interval = milliseconds{500};
    plan.broker.delay_max = microseconds{100};
    plan.broker.capacity = 1'000;
    plan.store.takes_xids = false;
}

/// They may stop in good order, too. A message that is on its way when its hold is nearly over is
/// no calm: then its client gives up, and it may come again.
void make_calm_publishers(Plan& plan) {
    plan.publisher_kills = plan.publisher_freezes = plan.clock_jumps = 0;
    plan.broker.delay_max = std::min<Duration>(plan.broker.delay_max, milliseconds{1});
    plan.optimistic.timeout = std::min(plan.optimistic.timeout, milliseconds{100});
}

/// Relays come and go in good order, and that is all that happens.
void make_calm(Random& random, Plan& plan) {
    plan.calm = true;
    plan.crashes = plan.outages = plan.kills = plan.freezes = plan.restores = 0;
    plan.store = {.short_reads = plan.store.short_reads, .takes_xids = plan.store.takes_xids};
    plan.broker = {.partial_takes = plan.broker.partial_takes,
                   .capacity = plan.broker.capacity,
                   .delay_max = plan.broker.delay_max};
    plan.settings.slot_count = one_of<std::int16_t>(random, {2, 4, 16});
    plan.business.transactions = 25;
    plan.options.drain_timeout = seconds{10};
    plan.options.lease = milliseconds{1'500};
    plan.busy = milliseconds{random.between(1'500, 4'000)};
    plan.joins = static_cast<int>(random.between(1, 4));
    plan.leaves = static_cast<int>(random.between(0, 3));
}

}  // namespace

Plan plan_of(std::uint64_t seed) {
    Random random(Random::mix(seed));
    Plan plan;
    plan.seed = seed;
    plan.settings.slot_count = one_of<std::int16_t>(random, {1, 2, 4, 16});
    plan.settings.source = "/sagaz/simulated";
    plan.settings.on_refused = random.chance(500) ? OnRefused::park_key : OnRefused::park_event;
    plan_options(random, plan.options);
    plan_business(random, plan.business);
    plan_store(random, plan.store);
    plan_broker(random, plan.broker);
    plan.relays = static_cast<int>(random.between(1, 3));
    plan.wal_writer = milliseconds{one_of(random, {20, 200, 10'000})};
    plan.crashes = sometimes(random, 500, 3);
    plan.outages = sometimes(random, 300, 2);
    plan.kills = sometimes(random, 400, 4);
    plan.freezes = sometimes(random, 300, 3);
    plan.stops = sometimes(random, 300, 2);
    plan.busy = milliseconds{random.between(500, 2'500)};
    plan.joins = sometimes(random, 300, 3);
    plan.leaves = sometimes(random, 300, 2);
    if (random.chance(200)) make_late_commits(random, plan);
    plan.options.parked_retry_initial = milliseconds{one_of(random, {5, 50, 300})};
    plan.options.parked_retry_max = plan.options.parked_retry_initial * 8;
    plan.options.max_attempts = static_cast<std::int32_t>(random.between(1, 10));
    plan.broker.refusals_end = one_of(random, {0, 500, 1'000});
    plan.replays = sometimes(random, 500, 10);
    plan.discards = sometimes(random, 500, 6);
    plan.restores = sometimes(random, 150, 2);
    if (random.chance(150)) make_calm(random, plan);
    plan.options.attempt_timeout = milliseconds{one_of(random, {30, 500, 30'000})};
    plan.options.stopped_keys_max = one_of<std::size_t>(random, {1, 2, 5, 10'000});
    Random of_publishers(Random::mix(seed + 1));  // So that the rest of a seed stays what it was.
    plan_publishers(of_publishers, plan);
    if (plan.calm) make_calm_publishers(plan);
    return plan;
}

}  // namespace sagaz::simulation
