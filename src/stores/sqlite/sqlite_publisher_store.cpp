// An optimistic publisher's side of the file.
//
// Why a confirmed event may be sent. A confirm is one read transaction, which sees one state of the
// log, and only what committed. Ids are in the order of commits (statements.cpp), so an earlier
// event of the key has a lower id and is in that state too, or was removed: by its publisher, which
// had its acknowledgement, or by a relay that gave back what every stored cursor had passed. What
// is there and below the event's id is delivered if the stored cursor has passed it, a relay marked
// it, or this publisher says so; anything else of the same (topic, key) holds it back, and so does
// a parked one, unless by policy it stops nothing (`park_event`). The cursor is read in the same
// state: it is never ahead of the log it counts.
//
// Why what is sent is on the disk. `flushed(true)` reads how far the log has come and then syncs
// the file's log (-wal) through SQLite's own handle of it. All that was committed by the time of
// that read is in it, or was moved to the database by a checkpoint, which syncs both before the log
// is used anew. This takes no lock: a commit of our own would wait for the application's long
// transactions, and the caller of a publisher waits with it.
//
// Why what is remembered is of this file: the path leads to the same inode, before each use and
// after a sync; the token is the one of the attach; the sequence does not go back. (A file that is
// restored in place and grows beyond what was seen before the publisher asks again is not noticed;
// it would lose the gate for what was seen, no more. Stop publishers to restore.) A publisher never
// writes the token: a file that no relay has attached to where it is now may be a copy, so nothing
// of it is sent.
//
// Why settling is safe at any time and by whomever: it names events by their ids, removes only what
// the destination accepted, and ends only holds that are not over.
#include "stores/sqlite/sqlite_publisher_store.hpp"

#include "core/envelope.hpp"
#include "core/setting_value.hpp"
#include "stores/sqlite/file_state.hpp"
#include "stores/sqlite/row_batch.hpp"

#include <algorithm>
#include <utility>

