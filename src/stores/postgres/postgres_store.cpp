#include "stores/postgres/postgres_store.hpp"

#include "core/assert.hpp"
#include "core/setting_value.hpp"
#include "stores/postgres/error_table.hpp"
#include "stores/postgres/field.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstring>
#include <utility>

namespace sagaz::inline v0::postgres {
namespace {

// Stores that the owner before us may have left to be tidied: ten a second, for five seconds. What
// it left beyond that, because it could not tidy for longer, stays, and is in nobody's way.
constexpr std::int64_t kUntidied = 100;
constexpr std::uint64_t kTransactionBits32 = 0xFFFF'FFFFU;

std::int16_t slot_at(const PGresult* result, int row) {
    return number_at<std::int16_t>(result, row, 0);
}

// A passing guard yields one row of nulls where there is nothing else.
bool is_empty(const PGresult* result) { return is_null(result, 0, 0); }

// The columns of `observe` behind those of a window; a row's kind.
namespace observed {
enum : int { kind = 5, slot, epoch, relay, beat };
constexpr int kRelay = 2;
}  // namespace observed

std::string own_label() {
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) != 0) std::strcpy(host.data(), "?");
    return fmt::format("{}:{}", host.data(), ::getpid());
}

// The next transaction id has 32 bits; the snapshot's xmax, which is not above it and not 2^31
// behind it, has all 64.
std::uint64_t widen(std::uint32_t next, std::uint64_t xmax) {
    std::uint64_t wide_next = (xmax & ~kTransactionBits32) | next;
    if (wide_next < xmax) wide_next += kTransactionBits32 + 1;
    return wide_next;
}

}  // namespace

PostgresStore::PostgresStore(const std::string& url, Options options)
    : options_(std::move(options)),
      statements_(options_.schema),
      parked_(options_.schema),
      connection_(url, {options_.connect_timeout, options_.statement_timeout},
                  options_.current_url),
      rebaser_(url, options_),
      label_(own_label()) {
    connection_.needs({options_.schema + "_relay"});
}

Result PostgresStore::run(const std::string& sql, const Parameters& parameters) {
    return answer_to([&] { return connection_.execute(sql, parameters); });
}

Parameters PostgresStore::guarded() const { return std::move(Parameters{}.id(incarnation_)); }

Parameters PostgresStore::identified() const {
    return std::move(guarded().id(relay_).text(options_.destination));
}

// ------------------------------------------------------------------------------------- attaching

Attached PostgresStore::attach(const Id& relay) {
    relay_ = relay;
    last_position_ = 0;
    durability_.forget();
    starts_.clear();
    tidied_.clear();
    check_schema(connection_, statements_, options_.schema);
    const Result token = connection_.execute(statements_.attach);
    incarnation_ = Id::parse(text_at(token.get(), 0, 0));
    Attached attached;
    attached.incarnation = incarnation_;
    const Result rows = run(statements_.introduce, identified().text(label_).text(SAGAZ_VERSION));
    for (int n = 0; n < PQntuples(rows.get()) && !is_empty(rows.get()); ++n) {
        core::apply_setting(attached.settings, text_at(rows.get(), n, 0),
                            text_at(rows.get(), n, 1));
    }
    return attached;
}

// ------------------------------------------------------------------------------------- ownership

Observed PostgresStore::observe(const Report& report) {
    const Result rows =
        run(statements_.observe, identified()
                                     .text(label_)
                                     .text(SAGAZ_VERSION)
                                     .number(static_cast<std::int64_t>(report.published))
                                     .text(report.down_reason)
                                     .number(report.down_for_ms));
    Observed seen;
    seen.opening = take_opening(rows.get());
    for (int n = 1; n < PQntuples(rows.get()); ++n) {
        const auto beat = number_at<std::int64_t>(rows.get(), n, observed::beat);
        const std::optional<Id> relay = id_at(rows.get(), n, observed::relay);
        if (number_at<int>(rows.get(), n, observed::kind) == observed::kRelay) {
            seen.relays.push_back({relay.value(), beat});
        } else {
            seen.slots.push_back({number_at<std::int16_t>(rows.get(), n, observed::slot),
                                  number_at<std::int64_t>(rows.get(), n, observed::epoch), relay,
                                  beat});
        }
    }
    return seen;
}

