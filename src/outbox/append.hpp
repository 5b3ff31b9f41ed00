#pragma once

#include <sagaz/event.hpp>
#include <sagaz/transaction.hpp>

#include <span>
#include <string_view>

namespace sagaz::inline v0::outbox {

/// A parameterised statement names at most 65,535 values in PostgreSQL's protocol.
inline constexpr std::size_t kParametersMax = 60'000;

/// How many values `event` needs.
std::size_t parameters_of(const Event& event);

/// One INSERT of `events`, in their order; the values view into them. It returns for each row
/// event_id, id, xid, slot and the incarnation. Only the number of events and headers decides its
/// text.
Statement insert_statement(std::string_view schema, std::span<const Event> events);

}  // namespace sagaz::inline v0::outbox
