#include "sim_store.hpp"

#include "core/assert.hpp"
#include "core/clock.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sagaz::simulation {
namespace {

constexpr Duration kAge = milliseconds{300};

sagaz::ParkedEvent view_of(const SimDatabase& database, const simulation::ParkedEvent& parked,
                           std::size_t key) {
    const LogRow& row = database.row(parked.event);
    return {{row.slot, row.position, row.event_id},
            key,
            parked.dead,
            parked.attempts,
            core::milliseconds_until(database.now(), parked.due),
            row.payload.size()};
}

bool is_of_key(const LogRow& row, const StoppedKey& key) {
    return row.slot == key.slot && row.key == key.key && row.topic == key.topic &&
           (!row.topic.empty() || key.event_type == kEventType);
}

}  // namespace

Row view_of(const LogRow& row, bool held) {
    Row view;
    view.slot = row.slot;
    view.held = held;
    view.transaction = row.xid;
    view.position = row.position;
    view.event_id = row.event_id;
    view.created_at = row.created_at;
    view.topic = row.topic;
    if (row.key) view.key = *row.key;
    view.event_type = kEventType;
    view.content_type = "application/json";
    view.payload = row.payload;
    view.headers = row.headers;
    return view;
}

bool SimStore::owns(std::int16_t slot, std::int64_t epoch) const {
    const auto& state = world_.database.tables().slots.at(static_cast<std::size_t>(slot));
    return faults_.ignores_epoch || (state.owner == relay_ && state.epoch == epoch);
}

Attached SimStore::attach(const Id& relay) {
    relay_ = relay;
    return call("attach", Guard::none, [&] {
        if (!world_.database.token()) world_.database.make_token(random_.id());
        token_ = world_.database.token();
        world_.database.write([relay](Tables& tables) { tables.beats.try_emplace(relay, 0); });
        commit();
        return Attached{*token_, world_.database.settings()};
    });
}

Observed SimStore::observe(const Report&) {
    return call("observe", Guard::known, [&] {
        world_.database.write([relay = relay_](Tables& tables) { ++tables.beats[relay]; });
        Observed seen;
        const Tables& tables = world_.database.tables();
        for (std::size_t n = 0; n < tables.slots.size(); ++n) {
            SlotView view{static_cast<std::int16_t>(n), tables.slots[n].epoch,
                          tables.slots[n].owner, -1};
            if (view.owner) {
                const auto beat = tables.beats.find(*view.owner);
                if (beat != tables.beats.end()) view.owner_beat = beat->second;
            }
            seen.slots.push_back(view);
        }
        for (const auto& [relay, beat] : tables.beats) seen.relays.push_back({relay, beat});
        seen.opening = look_around();
        return seen;
    });
}

std::vector<OwnedSlot> SimStore::acquire(std::span<const SlotView> slots) {
    return call("acquire", Guard::known, [&] {
        std::vector<OwnedSlot> taken;
        for (const SlotView& view : slots) {
            const Tables& tables = world_.database.tables();
            const auto& slot = tables.slots.at(static_cast<std::size_t>(view.slot));
            std::int64_t beat = -1;
            if (slot.owner) {
                const auto at = tables.beats.find(*slot.owner);
                if (at != tables.beats.end()) beat = at->second;
            }
            const bool is_as_seen = slot.owner == view.owner && slot.epoch == view.epoch &&
                                    (!slot.owner || beat == view.owner_beat);
            if (!is_as_seen || random_.chance(faults_.short_reads)) continue;  // SKIP LOCKED
            taken.push_back({view.slot, view.epoch + 1});
        }
        if (taken.empty()) return taken;
        world_.database.write([taken, relay = relay_](Tables& tables) {
            for (const OwnedSlot& one : taken) {
                tables.slots[static_cast<std::size_t>(one.slot)] = {relay, one.epoch};
            }
        });
        commit();
        for (const OwnedSlot& one : taken) {
            world_.trace.line(
                who_, fmt::format(R"("what":"took","slot":{},"epoch":{})", one.slot, one.epoch));
        }
        return taken;
    });
}

