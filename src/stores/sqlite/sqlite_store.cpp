#include "stores/sqlite/sqlite_store.hpp"

#include "core/setting_value.hpp"
#include "stores/sqlite/file_state.hpp"
#include "stores/sqlite/row_batch.hpp"

#include <sagaz/error.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace sagaz::inline v0::sqlite {
namespace {

std::string own_label() {
    std::array<char, 256> host{};
    if (::gethostname(host.data(), host.size() - 1) != 0) std::strcpy(host.data(), "?");
    return fmt::format("{}:{}", host.data(), ::getpid());
}

std::int64_t in_sql(std::uint64_t value) { return static_cast<std::int64_t>(value); }
std::uint64_t from_sql(std::int64_t value) { return static_cast<std::uint64_t>(value); }

// All ids up to `sequence` are visible or will never be; none is in progress.
Snapshot snapshot_at(std::int64_t sequence) {
    return {from_sql(sequence) + 1, from_sql(sequence) + 1, {}};
}

}  // namespace

SqliteStore::SqliteStore(std::string path, Options options)
    : path_(std::move(path)),
      options_(std::move(options)),
      statements_(options_.schema),
      parked_(options_.schema),
      label_(own_label()) {}

// ------------------------------------------------------------------------------- the transactions

void SqliteStore::forget() {
    database_.reset();
    incarnation_ = {};
    flushed_ = 0;
}

Database& SqliteStore::attached() {
    if (!database_ || incarnation_.is_zero()) throw incarnation_changed();
    if (database_->is_replaced()) {
        forget();
        throw incarnation_changed();
    }
    return *database_;
}

void SqliteStore::check_guard(Database& database) {
    auto guard = database.query(statements_.guard);
    guard.text(relay_.text());
    const bool has_row = guard.step();
    const bool same_token = has_row && guard.text_at(0) == incarnation_.text();
    const bool same_beat = has_row && !guard.is_null(1) && guard.number_at(1) == beat_;
    if (same_token && same_beat) return;
    was_set_back_ = same_token;
    incarnation_ = {};
    throw incarnation_changed();
}

void SqliteStore::read(const Body& body) {
    Database& database = attached();
    Scope scope(database, Scope::Kind::read);
    check_guard(database);
    body(database);
    scope.commit();
}

void SqliteStore::write(const Body& body) {
    Database& database = attached();
    try {
        Scope scope(database, Scope::Kind::write);
        check_guard(database);
        body(database);
        database.query(statements_.beat).text(relay_.text()).run();
        const std::int64_t sequence = sequence_of(database, statements_);
        scope.commit();
        ++beat_;
        flushed_ = std::max(flushed_, from_sql(sequence));
    } catch (const Error& error) {
        if (error.code() != "busy" && error.code() != "incarnation_changed") forget();
        throw;
    }
    // What was committed into a file that nobody reads any more is no ground to publish.
    static_cast<void>(attached());
}

// ------------------------------------------------------------------------------------- attaching

Attached SqliteStore::attach(const Id& relay) {
    relay_ = relay;
    incarnation_ = {};
    last_position_ = 0;
    flushed_ = 0;
    open_anew(database_, path_, options_.busy_timeout);
    try {
        return introduce(*database_);
    } catch (const Error& error) {
        if (error.code() != "busy") database_.reset();
        throw;
    }
}

Attached SqliteStore::introduce(Database& database) {
    check_schema(database, statements_, options_.schema, path_);
    Scope scope(database, Scope::Kind::write);
    database.query(statements_.renew_token)
        .number(database.identity().device)
        .number(database.identity().inode)
        .number(was_set_back_ ? 1 : 0)
        .run();
    auto introduce = database.query(statements_.introduce);
    introduce.text(relay_.text()).text(options_.destination).text(label_).text(SAGAZ_VERSION);
    introduce.step();
    const std::int64_t beat = introduce.number_at(0);
    introduce.run();
    Attached attached;
    auto token = database.query(statements_.token);
    if (!token.step()) {
        throw Error(ErrorKind::fatal, "data_corrupted", "the incarnation has no row",
                    "the tables were changed by hand; restore the file from a backup");
    }
    attached.incarnation = Id::parse(token.text_at(0));
    token.run();
    auto settings = database.query(statements_.settings);
    while (settings.step())
        core::apply_setting(attached.settings, settings.text_at(0), settings.text_at(1));
    scope.commit();
    beat_ = beat;
    was_set_back_ = false;
    incarnation_ = attached.incarnation;
    return attached;
}

// ------------------------------------------------------------------------------------- ownership

