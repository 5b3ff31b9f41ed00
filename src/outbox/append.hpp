#pragma once

#include <sagaz/event.hpp>
#include <sagaz/transaction.hpp>

#include <optional>
#include <span>
#include <string_view>

namespace sagaz::inline v0::outbox {

/// How many values one statement may have: PostgreSQL's protocol counts to 65,535, SQLite is built
/// with a limit of 32,766.
std::size_t parameters_max(Dialect dialect);

/// How many values `event` needs.
std::size_t parameters_of(const Event& event);

/// One statement that appends `events`, in their order; the values view into them. It returns for
/// each row event_id, id, its transaction, slot and the incarnation. Only the number of events and
/// headers, which events have an id, and `hold` decide its text. With `hold` the relay leaves the
/// rows alone for so long by the database's clock.
Statement append_statement(Dialect dialect, std::string_view schema, std::span<const Event> events,
                           std::optional<Milliseconds> hold = {});

}  // namespace sagaz::inline v0::outbox
