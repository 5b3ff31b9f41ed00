#include "producers.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sagaz::simulation {

constexpr Duration kMoment = microseconds{300};

void Producers::start() {
    for (int n = 0; n < business_.copied; ++n) {
        // Pairs of equal positions, of different keys.
        NewEvent event = make_event(random_, fmt::format("copied{}", n), false);
        database_.copy_in(event, 10 + n / 2);
    }
    for (int n = 0; n < business_.producers; ++n) {
        ++running_;
        scripts_.keep(produce(random_.fork()));
    }
}

NewEvent Producers::make_event(Random& random, const std::optional<std::string>& key, bool held) {
    NewEvent event;
    // The second topic is what the template makes of the first.
    const std::string topics[] = {"", std::string(kTemplateTopic), "orders"};
    event.topic = topics[random.below(3)];
    event.key = key;
    event.payload = fmt::format(R"({{"n":{}}})", made_++);
    if (random.chance(100)) event.payload.append(random.below(2000), ' ');
    if (random.chance(200)) event.headers = R"({"tenant":"a"})";
    if (held) event.hold = business_.hold;
    return event;
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
        const bool is_held = random.chance(business_.held);
        const bool is_long = random.chance(business_.long_transactions);
        std::vector<EventIndex> events;
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
            const std::size_t before = events.size();
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
                events.push_back(database_.insert(tx, make_event(random, key, is_held), position));
            }
            if (is_lost) break;
            if (in_savepoint && random.chance(500)) {
                database_.rollback_to_savepoint(tx);
                events.resize(before);
            }
        }
        if (is_lost) continue;
        if (is_long) co_await Sleep{scheduler_, upto(random, business_.long_max)};
        if (generation != database_.generation()) continue;
        if (random.chance(business_.rollbacks)) {
            database_.abort(tx);
            continue;
        }
        const Lsn commit = database_.write_commit(tx);
        if (!random.chance(business_.async_commits)) {
            co_await Sleep{scheduler_, upto(random, kMoment)};
            if (generation != database_.generation()) continue;
            database_.flush(commit);
        }
        co_await Sleep{scheduler_, upto(random, kMoment)};
        if (generation != database_.generation()) continue;
        database_.become_visible(tx);
        if (is_held) scripts_.keep(publish(events, random.fork()));
        co_await Sleep{scheduler_, upto(random, kMoment)};
        if (generation != database_.generation()) continue;
        database_.release_locks(tx);
    }
    --running_;
}

/// The confirm of design section 5, in one atomic statement.
Producers::Confirmed Producers::confirm(const LogRow& row) const {
    const Instant until = std::min(row.held_until, row.appended_at + business_.hold);
    if (row.deleted || until - scheduler_.now() <= business_.send_timeout) return Confirmed::late;
    if (!row.key) return Confirmed::yes;
    // A cursor of another cluster counts what nobody has delivered; the re-base is to come.
    if (database_.is_foreign()) return Confirmed::behind;
    const Cursor& cursor = database_.newest_cursor(row.slot);
    for (const LogRow& other : database_.rows()) {
        if (other.index >= row.index) break;
        if (!same_lane(other, row) || !other.visible || other.fate != Fate::committed) continue;
        if (database_.is_parked(other.index)) return Confirmed::behind;
        const bool is_delivered = other.deleted || other.mark_lsn != 0 || covers(cursor, other);
        if (!is_delivered) return Confirmed::behind;
    }
    return Confirmed::yes;
}

/// An optimistic publisher with one ticket. It may die at any point; then its holds run out.
Script Producers::publish(std::vector<EventIndex> events, Random random) {
    const std::uint64_t generation = database_.generation();
    const auto is_gone = [&] { return !database_.is_up() || generation != database_.generation(); };
    bool gives_up = false;
    for (const EventIndex index : events) {
        if (random.chance(50)) co_return;
        const LogRow& row = database_.row(index);
        Confirmed confirmed = Confirmed::late;
        while (!gives_up) {
            co_await Sleep{scheduler_, upto(random, milliseconds{3})};
            if (is_gone()) co_return;
            confirmed = confirm(row);
            if (confirmed != Confirmed::behind) break;
            gives_up = random.chance(30);
        }
        if (gives_up || confirmed == Confirmed::late) {
            gives_up = true;
            database_.release_hold(index);
            continue;
        }
        const Lsn safe = database_.insert_lsn();
        co_await Sleep{scheduler_, upto(random, milliseconds{5})};
        if (is_gone()) co_return;
        database_.flush(safe);
        co_await Sleep{scheduler_, upto(random, milliseconds{20})};
        if (random.chance(50)) co_return;
        if (destination_.is_down() || destination_.is_refused(row)) {
            if (is_gone()) co_return;
            gives_up = true;
            database_.release_hold(index);
            continue;
        }
        destination_.history().on_taken_by_publisher(row);
        destination_.arrive(row, "publisher");
        if (random.chance(100)) co_return;  // sent, and the answer lost: left to the relay
        destination_.history().on_accepted(index);
        co_await Sleep{scheduler_, upto(random, milliseconds{10})};
        if (is_gone()) co_return;
        if (random.chance(100)) co_return;  // sent, and dead before the row was deleted
        if (!row.deleted) database_.remove(index);
    }
}

}  // namespace sagaz::simulation