Observed SqliteStore::observe(const Report& report) {
    Observed seen;
    std::int64_t sequence = 0;
    write([&](Database& database) {
        database.query(statements_.report)
            .text(relay_.text())
            .number(in_sql(report.published))
            .text(report.down_reason)
            .number(report.down_for_ms)
            .run();
        auto rows = database.query(statements_.slots);
        rows.text(options_.destination);
        while (rows.step()) {
            SlotView view;
            view.slot = static_cast<std::int16_t>(rows.number_at(0));
            view.epoch = rows.number_at(1);
            if (!rows.is_null(2)) view.owner = Id::parse(rows.text_at(2));
            view.owner_beat = rows.number_at(3);
            seen.slots.push_back(view);
        }
        auto relays = database.query(statements_.relays);
        relays.text(options_.destination);
        while (relays.step()) {
            seen.relays.push_back({Id::parse(relays.text_at(0)), relays.number_at(1)});
        }
        sequence = sequence_of(database, statements_);
    });
    seen.opening = opening_at(sequence);
    return seen;
}

std::vector<OwnedSlot> SqliteStore::acquire(std::span<const SlotView> slots) {
    std::vector<OwnedSlot> taken;
    write([&](Database& database) {
        for (const auto& view : slots) {
            auto acquire = database.query(statements_.acquire);
            acquire.text(relay_.text())
                .text(options_.destination)
                .number(view.slot)
                .number(view.epoch)
                .optional_text(view.owner ? std::optional(view.owner->text()) : std::nullopt)
                .number(view.owner_beat);
            if (acquire.step()) taken.push_back({view.slot, acquire.number_at(0)});
            acquire.run();
        }
    });
    return taken;
}

Loaded::SlotCursor SqliteStore::load_cursor(Database& database, std::int16_t slot,
                                            std::int64_t sequence) const {
    auto row = database.query(statements_.cursor);
    row.text(options_.destination).number(slot);
    if (!row.step()) {
        throw Error(ErrorKind::fatal, "cursor_missing", fmt::format("slot {} has no cursor", slot),
                    "the cursor table was changed by hand; restore it from a backup");
    }
    Cursor cursor;
    cursor.n = row.number_at(0);
    cursor.done = Snapshot::parse(row.text_at(1));
    cursor.target = Snapshot::parse(row.text_at(2));
    cursor.done_ceiling = from_sql(row.number_at(3));
    cursor.target_ceiling = from_sql(row.number_at(4));
    cursor.position = row.number_at(5);
    cursor.last = row.number_at(6);
    if (std::max(cursor.position, cursor.last) > sequence) {
        throw Error(ErrorKind::fatal, "sequence_behind",
                    fmt::format("sqlite_sequence is behind the cursor of slot {}", slot),
                    fmt::format("somebody set it back; stop the producers and set the row of {}_"
                                "outbox in sqlite_sequence above the highest id ever given out",
                                options_.schema));
    }
    return {slot, std::move(cursor)};
}

Loaded SqliteStore::load(std::span<const OwnedSlot> slots) {
    Loaded loaded;
    read([&](Database& database) {
        const std::int64_t sequence = sequence_of(database, statements_);
        loaded.gate = from_sql(sequence);
        for (const auto& owned : slots) {
            loaded.cursors.push_back(load_cursor(database, owned.slot, sequence));
            auto rows = database.query(statements_.stopped);
            rows.text(options_.destination).number(owned.slot);
            while (rows.step()) {
                loaded.stopped.push_back({owned.slot, std::string(rows.text_at(0)),
                                          std::string(rows.text_at(1)),
                                          std::string(rows.text_at(2))});
            }
        }
    });
    return loaded;
}

void SqliteStore::release(std::span<const OwnedSlot> slots) {
    write([&](Database& database) {
        for (const auto& owned : slots) {
            database.query(statements_.release)
                .text(relay_.text())
                .text(options_.destination)
                .number(owned.slot)
                .number(owned.epoch)
                .run();
        }
    });
}

void SqliteStore::leave() {
    write([&](Database& database) {
        database.query(statements_.give_back).text(relay_.text()).text(options_.destination).run();
        database.query(statements_.forget_relay).text(relay_.text()).run();
    });
    incarnation_ = {};  // Without its row a relay cannot tell the file from an older one.
}

// ------------------------------------------------------------------------------------ the window

Opening SqliteStore::open_window() {
    std::int64_t sequence = 0;
    read([&](Database& database) { sequence = sequence_of(database, statements_); });
    return opening_at(sequence);
}

Opening SqliteStore::opening_at(std::int64_t sequence) {
    if (sequence < last_position_) {
        was_set_back_ = true;
        incarnation_ = {};
        throw incarnation_changed();
    }
    last_position_ = sequence;
    Opening opening;
    opening.target = snapshot_at(sequence);
    opening.ceiling = opening.target.xmax;
    opening.last_position = sequence;
    opening.gate = from_sql(sequence);
    opening.flushed = flushed_;
    return opening;
}

std::uint64_t SqliteStore::flushed(bool force) {
    std::int64_t sequence = 0;
    read([&](Database& database) { sequence = sequence_of(database, statements_); });
    if (!force) return flushed_;
    sync_log([this]() -> Database& { return attached(); }, [this] { forget(); });
    flushed_ = std::max(flushed_, from_sql(sequence));
    return flushed_;
}