namespace sagaz::inline v0::sqlite {
namespace {

/// Further behind the stored cursor nothing is looked through: the relay has a backlog to send.
constexpr std::int64_t kLookedThroughMax = 4'000;
/// Parked events of a key that are looked through.
constexpr std::int64_t kParkedMax = 1'000;

template <class Acknowledged>
bool is_acknowledged(const Acknowledged& acknowledged, std::int64_t position,
                     std::string_view event_id) {
    const auto [first, last] = acknowledged.equal_range(position);
    return std::any_of(first, last,
                       [&](const auto& one) { return one.second == Id::parse(event_id); });
}

}  // namespace

SqlitePublisherStore::SqlitePublisherStore(std::string path, Options options)
    : path_(std::move(path)),
      options_(std::move(options)),
      statements_(options_.schema),
      publisher_(options_.schema) {}

// ------------------------------------------------------------------------------- the transactions

void SqlitePublisherStore::forget() {
    database_.reset();
    is_attached_ = false;
    flushed_ = 0;
}

Database& SqlitePublisherStore::attached() {
    if (!database_ || !is_attached_) throw incarnation_changed();
    if (database_->is_replaced()) {
        forget();
        throw incarnation_changed();
    }
    return *database_;
}

std::optional<Id> SqlitePublisherStore::token_of(Database& database) const {
    auto token = database.query(publisher_.token);
    token.number(database.identity().device).number(database.identity().inode);
    if (!token.step()) return std::nullopt;
    return Id::parse(token.text_at(0));
}

void SqlitePublisherStore::check_token(Database& database) {
    if (token_of(database).value_or(Id{}) == incarnation_) return;
    is_attached_ = false;
    throw incarnation_changed();
}

void SqlitePublisherStore::transact(Scope::Kind kind, const Body& body) {
    Database& database = attached();
    try {
        Scope scope(database, kind);
        check_token(database);
        body(database);
        scope.commit();
    } catch (const Error& error) {
        // After any other error in a write it may or may not have happened.
        if (error.code() != "busy" && error.code() != "incarnation_changed") forget();
        throw;
    }
    static_cast<void>(attached());
}

std::int64_t SqlitePublisherStore::take_sequence(Database& database) {
    const std::int64_t sequence = sequence_of(database, statements_);
    if (sequence < last_position_) {
        is_attached_ = false;
        throw incarnation_changed();
    }
    last_position_ = sequence;
    return sequence;
}

Attached SqlitePublisherStore::attach() {
    is_attached_ = false;
    last_position_ = 0;
    flushed_ = 0;
    open_anew(database_, path_, options_.busy_timeout);
    try {
        Database& database = *database_;
        check_schema(database, statements_, options_.schema, path_);
        Scope scope(database, Scope::Kind::read);
        settings_ = Settings{};
        incarnation_ = token_of(database).value_or(Id{});
        auto settings = database.query(statements_.settings);
        while (settings.step()) {
            core::apply_setting(settings_, settings.text_at(0), settings.text_at(1));
        }
        settings.run();
        scope.commit();
    } catch (const Error& error) {
        if (error.code() != "busy") database_.reset();
        throw;
    }
    is_attached_ = true;
    return {incarnation_, settings_};
}

// ------------------------------------------------------------------------------------- confirming

std::int64_t SqlitePublisherStore::delivered_upto(Database& database) const {
    auto cursor = database.query(statements_.cursor);
    cursor.text(options_.destination).number(0);
    if (!cursor.step()) return 0;
    return delivered_by(Snapshot::parse(cursor.text_at(1)), Snapshot::parse(cursor.text_at(2)),
                        cursor.number_at(5));
}

std::string SqlitePublisherStore::topic_of(std::string_view topic,
                                           std::string_view event_type) const {
    return topic.empty() ? core::topic_of(settings_.topic_template, event_type)
                         : std::string(topic);
}

std::vector<SqlitePublisherStore::Candidate> SqlitePublisherStore::find(
    Database& database, std::span<const RowRef> asked, Milliseconds margin,
    std::vector<Verdict>& verdicts) const {
    std::vector<Candidate> candidates;
    for (std::size_t n = 0; n < asked.size(); ++n) {
        auto row = database.query(publisher_.asked);
        row.number(asked[n].slot)
            .number(asked[n].position)
            .text(asked[n].event_id.text())
            .number(margin.count());
        if (!row.step()) continue;
        verdicts[n] = Verdict::late;
        if (row.number_at(0) == 0) continue;
        Candidate candidate{n, asked[n], topic_of(row.text_at(1), row.text_at(3)), std::nullopt};
        if (!row.is_null(2)) candidate.key = std::string(row.text_at(2));
        candidates.push_back(std::move(candidate));
    }
    return candidates;
}

void SqlitePublisherStore::hold_back_behind_log(Database& database,
                                                const std::vector<Candidate>& candidates,
                                                std::int64_t delivered,
                                                const Acknowledged& acknowledged,
                                                std::vector<Verdict>& verdicts) const {
    std::map<std::string_view, std::vector<const Candidate*>> by_key;
    std::int64_t upto = 0;
    for (const Candidate& candidate : candidates) {
        if (!candidate.key || verdicts[candidate.place] != Verdict::ready) continue;
        by_key[*candidate.key].push_back(&candidate);
        upto = std::max(upto, candidate.row.position);
    }
    auto rows = database.query(publisher_.undelivered);
    rows.number(delivered).number(upto);
    while (rows.step()) {
        const auto of_key = by_key.find(rows.text_at(3));
        if (of_key == by_key.end()) continue;
        const std::int64_t position = rows.number_at(0);
        if (is_acknowledged(acknowledged, position, rows.text_at(1))) continue;
        const std::string topic = topic_of(rows.text_at(2), rows.text_at(4));
        for (const Candidate* candidate : of_key->second) {
            const bool is_behind = candidate->row.position > position && candidate->topic == topic;
            if (is_behind) verdicts[candidate->place] = Verdict::behind;
        }
    }
}

bool SqlitePublisherStore::is_behind_parked(Database& database, const Candidate& candidate,
                                            const Acknowledged& acknowledged) const {
    if (settings_.on_refused == OnRefused::park_event) return false;
    const std::optional<std::string> words[] = {candidate.topic, std::string{}, std::nullopt};
    for (const auto& topic : words) {
        auto rows = database.query(publisher_.parked);
        rows.text(options_.destination)
            .number(candidate.row.slot)
            .optional_text(topic)
            .text(*candidate.key)
            .number(candidate.row.position)
            .number(kParkedMax);
        std::int64_t seen = 0;
        while (rows.step()) {
            if (++seen == kParkedMax) return true;  // More may follow, and of it.
            const std::string of_row = topic_of(topic.value_or(""), rows.text_at(2));
            const bool is_of_key = of_row == candidate.topic;
            if (is_of_key && !is_acknowledged(acknowledged, rows.number_at(0), rows.text_at(1))) {
                return true;
            }
        }
    }
    return false;
}

Confirmation SqlitePublisherStore::confirm(std::span<const RowRef> asked,
                                           std::span<const RowRef> acknowledged,
                                           Milliseconds margin) {
    Confirmation confirmation;
    auto& verdicts = confirmation.verdicts;
    auto batch = std::make_unique<RowBatch>();
    transact(Scope::Kind::read, [&](Database& database) {
        confirmation.gate = static_cast<std::uint64_t>(take_sequence(database));
        if (incarnation_.is_zero()) {
            verdicts.assign(asked.size(), Verdict::late);
            return;
        }
        verdicts.assign(asked.size(), Verdict::not_committed);
        const auto candidates = find(database, asked, margin, verdicts);
        const std::int64_t delivered = delivered_upto(database);
        for (const auto& candidate : candidates) {
            const std::int64_t position = candidate.row.position;
            if (position <= delivered) continue;
            const bool is_far = candidate.key && position - delivered > kLookedThroughMax;
            verdicts[candidate.place] = is_far ? Verdict::behind : Verdict::ready;
        }
        Acknowledged known;
        for (const RowRef& row : acknowledged) known.emplace(row.position, row.event_id);
        hold_back_behind_log(database, candidates, delivered, known, verdicts);
        for (const auto& candidate : candidates) {
            Verdict& verdict = verdicts[candidate.place];
            if (verdict != Verdict::ready) continue;
            if (candidate.key && is_behind_parked(database, candidate, known)) {
                verdict = Verdict::behind;
                continue;
            }
            auto row = database.query(statements_.read);
            const std::int64_t position = candidate.row.position;
            row.number(candidate.row.slot).number(position - 1).number(position);
            batch->take(row, candidate.row);
        }
    });
    confirmation.batch = std::move(batch);
    confirmation.flushed = flushed_;
    return confirmation;
}

std::uint64_t SqlitePublisherStore::flushed(bool force) {
    std::int64_t sequence = 0;
    transact(Scope::Kind::read, [&](Database& database) { sequence = take_sequence(database); });
    if (!force) return flushed_;
    sync_log([this]() -> Database& { return attached(); }, [this] { forget(); });
    flushed_ = std::max(flushed_, static_cast<std::uint64_t>(sequence));
    return flushed_;
}

// --------------------------------------------------------------------------------------- settling

void SqlitePublisherStore::settle(std::span<const RowRef> accepted, std::span<const RowRef> left) {
    transact(Scope::Kind::write, [&](Database& database) {
        const auto change = [&](const std::string& sql, const RowRef& row) {
            database.query(sql)
                .number(row.slot)
                .number(row.position)
                .text(row.event_id.text())
                .run();
        };
        for (const RowRef& row : accepted) change(publisher_.remove, row);
        for (const RowRef& row : left) change(publisher_.leave, row);
    });
}

std::unique_ptr<PublisherStore> open_publisher(const std::string& path, Options options) {
    check_is_file(path);
    return std::make_unique<SqlitePublisherStore>(path, std::move(options));
}

}  // namespace sagaz::inline v0::sqlite
