#include "producers.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sagaz::simulation {

constexpr Duration kMoment = microseconds{300};

void Producers::start() {
    for (int n = 0; n < business_.copied; ++n) {
        // Pairs of equal positions, of different keys.
        NewEvent event = make_event(random_, fmt::format("copied{}", n), {});
        database_.copy_in(event, 10 + n / 2);
    }
    for (int n = 0; n < business_.producers; ++n) {
        ++running_;
        scripts_.keep(produce(random_.fork()));
    }
}

NewEvent Producers::make_event(Random& random, const std::optional<std::string>& key,
                               Duration hold) {
    NewEvent event;
    // The second topic is what the template makes of the first.
    const std::string topics[] = {"", std::string(kTemplateTopic), "orders"};
    event.topic = topics[random.below(3)];
    event.key = key;
    event.payload = fmt::format(R"({{"n":{}}})", made_++);
    if (random.chance(100)) event.payload.append(random.below(2000), ' ');
    if (random.chance(200)) event.headers = R"({"tenant":"a"})";
    event.hold = hold;
    return event;
}

Duration Producers::hold_of(const std::shared_ptr<PublisherProcess>& publisher) {
    return publisher ? publisher->hold().value_or(Duration{}) : Duration{};
}

void Producers::append(SimDatabase::Tx tx, std::int64_t position, const NewEvent& event,
                       SimTicket& ticket) {
    const EventIndex index = database_.insert(tx, event, position);
    const LogRow& row = database_.row(index);
    if (ticket.rows.empty()) ticket.appended_at = row.appended_at;
    // Zero: as a caller's that knows nothing of keys.
    const bool has_order = row.key && row.index % 5 != 0;
    const std::uint64_t order = has_order ? 1 + hash_bytes(*row.key) % 1'000 : 0;
    ticket.rows.push_back({index, {row.slot, row.position, row.event_id}, order});
}

std::vector<std::optional<std::string>> Producers::pick_keys(Random& random) const {
    std::vector<std::optional<std::string>> keys;
    const std::uint64_t count = 1 + random.below(3);
    for (std::uint64_t n = 0; n < count; ++n) {
        if (random.chance(business_.null_keys)) {
            keys.emplace_back(std::nullopt);
        } else if (random.chance(600)) {
            keys.push_back(
                fmt::format("hot{}", random.below(static_cast<std::uint64_t>(business_.hot_keys))));
        } else {
            keys.push_back(fmt::format(
                "cold{}", random.below(static_cast<std::uint64_t>(business_.cold_keys))));
        }
    }
    std::sort(keys.begin(), keys.end());  // locks in one order, so no deadlock
    return keys;
}

Script Producers::produce(Random random) {
    for (int n = 0; n < business_.transactions; ++n) {
        co_await Sleep{scheduler_, upto(random, business_.pause_max)};
        while (!database_.is_up()) co_await Sleep{scheduler_, milliseconds{20}};
        const std::uint64_t generation = database_.generation();
        const SimDatabase::Tx tx = database_.begin();
        const auto publisher = random.chance(business_.held) ? pick_publisher_() : nullptr;
        const bool is_careless = random.chance(business_.careless);
        const bool is_long = random.chance(business_.long_transactions);
        SimTicket ticket;
        if (random.chance(business_.early_xids)) database_.take_xid(tx);
        if (is_long) co_await Sleep{scheduler_, upto(random, business_.long_max)};
        if (generation != database_.generation()) continue;
        bool is_lost = false;
        for (const auto& key : pick_keys(random)) {
            if (key) co_await LockKey{database_, tx, *key};
            is_lost = generation != database_.generation();
            if (is_lost) break;
            const bool in_savepoint = random.chance(business_.savepoints);
            if (in_savepoint) database_.savepoint(tx);
            const std::size_t before = ticket.rows.size();
            for (std::uint64_t k = 1 + random.below(3); k > 0 && !is_lost; --k) {
                database_.take_xid(tx);
                if (random.chance(300)) co_await Sleep{scheduler_, upto(random, kMoment)};
                is_lost = generation != database_.generation();
                if (is_lost) break;
                database_.lock_log(tx);
                const std::int64_t position = database_.next_position();
                if (random.chance(300)) co_await Sleep{scheduler_, upto(random, kMoment)};
                is_lost = generation != database_.generation();
                if (is_lost) break;
                append(tx, position, make_event(random, key, hold_of(publisher)), ticket);
            }
            if (is_lost) break;
            if (in_savepoint && random.chance(500)) {
                database_.rollback_to_savepoint(tx);
                ticket.rows.resize(before);
            }
        }
        if (is_lost) continue;
        if (is_long) co_await Sleep{scheduler_, upto(random, business_.long_max)};
        if (generation != database_.generation()) continue;
        if (random.chance(business_.rollbacks)) {
            database_.abort(tx);
            if (publisher && is_careless) publisher->hand_over(ticket);
            continue;
        }
        // Before it is visible: the publisher looks, and does not trust.
        const bool is_early = publisher && is_careless && random.chance(300);
        if (is_early) publisher->hand_over(ticket);
        const Lsn commit = database_.write_commit(tx);
        if (!random.chance(business_.async_commits)) {
            co_await Sleep{scheduler_, upto(random, kMoment)};
            if (generation != database_.generation()) continue;
            database_.flush(commit);
        }
        co_await Sleep{scheduler_, upto(random, kMoment)};
        if (generation != database_.generation()) continue;
        database_.become_visible(tx);
        const auto hand_over = [&] {
            if (!publisher || is_early) return;
            if (is_careless && random.chance(500)) return publisher->give_back(ticket);
            if (is_careless && random.chance(500)) return;  // The thread of its caller died.
            publisher->hand_over(ticket);
        };
        const bool is_quick = random.chance(500);
        if (is_quick) hand_over();
        co_await Sleep{scheduler_, upto(random, kMoment)};
        if (generation != database_.generation()) continue;
        database_.release_locks(tx);
        if (!is_quick) hand_over();
    }
    --running_;
}

}  // namespace sagaz::simulation