std::vector<OwnedSlot> PostgresStore::acquire(std::span<const SlotView> slots) {
    const Result rows =
        run(statements_.acquire,
            identified()
                .array(slots, [](const SlotView& view) { return wide(view.slot); })
                .array(slots, [](const SlotView& view) { return view.epoch; })
                .array(slots,
                       [](const SlotView& view) -> std::optional<std::string> {
                           if (!view.owner) return std::nullopt;
                           return view.owner->text();
                       })
                .array(slots, [](const SlotView& view) { return view.owner_beat; }));
    std::vector<OwnedSlot> taken;
    for (int n = 0; n < PQntuples(rows.get()) && !is_empty(rows.get()); ++n) {
        taken.push_back({slot_at(rows.get(), n), number_at<std::int64_t>(rows.get(), n, 1)});
    }
    return taken;
}

Loaded::SlotCursor PostgresStore::decode_cursor(const PGresult* rows, int n) const {
    const std::int16_t slot = slot_at(rows, n);
    if (is_null(rows, n, 1)) {
        throw Error(ErrorKind::fatal, "cursor_missing", fmt::format("slot {} has no cursor", slot),
                    "the cursor table was changed by hand; restore it from a backup");
    }
    Cursor cursor;
    cursor.n = number_at<std::int64_t>(rows, n, 1);
    cursor.done = Snapshot::parse(text_at(rows, n, 2));
    cursor.target = Snapshot::parse(text_at(rows, n, 3));
    cursor.done_ceiling = number_at<std::uint64_t>(rows, n, 4);
    cursor.target_ceiling = number_at<std::uint64_t>(rows, n, 5);
    cursor.position = number_at<std::int64_t>(rows, n, 6);
    cursor.last = number_at<std::int64_t>(rows, n, 7);
    return {slot, std::move(cursor)};
}

Loaded PostgresStore::load(std::span<const OwnedSlot> slots) {
    Loaded loaded;
    if (slots.empty()) return loaded;
    const auto parameters =
        guarded().text(options_.destination).array(slots, [](const OwnedSlot& owned) {
            return wide(owned.slot);
        });
    const Result cursors = run(statements_.load_cursors, parameters);
    for (int n = 0; n < PQntuples(cursors.get()); ++n) {
        if (sequence_went_back_ || !is_null(cursors.get(), n, 9)) {
            rebaser_.run(sequence_went_back_);
            sequence_went_back_ = false;
            throw incarnation_changed();
        }
        loaded.cursors.push_back(decode_cursor(cursors.get(), n));
        const auto& [slot, cursor] = loaded.cursors.back();
        tidied_[slot] = std::max(tidied_[slot], cursor.n - kUntidied);
        loaded.gate = number_at<std::uint64_t>(cursors.get(), n, 8);
    }
    const Result stopped = run(statements_.load_stopped, parameters);
    for (int n = 0; n < PQntuples(stopped.get()) && !is_empty(stopped.get()); ++n) {
        loaded.stopped.push_back(
            {slot_at(stopped.get(), n), std::string(text_at(stopped.get(), n, 1)),
             std::string(text_at(stopped.get(), n, 2)), std::string(text_at(stopped.get(), n, 3))});
    }
    return loaded;
}

void PostgresStore::release(std::span<const OwnedSlot> slots) {
    if (slots.empty()) return;
    run(statements_.release,
        identified()
            .array(slots, [](const OwnedSlot& owned) { return wide(owned.slot); })
            .array(slots, [](const OwnedSlot& owned) { return owned.epoch; }));
}

void PostgresStore::leave() { run(statements_.leave, identified()); }

// ------------------------------------------------------------------------------------ the window

Opening PostgresStore::open_window() {
    return take_opening(run(statements_.open_window, guarded()).get());
}