Loaded SimStore::load(std::span<const OwnedSlot> slots) {
    return call("load", Guard::known, [&] {
        if (world_.database.is_foreign() && !faults_.keeps_done) {
            if (!world_.database.rebase(random_.id())) lose_connection();  // Wait for the log.
            world_.trace.line(who_, R"("what":"rebased")");
            check_token(Guard::known);  // It is another one now.
        }
        Loaded loaded;
        const SimDatabase& database = world_.database;
        for (const OwnedSlot& owned : slots) {
            loaded.cursors.push_back({owned.slot, database.newest_cursor(owned.slot)});
            if (database.settings().on_refused != OnRefused::park_key) continue;
            for (const simulation::ParkedEvent& parked : database.tables().parked) {
                const LogRow& row = database.row(parked.event);
                if (parked.slot != owned.slot || !row.key) continue;
                loaded.stopped.push_back({row.slot, row.topic, *row.key, std::string(kEventType)});
            }
        }
        loaded.gate = database.insert_lsn();
        return loaded;
    });
}

Opening SimStore::open_window() {
    return call("open_window", Guard::known, [&] { return look_around(); });
}

// One statement, but not one moment: its parts are read in the order that makes each true, and
// others act between them.
Opening SimStore::look_around() {
    Opening opening;
    opening.target = world_.database.snapshot();
    const std::uint64_t generation = world_.database.generation();
    pass_time();
    opening.last_position = world_.database.last_position();
    pass_time();
    if (generation != world_.database.generation()) lose_connection();
    opening.ceiling = faults_.takes_xids ? world_.database.burn_xid() : world_.database.next_xid();
    opening.gate = world_.database.insert_lsn();
    opening.flushed = world_.database.flushed_lsn();
    world_.trace.line(who_, fmt::format(R"("target":"{}","last":{},"ceiling":{},"gate":{})",
                                        opening.target.text(), opening.last_position,
                                        opening.ceiling, opening.gate));
    return opening;
}

std::vector<LateTransaction> SimStore::find_late(std::span<const LateQuery> queries) {
    return call("find_late", Guard::known, [&] {
        std::vector<LateTransaction> found;
        for (const LateQuery& query : queries) {
            std::set<std::uint64_t> late;
            const auto& rows = world_.database.live(query.slot);
            for (auto at = rows.lower_bound({query.after + 1, 0});
                 at != rows.end() && at->first <= query.upto; ++at) {
                const std::uint64_t xid = world_.database.row(at->second).xid;
                const bool is_listed =
                    std::find(query.transactions.begin(), query.transactions.end(), xid) !=
                    query.transactions.end();
                if (is_listed || (xid >= query.range_min && xid < query.range_end)) {
                    late.insert(xid);
                }
            }
            for (const std::uint64_t xid : late) found.push_back({query.slot, xid});
        }
        return found;
    });
}

void SimStore::start_read(const ReadRequest& request) {
    SAGAZ_ASSERT(!reading_);
    // Executed now or when the answer is fetched: nobody can tell which.
    if (random_.chance(500)) {
        read_ = call("read", Guard::known, [&] { return execute_read(request); });
    } else {
        check_connection();
    }
    reading_ = request;
}

ReadResult SimStore::finish_read() {
    SAGAZ_ASSERT(reading_.has_value());
    const ReadRequest request = *std::exchange(reading_, std::nullopt);
    if (read_) {
        ReadResult result = std::move(*read_);
        read_.reset();
        check_connection();
        return result;
    }
    return call("read", Guard::known, [&] { return execute_read(request); });
}

