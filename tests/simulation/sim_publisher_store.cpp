#include "sim_publisher_store.hpp"

#include "sim_store.hpp"

#include <algorithm>

namespace sagaz::simulation {

Attached SimPublisherStore::attach() {
    return call("attach", Guard::none, [&] {
        token_ = world_.database.token();
        return Attached{token_.value_or(Id{}), world_.database.settings()};
    });
}

bool SimPublisherStore::is_behind(const LogRow& row, std::span<const RowRef> acknowledged) const {
    const SimDatabase& database = world_.database;
    // A cursor of another cluster counts what nobody has delivered; the re-base is to come.
    if (database.is_foreign() && !faults_.keeps_done) return true;
    const auto is_acknowledged = [&](const LogRow& other) {
        return std::ranges::any_of(acknowledged, [&](const RowRef& one) {
            return one.position == other.position && one.event_id == other.event_id;
        });
    };
    const auto is_elder = [&](const LogRow& other) {
        return other.position < row.position && same_lane(other, row) && !is_acknowledged(other);
    };
    const Cursor& cursor = database.newest_cursor(row.slot);
    for (const auto& [position, event] : database.live(row.slot)) {
        if (faults_.confirms_by_parked) break;
        const LogRow& other = database.row(event);
        if (is_elder(other) && other.mark_lsn == 0 && !covers(cursor, other)) return true;
    }
    const bool is_stopped = database.settings().on_refused == OnRefused::park_key;
    return is_stopped && !faults_.confirms_by_the_log &&
           std::ranges::any_of(database.tables().parked, [&](const ParkedEvent& parked) {
               return is_elder(database.row(parked.event));
           });
}

Verdict SimPublisherStore::judge(const RowRef& asked, std::span<const RowRef> acknowledged,
                                 Milliseconds margin) const {
    const SimDatabase& database = world_.database;
    if (!token_) return Verdict::late;
    const auto event = database.find_live(asked.slot, asked.position, asked.event_id);
    if (!event) return Verdict::not_committed;
    const LogRow& row = database.row(*event);
    if (row.held_until - database.wall_clock() <= margin) return Verdict::late;
    if (covers(database.newest_cursor(row.slot), row)) return Verdict::late;
    const bool waits = row.key && is_behind(row, acknowledged);
    return waits ? Verdict::behind : Verdict::ready;
}

Confirmation SimPublisherStore::confirm(std::span<const RowRef> asked,
                                        std::span<const RowRef> acknowledged, Milliseconds margin) {
    return call("confirm", Guard::as_seen, [&] {
        Confirmation said;
        auto batch = std::make_unique<SimBatch>();
        for (const RowRef& ref : asked) {
            const Verdict verdict = judge(ref, acknowledged, margin);
            said.verdicts.push_back(verdict);
            const auto event = world_.database.find_live(ref.slot, ref.position, ref.event_id);
            if (verdict == Verdict::ready) batch->add(world_.database.row(event.value()), true);
        }
        world_.trace.line(
            who_, fmt::format(R"("asked":{},"ready":{})", asked.size(), batch->rows.size()));
        said.batch = std::move(batch);
        said.gate = world_.database.insert_lsn();
        said.flushed = world_.database.flushed_lsn();
        return said;
    });
}

std::uint64_t SimPublisherStore::flushed(bool force) {
    return call(force ? "flush" : "flushed", Guard::as_seen, [&] {
        if (force) world_.database.flush(world_.database.insert_lsn());
        return world_.database.flushed_lsn();
    });
}

void SimPublisherStore::settle(std::span<const RowRef> accepted, std::span<const RowRef> left) {
    call("settle", Guard::as_seen, [&] {
        SimDatabase& database = world_.database;
        for (const RowRef& ref : accepted) {
            const auto event = database.find_live(ref.slot, ref.position, ref.event_id);
            if (!event) continue;
            world_.history.on_removed(database.row(*event), who_);
            world_.trace.line(who_, fmt::format(R"("removed":{})", *event));
            database.remove(*event);
        }
        for (const RowRef& ref : left) {
            const auto event = database.find_live(ref.slot, ref.position, ref.event_id);
            if (!event || !is_held(database.row(*event))) continue;
            world_.trace.line(who_, fmt::format(R"("left":{})", *event));
            database.release_hold(*event);
        }
        commit();
    });
}

}  // namespace sagaz::simulation
