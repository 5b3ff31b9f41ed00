// Storing cursors and parking, and what becomes of a store that was given up.
//
// At its deadline the client goes on, while the server may still be at the statement: it is slow or
// frozen, or has all of it but the Sync, which is still on its way. Such a store with parked events
// works on its old snapshot. The owner stores again under a higher n, the event is parked by that,
// tried, accepted and taken out of `parked`, and later events of its key are sent; then the first
// one goes on, sees neither the newer cursor nor that the event has been there, and parks it again:
// it would be sent once more, behind later ones. Neither the epoch nor FOR SHARE stands in its way
// (the owner is the same), nor the unique key (the row is gone).
//
// So before the owner stores anything more of such a slot it writes into the slot's row up to which
// n nothing may be stored any more. The given-up store looks at that row under FOR SHARE:
//  - it has not locked it yet: it waits for us or comes after us, finds the row changed, judges the
//    new version of it, and stores and parks nothing;
//  - it has ended: what it did is done, before anything that we do from now on;
//  - it holds the lock: then we do not wait, for it may hold it for hours. The slot is left out of
//    the store, as one that is lost, so the others go on. It is acquired anew, which passes over a
//    locked row too, and so happens when the given-up store has ended; then cursor and parked
//    events are read as it left them.
// Between giving up and barring nothing can go wrong: the event is in `parked` only if the given-up
// store has ended, and until the next store of the slot it is parked by nothing else.
//
// A statement that bars and is given up itself bars no more than was given up by then. A slot that
// was acquired since has another epoch, which alone keeps the old store out.
#include "stores/postgres/field.hpp"
#include "stores/postgres/postgres_store.hpp"

#include <sagaz/error.hpp>

#include <algorithm>
#include <iterator>

namespace sagaz::inline v0::postgres {
namespace {

// $2 relay, $3 destination, $4 slots, $5 epochs, $6 n
constexpr std::string_view kBar = R"(WITH guard, free AS (
    SELECT s.slot, v.n
    FROM guard
    CROSS JOIN unnest($4::int2[], $5::int8[], $6::int8[]) v (slot, epoch, n)
    JOIN @schema@.slot s ON s.slot = v.slot
    WHERE s.destination = $3::text AND s.owner = $2::uuid AND s.epoch = v.epoch
    FOR UPDATE OF s SKIP LOCKED
), barred AS (
    UPDATE @schema@.slot s SET barred = greatest(s.barred, f.n)
    FROM free f WHERE s.destination = $3::text AND s.slot = f.slot
    RETURNING s.slot
)
SELECT b.slot FROM guard LEFT JOIN barred b ON true)";

}  // namespace

std::vector<std::int16_t> PostgresStore::store(std::span<const CursorMove> moves,
                                               std::span<const Parking> parked) {
    if (given_up_.empty()) return store_or_give_up(moves, parked);
    bar_given_up(moves);
    const auto is_free = [&](const auto& item) { return !given_up_.contains(item.slot); };
    std::vector<CursorMove> free_moves;
    std::ranges::copy_if(moves, std::back_inserter(free_moves), is_free);
    std::vector<Parking> free_parked;
    std::ranges::copy_if(parked, std::back_inserter(free_parked), is_free);
    return store_or_give_up(free_moves, free_parked);
}

std::vector<std::int16_t> PostgresStore::store_or_give_up(std::span<const CursorMove> moves,
                                                          std::span<const Parking> parked) {
    try {
        return store_now(moves, parked);
    } catch (const Error&) {
        if (connection_.is_connected()) throw;  // The server has answered: it did nothing.
        for (const CursorMove& move : moves) {
            const bool parks = std::ranges::find(parked, move.slot, &Parking::slot) != parked.end();
            if (parks) given_up_[move.slot] = {move.epoch, move.cursor.n};
        }
        throw;
    }
}

// Leaves in `given_up_`, of the slots of `moves`, those that could not be barred.
void PostgresStore::bar_given_up(std::span<const CursorMove> moves) {
    std::vector<CursorMove> doubtful;
    for (const CursorMove& move : moves) {
        const auto found = given_up_.find(move.slot);
        if (found == given_up_.end()) continue;
        if (found->second.epoch == move.epoch) {
            doubtful.push_back(move);
        } else {
            given_up_.erase(found);
        }
    }
    if (doubtful.empty()) return;
    const Result rows = run(
        guarded_statement(kBar, options_.schema),
        identified()
            .array(doubtful, [](const CursorMove& move) { return wide(move.slot); })
            .array(doubtful, [](const CursorMove& move) { return move.epoch; })
            .array(doubtful, [&](const CursorMove& move) { return given_up_.at(move.slot).n; }));
    for (int n = 0; n < PQntuples(rows.get()); ++n) {
        if (!is_null(rows.get(), n, 0)) given_up_.erase(number_at<std::int16_t>(rows.get(), n, 0));
    }
}

}  // namespace sagaz::inline v0::postgres