ReadResult SimStore::execute_read(const ReadRequest& request) {
    ReadResult result;
    auto batch = std::make_unique<SimBatch>();
    std::size_t rows_max = std::max<std::size_t>(1, request.rows_max / request.ranges.size());
    if (random_.chance(faults_.short_reads)) rows_max = 1 + random_.below(rows_max);
    const std::size_t bytes_max = request.bytes_max / request.ranges.size();
    for (const SlotRange& range : request.ranges) {
        const auto& rows = world_.database.live(range.slot);
        ReadResult::Progress progress{range.slot, range.upto};
        std::size_t count = 0;
        std::size_t bytes = 0;
        std::int64_t last = range.after;
        for (auto at = rows.lower_bound({range.after + 1, 0});
             at != rows.end() && at->first <= range.upto; ++at) {
            const LogRow& row = world_.database.row(at->second);
            const bool is_late_one =
                range.late.empty() ||
                std::find(range.late.begin(), range.late.end(), row.xid) != range.late.end();
            if (!is_late_one || !range.target->sees(row.xid) || range.done->sees(row.xid)) continue;
            const bool is_full = count >= rows_max || (count > 0 && bytes >= bytes_max);
            if (is_full && row.position != last) {  // equal positions are never split
                progress.read_to = last;
                break;
            }
            batch->add(row, is_held(row));
            if (faults_.reclaims_what_was_read) rows_read_.insert(row.index);
            ++count;
            bytes += row.payload.size();
            last = row.position;
        }
        world_.trace.line(who_, fmt::format(R"("read":{},"after":{},"to":{},"rows":{})", range.slot,
                                            range.after, progress.read_to, count));
        result.progress.push_back(progress);
    }
    // The port's order, whatever the order of the request.
    std::ranges::stable_sort(batch->rows, {}, &Row::slot);
    result.batch = std::move(batch);
    result.flushed = world_.database.flushed_lsn();
    return result;
}

std::uint64_t SimStore::flushed(bool force) {
    return call(force ? "flush" : "flushed", Guard::known, [&] {
        if (force) world_.database.flush(world_.database.insert_lsn());
        return world_.database.flushed_lsn();
    });
}

std::vector<std::int16_t> SimStore::store(std::span<const CursorMove> moves,
                                          std::span<const Parking> parked) {
    return call("store", Guard::known, [&] {
        std::vector<std::int16_t> owned;
        std::vector<CursorMove> kept;
        std::vector<simulation::ParkedEvent> taken_off;
        for (const CursorMove& move : moves) {
            if (!owns(move.slot, move.epoch)) continue;
            owned.push_back(move.slot);
            kept.push_back(move);
            std::vector<simulation::ParkedEvent> of_slot;
            for (const Parking& parking : parked) {
                if (parking.slot != move.slot) continue;
                const auto event =
                    world_.database.find_live(parking.slot, parking.position, parking.event_id);
                if (!event || world_.database.is_parked(*event)) continue;
                const bool is_behind = parking.reason == "behind_parked";
                of_slot.push_back({*event, parking.slot, parking.reason, false, is_behind ? 0 : 1,
                                   is_behind ? Instant{} : world_.scheduler.now()});
            }
            world_.history.on_cursor(move.slot, move.cursor, of_slot);
            taken_off.insert(taken_off.end(), of_slot.begin(), of_slot.end());
            if (move.cursor.n <= world_.database.newest_cursor(move.slot).n) {
                world_.history.violation(
                    fmt::format("a cursor of slot {} is numbered {}, not above "
                                "the newest",
                                move.slot, move.cursor.n));
            }
            world_.trace.line(
                who_,
                fmt::format(
                    R"("store":{},"n":{},"done":"{}","target":"{}","position":{},"parked":{})",
                    move.slot, move.cursor.n, move.cursor.done.text(), move.cursor.target.text(),
                    move.cursor.position, of_slot.size()));
        }
        if (kept.empty()) return owned;
        world_.database.write([kept, taken_off](Tables& tables) {
            for (const CursorMove& move : kept) {
                tables.cursors[static_cast<std::size_t>(move.slot)][move.cursor.n] = move.cursor;
            }
            tables.parked.insert(tables.parked.end(), taken_off.begin(), taken_off.end());
        });
        commit();
        return owned;
    });
}

std::vector<HoldState> SimStore::look_at(std::span<const RowRef> rows) {
    return call("look_at", Guard::known, [&] {
        std::vector<HoldState> states;
        for (const RowRef& ref : rows) {
            const auto event = world_.database.find_live(ref.slot, ref.position, ref.event_id);
            if (!event || world_.database.row(*event).mark_lsn != 0) {
                states.push_back(HoldState::gone);
            } else {
                states.push_back(is_held(world_.database.row(*event)) ? HoldState::held
                                                                      : HoldState::released);
            }
        }
        return states;
    });
}