// Nothing commits late in a log with one writer, so the core never asks; this answers all the same.
std::vector<LateTransaction> SqliteStore::find_late(std::span<const LateQuery> queries) {
    std::vector<LateTransaction> late;
    read([&](Database& database) {
        for (const auto& query : queries) {
            auto rows = database.query(statements_.find_late);
            rows.number(query.slot).number(query.after).number(query.upto);
            while (rows.step()) {
                const auto transaction = from_sql(rows.number_at(0));
                const bool in_range =
                    transaction >= query.range_min && transaction < query.range_end;
                if (in_range || std::ranges::find(query.transactions, transaction) !=
                                    query.transactions.end()) {
                    late.push_back({query.slot, transaction});
                }
            }
        }
    });
    return late;
}

void SqliteStore::start_read(const ReadRequest& request) { request_ = request; }

ReadResult SqliteStore::finish_read() {
    ReadResult result;
    auto batch = std::make_unique<RowBatch>();
    read([&](Database& database) {
        for (const auto& range : request_.ranges) {
            auto rows = database.query(statements_.read);
            // Rows that `done` sees are delivered; they need not be walked.
            const auto delivered = in_sql(range.done->xmin) - 1;
            const bool skips = range.done->running.empty();
            const std::int64_t after =
                skips ? std::max(range.after, std::min(delivered, range.upto)) : range.after;
            rows.number(range.slot).number(after).number(range.upto);
            const auto read_to = batch->take(rows, range, {request_.rows_max, request_.bytes_max});
            result.progress.push_back({range.slot, read_to});
        }
    });
    result.flushed = flushed_;
    result.batch = std::move(batch);
    return result;
}

// --------------------------------------------------------------------------------------- storing

bool SqliteStore::owns(Database& database, std::int16_t slot, std::int64_t epoch) const {
    auto owns = database.query(statements_.owns);
    owns.text(relay_.text()).text(options_.destination).number(slot).number(epoch);
    return owns.step();
}

std::vector<std::int16_t> SqliteStore::store(std::span<const CursorMove> moves,
                                             std::span<const Parking> parked) {
    std::vector<std::int16_t> stored;
    write([&](Database& database) {
        for (const auto& move : moves) {
            if (!owns(database, move.slot, move.epoch)) continue;
            database.query(statements_.store)
                .text(options_.destination)
                .number(move.slot)
                .number(move.cursor.n)
                .number(move.epoch)
                .text(move.cursor.done.text())
                .text(move.cursor.target.text())
                .number(move.cursor.position)
                .number(move.cursor.last)
                .number(in_sql(move.cursor.done_ceiling))
                .number(in_sql(move.cursor.target_ceiling))
                .text(incarnation_.text())
                .run();
            stored.push_back(move.slot);
        }
        for (const auto& event : parked) {
            if (std::ranges::find(stored, event.slot) == stored.end()) continue;
            const auto move = std::ranges::find(moves, event.slot, &CursorMove::slot);
            database.query(statements_.park)
                .text(options_.destination)
                .number(event.slot)
                .number(event.position)
                .text(event.event_id.text())
                .text(event.reason)
                .text(event.detail)
                .number(move->cursor.n)
                .run();
        }
    });
    return stored;
}

std::vector<HoldState> SqliteStore::look_at(std::span<const RowRef> rows) {
    std::vector<HoldState> states;
    read([&](Database& database) {
        for (const auto& row : rows) {
            auto look = database.query(statements_.look_at);
            look.number(row.slot).number(row.position).text(row.event_id.text());
            if (!look.step()) {
                states.push_back(HoldState::gone);
            } else {
                states.push_back(look.number_at(0) != 0 ? HoldState::held : HoldState::released);
            }
        }
    });
    return states;
}

void SqliteStore::mark_delivered(std::span<const RowRef> rows) {
    write([&](Database& database) {
        for (const auto& row : rows) {
            database.query(statements_.mark_delivered)
                .number(row.slot)
                .number(row.position)
                .text(row.event_id.text())
                .run();
        }
    });
}

void SqliteStore::tidy(std::span<const OwnedSlot> slots) {
    write([&](Database& database) {
        for (const auto& owned : slots) {
            if (!owns(database, owned.slot, owned.epoch)) continue;
            database.query(statements_.tidy_cursors)
                .text(options_.destination)
                .number(owned.slot)
                .run();
        }
        database.query(statements_.tidy_relays).text(relay_.text()).run();
    });
}

Backlog SqliteStore::measure() {
    Backlog backlog;
    read([&](Database& database) {
        auto row = database.query(statements_.measure);
        row.text(options_.destination);
        if (!row.step()) return;
        backlog.pending = row.number_at(0);
        backlog.oldest_age_seconds = row.real_at(1);
        backlog.parked_waiting = row.number_at(2);
        backlog.parked_dead = row.number_at(3);
    });
    return backlog;
}

std::unique_ptr<Store> open(const std::string& path, Options options) {
    check_is_file(path);
    return std::make_unique<SqliteStore>(path, std::move(options));
}

}  // namespace sagaz::inline v0::sqlite