Opening PostgresStore::take_opening(const PGresult* row) {
    Opening opening;
    opening.target = Snapshot::parse(text_at(row, 0, 0));
    opening.last_position = number_at<std::int64_t>(row, 0, 1);
    const auto age = number_at<std::int32_t>(row, 0, 2);
    opening.ceiling = widen(static_cast<std::uint32_t>(age) + 3U, opening.target.xmax);
    opening.gate = number_at<std::uint64_t>(row, 0, 3);
    opening.flushed = durability_.safe(number_at<std::uint64_t>(row, 0, 4));
    // Somebody set it back, or put old files back. Remembered, since it may have caught up before
    // the cursors are read anew, and a row at an id that is given out again would count as
    // delivered.
    if (opening.last_position < last_position_) {
        sequence_went_back_ = true;
        throw incarnation_changed();
    }
    last_position_ = opening.last_position;
    remember_start(opening);
    return opening;
}

std::uint64_t PostgresStore::flushed(bool force) {
    return durability_.flushed(force, statements_, connection_,
                               [&](const std::string& sql) { return run(sql, guarded()); });
}

// --------------------------------------------------------------------------------------- storing

std::vector<std::int16_t> PostgresStore::store_now(std::span<const CursorMove> moves,
                                                   std::span<const Parking> parked) {
    if (moves.empty()) return {};
    Parameters parameters = identified();
    parameters.array(moves, [](const CursorMove& move) { return wide(move.slot); })
        .array(moves, [](const CursorMove& move) { return move.epoch; })
        .array(moves, [](const CursorMove& move) { return move.cursor.n; })
        .array(moves, [](const CursorMove& move) { return std::optional{move.cursor.done.text()}; })
        .array(moves,
               [](const CursorMove& move) { return std::optional{move.cursor.target.text()}; })
        .array(moves, [](const CursorMove& move) { return move.cursor.position; })
        .array(moves, [](const CursorMove& move) { return move.cursor.last; })
        .array(moves, [](const CursorMove& move) { return move.cursor.done_ceiling; })
        .array(moves, [](const CursorMove& move) { return move.cursor.target_ceiling; });
    if (!parked.empty()) {
        parameters.array(parked, [](const Parking& event) { return wide(event.slot); })
            .array(parked, [](const Parking& event) { return event.position; })
            .array(parked,
                   [](const Parking& event) { return std::optional{event.event_id.text()}; })
            .array(parked, [](const Parking& event) { return std::optional{event.reason}; })
            .array(parked, [](const Parking& event) { return std::optional{event.detail}; });
    }
    const Result rows =
        run(parked.empty() ? statements_.store : statements_.store_and_park, parameters);
    std::vector<std::int16_t> stored;
    for (int n = 0; n < PQntuples(rows.get()) && !is_empty(rows.get()); ++n) {
        stored.push_back(slot_at(rows.get(), n));
    }
    return stored;
}

void PostgresStore::tidy(std::span<const OwnedSlot> slots) {
    const Result bounds =
        run(statements_.tidy,
            identified()
                .array(slots, [](const OwnedSlot& owned) { return wide(owned.slot); })
                .array(slots, [](const OwnedSlot& owned) { return owned.epoch; })
                .array(slots, [&](const OwnedSlot& owned) { return tidied_[owned.slot]; }));
    for (int n = 0; n < PQntuples(bounds.get()) && !is_empty(bounds.get()); ++n) {
        tidied_[slot_at(bounds.get(), n)] = number_at<std::int64_t>(bounds.get(), n, 1);
    }
}

Backlog PostgresStore::measure() {
    const Result row = run(statements_.measure, guarded().text(options_.destination));
    Backlog backlog;
    backlog.pending = number_at<std::int64_t>(row.get(), 0, 0);
    backlog.oldest_age_seconds = number_at<double>(row.get(), 0, 1);
    backlog.parked_waiting = number_at<std::int64_t>(row.get(), 0, 2);
    backlog.parked_dead = number_at<std::int64_t>(row.get(), 0, 3);
    backlog.clock = Time{std::chrono::microseconds{number_at<std::int64_t>(row.get(), 0, 4)}};
    constexpr double kIdsMax = 2'147'483'648.0;
    backlog.wraparound = static_cast<double>(number_at<std::int64_t>(row.get(), 0, 5)) / kIdsMax;
    return backlog;
}

std::unique_ptr<Store> open(const std::string& url, Options options) {
    return std::make_unique<PostgresStore>(url, std::move(options));
}

}  // namespace sagaz::inline v0::postgres