void SimStore::mark_delivered(std::span<const RowRef> rows) {
    call("mark_delivered", Guard::known, [&] {
        for (const RowRef& ref : rows) {
            const auto event = world_.database.find_live(ref.slot, ref.position, ref.event_id);
            if (!event) continue;
            const LogRow& row = world_.database.row(*event);
            world_.history.on_marked(row, who_);
            world_.trace.line(who_, fmt::format(R"("marked":{})", row.index));
            world_.database.mark_delivered(*event);
        }
        commit();
    });
}

void SimStore::release(std::span<const OwnedSlot> slots) {
    call("release", Guard::known, [&] {
        std::vector<OwnedSlot> ours;
        for (const OwnedSlot& one : slots) {
            if (owns(one.slot, one.epoch)) ours.push_back(one);
        }
        world_.history.on_released(ours.size());
        world_.database.write([ours](Tables& tables) {
            for (const OwnedSlot& one : ours) {
                tables.slots[static_cast<std::size_t>(one.slot)].owner.reset();
            }
        });
        commit();
    });
}

void SimStore::leave() {
    call("leave", Guard::known, [&] {
        world_.database.write([relay = relay_](Tables& tables) {
            for (Tables::Slot& slot : tables.slots) {
                if (slot.owner == relay) slot.owner.reset();
            }
            tables.beats.erase(relay);
        });
        commit();
    });
}

void SimStore::tidy(std::span<const OwnedSlot> slots) {
    call("tidy", Guard::known, [&] {
        std::vector<std::int16_t> ours;
        for (const OwnedSlot& one : slots) {
            if (owns(one.slot, one.epoch)) ours.push_back(one.slot);
        }
        world_.database.write([ours](Tables& tables) {
            for (const std::int16_t slot : ours) {
                auto& cursors = tables.cursors[static_cast<std::size_t>(slot)];
                cursors.erase(cursors.begin(), std::prev(cursors.end()));
            }
        });
    });
}

bool SimStore::is_delivered(const LogRow& row) const {
    if (faults_.reclaims_what_was_read && rows_read_.contains(row.index)) return true;
    return covers(world_.database.newest_cursor(faults_.reclaims_by_one_slot ? 0 : row.slot), row);
}

bool SimStore::empty_segment(std::int64_t segment) {
    SimDatabase& database = world_.database;
    std::vector<EventIndex> rows;
    for (std::int16_t slot = 0; slot < database.settings().slot_count; ++slot) {
        for (const auto& [position, event] : database.live(slot)) {
            if (segment_of(position) == segment) rows.push_back(event);
        }
    }
    const bool is_done = std::all_of(rows.begin(), rows.end(), [&](EventIndex event) {
        return is_delivered(database.row(event));
    });
    if (rows.empty() || !is_done) return false;
    for (const EventIndex event : rows) world_.history.on_reclaimed(database.row(event), who_);
    world_.trace.line(who_, fmt::format(R"("truncate":{},"rows":{})", segment, rows.size()));
    database.truncate(segment);
    return true;
}

// The part that is being written goes by age, which here is short: a run is.
Reclaimed SimStore::reclaim(const ReclaimLimits&) {
    return call("reclaim", Guard::known, [&] {
        SimDatabase& database = world_.database;
        const std::int64_t written = segment_of(database.last_position());
        Reclaimed reclaimed;
        for (std::int64_t segment = 0; segment < kSegments; ++segment) {
            if (segment == written) continue;
            if (database.is_segment_locked(segment)) {
                reclaimed.blocked = true;
            } else if (empty_segment(segment)) {
                reclaimed.truncations = 1;
                reclaimed.has_more = true;
                return reclaimed;
            }
        }
        for (const LogRow& row : database.rows()) {
            if (!row.visible || row.reclaimed || row.deleted || row.fate != Fate::committed)
                continue;
            if (segment_of(row.position) != written || !is_delivered(row)) continue;
            if (database.now() - row.appended_at < kAge) continue;
            world_.history.on_reclaimed(row, who_);
            database.delete_delivered(row.index);
            ++reclaimed.deleted;
        }
        reclaimed.has_more = reclaimed.deleted > 0;
        return reclaimed;
    });
}

