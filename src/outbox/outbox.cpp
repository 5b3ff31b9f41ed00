#include "core/holds.hpp"
#include "core/schema_name.hpp"
#include "outbox/append.hpp"
#include "outbox/resolve.hpp"
#include "outbox/validation.hpp"

#include <sagaz/error.hpp>
#include <sagaz/outbox.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <string_view>
#include <utility>

namespace sagaz::inline v0 {
namespace {

constexpr std::size_t kReturned = 5;  // event_id, id, transaction, slot, incarnation

[[noreturn]] void throw_unexpected() {
    throw Error(ErrorKind::fatal, "unexpected_answer",
                "the driver did not return what the INSERT returns",
                "its Transaction must return each value as text");
}

template <class Number>
Number number_of(const std::optional<std::string>& text) {
    Number value{};
    if (!text) throw_unexpected();
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc{} || end != text->data() + text->size()) throw_unexpected();
    return value;
}

Ticket::Entry entry_of(const std::vector<std::optional<std::string>>& row) {
    if (row.size() != kReturned || !row[0]) throw_unexpected();
    Ticket::Entry entry;
    entry.event_id = Id::parse(*row[0]);
    entry.position = number_of<std::int64_t>(row[1]);
    entry.transaction = number_of<std::uint64_t>(row[2]);
    entry.slot = number_of<std::int16_t>(row[3]);
    if (row[4]) entry.incarnation = Id::parse(*row[4]);
    return entry;
}

// What the publisher must know of an event before it has read it. Only a help to it: that a word
// for a topic and the template's result are two names of one topic does no harm.
void describe(const Event& event, Ticket::Entry& entry) {
    entry.bytes = event.payload.size();
    for (const auto& header : event.headers)
        entry.bytes += header.name.size() + header.value.size();
    if (!event.key) return;
    std::string name = event.topic.empty() ? '\0' + event.event_type : event.topic;
    name += '\0';
    name += *event.key;
    entry.order = std::max<std::uint64_t>(1, std::hash<std::string_view>{}(name));
}

// The longest prefix that one statement can carry: all of them, but for thousands of headers.
std::size_t prefix_for_one_statement(Dialect dialect, std::span<const Event> events) {
    std::size_t parameters = 0;
    std::size_t count = 0;
    for (const auto& event : events) {
        parameters += outbox::parameters_of(event);
        if (count > 0 && parameters > outbox::parameters_max(dialect)) break;
        ++count;
    }
    return count;
}

}  // namespace

// ----------------------------------------------------------------------------------------- Ticket

Ticket::Ticket() noexcept = default;
Ticket::Ticket(Ticket&&) noexcept = default;
Ticket::~Ticket() { give_back(); }

Ticket::Ticket(std::vector<Entry> entries) : entries_(std::move(entries)) {
    ids_.reserve(entries_.size());
    for (const auto& entry : entries_) ids_.push_back(entry.event_id);
}

Ticket& Ticket::operator=(Ticket&& other) noexcept {
    if (this == &other) return *this;
    give_back();
    holds_ = std::move(other.holds_);
    hold_ends_ = other.hold_ends_;
    entries_ = std::move(other.entries_);
    ids_ = std::move(other.ids_);
    other.entries_.clear();
    other.ids_.clear();
    return *this;
}

void Ticket::give_back() noexcept {
    if (holds_ && !entries_.empty()) holds_->give_back(entries_);
    holds_.reset();
}

void Ticket::merge(Ticket&& other) {
    entries_.reserve(entries_.size() + other.entries_.size());
    ids_.reserve(ids_.size() + other.ids_.size());
    entries_.insert(entries_.end(), other.entries_.begin(), other.entries_.end());
    ids_.insert(ids_.end(), other.ids_.begin(), other.ids_.end());
    other.entries_.clear();
    other.ids_.clear();
    if (!other.holds_) return;
    // The first to end counts, since a ticket is answered as a whole.
    hold_ends_ = holds_ ? std::min(hold_ends_, other.hold_ends_) : other.hold_ends_;
    holds_ = std::move(other.holds_);
}

// ----------------------------------------------------------------------------------------- Outbox

Outbox::Outbox(std::string schema) : schema_(std::move(schema)) {
    core::check_schema_name(schema_);
}

Statement Outbox::append_statement(const Event& event, Dialect dialect) const {
    outbox::check(event);
    return outbox::append_statement(dialect, schema_, {&event, 1},
                                    holds_ ? holds_->hold() : std::nullopt);
}

Ticket Outbox::ticket_of(const Event& event, const Rows& returned) const {
    if (returned.size() != 1) throw_unexpected();
    std::vector<Ticket::Entry> entries{entry_of(returned.front())};
    describe(event, entries.front());
    Ticket ticket(std::move(entries));
    ticket.holds_ = holds_;
    return ticket;
}

Ticket Outbox::append_in(Transaction& transaction, std::span<const Event> events) const {
    if (events.size() > kEventsMax) {
        throw Error(
            ErrorKind::invalid, "too_many_events",
            fmt::format("{} events in one append, at most {} fit", events.size(), kEventsMax),
            "append them in several calls of the same transaction");
    }
    for (const auto& event : events) outbox::check(event);
    const Dialect dialect = transaction.dialect();
    const auto hold = holds_ ? holds_->hold() : std::nullopt;
    const auto began = std::chrono::steady_clock::now();
    std::vector<Ticket::Entry> entries;
    entries.reserve(events.size());
    for (auto rest = events; !rest.empty();) {
        const std::size_t count = prefix_for_one_statement(dialect, rest);
        const Rows rows = transaction.execute(
            outbox::append_statement(dialect, schema_, rest.first(count), hold));
        if (rows.size() != count) throw_unexpected();
        for (const auto& row : rows) entries.push_back(entry_of(row));
        rest = rest.subspan(count);
    }
    // SQLite promises no order for what RETURNING gives; positions are given out in the order of
    // the events.
    std::ranges::stable_sort(entries, {}, &Ticket::Entry::position);
    for (std::size_t n = 0; n < events.size(); ++n) describe(events[n], entries[n]);
    Ticket ticket(std::move(entries));
    if (hold) {
        ticket.holds_ = holds_;
        ticket.hold_ends_ = began + *hold;
    }
    return ticket;
}

CommitOutcome Outbox::resolve_in(Transaction& transaction, const Ticket& ticket) const {
    return outbox::resolve(transaction, schema_, ticket);
}

}  // namespace sagaz::inline v0
