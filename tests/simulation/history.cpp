#include "history.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sagaz::simulation {
namespace {

const char* word(Fate fate) {
    switch (fate) {
        case Fate::open: return "running";
        case Fate::rolled_back: return "rolled back";
        case Fate::committed: return "committed";
        case Fate::lost: return "lost in a crash";
    }
    return "?";
}

}  // namespace

History::Seen& History::seen(EventIndex event) {
    if (event >= seen_.size()) seen_.resize(event + 1);
    return seen_[event];
}

std::string History::name(const LogRow& row) const {
    return fmt::format("event {} (slot {}, position {}, xid {}, topic '{}', key {}, {})", row.index,
                       row.slot, row.position, row.xid, row.topic,
                       row.key ? "'" + *row.key + "'" : "none", word(row.fate));
}

void History::violation(std::string text) {
    trace_.line("checker", fmt::format(R"("violation":"{}")", text));
    violations_.push_back(std::move(text));
}

bool History::has_arrived(EventIndex event) const {
    return event < seen_.size() && seen_[event].arrivals > 0;
}

bool History::is_settled(const LogRow& row) const {
    const bool accepted = row.index < seen_.size() && seen_[row.index].accepted;
    return accepted || database_.is_parked(row.index) || database_.was_discarded(row.index);
}

void History::on_taken_by_relay(const Id& event_id, const std::string& who) {
    const auto index = database_.find_event(event_id);
    if (!index) return violation(who + " published an event that nobody appended");
    const LogRow& row = database_.row(*index);
    check_durable(row, who);
    // By the database's clock, which may jump, or by the relay's own: its grace begins when it sees
    // the row. A parked one is sent when its turn comes; its publisher may only repeat it.
    const bool is_held = row.held_until > database_.wall_clock();
    if (is_held && database_.now() < row.appended_at + grace_ && !database_.was_parked(row.index))
        violation(who + " sent a held one: " + name(row));
}

void History::on_taken_by_publisher(const Id& event_id, const std::string& who) {
    const auto index = database_.find_event(event_id);
    if (!index) return violation(who + " published an event that nobody appended");
    check_durable(database_.row(*index), who);
}

void History::check_durable(const LogRow& row, const std::string& who) {
    if (database_.is_durable(row)) return;
    violation(fmt::format("{} published before it was safe: {}, commit at {}, flushed to {}", who,
                          name(row), row.commit_lsn, database_.flushed_lsn()));
}

void History::on_arrived(EventIndex event, std::uint64_t bytes, const std::string& who) {
    Seen& state = seen(event);
    const LogRow& row = database_.row(event);
    ++state.arrivals;
    trace_.line(who, fmt::format(R"("what":"arrived","event":{},"position":{},"times":{})", event,
                                 row.position, state.arrivals));
    if (state.arrivals > 1) {
        ++repeats_;
        if (forbids_repeats_) violation("repeated though nothing went wrong: " + name(row));
        if (state.bytes != bytes) violation("a repeat has other bytes: " + name(row));
        return;
    }
    ++first_arrivals_;
    state.bytes = bytes;
    if (row.fate != Fate::committed) violation("arrived without a commit: " + name(row));
    if (row.key && !database_.was_discarded(row.index)) check_order(row);
}

void History::check_order(const LogRow& row) {
    const bool by_event = database_.settings().on_refused == OnRefused::park_event;
    if (by_event && is_refused_(row)) return;
    const auto [at, is_first] =
        newest_arrived_.try_emplace({std::string(topic_of(row)), *row.key}, row.index);
    if (!is_first) {
        if (row.index < at->second) {
            violation("arrived after a later event of its key: " + name(row) + ", after " +
                      name(database_.row(at->second)));
        }
        at->second = std::max(at->second, row.index);
    }
    if (!by_event && is_behind_one_that_is_missing(row)) {
        violation("arrived though an earlier event of its key was refused: " + name(row));
    }
}

bool History::is_behind_a_refused_one(const LogRow& row) const {
    return std::any_of(
        database_.rows().begin(), database_.rows().begin() + static_cast<std::ptrdiff_t>(row.index),
        [&](const LogRow& other) {
            return other.fate == Fate::committed && same_lane(other, row) && is_refused_(other);
        });
}

bool History::is_behind_one_that_is_missing(const LogRow& row) const {
    return std::any_of(
        database_.rows().begin(), database_.rows().begin() + static_cast<std::ptrdiff_t>(row.index),
        [&](const LogRow& other) {
            return other.fate == Fate::committed && same_lane(other, row) && is_refused_(other) &&
                   !has_arrived(other.index) && !database_.was_discarded(other.index);
        });
}

void History::on_unparked(EventIndex event) {
    if (!seen(event).accepted) {
        violation("un-parked though it was never accepted: " + name(database_.row(event)));
    }
}

void History::on_accepted(EventIndex event) { seen(event).accepted = true; }

void History::check_parking(const LogRow& row, const ParkedEvent& parked) {
    if (parked.reason.empty()) violation("parked without a reason: " + name(row));
    const bool by_key = row.key && database_.settings().on_refused == OnRefused::park_key;
    if (!is_refused_(row) && !(by_key && is_behind_a_refused_one(row))) {
        violation("parked though nothing refused it (" + parked.reason + "): " + name(row));
    }
}

void History::on_cursor(std::int16_t slot, const Cursor& cursor,
                        const std::vector<ParkedEvent>& parked) {
    for (const ParkedEvent& one : parked) {
        const LogRow& row = database_.row(one.event);
        check_parking(row, one);
        if (!covers(cursor, row)) violation("parked but not passed by its cursor: " + name(row));
    }
    for (const LogRow& row : database_.rows()) {
        if (row.slot != slot || (row.fate != Fate::committed && row.fate != Fate::open)) continue;
        if (is_settled(row) || !covers(cursor, row)) continue;
        const bool is_parked_now =
            std::any_of(parked.begin(), parked.end(),
                        [&](const ParkedEvent& one) { return one.event == row.index; });
        if (!is_parked_now) {
            violation(fmt::format("the cursor of slot {} counts what was never accepted: {}", slot,
                                  name(row)));
        }
    }
}

void History::on_marked(const LogRow& row, const std::string& who) {
    ++marked_;
    if (!seen(row.index).accepted) violation(who + " marked what was never accepted: " + name(row));
}

void History::on_removed(const LogRow& row, const std::string& who) {
    if (!seen(row.index).accepted)
        violation(who + " settled what was never accepted: " + name(row));
}

void History::on_reclaimed(const LogRow& row, const std::string& who) {
    if (!is_settled(row)) violation(who + " removed what was never accepted: " + name(row));
}

void History::finish() {
    for (const LogRow& row : database_.rows()) {
        const bool arrived = has_arrived(row.index);
        if (row.fate == Fate::committed) {
            const bool is_kept =
                database_.is_parked(row.index) || database_.was_discarded(row.index);
            if (!arrived && !is_kept) violation("lost: " + name(row));
        } else if (arrived) {
            violation("arrived, but its transaction did not survive: " + name(row));
        }
    }
}

}  // namespace sagaz::simulation