// There are no consumers here.
InboxKept SimStore::keep_inbox(const InboxLimits&) {
    return call("keep_inbox", Guard::none, [] { return InboxKept{}; });
}

ParkedLook SimStore::look_at_parked(const ParkedQuery& query) {
    return call("look_at_parked", Guard::known, [&] {
        const SimDatabase& database = world_.database;
        auto parked = database.tables().parked;
        std::ranges::stable_sort(parked, {},
                                 [&](const auto& one) { return database.row(one.event).position; });
        ParkedLook look;
        look.gate = database.insert_lsn();
        look.flushed = database.flushed_lsn();
        for (std::size_t n = 0; n < query.keys.size(); ++n) {
            std::size_t count = 0;
            for (const auto& one : parked) {
                if (!is_of_key(database.row(one.event), query.keys[n])) continue;
                if (count++ == query.rows_max) break;
                look.of_keys.push_back(view_of(database, one, n));
            }
        }
        for (const auto& one : parked) {
            const LogRow& row = database.row(one.event);
            if (one.dead || (row.key && !query.alone_with_key)) continue;
            if (std::ranges::find(query.alone, row.slot) == query.alone.end()) continue;
            look.alone.push_back(view_of(database, one, 0));
        }
        std::ranges::stable_sort(look.alone, {}, &sagaz::ParkedEvent::due_in);
        world_.trace.line(who_, fmt::format(R"("keys":{},"found":{},"alone":{})", query.keys.size(),
                                            look.of_keys.size(), look.alone.size()));
        return look;
    });
}

std::unique_ptr<Batch> SimStore::read_parked(std::span<const RowRef> rows) {
    return call("read_parked", Guard::known, [&] {
        auto batch = std::make_unique<SimBatch>();
        for (const RowRef& ref : rows) {
            for (const auto& one : world_.database.tables().parked) {
                const LogRow& row = world_.database.row(one.event);
                if (row.slot != ref.slot || row.event_id != ref.event_id) continue;
                batch->add(row, false);
            }
        }
        return std::unique_ptr<Batch>(std::move(batch));
    });
}

bool SimStore::settle_parked(const OwnedSlot& slot, std::span<const ParkedOutcome> outcomes) {
    return call("settle_parked", Guard::known, [&] {
        if (!owns(slot.slot, slot.epoch)) return false;
        struct Change {
            EventIndex event{};
            ParkedOutcome outcome{};
        };
        std::vector<Change> changes;
        for (const ParkedOutcome& outcome : outcomes) {
            const auto event = world_.database.find_event(outcome.row.event_id);
            if (!event || !world_.database.is_parked(*event)) continue;
            if (outcome.accepted) world_.history.on_unparked(*event);
            changes.push_back({*event, outcome});
            world_.trace.line(who_, fmt::format(R"("settled":{},"accepted":{},"dead":{})", *event,
                                                outcome.accepted, outcome.dead));
        }
        world_.database.write([changes, now = world_.scheduler.now()](Tables& tables) {
            for (const auto& [event, outcome] : changes) {
                const auto at =
                    std::ranges::find(tables.parked, event, &simulation::ParkedEvent::event);
                if (at == tables.parked.end()) continue;
                if (outcome.accepted) {
                    tables.parked.erase(at);
                } else if (!at->dead && at->attempts == outcome.attempts - 1) {
                    at->attempts = outcome.attempts;
                    at->dead = outcome.dead;
                    at->due = now + outcome.retry_in;
                }
            }
        });
        commit();
        return true;
    });
}

Backlog SimStore::measure() {
    return call("measure", Guard::known, [&] {
        Backlog backlog;
        for (const auto& parked : world_.database.tables().parked) {
            ++(parked.dead ? backlog.parked_dead : backlog.parked_waiting);
        }
        return backlog;
    });
}

}  // namespace sagaz::simulation
