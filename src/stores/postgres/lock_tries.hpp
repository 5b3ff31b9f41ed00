#pragma once

#include "stores/postgres/connection.hpp"

#include <functional>
#include <string_view>

namespace sagaz::inline v0::postgres {

/// Runs `change`, which takes locks that others may hold, until it is not refused one. Whoever
/// waits for a strong lock makes all later ones wait behind him, as long as the oldest transaction
/// that is in its way. So `change` lets the server wait for a second at most (`kShortWait`),
/// whatever becomes of this process meanwhile, and is tried again, ten times, after a pause in
/// which the others go on. Throws `unavailable` (`lock_not_available`), which says who is in the
/// way, after the last.
void with_lock_tries(Connection& connection, std::string_view schema,
                     const std::function<void()>& change);

/// In the transaction of `change`, before it takes a lock. The second bounds how long one is kept
/// by a process that is frozen or cut off between two statements: the server then ends its session.
inline constexpr std::string_view kShortWait =
    "SET LOCAL lock_timeout = '1s';\n"
    "SET LOCAL idle_in_transaction_session_timeout = '2s';\n";

}  // namespace sagaz::inline v0::postgres
